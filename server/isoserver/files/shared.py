"""The folder of a context whose kernel has it in its container, in bounded memory.

No quota of a disk can be set by everybody, and code in a container could fill the
server's. So the files are copied into the container before its program begins, requests
read and write them there, and what has changed is copied back: after executions, and
when the container has ended. Its file system lives as long as it is held open here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isokernel.errors import FileError
from isokernel.files.folder import Folder, FolderLimits
from isoserver.errors import FolderError
from isoserver.files.captures import copy_file, copy_tree

if TYPE_CHECKING:
    import os

    from isokernel.files.tree import Entry
    from isoserver.files.service import Files, Key

__all__ = ["SharedFolder"]


class SharedFolder:
    """One launch's folder of one context. Its methods block, one at a time."""

    def __init__(self, files: Files, key: Key, limits: FolderLimits) -> None:
        """Begin without a folder.

        Args:
            files: Where the files are kept.
            key: The context.
            limits: What the container's folder may hold.
        """
        self._files = files
        self._key = key
        self._limits = limits
        self._folder: Folder | None = None
        self._kept: dict[str, tuple[int, ...]] = {}

    def is_empty(self) -> bool:
        """Return whether the context has no files yet.

        Raises:
            FolderError: They can't be looked at.
        """
        source = self._files.find(self._key)
        return source is None or not source.list()

    def fill(self, descriptor: int, owner: int | None) -> None:
        """Copy the context's files to where its kernel will find them.

        Args:
            descriptor: That of the folder, which is taken over.
            owner: The user who is to have the files; None for this process's.

        Raises:
            FolderError: They don't fit.
        """
        # Those that are kept are no more than may be, so they needn't be counted.
        limits = self._limits._replace(files_max=None)
        folder = Folder(descriptor, limits, owner=owner, shared=True)
        source = self._files.find(self._key)
        try:
            if source is not None:
                copy_tree(source, folder)
        except FileError as error:
            message = f"the context's files can't be put into its container: {error}"
            raise FolderError(message) from error
        folder.limits = self._limits
        self._kept = {each.path: _state(each) for each in _listed(folder)}
        self._folder = folder
        self._files.attach(self._key, folder)

    def keep(self) -> list[str]:
        """Copy what has changed back to where it is kept.

        Returns:
            What couldn't be copied, a sentence each.
        """
        if self._folder is None:
            return []
        try:
            found = {each.path: each for each in _listed(self._folder)}
            target = self._files.kept(self._key, make=bool(found))
            return [] if target is None else self._update(self._folder, target, found)
        except (FileError, FolderError) as error:
            return [str(error)]

    def _update(
        self, folder: Folder, target: Folder, found: dict[str, Entry]
    ) -> list[str]:
        before = {each.path: each.kind for each in target.list(recursive=True)}
        problems: list[str] = []
        for path, kind in sorted(before.items(), reverse=True):
            if path in found and found[path].kind == kind:
                continue
            if kind == "folder":
                target.delete_folder(path, recursive=True)
            else:
                target.delete(path)
            del before[path]
        for path, entry in found.items():
            if path in before and (
                entry.kind == "folder" or self._kept.get(path) == _state(entry)
            ):
                continue
            try:
                if entry.kind == "folder":
                    target.make(path, mode=entry.facts.st_mode & 0o777)
                else:
                    copy_file(folder, entry, target)
            except FileError as error:
                problems.append(str(error))
            else:
                self._kept[path] = _state(entry)
        return problems

    def close(self) -> list[str]:
        """Keep what has changed, and give the folder up; see `keep`."""
        problems = self.keep()
        self._files.detach(self._key, self._folder)
        self._folder = None  # closed when no request uses it any more
        return problems


def _listed(folder: Folder) -> list[Entry]:
    found = folder.list(recursive=True)
    return [each for each in found if each.kind in {"file", "folder"}]


def _state(entry: Entry) -> tuple[int, ...]:
    facts: os.stat_result = entry.facts
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
