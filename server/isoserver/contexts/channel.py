"""Frames over a non-blocking Unix socket, in the event loop."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import FrameError
from isokernel.protocol.frames import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.protocol.frames import Frame

__all__ = ["Channel"]

_READ_BYTES: Final = 64 * 1024
"""Read at a time: no context keeps the event loop for longer than that takes."""


class Channel:
    """One end of a socket that carries frames both ways.

    Attributes:
        closed: Whether it was closed, by either side.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[], None],
        max_bytes: int,
    ) -> None:
        """Start reading.

        Args:
            sock: A non-blocking stream socket; owned from now on.
            on_frame: Called with each frame that comes.
            on_end: Called once when the other side is gone or breaks the protocol, not
                after `close`.
            max_bytes: The limit of one frame.
        """
        self.closed = False
        self._sock = sock
        self._on_frame = on_frame
        self._on_end = on_end
        self._decoder = Decoder(max_bytes)
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def unsent_bytes(self) -> int:
        """What waits until the other side reads."""
        return len(self._unsent)

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        number: int,
        fds: tuple[int, ...] = (),
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """Send a request as soon as the socket takes it.

        Args:
            kind: Its type.
            content: Its content.
            number: Its id.
            fds: Descriptors that go with it; only while nothing is unsent.
            buffers: Binary attachments.
        """
        if self.closed:
            return
        data = encode(kind, content, id=number, buffers=buffers)
        if self._unsent:
            self._unsent += data
            return
        try:
            if fds:
                sent = socket.send_fds(self._sock, [data], list(fds))
            else:
                sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the other side has ended, which is read soon
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def close(self) -> None:
        """Stop reading and close the socket; safe to call twice."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def drain(self) -> None:
        """Read what the other side left when it ended; doesn't wait."""
        while not self.closed and self._readable():
            pass

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> bool:
        """Read once; False if there was nothing."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        try:
            for frame in self._decoder.feed(data):
                self._on_frame(frame)
                if self.closed:
                    return False
        except FrameError:  # nothing that follows can be trusted
            self._end()
            return False
        return True

    def _end(self) -> None:
        self.close()
        self._on_end()
