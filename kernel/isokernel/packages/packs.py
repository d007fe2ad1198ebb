"""Packs: the code of one package as one file, with what was found in it.

A pack is immutable and named by the hash of its tarball. It begins with a mark and the
length of its header; the header has package.json, and of each file where it is and what
the lexers found; the files follow, one after the other, as UTF-8. Of a large pack only
what is imported is read.
"""

from __future__ import annotations

import hashlib
import os
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from isokernel.errors import PackageDamagedError
from isokernel.packages.manifests import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

__all__ = [
    "FORMAT",
    "Analysis",
    "Code",
    "Pack",
    "analyse_file",
    "build_pack",
    "format_of",
    "left_out",
]

FORMAT: Final = 3
"""Of the file and of what is found; packs of another format are made anew."""

_MARK: Final = b"isopack\n"
_LENGTH: Final = struct.Struct("<Q")
_START: Final = len(_MARK) + _LENGTH.size
_IN_MEMORY_MAX: Final = 4 << 20
"""Bytes of a pack that is read at once: most have far less."""
_DECLARATIONS: Final = (".d.ts", ".d.mts", ".d.cts")
_DECLARED: Final = (".js", ".mjs", ".cjs")
_NEVER_KEPT: Final = (".map", ".node")
_LEFT_OUT: Final = {
    ".map": "source maps",
    ".node": "native add-ons, which a context can't load",
    **dict.fromkeys(_DECLARATIONS, "type declarations of the modules beside them"),
}
"""What packs leave out, as no code in a context has use for it; all else is kept."""
_SCRIPTS: Final = frozenset(["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx"])
_MANIFEST: Final = "package.json"


class Analysis(msgspec.Struct, array_like=True, frozen=True):
    """What was found in one file.

    Attributes:
        format: `esm`, `commonjs`, `json`, `text` or `wasm`.
        imports: Of a module: specifiers and attributes, in order.
        requires: Of CommonJS: specifiers, as far as they are literals.
        exports: Of CommonJS: the names that it exports.
        reexports: Of CommonJS: specifiers whose names it exports as well.
        error: Why the lexer couldn't read a module, in its words.
    """

    format: str
    imports: list[tuple[str, dict[str, str]]] = []
    requires: list[str] = []
    exports: list[str] = []
    reexports: list[str] = []
    error: str = ""


class Code(msgspec.Struct, array_like=True, frozen=True):
    """What V8 has made of a module; see `isokernel.v8.modules.Code`.

    Attributes:
        code: Empty if V8 refuses the module.
        requests: Specifiers.
    """

    code: bytes = b""
    requests: list[str] = []


class PackedFile(msgspec.Struct, array_like=True, frozen=True):
    """One file of a pack.

    Attributes:
        offset: Where it begins, behind the header.
        size: Bytes.
        sha256: Of its bytes, in hexadecimal digits.
        analysis: What was found in it.
    """

    offset: int
    size: int
    sha256: str
    analysis: Analysis


class Header(msgspec.Struct, frozen=True):
    """What a pack has beside its files.

    Attributes:
        name: The package's, as its package.json says.
        version: As well.
        size: Bytes of all files.
        files: By path.
    """

    name: str
    version: str
    size: int
    files: dict[str, PackedFile]


