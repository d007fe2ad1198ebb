"""Questions about a context that run no cell: completion, inspection, names.

JavaScript counts strings in UTF-16 units, Jupyter (since 5.2) in code points.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from isokernel.compiler.completeness import Completeness, completeness

if TYPE_CHECKING:
    from isokernel.context.events import MimeBundle
    from isokernel.context.turns import Turns
    from isokernel.settings import Language


class Completions(NamedTuple):
    """What may stand between two places of the code.

    Attributes:
        matches: Texts to insert.
        start: Where the replaced text begins, in code points.
        end: Where it ends.
        types: What each match is: function, class, property, keyword ...
    """

    matches: list[str]
    start: int
    end: int
    types: list[str]


class Queries:
    """Answers from the runtime. On the V8 thread, also while an execution awaits."""

    def __init__(self, turns: Turns) -> None:
        """Ask the runtime in turns of its own."""
        self._turns = turns
        self._bridge = turns.bridge

    def complete(self, code: str, cursor: int) -> Completions:
        """Return completions at a cursor in code points; runs none of the code."""
        cursor = min(max(cursor, 0), len(code))
        answer = self._ask("complete", code, utf16_offset(code, cursor))
        if answer is None:
            return Completions([], cursor, cursor, [])
        return Completions(
            matches=answer["matches"],
            start=code_point_offset(code, answer["start"]),
            end=code_point_offset(code, answer["end"]),
            types=answer["types"],
        )

    def inspect(self, code: str, cursor: int, detail: int = 0) -> MimeBundle | None:
        """Return what is known of the name under the cursor; None if nothing."""
        cursor = min(max(cursor, 0), len(code))
        bundle: MimeBundle | None = self._ask(
            "inspect", code, utf16_offset(code, cursor), detail
        )
        return bundle

    def is_complete(
        self, code: str, language: Language | None = None
    ) -> tuple[Completeness, str]:
        """Return whether a console should run the text, and the next line's indent.

        Args:
            code: The text so far.
            language: What it is; the context's language if None.
        """
        language = language or self._turns.settings.language
        return completeness(self._bridge.isolate, code, language)

    def names(self) -> list[str]:
        """Return the names that cells declared or put on the global object."""
        on_global: list[str] = json.loads(self._bridge.call("globalNames"))
        return sorted({*self._bridge.isolate.lexical_names(), *on_global})

    def _ask(self, export: str, *arguments: Any) -> Any:
        """Return an answer that is JSON; None for none, or if it was terminated."""
        answer = self._turns.run(lambda: self._bridge.call(export, *arguments))
        return json.loads(answer) if answer else None


def utf16_offset(text: str, position: int) -> int:
    """Count the UTF-16 units before a position that is counted in code points."""
    before = text[: max(position, 0)]
    return len(before) + sum(char > "\uffff" for char in before)


def code_point_offset(text: str, units: int) -> int:
    """Count the code points before an offset that is counted in UTF-16 units."""
    raw = text.encode("utf-16-le", "surrogatepass")[: 2 * units]
    return len(raw.decode("utf-16-le", "replace"))
