"""The cache: a folder of packs and metadata that all processes share.

    packs/FORMAT/ab/abcd…     packs, by the SHA-512 of their tarballs
    code/ENGINE/ab/abcd…      what V8 has made of their modules, by the same, for one
                              version of V8 and its flags
    addresses/ab/abcd…        what came from https: addresses, by its SHA-512
    metadata/HASH/NAME.json   what registries say of packages, HASH by registry
    locks/                    held while one of them is fetched

Files are written aside and renamed, so whoever reads has a whole one. A pack's time of
modification is that of its last use: the ones unused longest go when there is no room.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import msgspec

from isokernel.errors import PackageCacheError, PackageDamagedError, reason_of
from isokernel.packages.packs import FORMAT, Code, Pack
from isokernel.v8.library import engine_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Cache", "CachedPack", "check_integrity", "digest_of", "integrity_of"]

_INTEGRITY: Final = re.compile(r"sha512-([A-Za-z0-9+/]{86}==)")
_ALGORITHMS: Final = ("sha256", "sha384", "sha512")
"""Of integrities; later ones are stronger."""
_USED_STEP_SECONDS: Final = 3600.0
"""How exactly the time of a pack's last use is kept."""
_DIGEST_BYTES: Final = 32
_ABANDONED_SECONDS: Final = 3600.0
"""Files that were to be renamed and are older than this are left from a crash."""


def integrity_of(data: bytes) -> str:
    """Return a tarball's hash in npm's form."""
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


def digest_of(integrity: str) -> str:
    """Return the hexadecimal digits of an integrity.

    Raises:
        PackageDamagedError: It is no SHA-512.
    """
    found = _INTEGRITY.fullmatch(integrity)
    if found is None:
        message = f"{integrity!r} isn't the SHA-512 of a package"
        raise PackageDamagedError(message)
    return base64.b64decode(found[1]).hex()


def check_integrity(
    what: str, data: bytes, expected: str, says: str, then: str
) -> None:
    """Compare a file with its integrity, as web pages have it: the strongest counts.

    Args:
        what: What the file is.
        data: Its bytes.
        expected: Hashes, such as `sha384-…`, between spaces.
        says: Who says so.
        then: What to do if it is another one.

    Raises:
        PackageDamagedError: It is another file, or there is no hash to compare.
    """
    given: dict[str, set[str]] = {}
    for text in expected.split():
        algorithm, _, digest = text.partition("?")[0].partition("-")
        if algorithm in _ALGORITHMS:
            given.setdefault(algorithm, set()).add(digest)
    if not given:
        message = (
            f"the integrity of {what}, {expected[:80]!r}, is no hash such as "
            f"sha384-…; there are {', '.join(_ALGORITHMS)}, in base 64"
        )
        raise PackageDamagedError(message)
    strongest = max(given, key=_ALGORITHMS.index)
    found = base64.b64encode(hashlib.new(strongest, data).digest()).decode()
    if found not in given[strongest]:
        message = (
            f"{what} has the hash {strongest}-{found}, but {says} says {expected}: "
            f"it is another file; {then}"
        )
        raise PackageDamagedError(message)


class CachedPack(NamedTuple):
    """A pack in the cache.

    Attributes:
        path: Its file.
        size: Bytes.
        used: When it was last opened, in seconds since 1970, within an hour.
    """

    path: str
    size: int
    used: float


