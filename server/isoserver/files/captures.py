"""What is in a context's folder at one moment, for a heap or a fork.

The moment is when the context's process has forked: from then on until all is read,
whatever would change the folder waits (`Files.settled`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from isokernel.errors import FileError
from isokernel.files.handle import CHUNK_BYTES
from isoserver.errors import ContextFileError
from isoserver.files.manifest import FileEntry, Manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from isokernel.files.folder import Folder
    from isokernel.files.tree import Entry
    from isoserver.files.service import Files, Key

__all__ = ["Capture", "Captured", "InThread", "copy_file", "copy_tree", "fill"]

InThread: TypeAlias = "Callable[[Callable[[], Any]], Awaitable[Any]]"
"""Has a thread call something, and returns what that returns."""

_MODE: Final = 0o777


class Captured(NamedTuple):
    """The files of a context.

    Attributes:
        manifest: Which there are.
        staged: Where copies of contents are, by hash; the others are stored already.
    """

    manifest: Manifest
    staged: dict[str, Path]


class Capture:
    """Reads a context's folder as it is at one moment. In the event loop only."""

    def __init__(
        self,
        files: Files,
        key: Key,
        stored: Callable[[str], bool],
        run: InThread,
        stage: Path,
    ) -> None:
        """Wait for the moment.

        Args:
            files: The folders.
            key: Whose.
            stored: Tells whether a content is stored, by its hash; blocks.
            run: Has a thread call what asks that.
            stage: Where copies are made; a folder that isn't there yet.
        """
        self._files = files
        self._key = key
        self._stored = stored
        self._run = run
        self._stage = stage
        self._task: asyncio.Task[Captured | None] | None = None

    def begin(self) -> None:
        """Take what is there now; nothing changes it until all is read."""
        self._files.freeze(self._key)
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> Captured | None:
        try:
            found: Captured | None = await self._run(self._read_all)
            return found
        finally:
            self._files.thaw(self._key)

    def _read_all(self) -> Captured | None:
        folder = self._files.find(self._key)
        if folder is None:
            return None
        known = self._files.digests(folder)
        staged: dict[str, Path] = {}
        entries: list[FileEntry] = []
        fresh: dict[str, tuple[tuple[int, ...], str]] = {}
        with folder.locked():  # what is being written is written to its end
            for found in folder.list(recursive=True):
                facts = found.facts
                entry = FileEntry(found.path, facts.st_mode & _MODE, facts.st_mtime_ns)
                if found.kind == "file":
                    state = (
                        facts.st_ino,
                        facts.st_size,
                        facts.st_mtime_ns,
                        facts.st_ctime_ns,
                    )
                    before, digest = known.get(found.path, ((), ""))
                    if before != state or not self._stored(digest):
                        digest = self._copy(folder, found.path, staged)
                    fresh[found.path] = state, digest
                    entry = entry._replace(size=facts.st_size, digest=digest)
                elif found.kind != "folder":
                    continue
                entries.append(entry)
        known.clear()
        known.update(fresh)
        return Captured(Manifest(tuple(entries)), staged) if entries else None

    def _copy(self, folder: Folder, path: str, staged: dict[str, Path]) -> str:
        self._stage.mkdir(0o700, parents=True, exist_ok=True)
        part = self._stage / "part"
        digest = hashlib.sha256()
        with folder.open(path, os.O_RDONLY) as source, part.open("wb") as copy:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
        name = digest.hexdigest()
        staged[name] = part.replace(self._stage / name)
        return name

    async def result(self) -> Captured | None:
        """Return what was there; None if there was nothing.

        Raises:
            ContextFileError: Something there can't be read.
        """
        if self._task is None:
            return None
        try:
            return await self._task
        except FileError as error:
            raise ContextFileError.of(error) from None

    async def close(self) -> None:
        """Delete the copies."""
        if self._task is not None:
            await asyncio.wait([self._task])
            await asyncio.to_thread(shutil.rmtree, self._stage, ignore_errors=True)


def copy_tree(source: Folder, target: Folder) -> None:
    """Copy all that is in a folder into an empty one; blocks.

    Raises:
        FileError: Something can't be read or written.
    """
    with source.locked():
        for found in source.list(recursive=True):
            if found.kind == "folder":
                target.make(found.path, mode=found.facts.st_mode & _MODE)
            elif found.kind == "file":
                copy_file(source, found, target)
        for found in source.list(recursive=True):
            if found.kind in {"file", "folder"}:
                target.set_times(found.path, found.facts.st_mtime_ns)


def copy_file(source: Folder, found: Entry, target: Folder) -> None:
    """Copy a file to the same path of another folder; blocks.

    Raises:
        FileError: It can't be read or written.
    """
    mode = found.facts.st_mode & _MODE
    with (
        source.open(found.path, os.O_RDONLY) as read,
        target.replace(found.path, mode=mode) as copy,
    ):
        copy.copy_from(read)
        copy.commit()
    target.set_times(found.path, found.facts.st_mtime_ns)


def fill(folder: Folder, manifest: Manifest, content: Callable[[str], bytes]) -> None:
    """Put the files of a manifest into an empty folder; blocks.

    Args:
        folder: The folder.
        manifest: The files.
        content: Returns a content by its hash.

    Raises:
        FileError: Something can't be written.
        HeapError: A content isn't there.
    """
    for entry in manifest.entries:
        if not entry.digest:
            folder.make(entry.path, parents=True, mode=entry.mode)
            continue
        with folder.replace(entry.path, mode=entry.mode) as file:
            data = memoryview(content(entry.digest))
            for start in range(0, len(data), CHUNK_BYTES):
                file.write(data[start : start + CHUNK_BYTES])
            file.commit()
    for entry in manifest.entries:
        with suppress(FileError):
            folder.set_times(entry.path, entry.modified_ns)
