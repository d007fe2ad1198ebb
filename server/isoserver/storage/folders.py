"""The server's folders: the data folder, and a temporary one for sockets."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from isokernel.errors import reason_of
from isoserver.errors import FolderError

__all__ = ["LOCK_FILE", "DataFolder", "SocketFolder"]

LOCK_FILE: Final = "isokernel.lock"
"""In the data folder; locked by the server that uses the folder."""

ALIVE_FILE: Final = "alive"
"""In temporary folders; locked by the server that has made the folder."""
_PREFIX: Final = "isokernel-"
_YOUNG_SECONDS: Final = 60.0
_LOCK_FLAGS: Final = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
_SOCKET_PATH_BYTES_MAX: Final = 107
"""The longest path of a Unix socket on Linux, without the NUL at its end."""
_BELOW_BYTES: Final = len("/isokernel-12345678/kernel-12345678/kernel-5")


class _TemporaryFolder:
    """A folder that is deleted at its end, or by the next server after a kill -9.

    Attributes:
        path: The folder.
    """

    def __init__(self, prefix: str, parent: Path) -> None:
        """Make it, and delete what dead servers have left beside it.

        Raises:
            OSError: It can't be made.
        """
        self._folder = tempfile.TemporaryDirectory(
            prefix=prefix, dir=parent, ignore_cleanup_errors=True
        )
        self.path = Path(self._folder.name)
        self._lock = os.open(self.path / ALIVE_FILE, _LOCK_FLAGS, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        _delete_leftovers(parent)

    def close(self) -> None:
        """Delete it; safe to call twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._folder.cleanup()


def _delete_leftovers(parent: Path) -> None:
    """Delete the temporary folders of servers of this user that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            seen = folder.lstat()
            old = time.time() - seen.st_mtime > _YOUNG_SECONDS
            # A young one may be about to be locked.
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and old:
                _delete_if_dead(folder)


def _delete_if_dead(folder: Path) -> None:
    lock = os.open(folder / ALIVE_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


class DataFolder:
    """Where the server keeps what outlives it, or a temporary folder.

    Attributes:
        path: The folder, as an absolute path.
    """

    def __init__(self, given: Path | None) -> None:
        """Make the folder, unless it exists.

        Args:
            given: Where it is; None makes a temporary one, which ends with the server.

        Raises:
            FolderError: It can't be made there.
        """
        self._temporary: _TemporaryFolder | None = None
        self._prepared = False
        try:
            if given is None:
                parent = Path(tempfile.gettempdir()).resolve()
                self._temporary = _TemporaryFolder(f"{_PREFIX}data-", parent)
                self.path = self._temporary.path
            else:
                given.mkdir(0o700, parents=True, exist_ok=True)
                self.path = given.resolve()
        except OSError as error:
            message = f"the data folder can't be made: {reason_of(error)}"
            raise FolderError(message) from error

    @property
    def contexts(self) -> Path:
        """The files of contexts; nothing in this folder outlives the server."""
        return self.path / "contexts"

    @property
    def temporary(self) -> bool:
        """Whether the folder ends with the server, and nobody else knows of it."""
        return self._temporary is not None

    def prepare(self) -> None:
        """Delete what a killed server has left; blocks, and needs the server's lock.

        Raises:
            FolderError: The folder can't be written to.
        """
        try:
            shutil.rmtree(self.contexts, ignore_errors=True)
            self.contexts.mkdir(0o700, exist_ok=True)
            self._prepared = True
        except OSError as error:
            message = f"the data folder can't be used: {reason_of(error)}"
            raise FolderError(message) from error

    def clear(self) -> None:
        """Delete what doesn't outlive the server; blocks, and needs the server's lock.

        Does nothing before `prepare`: the files might be another server's.
        """
        if self._prepared:
            shutil.rmtree(self.contexts, ignore_errors=True)

    def close(self) -> None:
        """Delete the folder if it is temporary."""
        if self._temporary is not None:
            self._temporary.close()


class SocketFolder:
    """A temporary folder whose path is short enough for Unix sockets in it.

    Attributes:
        path: The folder.
    """

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            FolderError: There is no place for it.
        """
        problem = "the paths are too long"
        for place in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108
            parent = Path(place).resolve()
            if len(os.fsencode(parent)) + _BELOW_BYTES > _SOCKET_PATH_BYTES_MAX:
                continue
            try:
                self._temporary = _TemporaryFolder(_PREFIX, parent)
            except OSError as error:
                problem = str(error)
            else:
                self.path = self._temporary.path
                return
        message = f"there is no folder for sockets, which TMPDIR could name: {problem}"
        raise FolderError(message)

    def close(self) -> None:
        """Delete the folder."""
        self._temporary.close()
