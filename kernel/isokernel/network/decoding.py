"""`Content-Encoding`: what a response is packed with, unpacked piece by piece.

A few bytes can unpack to gigabytes, so never more than a piece is made at a time.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ACCEPTED", "DecodingError", "decoder_for"]

ACCEPTED: Final = "gzip, deflate, br"
"""What is asked for."""
_PIECE: Final = 256 << 10
_CODINGS_MAX: Final = 4
_WINDOW: Final = 15
_GZIP: Final = _WINDOW + 16


class DecodingError(Exception):
    """The data isn't what the header says."""


class Decoder(Protocol):
    """Unpacks a stream of data."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes of a piece, in pieces.

        Raises:
            DecodingError: It isn't valid.
        """

    def finish(self) -> None:
        """Check that the data is complete.

        Raises:
            DecodingError: It isn't.
        """


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def finish(self) -> None:
        """Any data is complete."""


class _Zlib:
    """gzip and deflate; the latter comes with and without zlib's head."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._state: Any = None
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._state is None:
                if self._begun and self._bits != _GZIP:
                    return  # what follows the end is no part of it
                self._state = zlib.decompressobj(self._window(data))
                self._begun = True
            try:
                piece = self._state.decompress(data, _PIECE)
            except zlib.error as error:
                raise DecodingError(str(error)) from error
            data = self._state.unconsumed_tail
            if piece:
                yield piece
            if self._state.eof:
                data = self._state.unused_data
                self._state = None
                if not data.strip(b"\0"):
                    return  # gzip may be padded

    def _window(self, data: bytes) -> int:
        if self._bits == _GZIP:
            return _GZIP
        zlib_head = data[0] & 15 == zlib.DEFLATED
        return _WINDOW if zlib_head else -_WINDOW

    def finish(self) -> None:
        if self._state is not None:
            message = "it ends too early"
            raise DecodingError(message)


class _Brotli:
    def __init__(self) -> None:
        import brotli  # noqa: PLC0415 - where a server sends it

        self._error: type[Exception] = brotli.error
        self._state: Any = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        while not self._state.is_finished():
            try:
                piece = self._state.process(data, output_buffer_limit=_PIECE)
            except self._error as error:
                raise DecodingError(str(error)) from error
            if piece:
                yield piece
            if len(piece) < _PIECE and self._state.can_accept_more_data():
                return
            data = b""

    def finish(self) -> None:
        if self._begun and not self._state.is_finished():
            message = "it ends too early"
            raise DecodingError(message)


class _Chain:
    """Several codings, one after the other."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield from self._through(0, data)

    def _through(self, index: int, data: bytes) -> Iterator[bytes]:
        if index == len(self._decoders):
            yield data
            return
        for piece in self._decoders[index].feed(data):
            yield from self._through(index + 1, piece)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()


def decoder_for(header: str) -> Decoder:
    """Return what unpacks a body with this `Content-Encoding`.

    A body with a coding that isn't known is passed on as it is, as browsers do.
    """
    names = [name.strip().lower() for name in header.split(",") if name.strip()]
    decoders: list[Decoder] = []
    for name in reversed(names[:_CODINGS_MAX]):
        if name in {"gzip", "x-gzip"}:
            decoders.append(_Zlib(_GZIP))
        elif name == "deflate":
            decoders.append(_Zlib(_WINDOW))
        elif name == "br":
            decoders.append(_Brotli())
        elif name != "identity":
            return _Plain()
    if len(names) > _CODINGS_MAX:
        return _Plain()
    if len(decoders) == 1:
        return decoders[0]
    return _Chain(decoders) if decoders else _Plain()
