"""The JavaScript that isokernel brings, read from the package once and held in memory.

In memory, because a context's process may lose its sight of the file system before a
module is first needed.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

from isokernel.errors import ScriptError

_PACKAGE: Final = Path(__file__).parent
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*(/[a-z_][a-z0-9_]*)*")

PREFIX: Final = "isokernel:"
"""Scripts of ours are named with it; their frames are never shown."""


@functools.cache
def source(name: str, folder: str = "runtime") -> str:
    """Text of a module, such as `console` or `web/url`.

    Raises:
        ScriptError: There is no such module.
    """
    path = _PACKAGE / folder / f"{name}.js"
    if not _NAME.fullmatch(name) or not path.is_file():
        message = f"the runtime has no module {name!r}"
        raise ScriptError(message)
    return path.read_text(encoding="utf-8")


def wrapped(name: str, folder: str = "runtime") -> str:
    """The module as a function expression of its four parameters."""
    return f"(function (exports, require, module, host) {{{source(name, folder)}\n}})"


def preload() -> None:
    """Read every module now; for a process that will be confined."""
    for path in sorted((_PACKAGE / "runtime").rglob("*.js")):
        name = path.relative_to(_PACKAGE / "runtime").with_suffix("").as_posix()
        source(name)
