"""What the two threads know of each other."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

__all__ = ["Bell", "Pulse"]


class Bell:
    """A descriptor that is readable while somebody has rung. Any thread may ring."""

    def __init__(self) -> None:
        """Open the pipe."""
        self.fileno, self.writer = os.pipe()
        os.set_blocking(self.fileno, False)
        os.set_blocking(self.writer, False)

    def ring(self, word: bytes = b"\0") -> None:
        """Make the descriptor readable."""
        with suppress(BlockingIOError):  # then it is full, so it is readable
            os.write(self.writer, word)

    def answer(self) -> bytes:
        """Take out what was rung; the descriptor is quiet again."""
        try:
            return os.read(self.fileno, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close the pipe. Nobody may ring any more."""
        os.close(self.fileno)
        os.close(self.writer)


class Pulse:
    """The state of the V8 thread, as the control thread sees it.

    Attributes:
        inside: Whether it is serving something; False while it waits for messages.
        stopping: The kernel is to end.
        bell: Rung when the V8 thread must stop waiting.
        nerve: Rung towards the control thread: the numbers of signals that came, or 0
            when the V8 thread ends the kernel.
        finished: Set when the V8 thread is done with everything.
    """

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.inside = False
        self.stopping = False
        self.bell = Bell()
        self.nerve = Bell()
        self.finished = threading.Event()

    def stop(self) -> None:
        """Let the V8 thread's loop end. Any thread."""
        self.stopping = True
        self.bell.ring()

    def close(self) -> None:
        """Close the pipes, when the control thread has ended."""
        self.bell.close()
        self.nerve.close()
