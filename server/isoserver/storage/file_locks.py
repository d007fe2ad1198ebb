"""Locks on files: what one server at a time may use.

They are taken before anything else of the server is imported. A lock ends with the
process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from isokernel.errors import reason_of
from isoserver.errors import DatabaseError, TakenError
from isoserver.storage.folders import LOCK_FILE
from isoserver.storage.urls import database_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PAUSE_SECONDS", "FileLocks", "lock_files"]

PAUSE_SECONDS: Final = 0.1
"""Between two attempts to lock."""
_ENDING: Final = ".lock"
_PID_BYTES_MAX: Final = 20
"""The longest process id that is read from a lock's file."""


class FileLocks:
    """Files that this process has locked. In any thread."""

    def __init__(self, timeout_seconds: float) -> None:
        """Begin without any.

        Args:
            timeout_seconds: How long to wait for another server that is ending.
        """
        self._files: list[int] = []
        self._timeout_seconds = timeout_seconds

    def acquire(self, path: Path, what: str) -> None:
        """Lock a file, made at need; it stays, as only its lock counts.

        Waits if another process has locked it, which may be ending.

        Args:
            path: The file.
            what: What it stands for, in messages.

        Raises:
            TakenError: Another server has locked it, and does not end in time.
            DatabaseError: It can't be locked.
        """
        try:
            # Close-on-exec: a child process that inherited it would keep it locked.
            file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._files.append(file)
            end = time.monotonic() + self._timeout_seconds
            while not _try_lock(file):
                if time.monotonic() > end:
                    pid = os.pread(file, _PID_BYTES_MAX, 0)
                    raise TakenError(what, pid.decode("ascii", "replace").strip())
                time.sleep(PAUSE_SECONDS)
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        except OSError as error:
            message = f"{what} can't be used: {reason_of(error)}"
            raise DatabaseError(message) from error

    def release(self) -> None:
        """Unlock all of them."""
        while self._files:
            os.close(self._files.pop())


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_files(folder: Path, url: str, timeout_seconds: float) -> FileLocks:
    """Lock a data folder, and the database if it is a file.

    Args:
        folder: The data folder.
        url: The database's, as `url_of` returns it.
        timeout_seconds: How long to wait for another server that is ending.

    Raises:
        TakenError: Another server uses one of them, and does not end in time.
        DatabaseError: One of them can't be locked.
    """
    files = FileLocks(timeout_seconds)
    try:
        files.acquire(folder / LOCK_FILE, f"the folder {folder}")
        if (file := database_file(url)) is not None:
            file = file.resolve()
            beside = file.with_name(file.name + _ENDING)
            files.acquire(beside, f"the database {file}")
    except BaseException:
        files.release()
        raise
    return files
