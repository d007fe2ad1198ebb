"""The server's folders: one for what outlives it, and one for sockets."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isoserver.errors import FolderError

if TYPE_CHECKING:
    from typing import IO

__all__ = ["DataFolder", "SocketFolder"]

_LOCK: Final = "lock"
_LOCK_WAIT: Final = 2.0
"""Seconds that the server before this one has to go, if it is about to."""
_LOCK_POLL: Final = 0.05
_SOCKET_PATH_MAX: Final = 107
"""Bytes that the path of a Unix socket may have."""
_BELOW: Final = len("/isokernel-12345678/kernel-12345678/kernel-5")


class DataFolder:
    """Where the server keeps what outlives it; or a temporary one, which goes with it.

    Attributes:
        path: It, absolute.
    """

    def __init__(self, given: Path | None) -> None:
        """Make it, unless it is there.

        Args:
            given: Where it shall be; None makes a temporary one.

        Raises:
            FolderError: It can't be made there.
        """
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: IO[str] | None = None
        self._claimed = False
        try:
            if given is None:
                self._temporary = tempfile.TemporaryDirectory(
                    prefix="isokernel-data-", ignore_cleanup_errors=True
                )
                self.path = Path(self._temporary.name).resolve()
            else:
                given.mkdir(0o700, parents=True, exist_ok=True)
                self.path = given.resolve()
        except OSError as error:
            message = f"the data folder can't be made: {error}"
            raise FolderError(message) from error

    @property
    def contexts(self) -> Path:
        """Where contexts have their files; nothing there outlives the server."""
        return self.path / "contexts"

    def claim(self) -> None:
        """Have it to oneself until `close`, and clean up after a killed server. Waits.

        Two servers would end each other's executions and contexts as left behind.

        Raises:
            FolderError: Another server uses it, or it can't be written to.
        """
        try:
            self._lock = (self.path / _LOCK).open("a+")
            self._wait_for_lock(self._lock)
            self._claimed = True
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()}\n")
            self._lock.flush()
            shutil.rmtree(self.contexts, ignore_errors=True)
            self.contexts.mkdir(0o700, exist_ok=True)
        except OSError as error:
            message = f"the data folder can't be used: {error}"
            raise FolderError(message) from error

    def _wait_for_lock(self, lock: IO[str]) -> None:
        end = time.monotonic() + _LOCK_WAIT
        while not _locked(lock):
            if time.monotonic() > end:
                lock.seek(0)
                user = lock.read(20).strip() or "unknown"
                message = (
                    f"another server, process {user}, uses the data folder {self.path}"
                )
                raise FolderError(message)
            time.sleep(_LOCK_POLL)

    def close(self) -> None:
        """Let go of it; a temporary one is deleted."""
        if self._claimed:
            shutil.rmtree(self.contexts, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock, self._claimed = None, False
        if self._temporary is not None:
            self._temporary.cleanup()


def _locked(file: IO[str]) -> bool:
    """Lock a file, if nobody else has; the system unlocks it when the process ends."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


class SocketFolder:
    """A temporary folder with a short path: those of Unix sockets have 107 bytes.

    Attributes:
        path: It.
    """

    def __init__(self) -> None:
        """Make it.

        Raises:
            FolderError: There is no place for it.
        """
        problem = "the paths are too long"
        for place in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108
            parent = Path(place).resolve()
            if len(os.fsencode(parent)) + _BELOW > _SOCKET_PATH_MAX:
                continue
            try:
                self._temporary = tempfile.TemporaryDirectory(
                    prefix="isokernel-", dir=parent, ignore_cleanup_errors=True
                )
            except OSError as error:
                problem = str(error)
            else:
                self.path = Path(self._temporary.name)
                return
        message = f"there is no folder for sockets, which TMPDIR could name: {problem}"
        raise FolderError(message)

    def close(self) -> None:
        """Delete it."""
        self._temporary.cleanup()
