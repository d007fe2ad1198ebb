"""The process with whose end the kernel ends: the one that manages it."""

from __future__ import annotations

import os

__all__ = ["Parent"]


class Parent:
    """Tells when the manager is gone. Of the control thread, once made.

    Attributes:
        fileno: A descriptor that becomes readable then; None where there is no manager
            on this machine, or the system has no such descriptor.
    """

    def __init__(self, manager: int | None = None) -> None:
        """Look to the parent process, or to another that is the manager.

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
