"""SWC's type stripper, `@swc/wasm-typescript`, the one that Node.js itself uses.

It runs in V8, in an isolate of its own. Mode `strip-only` replaces types by blanks, so
that every line and column stays what the user wrote; it is tried first. What it can't
do (enums, namespaces, parameter properties, `<T>x`) goes through mode `transform`, with
a source map.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import EngineError, TranspilerError
from isokernel.runtime import scripts
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNSUPPORTED: Final = "UnsupportedSyntax"


class Transpiled(NamedTuple):
    """JavaScript that was made of TypeScript.

    Attributes:
        code: The JavaScript.
        source_map: Source map (version 3, JSON text), or None when all positions are
            what they were.
    """

    code: str
    source_map: str | None


class Lowered(NamedTuple):
    """JavaScript that V8 knows, made of what it doesn't.

    Attributes:
        code: The JavaScript.
        source_map: Source map (version 3, JSON text).
        helpers: A script; its value is an object of the functions that the code calls
            as globals.
    """

    code: str
    source_map: str
    helpers: str


class SyntaxProblem(NamedTuple):
    """An error that the compiler has found in a source.

    Attributes:
        message: In the compiler's words.
        line: 1-based.
        column: 0-based.
        end_column: Where the marked part ends; 0 if on another line or unknown.
    """

    message: str
    line: int
    column: int
    end_column: int


class Transpiler:
    """One SWC in one isolate; about 20 ms to start. Belongs to one thread.

    Attributes:
        modules: Names of the modules that its isolate has loaded.
    """

    def __init__(self) -> None:
        """Load SWC.

        Raises:
            TranspilerError: SWC can't be loaded.
        """
        self.modules: list[str] = []
        try:
            self._start()
        except EngineError as error:
            message = f"the TypeScript compiler can't be loaded: {error}"
            raise TranspilerError(message) from error

    def _start(self) -> None:
        self._isolate = isolate = Isolate(
            {
                "load": Operation(functools.partial(self._load, folder="runtime")),
                "compiler": Operation(
                    functools.partial(self._load, folder="typescript")
                ),
            }
        )
        require = scripts.boot(isolate)
        load = isolate.call(
            isolate.run_script("(call, index) => (name) => call(index, name)", "load"),
            isolate.native_function(),
            isolate.operation_names.index("compiler"),
        )
        loader = isolate.run_script(
            scripts.source("loader", "typescript"), "isokernel:typescript"
        )
        exports = isolate.call(loader, load, require)
        self._transform = isolate.get(exports, "transform")
        self._original = isolate.get(exports, "original")
        self._redeclare = isolate.get(exports, "redeclare")
        self._lower = isolate.get(exports, "lower")
        self._without_return = isolate.get(exports, "withoutReturn")
        self._split = isolate.get(exports, "split")

    def _load(self, name: str, folder: str) -> Any:
        self.modules.append(name)
        return scripts.load(self._isolate, name, folder)

    def collect_garbage(self) -> None:
        """Give back what SWC needed to start: 5 MB of pages that each fork lists."""
        self._isolate.collect_garbage()

    def transpile(self, source: str, *, head: int = 0) -> Transpiled | SyntaxProblem:
        """Turn TypeScript into JavaScript.

        Args:
            source: TypeScript.
            head: Columns of the first line that aren't the user's; places in the
                result are counted without them.

        Raises:
            TranspilerError: The compiler itself failed.
        """
        answer = self._run(source, "strip-only")
        error = answer.get("error")
        if error is not None and error["code"] == _UNSUPPORTED:
            answer = self._run(source, "transform")
            error = answer.get("error")
        if error is None:
            return Transpiled(answer["code"], _with_head(answer["map"], head))
        return _problem(error, head)

    def transpile_module(self, source: str) -> Transpiled | SyntaxProblem:
        """Turn a module of TypeScript into JavaScript.

        What it imports and doesn't use is left out, as it may be types.

        Raises:
            TranspilerError: The compiler itself failed.
        """
        answer = self._run(source, "module")
        error = answer.get("error")
        if error is None:
            return Transpiled(answer["code"], answer["map"])
        return _problem(error, 0)

    def _run(self, source: str, mode: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(
                self._isolate.call(self._transform, source, mode)
            )
        except EngineError as error:
            message = f"the TypeScript compiler failed: {error}"
            raise TranspilerError(message) from error
        return answer

    def lower(
        self, source: str, *, head: int = 0, wrap: tuple[str, str] = ("", "")
    ) -> Lowered | SyntaxProblem | None:
        """Lower decorators and `accessor`, types included; see lower.js.

        Args:
            source: TypeScript or JavaScript.
            head: As for `transpile`.
            wrap: What to put around it if it returns, if anything.

        Returns:
            None if it has neither.

        Raises:
            TranspilerError: The compiler itself failed.
        """
        try:
            answer = json.loads(self._isolate.call(self._lower, source, *wrap))
        except EngineError as error:
            message = f"the TypeScript compiler failed: {error}"
            raise TranspilerError(message) from error
        if not answer:
            return None
        if "error" in answer:
            return _problem(answer["error"], head)
        if answer["wrapped"]:
            head += len(wrap[0])
        source_map: str = _with_head(answer["map"], head) or ""
        return Lowered(answer["code"], source_map, answer["helpers"])

    def original(self, source_map: str, line: int, column: int) -> tuple[int, int]:
        """Return the user's place of one in the JavaScript.

        Lines count from 1, columns from 0. A place that the map doesn't know stays as
        it is.
        """
        found = json.loads(self._isolate.call(self._original, source_map, line, column))
        if found[0] is None:
            return line, column
        return found[0], found[1]

    def redeclare(
        self, source: str, kinds: Mapping[str, str], name: str
    ) -> dict[str, Any]:
        """Rewrite declarations to the kinds that their names have; see redeclare.js.

        Args:
            source: JavaScript.
            kinds: The kind of each name.
            name: The name whose place is asked for.

        Returns:
            `code` and `moves`, or the `reason` why not; and the `place` or None.

        Raises:
            TranspilerError: The rewriter itself failed.
        """
        names = json.dumps(list(kinds.items()))
        try:
            text = self._isolate.call(self._redeclare, source, names, name)
        except EngineError as error:
            message = f"the cell could not be rewritten: {error}"
            raise TranspilerError(message) from error
        answer: dict[str, Any] = json.loads(text)
        return answer

    def without_return(self, body: str) -> str | None:
        """Turn a function's body into a cell; see bodies.js.

        Returns:
            JavaScript in which every place is where it was; None if it can't be one.

        Raises:
            TranspilerError: The rewriter itself failed.
        """
        try:
            text: str = self._isolate.call(self._without_return, body)
        except EngineError as error:
            message = f"the code could not be rewritten: {error}"
            raise TranspilerError(message) from error
        return text or None

    def split(self, code: str) -> dict[str, Any]:
        """Split the import and export statements off a cell; see imports.js.

        Raises:
            TranspilerError: The rewriting itself failed.
        """
        try:
            answer: dict[str, Any] = json.loads(self._isolate.call(self._split, code))
        except EngineError as error:
            message = f"the code could not be rewritten: {error}"
            raise TranspilerError(message) from error
        return answer

    def close(self) -> None:
        """Free the isolate."""
        self._isolate.close()


def _problem(error: dict[str, Any], head: int) -> SyntaxProblem:
    shift = head if error["line"] == 1 else 0
    one_line = error["line"] == error["endLine"]
    return SyntaxProblem(
        message=error["message"],
        line=error["line"],
        column=max(error["column"] - shift, 0),
        end_column=max(error["endColumn"] - shift, 0) if one_line else 0,
    )


def _with_head(source_map: str | None, head: int) -> str | None:
    """Put into a source map how much of the first line isn't the user's."""
    if source_map is None or not head:
        return source_map
    return f'{{"x_isokernel_head":{head},{source_map.lstrip()[1:]}'


@functools.cache
def transpiler() -> Transpiler:
    """Return the process's one compiler, started at its first use."""
    return Transpiler()
