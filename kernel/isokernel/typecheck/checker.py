"""TypeScript's own checker, in an isolate of its own.

Loading it takes about a second and 150 MB, so it is loaded where checks are forked
from, never where contexts are.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import EngineError, TerminatedError, TypeCheckerError
from isokernel.runtime import scripts
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Diagnostic", "TypeChecker"]

_FOLDER: Final = os.path.dirname(__file__)  # noqa: PTH120 -- as in scripts
_WARMING: Final = """
const kept: Map<string, { id: number; tags?: string[] }> = new Map();
interface Row<T> { readonly value: T; next?: Row<T> }
type Keys<T> = { [K in keyof T]: T[K] extends (...args: any[]) => infer R ? R : never };
async function* pages(n: number): AsyncGenerator<Row<number>> { yield { value: n } }
for await (const page of pages(1)) kept.set(`${page.value}`, { id: page.value });
const sums = await Promise.all([1].map(async (n) => (await tools.a.b({ n })).length));
class Point<T extends object> { constructor(private x: number, public t?: T) {} }
const wrong: string = sums.reduce((a, b) => a + b, 0);
console.log([...kept].filter(([, v]) => v.tags?.includes("a")), new URL("a:b"));
"""


class Diagnostic(NamedTuple):
    """An error that TypeScript has found in code.

    Attributes:
        line: From 1.
        column: From 1, in UTF-16 units.
        code: TypeScript's number for it.
        message: In TypeScript's words.
    """

    line: int
    column: int
    code: int
    message: str


class TypeChecker:
    """One TypeScript in one isolate. Belongs to one thread."""

    def __init__(self) -> None:
        """Load TypeScript and the language's declarations.

        Raises:
            TypeCheckerError: One of them can't be loaded.
        """
        try:
            self._start()
        except (EngineError, OSError) as error:
            message = f"the type checker can't be loaded: {error}"
            raise TypeCheckerError(message) from error

    def _start(self) -> None:
        self._isolate = isolate = Isolate(
            {"load": Operation(lambda name: scripts.load(isolate, name))}
        )
        scripts.boot(isolate)
        module = isolate.run_script(
            "(load) => { const module = { exports: {} };"
            " load(module.exports, () => undefined, module); return module.exports; }",
            "isokernel:module",
        )
        typescript = scripts.load(isolate, "vendor/typescript", "typescript")
        make = isolate.run_script(_read("check.js"), "isokernel:typecheck")
        self._check = isolate.call(
            make,
            isolate.call(module, typescript),
            _read("vendor/libraries.json"),
            _read("globals.d.ts"),
        )

    def warm_up(self) -> None:
        """Run checks, so that what they need is compiled before it is needed."""
        for code in (_WARMING, f"{_WARMING}\nreturn sums", _WARMING):
            self.check(code, "declare const tools: any;", ["earlier"])

    def limit(self, memory_bytes_max: int | None) -> None:
        """Limit heap and buffers; a check that reaches the limit fails."""
        self._isolate.memory.limit(memory_bytes_max, memory_bytes_max)

    def check(
        self, code: str, declarations: str, names: Sequence[str]
    ) -> list[Diagnostic]:
        """Check a cell, or a function's body.

        Args:
            code: TypeScript.
            declarations: What it has beside the language and our globals.
            names: Names that have values, of any type.

        Raises:
            TypeCheckerError: The checker failed, or ran out of memory.
        """
        arguments = (code, declarations, json.dumps(list(names)))
        try:
            found = json.loads(self._isolate.call(self._check, *arguments))
        except TerminatedError as error:
            message = "the type checker ran out of memory"
            raise TypeCheckerError(message) from error
        except EngineError as error:
            message = f"the type checker failed: {error}"
            raise TypeCheckerError(message) from error
        return [Diagnostic(**one) for one in found]

    def close(self) -> None:
        """Free the isolate."""
        self._isolate.close()


def _read(name: str) -> str:
    """Read a file of this package; not kept, as it is needed once."""
    with open(f"{_FOLDER}/{name}", encoding="utf-8") as file:  # noqa: PTH123
        return file.read()
