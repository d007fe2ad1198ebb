"""Files and folders of contexts as a whole: what is small, or the server's own."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

from isokernel.errors import FileError
from isokernel.files.handle import CHUNK_BYTES
from isoserver.errors import ContextFileError, ContextFileLimitError, FolderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.files.tree import Entry
    from isoserver.files.service import Files, Key

__all__ = ["READ_BYTES_MAX", "changed_since", "read_file", "read_folder", "write_file"]

READ_BYTES_MAX: Final = 8 << 20
"""Of a file that is sent in one piece."""
_TICK_NS: Final = 4_000_000
_COARSE: Final = 5
"""CLOCK_REALTIME_COARSE, which Python doesn't name."""


async def read_folder(files: Files, key: Key) -> list[Entry]:
    """Return all that is in a context's folder.

    Raises:
        ContextFileError: It can't be read.
    """

    def read() -> list[Entry]:
        folder = files.find(key)
        return [] if folder is None else folder.list(recursive=True)

    try:
        return await asyncio.to_thread(read)
    except FileError as error:
        raise ContextFileError.of(error) from None


async def read_file(files: Files, key: Key, path: str) -> bytes:
    """Return a file of a context.

    Raises:
        ContextFileError: It can't be read, or is too large for one answer.
    """

    def read() -> bytes:
        folder = files.find(key)
        if folder is None:
            raise FileError(path, "ENOENT")
        with folder.open(path, os.O_RDONLY) as handle:
            size = handle.stat().st_size
            if size > READ_BYTES_MAX:
                message = (
                    f"{path[:200]!r} has {size} bytes, more than the {READ_BYTES_MAX} "
                    f"of one answer: read it by HTTP, in parts"
                )
                raise ContextFileLimitError(message)
            return handle.read_all()

    try:
        return await asyncio.to_thread(read)
    except FileError as error:
        raise ContextFileError.of(error) from None


async def write_file(
    files: Files, key: Key, path: str, data: bytes, allowed: Callable[[str], bool]
) -> bool:
    """Write a file of a context, in place of one that is there.

    Args:
        files: The folders.
        key: The context.
        path: Where; folders on the way are made.
        data: The content.
        allowed: Tells whether a path, without links and dots, may be written.

    Returns:
        Whether it may be written, and was.

    Raises:
        ContextFileError: It can't be: there is no room.
        FolderError: The context has no folder, and none can be made.
    """

    def write() -> bool:
        folder = files.find(key)
        real = f"/{path}" if folder is None else folder.resolve(path)
        if not allowed(real):
            return False
        folder = folder or files.open(key)
        folder.make(real.rpartition("/")[0] or "/", parents=True)
        with folder.replace(real) as file:
            view = memoryview(data)
            for start in range(0, len(view), CHUNK_BYTES):
                file.write(view[start : start + CHUNK_BYTES])
            file.commit()
        return True

    await files.settled(key)
    try:
        return await asyncio.to_thread(write)
    except FileError as error:
        raise ContextFileError.of(error) from None


async def changed_since(files: Files, key: Key, moment: float) -> list[Entry]:
    """Return the files of a context that have been written since a moment.

    Args:
        files: The folders.
        key: The context.
        moment: By the monotonic clock.
    """
    # Times of files are of the system's coarse clock, which lags by a tick.
    ago = time.monotonic() - moment
    coarse = time.clock_gettime(_COARSE)
    since = int((coarse - ago) * 1e9) - _TICK_NS

    def look() -> list[Entry]:
        folder = files.find(key)
        found = [] if folder is None else folder.list(recursive=True)
        return [
            one for one in found if one.kind == "file" and one.facts.st_ctime_ns > since
        ]

    try:
        return await asyncio.to_thread(look)
    except (FileError, FolderError):
        return []
