"""Reads packages' tarballs, which anybody may have made.

Only plain files come out, by their path in the package. What no package needs and an
attacker might use is refused: paths out of the package, links, devices, more bytes or
files than allowed. Nothing is written to a file system.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import PackageDamagedError, PackageLimitError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_tarball"]

_PATH_LENGTH_MAX: Final = 1024
_CHUNK: Final = 1 << 16
_IGNORED: Final = frozenset({tarfile.DIRTYPE, tarfile.XGLTYPE, tarfile.XHDTYPE})


class _Inflated(io.RawIOBase):
    """A gzip's content as a stream that ends with an error when it is too long."""

    def __init__(self, packed: bytes, bytes_max: int) -> None:
        self._packed = memoryview(packed)
        self._inflater = zlib.decompressobj(wbits=31)  # 31: gzip only
        self._max = self._left = bytes_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = b""
        while not data and not self._inflater.eof:
            pending = self._inflater.unconsumed_tail or self._next()
            if not pending:
                message = "the tarball ends in the middle"
                raise PackageDamagedError(message)
            data = self._inflater.decompress(pending, len(view))
        self._left -= len(data)
        if self._left < 0:
            message = (
                f"the package has more than {self._max} bytes "
                "(package_unpacked_bytes_max)"
            )
            raise PackageLimitError(message)
        view[: len(data)] = data
        return len(data)

    def _next(self) -> memoryview:
        chunk, self._packed = self._packed[:_CHUNK], self._packed[_CHUNK:]
        return chunk


def read_tarball(
    packed: bytes, *, bytes_max: int, files_max: int
) -> Iterator[tuple[str, bytes]]:
    """Yield a package's files: their paths in the package, and their bytes.

    Args:
        packed: The tarball, compressed with gzip.
        bytes_max: The most that it may unpack to.
        files_max: The most entries that it may have.

    Raises:
        PackageDamagedError: It is no tarball, or has what no package may have.
        PackageLimitError: It is too large.
    """
    stream = io.BufferedReader(_Inflated(packed, bytes_max), _CHUNK)
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
            for number, member in enumerate(archive):
                vars(archive)["members"].clear()  # or each entry would be kept
                if number >= files_max:
                    message = (
                        f"the package has more than {files_max} files "
                        "(package_files_max)"
                    )
                    raise PackageLimitError(message)
                if member.type in _IGNORED:
                    continue
                path = _path(member)
                content = archive.extractfile(member)
                if content is not None:
                    yield path, content.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        message = f"the tarball is damaged: {error}"
        raise PackageDamagedError(message) from error


def _path(member: tarfile.TarInfo) -> str:
    """Return where in its package a file is.

    npm takes off the first folder, whatever its name is: mostly `package`.
    """
    name = member.name
    shown = repr(shorten(name))
    if not member.isreg():
        kind = "a link" if member.issym() or member.islnk() else "no plain file"
        message = f"the tarball has {kind}: {shown}"
        raise PackageDamagedError(message)
    if member.sparse is not None:
        message = f"the tarball has a sparse file: {shown}"
        raise PackageDamagedError(message)
    if len(name) > _PATH_LENGTH_MAX:
        message = f"the tarball has a path of {len(name)} characters: {shown}"
        raise PackageDamagedError(message)
    # "." leads nowhere: http-proxy-agent@7 has `package/./dist/index.js`.
    parts = [part for part in name.split("/") if part != "."]
    odd = name.startswith("/") or "\\" in name or "\0" in name
    if odd or any(part in ("", "..") for part in parts):
        message = f"the tarball has a path that leads out of the package: {shown}"
        raise PackageDamagedError(message)
    if len(parts) == 1:
        message = f"the tarball has a file outside of a folder: {shown}"
        raise PackageDamagedError(message)
    return "/".join(parts[1:])
