"""Which files a saved context has: names, facts, and hashes of their contents."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

import msgspec

__all__ = ["FileEntry", "Manifest"]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class FileEntry(NamedTuple):
    """A file or folder.

    Attributes:
        path: Its path from the context's folder.
        mode: Its permissions.
        modified_ns: When it was changed last, in nanoseconds since 1970.
        size: Its bytes.
        digest: The SHA-256 of its content; empty for a folder.
    """

    path: str
    mode: int
    modified_ns: int
    size: int = 0
    digest: str = ""


class Manifest(NamedTuple):
    """All files and folders of a context, a folder before what is in it."""

    entries: tuple[FileEntry, ...]

    def encode(self) -> bytes:
        """Return it as bytes, always the same for the same files."""
        return msgspec.json.encode(self.entries)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read what `encode` returned; names are checked when they are used.

        Raises:
            ValueError: It is something else.
        """
        try:
            entries = msgspec.json.decode(data, type=tuple[FileEntry, ...])
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
        for entry in entries:
            if entry.digest and not _DIGEST.fullmatch(entry.digest):
                message = f"{entry.digest[:80]!r} is no hash"
                raise ValueError(message)
        return cls(entries)

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def contents(self) -> dict[str, int]:
        """The sizes of the contents, by their hashes."""
        return {entry.digest: entry.size for entry in self.entries if entry.digest}
