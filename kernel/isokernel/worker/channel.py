"""Frames on a socket: what has come in and waits, and what is to go out."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn

from isokernel.errors import FrameError
from isokernel.protocol.frames import FORKS_MAX, MAX_BYTES, Decoder, Frame, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Channel"]

_CHUNK_BYTES: Final = 1 << 16
_HELD_BYTES_MAX: Final = 1 << 16
"""What may wait for more before it is sent."""
_INBOX_MAX: Final = 1024
"""Frames that are taken in while the server doesn't read ours."""
_DESCRIPTORS_MAX: Final = 2 * FORKS_MAX + 2
_DESCRIPTOR_BYTES: Final = 4
_SPACE: Final = socket.CMSG_LEN(_DESCRIPTORS_MAX * _DESCRIPTOR_BYTES)
_TRUNCATED: Final = int(socket.MSG_CTRUNC)
_ENDED: Final = 0


class Channel:
    """The context's end of `work`. Belongs to the V8 thread, but for `send_last`.

    When the other side doesn't read, `flush` waits for it, and takes in what it sends
    meanwhile: two sides that both wait for the other to read would wait for ever. When
    the other side is gone, this process has no purpose and ends at once.

    Attributes:
        inbox: Frames that came in and wait to be served.
        descriptors: Descriptors that came with them, in order.
        blocked: Since when, on the monotonic clock, a send waits for the other side
            to read; 0 when none does. Other threads may read it.
    """

    def __init__(self, sock: socket.socket, max_bytes: int = MAX_BYTES) -> None:
        """Take ownership of a stream socket."""
        sock.settimeout(0)
        self._socket = sock
        self._max_bytes = max_bytes
        self._decoder = Decoder(max_bytes)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._lock = threading.RLock()
        self.inbox: deque[Frame] = deque()
        self.descriptors: deque[int] = deque()
        self.blocked = 0.0

    def fileno(self) -> int:
        """Return the socket's descriptor; readable when `fill` has something to do."""
        return self._socket.fileno()

    def send(
        self,
        kind: str,
        content: Mapping[str, Any],
        parent: int,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
    ) -> None:
        """Queue a frame: it goes with the next `flush`, or at once when much is queued.

        Raises:
            FrameError: It is too large.
        """
        data = encode(
            kind,
            content,
            parent=parent,
            metadata=metadata,
            buffers=buffers,
            max_bytes=self._max_bytes,
        )
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send all that is queued; waits until the other side has room for it."""
        if not self._held:
            return
        with self._lock:
            data = memoryview(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0
            while data := data[self._offer(data) :]:
                self._wait_for_room()

    def _offer(self, data: memoryview) -> int:
        """Send what there is room for, and return how many bytes that was."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            _end()

    def _wait_for_room(self) -> None:
        self.blocked = time.monotonic()
        takes_in = len(self.inbox) < _INBOX_MAX
        poller = select.poll()
        wanted = select.POLLIN if takes_in else 0
        poller.register(self._socket, select.POLLOUT | wanted)
        ready = poller.poll()
        self.blocked = 0.0
        if ready[0][1] & select.POLLIN and takes_in:
            self.fill()

    def fill(self) -> None:
        """Receive what has arrived.

        Raises:
            FrameError: What arrived can't be read.
        """
        # As `socket.recv_fds`, whose array and flags cost a twentieth of a cell.
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(_CHUNK_BYTES, _SPACE)
        except BlockingIOError:
            return
        except OSError:
            _end()
        for _level, _type, descriptors in ancillary:  # no others are switched on
            whole = len(descriptors) - len(descriptors) % _DESCRIPTOR_BYTES
            self.descriptors.extend(memoryview(descriptors)[:whole].cast("i"))
        if flags & _TRUNCATED:
            message = "more descriptors came than can be taken"
            raise FrameError(message)
        if not data:
            _end()
        self.inbox.extend(self._decoder.feed(data))

    def take_descriptors(self, count: int) -> tuple[int, ...]:
        """Remove and return the oldest descriptors; fewer if there aren't so many."""
        taken = tuple(islice(self.descriptors, count))
        for _ in taken:
            self.descriptors.popleft()
        return taken

    def send_last(
        self, kind: str, content: Mapping[str, Any], wait_seconds: float
    ) -> None:
        """Send one more frame before the process ends; any thread.

        It may not arrive: whoever doesn't read for `wait_seconds` isn't waited for.
        """
        if not self._lock.acquire(timeout=wait_seconds):
            return
        end = time.monotonic() + wait_seconds
        data = memoryview(b"".join((*self._held, encode(kind, content, parent=0))))
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        while data and poller.poll(max(end - time.monotonic(), 0) * 1000):
            data = data[self._offer(data) :]

    def close(self) -> None:
        """Close the socket, and the descriptors that nobody has asked for."""
        self._socket.close()
        while self.descriptors:
            os.close(self.descriptors.popleft())


def _end() -> NoReturn:
    os._exit(_ENDED)
