"""What V8 has made of the runtime's modules, kept in two files of the user's cache.

Compiling what each context begins with is half of what a new context costs, and the
modules of Node.js are 300 KB, which each context that imports one would compile anew.
One file has what contexts begin with, so that a process that needs nothing else reads
nothing else; the other has the rest.

The files are for one installation and one V8: their names have the hash of both. With
each module's code is the hash of the text that it was made of, as V8 checks little of
such code, and not whether it belongs to the text. It is written by processes that have
run nothing but the runtime itself (`forkserver.contexts`, and the first context of a
process that finds none), so what is in it is ours.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.v8.library import engine_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "REST",
    "START",
    "Module",
    "code",
    "forget",
    "is_first_context",
    "is_lacking",
    "known",
    "put",
    "read",
]

START: Final = "start"
"""The file of the modules that each context begins with."""

REST: Final = "rest"
"""The file of all others."""

_FOLDER: Final = os.path.dirname(__file__)  # noqa: PTH120 -- pathlib: 4 ms
_DIGEST_BYTES: Final = 32
_SIZE_BYTES: Final = 4
_LARGE: Final = 1 << 15
_OTHERS_WRITE: Final = 0o022
_KEPT_MAX: Final = 8
"""Files: of other installations and versions that the user has beside this one."""


class Module(NamedTuple):
    """What is kept of a module.

    Attributes:
        digest: Of the text that it was made of.
        code: What V8 has made of it.
    """

    digest: str
    code: bytes


class Kept(NamedTuple):
    """What is in one of the files.

    Attributes:
        runtime: The identity of the runtime whose modules are all kept; empty if
            there are only those that a context has begun with.
        modules: By their names.
    """

    runtime: str
    modules: Mapping[str, Module]


_NOTHING: Final = Kept("", {})


class _Process:
    """What this process has found so far.

    Attributes:
        kept: The files that were read.
        checked: The code of modules whose text has been compared, or None.
        had_context: Whether it has made a context, or is about to be confined.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.checked: dict[str, bytes | None] = {}
        self.had_context = False


_process: Final = _Process()


def code(name: str, text: str) -> bytes | None:
    """Return the code of a module, if there is any of this very text.

    Where the rest wasn't read yet, it is for a large module only: to find which one it
    is takes as long as to compile some small ones.

    Args:
        name: The module's.
        text: What V8 is given; the same each time.
    """
    if name in _process.checked:
        return _process.checked[name]
    module = _file(START).modules.get(name)
    if module is None:
        if len(text) < _LARGE and REST not in _process.kept:
            return None
        module = _file(REST).modules.get(name)
    if module is not None and module.digest != _digest(text):
        module = None
    found = _process.checked[name] = module.code if module else None
    return found


def read() -> None:
    """Read both files now, for a process that will be confined.

    It won't write them either.
    """
    _process.had_context = True
    for part in (START, REST):
        _file(part)


def known() -> frozenset[str]:
    """Return the names of the modules that there is code of."""
    return frozenset(_file(START).modules) | frozenset(_file(REST).modules)


def is_lacking(runtime: str) -> bool:
    """Tell whether there is no code of a runtime, and it could be written.

    Args:
        runtime: Its identity.
    """
    complete = all(_file(part).runtime == runtime for part in (START, REST))
    return not complete and _is_writable()


def is_first_context() -> bool:
    """Tell whether this process has made no context yet; True once, before it does.

    Nothing of a user's has run in it then.
    """
    had, _process.had_context = _process.had_context, True
    return not had


def forget() -> None:
    """Read the files again when they are next wanted: they may be there by then."""
    _process.kept.clear()
    _process.checked.clear()


def put(
    part: str, code: Mapping[str, bytes], texts: Mapping[str, str], runtime: str = ""
) -> None:
    """Write a file, if the folder can be written; those unused longest go.

    Args:
        part: Which file.
        code: Of modules, by their names.
        texts: What it was made of, by the same names.
        runtime: See `Kept`.
    """
    if not _is_writable():
        return
    index = [[name, _digest(texts[name]), len(made)] for name, made in code.items()]
    head = json.dumps([runtime, index]).encode()
    data = b"".join((len(head).to_bytes(_SIZE_BYTES, "big"), head, *code.values()))
    path = _path(part)
    folder = os.path.dirname(path)  # noqa: PTH120 -- as above
    aside = f"{folder}/.{os.urandom(8).hex()}"
    with contextlib.suppress(OSError):
        try:
            with open(aside, "xb", opener=_private) as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(aside, path)  # noqa: PTH105 -- as above
        except OSError:
            os.unlink(aside)  # noqa: PTH108 -- as above
            raise
        with os.scandir(folder) as found:
            files = sorted(found, key=lambda entry: entry.stat().st_mtime)
        for entry in files[:-_KEPT_MAX]:
            os.unlink(entry.path)  # noqa: PTH108 -- as above
    forget()


def _file(part: str) -> Kept:
    kept = _process.kept.get(part)
    if kept is None:
        kept = _process.kept[part] = _read(_path(part))
    return kept


def _read(path: str) -> Kept:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- as above
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
                return _NOTHING  # it may be somebody else's code
            digest, data = file.read(_DIGEST_BYTES), file.read()
    except OSError:
        return _NOTHING
    if hashlib.sha256(data).digest() != digest:
        return _NOTHING
    start = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "big")
    runtime, index = json.loads(data[_SIZE_BYTES:start])
    modules = {}
    for name, text, size in index:
        modules[name] = Module(text, data[start : start + size])
        start += size
    return Kept(runtime, modules)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_writable() -> bool:
    folder = os.path.dirname(_path(START))  # noqa: PTH120 -- as above
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 -- as above
    return os.path.isdir(folder) and os.access(folder, os.W_OK)  # noqa: PTH112


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _key() -> str:
    return hashlib.sha256(f"{_FOLDER}\0{engine_identity()}".encode()).hexdigest()[:32]


def _path(part: str) -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 -- as above
    return f"{base}/isokernel/runtime/{_key()}-{part}"
