"""Where heaps are kept: files under their keys, in a folder or an object store.

Everything here waits for the store: call it in a thread. A file appears whole or not
at all. One that is to go is set aside first, so that somebody who has begun to own it
meanwhile can have it back.
"""

from __future__ import annotations

import functools
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from isoserver.errors import HeapStoreError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HeapStore", "Stored"]

_ENDING: Final = ".heap"
_PART: Final = ".part"
_ASIDE: Final = ".aside"

Given = ParamSpec("Given")
Got = TypeVar("Got")


class Stored(NamedTuple):
    """A file of the store.

    Attributes:
        key: The heap's.
        changed: When it was written, in seconds since 1970; 0 if nobody knows.
        state: `whole`, `aside`, or `part` of one that was never finished.
        path: Where it is.
        size: Bytes of it.
    """

    key: str
    changed: float
    state: str
    path: str
    size: int


def _mapped(call: Callable[Given, Got]) -> Callable[Given, Got]:
    """Have whatever a store's library raises arrive as an error of ours."""

    @functools.wraps(call)
    def mapped(*args: Given.args, **kwargs: Given.kwargs) -> Got:
        try:
            return call(*args, **kwargs)
        except (ServerError, FileNotFoundError):
            raise
        except Exception as error:  # each library has its own
            message = f"the store of heaps can't be used: {error}"
            raise HeapStoreError(message) from error

    return mapped


class HeapStore:
    """Files under the keys of heaps."""

    @_mapped
    def __init__(self, url: str) -> None:
        """Open a store.

        Args:
            url: A folder, or a URL that fsspec knows: s3://BUCKET/PATH, memory://PATH.

        Raises:
            HeapStoreError: There is no such kind of store, or its library is missing.
        """
        # Listings that were read before would hide what others have written since.
        made: tuple[Any, str] = url_to_fs(url, use_listings_cache=False)
        self._fs, root = made
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    @_mapped
    def prepare(self) -> None:
        """Make the folder, and see that it can be read."""
        if self._local:
            self._fs.makedirs(self._root, exist_ok=True)
        self._fs.exists(self._path("0" * 64))

    @_mapped
    def write(self, key: str, packed: bytes) -> None:
        """Store a heap; one that is there is replaced, at once and as a whole."""
        path = self._path(key)
        if not self._local:
            self._fs.pipe_file(path, packed)  # an object appears when it is whole
            return
        part = f"{path}.{secrets.token_hex(8)}{_PART}"
        try:
            self._fs.pipe_file(part, packed)
            self._fs.mv(part, path)
        except BaseException:
            # On a disk that is full, what was written would keep it full.
            with suppress(OSError):
                self._fs.rm_file(part)
            raise

    @_mapped
    def read(self, key: str) -> bytes:
        """Read a heap, also one that is set aside.

        Raises:
            FileNotFoundError: It isn't there.
        """
        path = self._path(key)
        for place in (path, path + _ASIDE):
            with suppress(FileNotFoundError):
                return bytes(self._fs.cat_file(place))
        return bytes(self._fs.cat_file(path))  # it may have been brought back

    @_mapped
    def exists(self, key: str) -> bool:
        """Tell whether there is a heap, set aside or not."""
        path = self._path(key)
        return bool(self._fs.exists(path) or self._fs.exists(path + _ASIDE))

    @_mapped
    def set_aside(self, key: str) -> bool:
        """Put a heap where `bring_back` and `drop` find it; whether it was there."""
        path = self._path(key)
        try:
            self._fs.mv(path, path + _ASIDE)
        except FileNotFoundError:
            return False
        return True

    @_mapped
    def bring_back(self, key: str) -> None:
        """Take back what was set aside, unless it was written again meanwhile."""
        path = self._path(key)
        try:
            if self._fs.exists(path):
                self._fs.rm_file(path + _ASIDE)
            else:
                self._fs.mv(path + _ASIDE, path)
        except FileNotFoundError:
            return

    @_mapped
    def drop(self, path: str) -> None:
        """Delete a file that `files` told of."""
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return

    def drop_aside(self, key: str) -> None:
        """Delete what was set aside."""
        self.drop(self._path(key) + _ASIDE)

    @_mapped
    def files(self) -> list[Stored]:
        """Give all files of the store."""
        try:
            found = self._fs.find(self._root, detail=True)
        except FileNotFoundError:
            return []
        stored = (_stored(path, facts) for path, facts in found.items())
        return [one for one in stored if one is not None]

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}{_ENDING}"


def _stored(path: str, facts: dict[str, Any]) -> Stored | None:
    name = path.rpartition("/")[2]
    key, ending, rest = name.partition(_ENDING)
    if not ending:
        return None
    state = "part" if rest.endswith(_PART) else "aside" if rest == _ASIDE else "whole"
    return Stored(key, _changed(facts), state, path, int(facts.get("size") or 0))


def _changed(facts: dict[str, Any]) -> float:
    for name in ("mtime", "LastModified", "last_modified", "created"):
        value = facts.get(name)
        if value is not None:
            stamp = value.timestamp() if hasattr(value, "timestamp") else value
            return float(stamp)
    return 0.0
