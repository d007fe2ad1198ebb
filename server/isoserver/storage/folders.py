"""The server's folders: the data folder, and a temporary one for sockets."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from isoserver.errors import FolderError

__all__ = ["LOCK_FILE", "DataFolder", "SocketFolder"]

LOCK_FILE: Final = "isokernel.lock"
"""In the data folder; locked by the server that uses the folder."""

_SOCKET_PATH_BYTES_MAX: Final = 107
"""The longest path of a Unix socket on Linux, without the NUL at its end."""
_BELOW_BYTES: Final = len("/isokernel-12345678/kernel-12345678/kernel-5")


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
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._prepared = False
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
            message = f"the data folder can't be used: {error}"
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
            self._temporary.cleanup()


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
        """Delete the folder."""
        self._temporary.cleanup()
