"""Frames: the messages between a server and a context's process, as bytes.

Four bytes of length, big-endian, then MessagePack of a map: `type`, `content`, what it
is a part of (`id` in a request, `parent` in an answer or a broadcast), and `metadata`
and `buffers` where there are any. The types and contents are those of Jupyter's
messages. Both sockets of a context carry them, both ways.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isokernel.errors import FrameError
from isokernel.protocol.messages import well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORKS_MAX", "MAX_BYTES", "Decoder", "Frame", "encode", "plain_data"]

MAX_BYTES: Final = 64 << 20
"""The size of a frame, unless its reader or writer sets another limit."""

FORKS_MAX: Final = 16
"""Clones that one `fork_request` asks for: each comes with two descriptors, and a
confined process may have 64 open."""

_LENGTH: Final = struct.Struct(">I")
_LENGTH_MAX: Final = (1 << 32) - 1
_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 64) - 1


class Frame(msgspec.Struct, omit_defaults=True):
    """One message.

    Attributes:
        type: Jupyter's message type.
        content: Its content.
        id: The request's number, chosen by the sender; None in what answers.
        parent: The `id` of the request that this belongs to; 0 if to none.
        metadata: Jupyter's metadata.
        buffers: Binary attachments.
    """

    type: str
    content: dict[str, Any]
    id: int | None = None
    parent: int | None = None
    metadata: dict[str, Any] = {}
    buffers: list[bytes] = []


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Frame)


def encode(  # noqa: PLR0913 -- the parts of a frame
    kind: str,
    content: Mapping[str, Any],
    *,
    id: int | None = None,  # noqa: A002 -- the word of the protocol
    parent: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    buffers: Sequence[bytes] = (),
    max_bytes: int = _LENGTH_MAX,
) -> bytes:
    """Return the bytes of a frame.

    What MessagePack can't hold is replaced: half of a surrogate pair by U+FFFD, an
    integer beyond 64 bits by the nearest float.

    Raises:
        FrameError: It would be larger than `max_bytes`, or isn't plain data.
    """
    frame = Frame(
        kind,
        content if type(content) is dict else dict(content),
        id,
        parent,
        {} if not metadata else dict(metadata),
        list(buffers),
    )
    packed = bytearray(_LENGTH.size)
    try:
        try:
            _encoder.encode_into(frame, packed, _LENGTH.size)
        except (UnicodeEncodeError, OverflowError):
            frame.content = plain_data(frame.content)
            frame.metadata = plain_data(frame.metadata)
            _encoder.encode_into(frame, packed, _LENGTH.size)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"a {kind} can't be encoded as a frame: {error}"
        raise FrameError(message) from error
    size = len(packed) - _LENGTH.size
    if size > min(max_bytes, _LENGTH_MAX):
        message = f"a {kind} has {size} bytes; the limit is {max_bytes}"
        raise FrameError(message)
    _LENGTH.pack_into(packed, 0, size)
    return bytes(packed)


def plain_data(value: Any) -> Any:
    """Return data as MessagePack can hold it; see `encode`."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if isinstance(value, int) and not _INTEGER_MIN <= value <= _INTEGER_MAX:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


class Decoder:
    """Splits a stream of bytes into frames. One for each socket."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Accept frames of up to `max_bytes`."""
        self._max_bytes = max_bytes
        self._waiting = bytearray()

    @property
    def waiting(self) -> int:
        """How many bytes there are of a frame that isn't whole yet."""
        return len(self._waiting)

    def feed(self, data: bytes) -> list[Frame]:
        """Add received bytes, and return the frames that they complete.

        Raises:
            FrameError: A frame is too large or malformed; the stream can't be read any
                further.
        """
        waiting = self._waiting
        if waiting:
            waiting += data
            start = 0
            try:
                with memoryview(waiting) as view:
                    frames, start = self._whole(view)
            finally:
                del waiting[:start]
            return frames
        # Most pieces are whole frames: they needn't be copied first.
        with memoryview(data) as view:
            frames, start = self._whole(view)
        if start < len(data):
            waiting += data[start:]
        return frames

    def _whole(self, view: memoryview) -> tuple[list[Frame], int]:
        """Return the whole frames, and where the rest begins."""
        frames, start, size_of_all = [], 0, len(view)
        while size_of_all - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(view, start)
            if size > self._max_bytes:
                message = f"a frame has {size} bytes; the limit is {self._max_bytes}"
                raise FrameError(message)
            end = start + _LENGTH.size + size
            if size_of_all < end:
                break
            with view[start + _LENGTH.size : end] as data:
                frames.append(_read(data))
            start = end
        return frames, start


def _read(data: memoryview) -> Frame:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"not a frame: {error}"
        raise FrameError(message) from error
