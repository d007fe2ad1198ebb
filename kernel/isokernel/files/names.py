"""What a path in a context's folder may look like.

For code, the folder is `/`: paths with and without a slash at the beginning are the
same. Names are checked here; what a path leads to is the system's to find, below the
folder's descriptor (`isokernel.files.folder`).
"""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

from isokernel.errors import FileError

__all__ = ["DEPTH_MAX", "Place", "is_part", "new_part", "relative", "split"]

DEPTH_MAX: Final = 100
"""Folders in folders. Each takes a descriptor while a tree is walked."""
_PATH_BYTES_MAX: Final = 4095
_NAME_BYTES_MAX: Final = 255


_PART: Final = re.compile(r"(?:.*/)?\.[0-9a-f]{16}\.part", re.DOTALL)


def new_part() -> str:
    """Make a name for a file that isn't whole yet; such names aren't listed."""
    return f".{secrets.token_hex(8)}.part"


def is_part(path: str) -> bool:
    """Tell whether a path is that of a file that isn't whole yet."""
    return _PART.fullmatch(path) is not None


class Place(NamedTuple):
    """A name in a folder, which need not exist.

    Attributes:
        parent: The path of that folder, as the system takes it.
        name: The name.
        is_folder: Whether the path ended with a slash, so it can only be a folder.
    """

    parent: str
    name: str
    is_folder: bool


def relative(path: str) -> str:
    """Return a path as the system takes it below the folder's descriptor.

    Raises:
        FileError: No file can have that path, or it leads out of the folder.
    """
    if "\0" in path:
        raise FileError(path, "EINVAL", "a path can't contain NUL")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise FileError(path, "EILSEQ", "a path must be valid Unicode") from None
    if size > _PATH_BYTES_MAX:
        raise FileError(path, "ENAMETOOLONG")
    depth = 0
    for name in path.split("/"):
        if name == "..":
            depth -= 1
        elif name not in {"", "."}:
            if len(name.encode()) > _NAME_BYTES_MAX:
                raise FileError(path, "ENAMETOOLONG")
            depth += 1
        if depth < 0:
            raise FileError(path, "EACCES", "it leads out of the context's folder")
        if depth > DEPTH_MAX:
            text = f"more than {DEPTH_MAX} folders in each other"
            raise FileError(path, "ENAMETOOLONG", text)
    return path.lstrip("/") or "."


def split(path: str) -> Place:
    """Return the place that a path names, for what makes, moves or deletes it.

    Raises:
        FileError: As for `relative`; and the path ends with no name.
    """
    whole = relative(path)
    short = whole.rstrip("/")
    parent, _, name = short.rpartition("/")
    if name in {"", ".", ".."}:
        raise FileError(path, "EBUSY", "it is the folder itself, or ends with dots")
    return Place(parent or ".", name, short != whole)