class Cache:
    """The folder. Its methods block; any thread of any process may call them."""

    def __init__(self, folder: str, bytes_max: int) -> None:
        """Make nothing yet.

        Args:
            folder: Where it is.
            bytes_max: Bytes of packs; those unused longest go first.
        """
        self.folder = folder
        self._bytes_max = bytes_max
        self._packs = f"{folder}/packs/{FORMAT}"
        self._addresses = f"{folder}/addresses"
        engine = hashlib.sha256(engine_identity().encode()).hexdigest()[:16]
        self._code = f"{folder}/code/{engine}"

    # -- packs ---------------------------------------------------------------------

    def open_pack(self, integrity: str) -> Pack | None:
        """Open a pack; None if the cache hasn't got it, or only a damaged one.

        Raises:
            PackageCacheError: The folder can't be read.
        """
        path = self._path(self._packs, integrity)
        try:
            pack = Pack(path, integrity, self.code(integrity))
        except FileNotFoundError:
            return None
        except PackageDamagedError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - pathlib: 4 ms of every start
            return None
        except OSError as error:
            raise self._unusable(error) from error
        with contextlib.suppress(OSError):  # it may be somebody else's, read-only
            now = time.time()
            if os.stat(path).st_mtime < now - _USED_STEP_SECONDS:  # noqa: PTH116
                os.utime(path, (now, now))
                if pack.code:
                    os.utime(self._path(self._code, integrity), (now, now))
        return pack

    def has_pack(self, integrity: str) -> bool:
        """Tell whether there is a pack."""
        if not integrity:
            return False
        return os.path.exists(self._path(self._packs, integrity))  # noqa: PTH110

    def put_pack(self, integrity: str, data: bytes) -> Pack:
        """Keep a pack, and open it.

        Raises:
            PackageCacheError: The folder can't be written.
        """
        path = self._path(self._packs, integrity)
        self._write(path, data)
        self.collect(keep=path)
        return Pack(path, integrity, self.code(integrity))

    def code(self, integrity: str) -> dict[str, Code]:
        """Return what there is of the code of a pack's modules, by their paths.

        V8 takes code for what it should be: that it is what was written is checked.
        """
        try:
            with open(self._path(self._code, integrity), "rb") as file:  # noqa: PTH123
                data = file.read()
        except OSError:
            return {}
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            return {}
        try:
            return msgspec.msgpack.decode(data[_DIGEST_BYTES:], type=dict[str, Code])
        except msgspec.MsgspecError:
            return {}

    def put_code(self, integrity: str, code: Mapping[str, Code]) -> None:
        """Keep the code of a pack's modules, in the place of what there was.

        Raises:
            PackageCacheError: The folder can't be written.
        """
        data = msgspec.msgpack.encode(code)
        path = self._path(self._code, integrity)
        self._write(path, hashlib.sha256(data).digest() + data)
        self.collect(keep=path)

    def packs(self) -> list[CachedPack]:
        """List packs, code and what came from addresses, those unused longest first."""
        found = []
        folders = _entries(self._addresses)
        for kind in ("packs", "code"):  # also of other formats, and of other engines
            for made in _entries(f"{self.folder}/{kind}"):
                folders += _entries(made.path)
        for folder in folders:
            for entry in _entries(folder.path):
                if entry.name.startswith("."):
                    self._remove_abandoned(entry)
                    continue
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    used = status.st_mtime
                    found.append(CachedPack(entry.path, status.st_size, used))
        return sorted(found, key=lambda pack: pack.used)

    def collect(self, bytes_max: int | None = None, keep: str = "") -> int:
        """Remove the packs unused longest until the rest has room.

        Open ones can be removed: what is mapped stays until it is closed.

        Args:
            bytes_max: Bytes that may stay; None for the cache's own limit.
            keep: The path of one that stays whatever its size is.

        Returns:
            How many were removed.
        """
        packs = self.packs()
        over = sum(pack.size for pack in packs)
        over -= self._bytes_max if bytes_max is None else bytes_max
        removed = 0
        for pack in packs:
            if over <= 0:
                break
            if pack.path == keep:
                continue
            with contextlib.suppress(OSError):
                os.unlink(pack.path)  # noqa: PTH108
                over -= pack.size
                removed += 1
        return removed

    # -- addresses -----------------------------------------------------------------

    def address(self, integrity: str) -> bytes | None:
        """Return what came from an address; None if it isn't there, or damaged.

        Raises:
            PackageCacheError: The folder can't be read.
        """
        try:
            with open(self._path(self._addresses, integrity), "rb") as file:  # noqa: PTH123
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        return data if integrity_of(data) == integrity else None

    def put_address(self, integrity: str, data: bytes) -> None:
        """Keep what came from an address."""
        path = self._path(self._addresses, integrity)
        self._write(path, data)
        self.collect(keep=path)

    # -- metadata ------------------------------------------------------------------

    def metadata(self, registry: str, name: str) -> tuple[bytes, float] | None:
        """Return what a registry has said of a package, and its age in seconds."""
        path = self._metadata_path(registry, name)
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                age = time.time() - os.fstat(file.fileno()).st_mtime
                return file.read(), max(age, 0.0)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def put_metadata(self, registry: str, name: str, data: bytes) -> None:
        """Keep what a registry says of a package."""
        self._write(self._metadata_path(registry, name), data)

    def confirm_metadata(self, registry: str, name: str) -> None:
        """Note that what is kept still holds."""
        with contextlib.suppress(OSError):
            os.utime(self._metadata_path(registry, name))

    # -- locks ---------------------------------------------------------------------

    def try_claim(self, key: str) -> int | None:
        """Become the only one, of all processes, that fetches something.

        Returns:
            A descriptor to close when it has been fetched; None if another one fetches
            it now. It never waits: threads that wait could be all there are.

        Raises:
            PackageCacheError: The folder can't be written.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:3]
        folder = f"{self.folder}/locks"
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
            lock = os.open(f"{folder}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return lock

    # -- whole files, for archives -------------------------------------------------

    def files_of(self, registry: str, name: str, integrity: str) -> list[str]:
        """Return the paths in the folder of what is kept of a package."""
        paths = (
            self._path(self._packs, integrity),
            self._metadata_path(registry, name),
        )
        return [path.removeprefix(f"{self.folder}/") for path in paths]

    def read_file(self, path: str) -> bytes | None:
        """Return a file of the folder; None if it isn't there."""
        try:
            with open(f"{self.folder}/{path}", "rb") as file:  # noqa: PTH123
                return file.read()
        except FileNotFoundError:
            return None

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file of the folder.

        Raises:
            PackageCacheError: It can't be written.
        """
        self._write(f"{self.folder}/{path}", data)

    # -- files ---------------------------------------------------------------------

    @staticmethod
    def _path(folder: str, integrity: str) -> str:
        digest = digest_of(integrity)
        return f"{folder}/{digest[:2]}/{digest}"

    def _metadata_path(self, registry: str, name: str) -> str:
        digest = hashlib.sha256(registry.encode()).hexdigest()[:16]
        return f"{self.folder}/metadata/{digest}/{quote(name, safe='@')}.json"

    def _write(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        aside = f"{folder}/.{name[:16]}-{secrets.token_hex(8)}"
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
            with open(aside, "xb") as file:  # noqa: PTH123
                file.write(data)
            os.replace(aside, path)  # noqa: PTH105
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(aside)  # noqa: PTH108
            raise self._unusable(error) from error

    def _remove_abandoned(self, entry: os.DirEntry[str]) -> None:
        with contextlib.suppress(OSError):
            if entry.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                os.unlink(entry.path)  # noqa: PTH108

    def _unusable(self, error: OSError) -> PackageCacheError:
        return PackageCacheError(
            f"the cache of packages can't be used: {reason_of(error)}; make "
            f"{self.folder} writable, or set package_cache_dir to another folder"
        )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
