"""The kernel as a process: its stderr, its parent, and what its two threads share.

Imported before anything else of this package, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

__all__ = [
    "INHERITED",
    "Lifecycle",
    "ParentProcess",
    "WakeupPipe",
    "log_failure",
    "log_warning",
]

INHERITED = "--inherited"
"""The flag with the descriptors that a kernel gets from the provisioner."""


def log_warning(text: str) -> None:
    """Report what the kernel can go on without, on the process's own stderr.

    `logging` would cost 10 ms of a kernel's start and is used by nothing else here.
    """
    _write(f"isokernel: {text}\n")


def log_failure(doing: str, error: BaseException) -> None:
    """Report a defect of ours, with its traceback."""
    import traceback  # noqa: PLC0415 - 6 ms, and only when something went wrong

    lines = traceback.format_exception(type(error), error, error.__traceback__)
    _write(f"isokernel: failed while {doing}\n{''.join(lines)}")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # The terminal is closed, or there is no stderr at all.
        pass


class WakeupPipe:
    """A pipe that a thread polls, and that others write to when it must wake up.

    Attributes:
        fileno: Readable while something was written.
        writer: The other end, for `signal.set_wakeup_fd`.
    """

    def __init__(self) -> None:
        """Open the pipe."""
        self.fileno, self.writer = os.pipe()
        os.set_blocking(self.fileno, False)
        os.set_blocking(self.writer, False)

    def wake(self) -> None:
        """Make `fileno` readable. Any thread."""
        with suppress(BlockingIOError):  # then it is full, so it is readable
            os.write(self.writer, b"\0")

    def drain(self) -> bytes:
        """Return what was written, and make `fileno` unreadable again."""
        try:
            return os.read(self.fileno, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close both ends; nobody may write any more."""
        os.close(self.fileno)
        os.close(self.writer)


class Lifecycle:
    """What the V8 thread and the control thread know of each other.

    Attributes:
        serving: Whether the V8 thread is at work; False while it waits for messages.
        stopping: The kernel is to end.
        v8_wakeup: Wakes the V8 thread.
        control_wakeup: Wakes the control thread; gets the numbers of signals that came,
            and 0 when the V8 thread ends the kernel.
        finished: Set when the V8 thread is done with everything.
    """

    def __init__(self) -> None:
        """Begin with a kernel that isn't to end."""
        self.serving = False
        self.stopping = False
        self.v8_wakeup = WakeupPipe()
        self.control_wakeup = WakeupPipe()
        self.finished = threading.Event()

    def stop(self) -> None:
        """End the V8 thread's loop. Any thread."""
        self.stopping = True
        self.v8_wakeup.wake()

    def close(self) -> None:
        """Close the pipes, when the control thread has ended."""
        self.v8_wakeup.close()
        self.control_wakeup.close()


class ParentProcess:
    """The process that manages the kernel, and with whose end the kernel ends.

    Of the control thread, once made.

    Attributes:
        fileno: A descriptor that becomes readable then; None where there is no manager
            on this machine, or the system has no such descriptor.
    """

    def __init__(self, manager: int | None = None) -> None:
        """Watch the parent process, or another that is the manager.

        A parent that doesn't say that it is the manager (by its own pid in the
        environment) may go, as when a kernel is started in a shell; that the kernel has
        another parent now is noticed all the same, once a second.

        Args:
            manager: The process that manages a kernel which a fork server has forked;
                0 if the kernel may outlive it.
        """
        self._pid = os.getppid() if manager is None else None
        if manager is None and os.environ.get("JPY_PARENT_PID") == str(self._pid):
            manager = self._pid
        self._ended = False
        self.fileno = self._open(manager) if manager else None

    def _open(self, pid: int) -> int | None:
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended = True
        except OSError:
            pass
        return None

    def gone(self) -> bool:
        """Whether it is known to be gone without the descriptor."""
        return self._ended or self._pid not in {None, os.getppid()}

    def close(self) -> None:
        """Close the descriptor."""
        if self.fileno is not None:
            os.close(self.fileno)
            self.fileno = None
