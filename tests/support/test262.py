"""Cases of test262, the tests of JavaScript itself, and how one of them is judged."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Case", "Failure", "Host", "harness", "read", "run", "url_of"]

_FRONT_MATTER: Final = re.compile(r"/\*---(.*?)---\*/", re.DOTALL)
_INLINE: Final = r"^ *{}:[ ]*\[(.*?)\]"
_BLOCK: Final = r"^ *{}:[ ]*\n((?: *- .*\n?)+)"
_NEGATIVE: Final = re.compile(r"^negative:\n((?: +.*\n?)+)", re.MULTILINE)
_COMPLETE: Final = "Test262:AsyncTestComplete"
_FAILURE: Final = "Test262:AsyncTestFailure:"
_STRICT: Final = '"use strict";\n'


class Case(NamedTuple):
    """A file of the checkout.

    Attributes:
        path: Below its folder `test`.
        source: Its text.
        flags: What its head says of how it is run.
        features: What of the language it needs.
        includes: Files of the harness.
        phase: When it must fail: `parse`, `resolution`, `runtime`; empty for never.
        error: The class of what is thrown then.
    """

    path: str
    source: str
    flags: frozenset[str]
    features: frozenset[str]
    includes: tuple[str, ...]
    phase: str
    error: str

    @property
    def modes(self) -> tuple[str, ...]:
        """How often it runs, and how each time."""
        for flag, mode in (
            ("module", "module"),
            ("raw", "raw"),
            ("onlyStrict", "strict"),
            ("noStrict", "sloppy"),
        ):
            if flag in self.flags:
                return (mode,)
        return "sloppy", "strict"

    @property
    def unfit(self) -> str:
        """Why it can't be run here; empty if it can."""
        if "$262.agent" in self.source or "atomicsHelper.js" in self.includes:
            return "needs agents, which are threads"
        if "CanBlockIsFalse" in self.flags:
            return "needs a thread that must not wait"
        if "IsHTMLDDA" in self.features:
            return "needs an object such as document.all"
        return ""


def read(checkout: Path, path: Path) -> Case:
    """Read a file and what its head says."""
    source = path.read_bytes().decode()
    found = _FRONT_MATTER.search(source)
    head = found[1].replace("\r\n", "\n").replace("\r", "\n") if found else ""
    negative = _NEGATIVE.search(head)
    fields = dict(re.findall(r"(\w+): *(\w+)", negative[1])) if negative else {}
    return Case(
        path.relative_to(checkout / "test").as_posix(),
        source,
        frozenset(_listed(head, "flags")),
        frozenset(_listed(head, "features")),
        tuple(dict.fromkeys(_listed(head, "includes"))),
        fields.get("phase", ""),
        fields.get("type", ""),
    )


def _listed(head: str, name: str) -> list[str]:
    inline = re.search(_INLINE.format(name), head, re.MULTILINE | re.DOTALL)
    if inline:
        return [item.strip() for item in inline[1].split(",") if item.strip()]
    block = re.search(_BLOCK.format(name), head, re.MULTILINE)
    return re.findall(r"- *(\S+)", block[1]) if block else []


def harness(case: Case) -> tuple[str, ...]:
    """Return the files of the harness that run before a case."""
    if "raw" in case.flags:
        return ()
    extra = ("doneprintHandle.js",) if "async" in case.flags else ()
    return ("assert.js", "sta.js", *extra, *case.includes)


class Failure(NamedTuple):
    """What was thrown.

    Attributes:
        name: Of its class; empty if it is no object.
        message: Its message.
    """

    name: str
    message: str


class Host(Protocol):
    """What runs the files of the harness, and then one case."""

    printed: list[str]

    def script(self, text: str) -> Failure | None:
        """Run a script to its end."""

    def module(self, url: str) -> Failure | None:
        """Import a module."""

    def visit(self, folder: str) -> None:
        """Have scripts import what is in a folder of the checkout."""

    def wait(self, until: Callable[[], bool]) -> None:
        """Run what waits."""


def run(host: Host, case: Case, mode: str) -> str:
    """Run a case once the harness is there; return what is wrong, or nothing."""
    host.visit(posixpath.dirname(case.path))
    if mode == "module":
        thrown = host.module(url_of(case.path))
    else:
        thrown = host.script((_STRICT if mode == "strict" else "") + case.source)
    if case.phase:
        if thrown is not None and thrown.name == case.error:
            return ""
        return f"{case.error} wanted, not {thrown and ': '.join(thrown)}"
    if thrown is not None:
        return f"{thrown.name}: {thrown.message}"
    return _late(host) if "async" in case.flags else ""


def _late(host: Host) -> str:
    """Wait until a case says how it has ended; return what is wrong, or nothing."""
    host.wait(
        lambda: any(_COMPLETE in text or _FAILURE in text for text in host.printed)
    )
    for text in host.printed:
        if _FAILURE in text:
            return text.removeprefix(_FAILURE)
    if any(_COMPLETE in text for text in host.printed):
        return ""
    return "it did not end"


def url_of(path: str) -> str:
    """Return the URL that a file of the checkout has as a module."""
    return f"file:///{path}"
