"""Packages that need one another, and modules in files: what imports are tried on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.support.registry import PackageRegistry, serve_registry

from isokernel.packages.specifiers import location_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isokernel.packages.answers import GraphAnswer

IMPORT = "import {sum} from 'npm:sums@1'; sum(1, 2)"
FILES = {
    "lib/a.mjs": "import {b} from './b.ts'; import local from 'local'; "
    "export const all = [b, local]",
    "lib/b.ts": "export const b: string = 'b'",
    "node_modules/local/package.json": '{"main": "m.cjs"}',
    "node_modules/local/m.cjs": "module.exports = require('./n')",
    "node_modules/local/n.js": "module.exports = 'local'",
    "data.json": '{"x": 1}',
}
FROM_FILES = (
    "import {all} from './lib/a.mjs'; "
    "import data from './data.json' with {type: 'json'}; [...all, data.x].join()"
)


class Program(NamedTuple):
    """A few words of JavaScript that show that a package of npm does its job.

    Attributes:
        specifier: The package with its major version, and a path in it.
        group: `spike`, `most used` or `others`.
        code: An expression, in which `m` is the package's namespace.
        result: What it is, as a string.
        fails: What the error says if the package doesn't work.
        unsaved: What the error says if a context with it can't be saved.
    """

    specifier: str
    group: str
    code: str
    result: str
    fails: str = ""
    unsaved: str = ""

    @property
    def package(self) -> str:
        """The package with its version, without a path in it."""
        parts = self.specifier.split("/")
        return "/".join(parts[: 2 if self.specifier.startswith("@") else 1])


_PROGRAMS: Final = Path(__file__).with_name("npm_programs.json")
PROGRAMS: Final = {
    name: Program(name, **given)
    for name, given in json.loads(_PROGRAMS.read_text("utf-8")).items()
}


def read_graph(answer: GraphAnswer) -> dict[str, Any]:
    """What a context is told of an import: `roots`, and `modules` with their texts."""

    def text(start: int, size: int) -> str:
        return answer.data[start : start + size].decode("utf-8", "replace")

    told = json.loads(answer.text)
    table, rows, _ = json.loads(told["compile"])
    urls, imports = json.loads(told["imports"])
    modules: list[dict[str, Any]] = [
        {
            "url": table[number],
            "format": "esm",
            "imports": {name: urls[target] for name, target in meant.items()},
            "source": text(start, size),
        }
        for (number, start, size, *_), meant in zip(rows, imports, strict=True)
    ]
    assert [module["url"] for module in modules] == told["compiled"]
    modules += [
        {**module, "source": text(*module.get("source", (0, 0)))}
        for module in told["modules"]
    ]
    for module in modules:
        location = location_of(module["url"])
        module["package"] = "" if location is None else location.package
    return {"roots": told["roots"], "modules": modules}


CACHE: Final = Path.home() / ".cache" / "isokernel-tests" / "packages"
"""Packages of npm that tests use without a registry."""


def fetch_packages(name: str, *arguments: str) -> None:
    """Fetch packages into the folder that tests share, unless it was done before.

    Args:
        name: Of those who use them.
        arguments: Of `isokernel packages`.
    """
    digest = hashlib.sha256("\n".join(arguments).encode()).hexdigest()
    stamp = CACHE.with_name(f"{name}.sha256")
    if stamp.is_file() and stamp.read_text() == digest:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        (sys.executable, "-m", "isokernel", "packages", *arguments),
        env={**os.environ, "ISOKERNEL_PACKAGE_CACHE_DIR": str(CACHE)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    stamp.write_text(digest)


@contextmanager
def registry_file(folder: Path) -> Iterator[Path]:
    """Serve a registry with the packages; an npmrc in the folder that names it."""
    with registry_of_packages() as registry:
        yield registry.write_npmrc(folder)


@contextmanager
def registry_of_packages() -> Iterator[PackageRegistry]:
    """Serve a registry with the packages."""
    with serve_registry() as registry:
        registry.publish(
            "sums",
            "1.2.0",
            {
                "index.js": "import {zero} from 'zero';\n"
                "export const sum = (...all) => all.reduce((a, b) => a + b, zero);"
            },
            type="module",
            dependencies={"zero": "^1"},
        )
        registry.publish("zero", "1.0.1", {"index.js": "exports.zero = 0"})
        registry.publish("other", files={"index.js": "module.exports = 'other'"})
        yield registry
