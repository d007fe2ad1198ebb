"""A name declared again with another kind: `let` to `const`, a function to a `const`.

V8 lets a later cell declare a name again with the same kind only. What it refuses for
this reason has not begun to run, so the cell may be tried again, its declarations
rewritten to the kind that the name has (see typescript/redeclare.js), as often as V8
finds another name. Cells without such a clash come by here and pay nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.compiler.cells import Move
from isokernel.errors import ScriptError
from isokernel.typescript.transpiler import transpiler
from isokernel.v8.isolate import Thrown

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.compiler.cells import Compiled
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

_CLASH: Final = r"Identifier '(.+)' has already been declared"
_ATTEMPTS: Final = 200
"""One for each name."""
_PROBE: Final = "isokernel:probe"
_UNKNOWN: Final = "unknown"

_HINTS: Final = {
    "constant": (
        "  An earlier cell made it a constant, and this one assigns to it: "
        "choose another name, or restart."
    ),
    "mixed": (
        "  Earlier cells declared the names of this declaration in different ways: "
        "give each a declaration of its own."
    ),
    _UNKNOWN: (
        "  An earlier cell declared it in another way: choose another name, or restart."
    ),
}


class Clash(NamedTuple):
    """V8 refused a declaration, and rewriting it did not help.

    Attributes:
        thrown: V8's error, at the declaration.
        hint: A line of advice; empty if there is none.
    """

    thrown: Thrown
    hint: str


class Cell:
    """A cell that is about to run."""

    __slots__ = ("_before_run", "_constants", "_message", "_script", "isolate")

    def __init__(
        self,
        isolate: Isolate,
        script: str,
        *,
        before_run: Callable[[Compiled], None],
        message: Callable[[Thrown], str],
        constants: set[str],
    ) -> None:
        """Run nothing yet.

        Args:
            isolate: Where it runs.
            script: The name of its script.
            before_run: Called each time with what V8 is about to run for it; once
                more at the end with what places are counted in.
            message: Reads the message of an error.
            constants: Receives the names that it declares otherwise but that have to
                be constants.
        """
        self.isolate = isolate
        self._script = script
        self._before_run = before_run
        self._message = message
        self._constants = constants

    def run(self, compiled: Compiled) -> Value | Thrown | Clash:
        """Evaluate the cell, if need be with its declarations rewritten."""
        outcome = self._attempt(compiled)
        if not isinstance(outcome, Thrown):
            return outcome
        name = self.clashing(outcome)
        if name is None:
            return outcome
        return self._rewritten(compiled, outcome, name)

    def _attempt(self, compiled: Compiled) -> Value | Thrown:
        self._before_run(compiled)
        return self.isolate.evaluate(compiled.code, self._script, plain=compiled.plain)

    def clashing(self, outcome: Value | Thrown) -> str | None:
        """Return the name that was declared before, if V8 refused the cell for that."""
        if not isinstance(outcome, Thrown) or outcome.terminated:
            return None
        found = re.fullmatch(_CLASH, self._message(outcome))
        return found[1] if found else None

    def _rewritten(
        self, compiled: Compiled, thrown: Thrown, name: str
    ) -> Value | Thrown | Clash:
        kinds: dict[str, str] = {}
        for _ in range(_ATTEMPTS):
            known = name in kinds
            if not known:
                kinds[name] = _kind(self, name, fresh=compiled.source_map is not None)
            answer = transpiler().redeclare(compiled.code, kinds, name)
            if known or "code" not in answer:
                return self._give_up(compiled, thrown, answer)
            moves = tuple(Move(*move) for move in answer["moves"])
            changed = compiled._replace(code=answer["code"], moves=moves)
            outcome = self._attempt(changed)
            if not isinstance(outcome, Thrown) or outcome.terminated:
                self._constants.update(n for n in kinds if kinds[n] == "const")
                return outcome
            again = self.clashing(outcome)
            if again is None:  # what came out is no JavaScript: `for (async of …)`
                return self._give_up(compiled, thrown, answer)
            thrown, name = outcome, again
        return self._give_up(compiled, thrown, {})

    def _give_up(
        self, compiled: Compiled, thrown: Thrown, answer: dict[str, Any]
    ) -> Thrown | Clash:
        self._before_run(compiled)  # as places are counted in it
        reason = answer.get("reason", _UNKNOWN)
        if reason == "invalid":  # a name that is declared twice in the cell itself
            return thrown
        return Clash(_placed(thrown, answer.get("place")), _HINTS.get(reason, ""))


def _kind(cell: Cell, name: str, *, fresh: bool) -> str:
    """Return the kind that a name has, as redeclare.js calls it.

    Args:
        cell: For its isolate.
        name: V8 complained of it.
        fresh: The cell must not see the old value.
    """
    if name not in cell.isolate.lexical_names():
        return "var"
    # This can't run, as `undefined` can't be declared; V8 names the first of the two
    # that it refuses, and it refuses to make a variable of a constant.
    probe = cell.isolate.evaluate(f"let {name}, undefined", _PROBE)
    if cell.clashing(probe) == name:
        return "const"
    return "reset" if fresh or not _has_value(cell.isolate, name) else "let"


def _has_value(isolate: Isolate, name: str) -> bool:
    """Return whether the cell that declared the name came so far."""
    try:
        isolate.run_script(f"void {name}", _PROBE)
    except ScriptError:
        return False
    return True


def _placed(thrown: Thrown, place: tuple[int, int, int] | None) -> Thrown:
    """Replace V8's place, which is 1:1 for errors at run time, by the parser's."""
    if place is None:
        return thrown
    line, column, end_column = place
    return thrown._replace(line=line, column=column, end_column=end_column)
