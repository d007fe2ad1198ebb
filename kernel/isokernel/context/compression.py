"""Brotli for the compression streams of a context, by Google's own library.

The library's state is no part of the JavaScript heap. So the runtime keeps what a
stream was given until the stream ends: what is compressed is handed over at the end,
and what is decompressed is handed over again when its decoder isn't there, as in a
context that goes on from a saved heap.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from isokernel.v8.values import Value

_QUALITY: Final = 5
"""Of 0 to 11: 60 MB/s. 11, the library's own choice, takes forty times as long."""
_DECODERS_MAX: Final = 8
"""Each has a window of up to 16 MiB. A stream whose decoder is gone gets a new one."""
_OUTPUT_BYTES: Final = 1 << 20
"""About what is decompressed at a time: V8 can't interrupt the library."""

_HUNGRY, _MORE, _ENDED, _INVALID = range(4)


def preload() -> None:
    """Load the library; a confined process can't."""
    import brotli  # noqa: F401, PLC0415 -- when a stream needs it, otherwise


class Brotli:
    """The encoder and the decoders of one context, for `web/brotli.js`."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._encoder: Any = None
        self._decoders: OrderedDict[int, Any] = OrderedDict()

    def compress(self, data: Value, first: bool, last: bool) -> bytes:  # noqa: FBT001 -- from JS
        """Return what comes of a piece. A stream's pieces come one after the other."""
        import brotli  # noqa: PLC0415 -- 0.5 ms

        if first:
            self._encoder = brotli.Compressor(quality=_QUALITY)
        packed: bytes = self._encoder.process(data.bytes())
        if last:
            packed += self._encoder.finish()
            self._encoder = None
        return packed

    def decompress(
        self,
        stream: int,
        data: Value,
        fresh: bool,  # noqa: FBT001 -- from JS
    ) -> list[Any] | None:
        """Return what comes of a piece, and what is next.

        Args:
            stream: The runtime's number of the stream.
            data: Compressed bytes; none while there is more to come of earlier ones.
            fresh: It is the stream's first piece.

        Returns:
            Bytes, and whether the decoder is hungry (0), has more (1), has ended (2) or
            was given what is not valid (3). None where the stream has no decoder.
        """
        import brotli  # noqa: PLC0415 -- 0.5 ms

        decoder = brotli.Decompressor() if fresh else self._decoders.pop(stream, None)
        if decoder is None:
            return None
        try:
            out = decoder.process(data.bytes(), output_buffer_limit=_OUTPUT_BYTES)
        except brotli.error:
            return [b"", _INVALID]
        if decoder.is_finished():
            return [out, _ENDED]
        self._decoders[stream] = decoder
        if len(self._decoders) > _DECODERS_MAX:
            self._decoders.popitem(last=False)
        # It may take more input with output of earlier input still to come.
        more = len(out) >= _OUTPUT_BYTES or not decoder.can_accept_more_data()
        return [out, _MORE if more else _HUNGRY]
