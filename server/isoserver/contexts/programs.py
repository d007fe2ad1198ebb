"""The processes of kernels: what the server asks of each, and those without walls."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from isoserver.contexts.process import resident

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPEN_FILES_MAX", "BareProgram", "Program"]

OPEN_FILES_MAX: Final = 1024
"""Of one process."""


class Program(Protocol):
    """A kernel's process, with all that it has started.

    Attributes:
        pid: A child of the server that ends when the program does.
    """

    pid: int

    def sockets(self) -> str:
        """Return the folder of the kernel's sockets.

        Raises:
            OSError: It isn't there yet.
        """

    def interrupt(self) -> None:
        """Send SIGINT."""

    def kill(self) -> None:
        """End it at once."""

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs; negative for a signal."""

    def ran_out_of_memory(self) -> bool:
        """Return whether it was ended for the memory that it took."""

    @property
    def opened_too_much(self) -> bool:
        """Whether it was ended for the terminals that it opened."""

    def memory_bytes(self) -> int:
        """Return the memory that it has; blocks."""

    def end(self) -> object:
        """End all of it, wait for that, and free what it had; blocks."""


class BareProgram:
    """A kernel that nothing confines, as the operator allows it.

    Attributes:
        pid: Its process; 0 until `start`.
        folder: Its own.
        home: What it takes for its home.
        cwd: Its working folder.
        opened_too_much: Nobody looks.
    """

    opened_too_much = False

    def __init__(self, parent: Path, sockets: Path, cwd: str) -> None:
        """Make its folders.

        Args:
            parent: Where it has its folder.
            sockets: Where it has that for its sockets, whose path has to be short.
            cwd: Its working folder, below a folder of its own.

        Raises:
            OSError: They can't be made.
        """
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=parent))
        self.home = self.folder / "home"
        self.cwd = self.folder / "files" / _relative(cwd)
        self._sockets = self.folder
        try:
            self._sockets = Path(tempfile.mkdtemp(prefix="kernel-", dir=sockets))
            self.home.mkdir()
            self.cwd.mkdir(parents=True)
        except OSError:
            self.end()
            raise

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start it.

        Raises:
            OSError: It can't be.
        """
        self._process = subprocess.Popen(  # noqa: S603 -- it is what we are for
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.cwd,
            env=dict(environment),
            start_new_session=True,
        )
        self.pid = self._process.pid
        with suppress(OSError):
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
            files = (OPEN_FILES_MAX, OPEN_FILES_MAX)
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, files)

    def sockets(self) -> str:
        """See `Program`."""
        return str(self._sockets)

    def interrupt(self) -> None:
        """See `Program`."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """See `Program`."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Signal its group, whose number nobody else has until it is waited for."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def poll(self) -> int | None:
        """See `Program`."""
        return None if self._process is None else self._process.poll()

    def ran_out_of_memory(self) -> bool:
        """See `Program`."""
        return False

    def memory_bytes(self) -> int:
        """See `Program`."""
        return resident(self.pid).all_bytes

    def end(self) -> None:
        """See `Program`."""
        self.kill()
        if self._process is not None:
            self._process.wait()
        for folder in (self.folder, self._sockets):
            shutil.rmtree(folder, ignore_errors=True)


def _relative(cwd: str) -> PurePosixPath:
    """Make of any path one that stays inside of the folder that it is put under."""
    parts = [part for part in PurePosixPath(cwd).parts if part not in {"/", "..", "."}]
    return PurePosixPath(*[part.replace("\0", "") for part in parts])
