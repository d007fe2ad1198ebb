"""Which versions a context has: what was resolved once is resolved alike later.

The lock is plain JSON data that belongs to the context: it goes into its heaps, and
with the packs in the cache it is enough to go on offline.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isokernel.packages.versions import newest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LOCK_MARK", "Lock", "decode_lock", "encode_lock", "split_lock"]

LOCK_MARK: Final = b"isokernel: a heap with a lock\n"
"""What a heap begins with that has one."""
_LENGTH: Final = struct.Struct("<I")
_CONTENT: Final = msgspec.json.Decoder(dict[str, dict[str, str]])

_ENTRIES_MAX: Final = 20_000
"""Of each kind in a lock that comes from outside."""


class Lock:
    """A lock over a dict that somebody else keeps.

    The dict has four tables: `requests` (name@range to version), `packages`
    (name@version to integrity), `dependents` (name@version to the package that brought
    it first, empty for the code itself) and `addresses` (https: URL to
    integrity, media type and where it was redirected to).
    Whoever holds the context keeps it: policies trust what it says of dependents.

    Attributes:
        content: The dict; changed in place.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        """Take a dict, which may be empty; what isn't a lock's is thrown away."""
        self.content = content
        for key in ("requests", "packages", "dependents", "addresses"):
            content[key] = _texts(content.get(key))
        self._requests: dict[str, str] = content["requests"]
        self._packages: dict[str, str] = content["packages"]
        self._dependents: dict[str, str] = content["dependents"]
        self._addresses: dict[str, str] = content["addresses"]
        self._versions: dict[str, list[str]] = {}
        for package in self._packages:
            name, _, version = package.rpartition("@")
            self._versions.setdefault(name, []).append(version)

    def expect(self, packages: Iterable[tuple[str, str]]) -> None:
        """Prefer the versions of packages that the context has loaded already.

        A context that goes on from a heap has modules; its lock begins anew.

        Args:
            packages: Names and versions.
        """
        for name, version in packages:
            versions = self._versions.setdefault(name, [])
            if version not in versions:
                versions.append(version)

    @property
    def packages(self) -> Mapping[str, str]:
        """Integrities of packages by name@version."""
        return self._packages

    def listed(self) -> list[dict[str, Any]]:
        """Return the packages in the order in which they came, as plain data."""
        ranges: dict[str, list[str]] = {}
        for request, version in self._requests.items():
            at = request.index("@", 1)  # a scope begins with one
            package = f"{request[:at]}@{version}"
            ranges.setdefault(package, []).append(request[at + 1 :])
        return [
            {
                "name": package.rpartition("@")[0],
                "version": package.rpartition("@")[2],
                "integrity": integrity,
                "dependent": self._dependents.get(package) or None,
                "ranges": ranges.get(package, []),
            }
            for package, integrity in self._packages.items()
        ]

    def listed_addresses(self) -> list[dict[str, str]]:
        """Return the modules that came from addresses, as plain data."""
        return [
            {"url": url, "integrity": found.partition(" ")[0]}
            for url, found in self._addresses.items()
        ]

    def version(self, name: str, wanted: str) -> str | None:
        """Return the version for a range: as before, or one that is there anyway.

        That packages share a version where they can is what makes one of them, such as
        react, the same module for all.
        """
        found = self._requests.get(f"{name}@{wanted}")
        if found is not None:
            return found
        return newest(self._versions.get(name, ()), wanted)

    def unwritten(self, name: str, wanted: str, version: str) -> tuple[str, ...] | None:
        """Return what `add` takes of a range that was met by a version that is there.

        Without it, another version that comes later could take its place; None if it
        is written down already.
        """
        integrity = self._packages.get(f"{name}@{version}")
        if integrity is None or f"{name}@{wanted}" in self._requests:
            return None
        return name, wanted, version, integrity, ""

    def any_version(self, name: str) -> str | None:
        """Return the newest version of a package that is there."""
        versions = self._versions.get(name)
        return newest(versions, "") or versions[-1] if versions else None

    def integrity(self, name: str, version: str) -> str | None:
        """Return the hash that a package's tarball must have."""
        return self._packages.get(f"{name}@{version}")

    def dependents(self, package: str) -> list[str]:
        """Return the packages that brought one, the one next to it first."""
        found: list[str] = []
        dependent = self._dependents.get(package, "")
        while dependent and dependent not in found:
            found.append(dependent)
            dependent = self._dependents.get(dependent, "")
        return found

    def add(
        self,
        name: str,
        wanted: str,
        version: str,
        integrity: str,
        dependent: str,
    ) -> None:
        """Write down what a request of a package, or of the code, came to."""
        self._requests[f"{name}@{wanted}"] = version
        package = f"{name}@{version}"
        self._dependents.setdefault(package, dependent)
        if package not in self._packages:
            self._versions.setdefault(name, []).append(version)
        self._packages[package] = integrity

    def address(self, url: str) -> str | None:
        """Return what is known of the module at an address."""
        return self._addresses.get(url)

    def add_address(self, url: str, found: str) -> None:
        """Write down what came from an address: its integrity, type and URL."""
        self._addresses[url] = found


def encode_lock(lock: Mapping[str, Any]) -> bytes:
    """Return what stands before a heap that has a lock; nothing for an empty one."""
    if not lock:
        return b""
    content = msgspec.json.encode(lock)
    return b"".join((LOCK_MARK, _LENGTH.pack(len(content)), content))


def split_lock(data: memoryview) -> tuple[bytes, memoryview]:
    """Return the lock before a heap, encoded, and the heap; see `encode_lock`.

    Raises:
        ValueError: It isn't whole.
    """
    if bytes(data[: len(LOCK_MARK)]) != LOCK_MARK:
        return b"", data
    begin = len(LOCK_MARK) + _LENGTH.size
    if len(data) < begin:
        message = "it ends too early"
        raise ValueError(message)
    (size,) = _LENGTH.unpack_from(data, len(LOCK_MARK))
    return bytes(data[begin : begin + size]), data[begin + size :]


def decode_lock(content: bytes) -> dict[str, dict[str, str]]:
    """Return the lock that `split_lock` has found.

    Raises:
        ValueError: It is none.
    """
    if not content:
        return {}
    try:
        return _CONTENT.decode(content)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _texts(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    pairs = list(given.items())[:_ENTRIES_MAX]
    return {
        key: value
        for key, value in pairs
        if isinstance(key, str) and isinstance(value, str)
    }
