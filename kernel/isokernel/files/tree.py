"""Whole folders, by descriptors: what is in them, how much, and deleting it.

Nothing here follows links, or goes to another place when something is moved meanwhile.
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import FileError
from isokernel.files.names import DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Entry", "depth", "empty", "kind_of", "size", "walk"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class Entry(NamedTuple):
    """Something in a folder.

    Attributes:
        path: Its path, from the folder that was listed.
        kind: `file`, `folder`, `link` or `other`.
        facts: What the system says about it.
    """

    path: str
    kind: str
    facts: os.stat_result


def kind_of(mode: int) -> str:
    """Return the kind of what has a mode, as `Entry.kind` has it."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def walk(folder: int, *, recursive: bool, prefix: str = "") -> Iterator[Entry]:
    """Iterate over what is in a folder, sorted, a folder before what is in it.

    Names that aren't valid UTF-8 have U+FFFD in them, and can't be opened by those.

    Raises:
        FileError: More than `DEPTH_MAX` folders are in each other.
        OSError: The system refused.
    """
    for name in sorted(os.listdir(folder)):
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:  # deleted meanwhile
            continue
        shown = prefix + os.fsencode(name).decode("utf-8", "replace")
        kind = kind_of(facts.st_mode)
        yield Entry(shown, kind, facts)
        if kind != "folder" or not recursive:
            continue
        if shown.count("/") >= DEPTH_MAX:
            text = f"more than {DEPTH_MAX} folders in each other"
            raise FileError(shown, "ENAMETOOLONG", text)
        try:
            below = os.open(name, _FOLDER, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            yield from walk(below, recursive=True, prefix=f"{shown}/")
        finally:
            os.close(below)


def size(folder: int) -> tuple[int, int]:
    """Return the bytes of all files in a folder, and how many files and folders."""
    counted: set[int] = set()
    size_bytes = files = 0
    for entry in walk(folder, recursive=True):
        files += 1
        if entry.kind == "file" and entry.facts.st_ino not in counted:
            size_bytes += entry.facts.st_size
            if entry.facts.st_nlink > 1:
                counted.add(entry.facts.st_ino)
    return size_bytes, files


def depth(folder: int) -> int:
    """Return how many folders are in each other in a folder."""
    found = walk(folder, recursive=True)
    return max((each.path.count("/") + 1 for each in found), default=0)


def empty(folder: int, gone: Callable[[os.stat_result], object]) -> None:
    """Delete what is in a folder, however deep: folders are moved up before.

    Args:
        folder: The folder's descriptor.
        gone: Called with the facts of everything that is deleted.

    Raises:
        OSError: Something can't be deleted.
    """
    while names := os.listdir(folder):
        for name in names:
            try:
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISDIR(facts.st_mode):
                    os.unlink(name, dir_fd=folder)
                    gone(facts)
                    continue
                below = os.open(name, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                continue
            try:
                os.fchmod(below, 0o700)
                _flatten(below, folder, gone)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=folder)
            gone(facts)


def _flatten(below: int, folder: int, gone: Callable[[os.stat_result], object]) -> None:
    """Delete the files of a folder, and move its folders into the one above."""
    for name in os.listdir(below):
        facts = os.stat(name, dir_fd=below, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            moved = f".{secrets.token_hex(8)}"
            os.rename(name, moved, src_dir_fd=below, dst_dir_fd=folder)
        else:
            os.unlink(name, dir_fd=below)
            gone(facts)
