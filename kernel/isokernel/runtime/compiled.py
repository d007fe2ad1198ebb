"""What V8 has made of the runtime's modules, kept in a file of the user's cache.

Node.js's modules alone are 300 KB, which each context that imports one would compile
anew. The file is for one runtime and one V8: its name has the hash of both. It is
written by a process that runs nothing but the runtime itself (`forkserver.contexts`),
so what is in it is ours; V8 checks little of such code.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Final

from isokernel.v8.library import engine_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isokernel.v8.isolate import Isolate

__all__ = ["code", "forget", "is_lacking", "known", "of", "put"]

_DIGEST_BYTES: Final = 32
_LARGE: Final = 1 << 15
_KEPT_MAX: Final = 4
"""Files: of other versions that the user has beside this one."""


@functools.cache
def known() -> Mapping[str, bytes]:
    """Return the code of modules by their names, as far as there is a file."""
    try:
        with open(_path(), "rb") as file:  # noqa: PTH123 -- pathlib: 4 ms
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return {}  # somebody else has the folder
            data = file.read()
    except OSError:
        return {}
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        return {}
    import msgspec  # noqa: PLC0415 -- 10 ms that the start of a kernel doesn't need

    try:
        return msgspec.msgpack.decode(data[_DIGEST_BYTES:], type=dict[str, bytes])
    except msgspec.MsgspecError:
        return {}


def code(name: str, size: int) -> bytes | None:
    """Return the code of a module, if there is any.

    Where nothing was read yet, the file is read for a large module only: to find which
    one it is takes as long as to compile some small ones.

    Args:
        name: The module's.
        size: Characters of its text.
    """
    if size < _LARGE and not known.cache_info().currsize:
        return None
    return known().get(name)


def is_lacking() -> bool:
    """Tell whether there is no file, and one could be written."""
    folder = os.path.dirname(_path())  # noqa: PTH120 -- as above
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 -- as above
    return not known() and os.path.isdir(folder) and os.access(folder, os.W_OK)  # noqa: PTH112


def forget() -> None:
    """Read the file again when it is next wanted: it may be there by then."""
    known.cache_clear()


def of(isolate: Isolate, prefix: str) -> dict[str, bytes]:
    """Return the code of the modules that an isolate has loaded since it keeps them.

    Args:
        isolate: Where `kept_scripts` was set before.
        prefix: Of their names as scripts.
    """
    kept = isolate.kept_scripts or {}
    return {
        name.removeprefix(prefix): isolate.script_code(script)
        for name, script in kept.items()
        if name.startswith(prefix) and script.isolate is isolate
    }


def put(code: Mapping[str, bytes]) -> None:
    """Write the file, if the folder can be written; those unused longest go."""
    import msgspec  # noqa: PLC0415 -- as above

    data = msgspec.msgpack.encode(code)
    path = _path()
    folder = os.path.dirname(path)  # noqa: PTH120 -- as above
    aside = f"{folder}/.{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        try:
            with open(aside, "xb") as file:  # noqa: PTH123 -- as above
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(aside, path)  # noqa: PTH105 -- as above
        except OSError:
            os.unlink(aside)  # noqa: PTH108 -- as above
            raise
        with os.scandir(folder) as found:
            files = sorted(found, key=lambda entry: entry.stat().st_mtime)
        for entry in files[:-_KEPT_MAX]:
            os.unlink(entry.path)  # noqa: PTH108 -- as above


def _path() -> str:
    from isokernel.runtime import scripts  # noqa: PLC0415 -- which imports this

    key = f"{scripts.identity()}\0{engine_identity()}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 -- as above
    return f"{base}/isokernel/runtime/{name}"
