"""The JavaScript of this package, read once and held in memory.

In memory, because a context's process may lose access to the file system before a
module is first needed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import os
import re
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import ScriptError
from isokernel.runtime import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 -- pathlib: 4 ms
_DIGITS: Final = 12
_FIRST: Final = "bootstrap"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*(/[a-z_][a-z0-9_]*)*")

_LARGE_BYTES: Final = 1 << 15
_held: Final[dict[tuple[str, str], mmap.mmap]] = {}
"""Large texts in memory that forked processes share without page tables of their own:
as texts of Python's, all are a fourth of what a fork copies, and few need one."""

PREFIX: Final = "isokernel:"
"""Scripts of ours are named with it; their frames are never shown."""


def source(name: str, folder: str = "runtime") -> str:
    """Return the text of a module, such as `console` or `web/url`.

    Raises:
        ScriptError: There is no such module.
    """
    held = _held.get((name, folder))
    return _text(name, folder) if held is None else str(held, "utf-8")


@functools.cache
def _text(name: str, folder: str) -> str:
    missing = f"the runtime has no module {name!r}"
    if not _NAME.fullmatch(name):
        raise ScriptError(missing)
    try:
        with open(_path(name, folder), encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        raise ScriptError(missing) from error


def _path(name: str, folder: str) -> str:
    return f"{_PACKAGE}/{folder}/{name}.js"


def wrapped(name: str, folder: str = "runtime") -> str:
    """Return a module as a function expression with its five parameters.

    The last is what `globalThis` means to it, as cells may delete or change that name.
    """
    head = "(function (exports, require, module, host, globalThis) {"
    return f"{head}{source(name, folder)}\n}})"


def text_of(name: str) -> str:
    """Return the text of a script that `load` or `boot` has run, by its name.

    Raises:
        ScriptError: There is no such script.
    """
    if not name.startswith(PREFIX):
        message = f"{name!r} is no script of the runtime"
        raise ScriptError(message)
    module = name.removeprefix(PREFIX)
    return source(module) if module == _FIRST else wrapped(module)


def load(isolate: Isolate, name: str, folder: str = "runtime") -> Any:
    """Compile a module in an isolate, to the function with its five parameters."""
    text = wrapped(name, folder)
    if folder != "runtime":  # of isolates that aren't saved
        return isolate.run_script(text, PREFIX + name)
    code = compiled.code(name, text)
    return isolate.run_script(text, PREFIX + name, code, held=True)


def boot(isolate: Isolate, extras: Value | None = None) -> Value:
    """Run the first script in an isolate, and return the runtime's `require`."""
    text = source(_FIRST)
    code = compiled.code(_FIRST, text)
    start = isolate.run_script(text, f"{PREFIX}{_FIRST}", code, held=True)
    names = json.dumps(isolate.operation_names)
    require: Value = isolate.call(start, isolate.native_function(), names, extras)
    return require


def preload() -> None:
    """Read every module now, and its code; for a process that will be confined."""
    for part in ("runtime", "typescript"):
        for name in _names(part):
            if os.path.getsize(_path(name, part)) <= _LARGE_BYTES:  # noqa: PTH202
                source(name, part)
            elif (name, part) not in _held:
                _hold(name, part)
    identity()
    compiled.read()


def _hold(name: str, folder: str) -> None:
    """Hold a text in a file in memory that nobody can write to any more."""
    import fcntl  # noqa: PLC0415 -- kernels hold none, and load no library for it

    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK
    seals |= fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    with open(_path(name, folder), "rb") as text:  # noqa: PTH123 -- as above
        data = text.read()
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(file, len(data))
        os.pwrite(file, data, 0)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        # Private: whoever makes it writable has a copy of its own. It has a descriptor
        # of its own, too, which a forked process closes; it is never freed.
        _held[name, folder] = mmap.mmap(
            file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ
        )
    finally:
        os.close(file)


def lacks_code() -> bool:
    """Tell whether nobody has kept what V8 makes of this runtime; see `compiled`."""
    return compiled.is_lacking(identity())


def keep_code(isolate: Isolate, part: str, names: Iterable[str], runtime: str) -> None:
    """Keep what V8 has made of modules, for other processes of this user.

    Args:
        isolate: Where `kept_scripts` was set before they were loaded.
        part: The file that they are put into.
        names: Which modules.
        runtime: The identity if all modules are kept; else empty.
    """
    kept = isolate.kept_scripts or {}
    code = {name: isolate.script_code(kept[PREFIX + name]) for name in names}
    texts = {name: source(name) if name == _FIRST else wrapped(name) for name in code}
    compiled.put(part, code, texts, runtime)


def loaded(isolate: Isolate) -> list[str]:
    """Return the modules of the runtime that `kept_scripts` has of an isolate."""
    return [
        name.removeprefix(PREFIX)
        for name in isolate.kept_scripts or ()
        if name.startswith(PREFIX)
    ]


@functools.cache
def identity() -> str:
    """Return which runtime this is: a hash of its modules.

    A heap has the modules on it that were loaded, without their texts; the others, and
    what calls them, are those of whoever goes on from it.
    """
    digest = hashlib.sha256()
    for name in _names("runtime"):
        digest.update(f"{name}\0{text_of(PREFIX + name)}\0".encode())
    return digest.hexdigest()[:_DIGITS]


def _names(part: str) -> list[str]:
    """Return the names of a folder's modules, always in the same order."""
    top = f"{_PACKAGE}/{part}"
    found = []
    for folder, _, files in os.walk(top):
        for file in files:
            name, ending = os.path.splitext(file)  # noqa: PTH122 -- as above
            if ending == ".js":
                found.append(f"{folder}/{name}".removeprefix(f"{top}/"))
    return sorted(found)