class Pack:
    """An open pack. Any thread may read it.

    Attributes:
        header: What is in it.
        integrity: Names it.
        code: By path, of modules that have been compiled; may grow.
    """

    _file = -1

    def __init__(
        self, path: str, integrity: str = "", code: dict[str, Code] | None = None
    ) -> None:
        """Read its header.

        Args:
            path: Its file.
            integrity: See the class.
            code: As well.

        Raises:
            OSError: It isn't there, or can't be read.
            PackageDamagedError: It is no pack, or not all of one.
        """
        self.integrity = integrity
        self.code = {} if code is None else code
        self._manifests: dict[str, Manifest] = {}
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(self._file).st_size
            self._body, self.header = self._read_header(size)
            self._kept = b""
            if size <= _IN_MEMORY_MAX:
                self._kept = self._read(0, size)
                self.close()
        except (ValueError, msgspec.MsgspecError) as error:
            self.close()
            message = f"{path} is damaged: {error}"
            raise PackageDamagedError(message) from error

    def __del__(self) -> None:
        """Close the file when nobody has the pack any more."""
        self.close()

    def _read_header(self, size: int) -> tuple[int, Header]:
        mark = self._read(0, _START)
        if mark[: len(_MARK)] != _MARK:
            message = "it has another mark"
            raise ValueError(message)
        (length,) = _LENGTH.unpack(mark[len(_MARK) :])
        if length > size:
            message = f"its header has {length} bytes"
            raise ValueError(message)
        header = msgspec.msgpack.decode(self._read(_START, length), type=Header)
        body = _START + length
        if body + header.size != size:
            message = f"it has {size} bytes instead of {body + header.size}"
            raise ValueError(message)
        return body, header

    def _read(self, offset: int, size: int) -> bytes:
        chunks = []
        while size:
            chunk = os.pread(self._file, size, offset)
            if not chunk:
                message = "it ends too early"
                raise ValueError(message)
            chunks.append(chunk)
            offset, size = offset + len(chunk), size - len(chunk)
        return b"".join(chunks)

    @property
    def manifest(self) -> Manifest:
        """Its package.json; an empty one if it has none."""
        return self.manifest_at("") or Manifest({})

    def manifest_at(self, folder: str) -> Manifest | None:
        """Return the package.json of a folder."""
        path = f"{folder}/{_MANIFEST}" if folder else _MANIFEST
        if path not in self.header.files:
            return None
        found = self._manifests.get(path)
        if found is None:
            found = self._manifests[path] = Manifest.parse(self.text(path))
        return found

    @cached_property
    def has_browser_map(self) -> bool:
        """Whether a package.json of it may replace some files by others."""
        manifests = (
            self.manifest_at(path[: -len(_MANIFEST) - 1])
            for path in self.header.files
            if path == _MANIFEST or path.endswith(f"/{_MANIFEST}")
        )
        return any(manifest and manifest.browser for manifest in manifests)

    def data(self, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            KeyError: There is no such file.
        """
        file = self.header.files[path]
        start = self._body + file.offset
        if self._kept:
            return self._kept[start : start + file.size]
        return self._read(start, file.size)

    def text(self, path: str) -> str:
        """Return a file's text, without a byte order mark.

        Raises:
            KeyError: There is no such file.
        """
        return self.data(path).decode("utf-8", "replace").removeprefix("\ufeff")

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that has a file, somewhere below it too."""
        found = set()
        for path in self.header.files:
            while "/" in path:
                path = path.rpartition("/")[0]  # noqa: PLW2901 - upwards
                if path in found:
                    break
                found.add(path)
        return frozenset(found)

    def close(self) -> None:
        """Close the file; of a small pack, nothing is read from it any more."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def format_of(path: str, is_module: bool | None) -> str:  # noqa: FBT001 - a property
    """Return what a file's name and its package.json say about its format.

    Args:
        path: The file's.
        is_module: What the nearest package.json says (`Manifest.is_module`).

    Returns:
        A format; empty if the text itself must say.
    """
    if path.endswith(_DECLARATIONS):
        return "text"
    ending = path.rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""
    if ending in ("mjs", "mts"):
        return "esm"
    if ending in ("cjs", "cts"):
        return "commonjs"
    if ending in _SCRIPTS:
        # Some packages say `commonjs` and have modules for bundlers; as CommonJS these
        # could not be compiled at all.
        return "esm" if is_module else ""
    return {"json": "json", "wasm": "wasm", "": "commonjs"}.get(ending, "text")


def analyse_file(
    path: str,
    data: bytes,
    is_module: bool | None,  # noqa: FBT001 - as above
    analyse: Callable[[str, str], Analysis],
) -> Analysis:
    """Find what a file is and imports.

    Args:
        path: Its path.
        data: Its bytes.
        is_module: What its package.json says.
        analyse: The lexers, for what is JavaScript: of a text and its known format.
    """
    known = format_of(path, is_module)
    if known not in ("", "esm", "commonjs"):
        return Analysis(known)
    return analyse(data.decode("utf-8", "replace"), known)


def build_pack(
    files: Iterable[tuple[str, bytes]], analyse: Callable[[str, str], Analysis]
) -> bytes:
    """Make the pack of a package.

    Args:
        files: Paths and bytes.
        analyse: The lexers: of a text and the format that is known of it.
    """
    kept = {path: data for path, data in files if not path.endswith(_NEVER_KEPT)}
    for path in [path for path in kept if _is_declared(path, kept)]:
        del kept[path]
    scopes: dict[str, Manifest] = {}

    def scope(folder: str) -> Manifest:
        """Return the nearest package.json of a folder."""
        if folder not in scopes:
            path = f"{folder}/{_MANIFEST}" if folder else _MANIFEST
            if path in kept:
                scopes[folder] = Manifest.parse(kept[path].decode("utf-8", "replace"))
            elif not folder:
                scopes[folder] = Manifest({})
            else:
                scopes[folder] = scope(folder.rpartition("/")[0])
        return scopes[folder]

    table: dict[str, PackedFile] = {}
    offset = 0
    for path, data in kept.items():
        is_module = scope(path.rpartition("/")[0]).is_module
        analysis = analyse_file(path, data, is_module, analyse)
        digest = hashlib.sha256(data).hexdigest()
        table[path] = PackedFile(offset, len(data), digest, analysis)
        offset += len(data)
    own = scope("")
    header = Header(own.name, own.text("version"), offset, table)
    encoded = msgspec.msgpack.encode(header)
    return b"".join((_MARK, _LENGTH.pack(len(encoded)), encoded, *kept.values()))


def _is_declared(path: str, files: Container[str]) -> bool:
    """Tell whether a file declares the module beside it.

    Declarations that stand alone are kept: compilers read those of a language.
    """
    for ending in _DECLARATIONS:
        if path.endswith(ending):
            stem = path.removesuffix(ending)
            return any(f"{stem}{script}" in files for script in _DECLARED)
    return False


def left_out(path: str) -> str:
    """Return why a pack may lack a file that its package has, for an error."""
    for ending, what in _LEFT_OUT.items():
        if path.endswith(ending):
            return f": packages are kept without {what} ({ending})"
    return ""
