"""The server's folders: one for what outlives it, and one for sockets."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from isoserver.errors import FolderError

__all__ = ["DataFolder", "SocketFolder"]

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
        self._cleared = False
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

    @property
    def temporary(self) -> bool:
        """Whether it goes with the server, and nobody else knows of it."""
        return self._temporary is not None

    def clear(self) -> None:
        """Clean up after a killed server; only who owns the folder may. Waits.

        Raises:
            FolderError: It can't be written to.
        """
        try:
            shutil.rmtree(self.contexts, ignore_errors=True)
            self.contexts.mkdir(0o700, exist_ok=True)
            self._cleared = True
        except OSError as error:
            message = f"the data folder can't be used: {error}"
            raise FolderError(message) from error

    def sweep(self) -> None:
        """Delete what doesn't outlive the server, while it still owns the folder."""
        if self._cleared:
            shutil.rmtree(self.contexts, ignore_errors=True)

    def close(self) -> None:
        """Let go of it; a temporary one is deleted."""
        if self._temporary is not None:
            self._temporary.cleanup()


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
