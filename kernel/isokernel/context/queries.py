"""Completion and inspection: what the runtime knows, in Jupyter's units.

JavaScript counts strings in UTF-16 units, Jupyter (since 5.2) in code points.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isokernel.context.bridge import Bridge
    from isokernel.context.events import MimeBundle


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


def utf16_offset(text: str, position: int) -> int:
    """UTF-16 units before a position that is counted in code points."""
    before = text[: max(position, 0)]
    return len(before) + sum(char > "\uffff" for char in before)


def code_point_offset(text: str, units: int) -> int:
    """Code points before an offset that is counted in UTF-16 units."""
    raw = text.encode("utf-16-le", "surrogatepass")[: 2 * units]
    return len(raw.decode("utf-16-le", "replace"))


def complete(bridge: Bridge, code: str, cursor: int) -> Completions:
    """Ask the runtime for completions."""
    cursor = min(max(cursor, 0), len(code))
    answer = json.loads(bridge.call("complete", code, utf16_offset(code, cursor)))
    return Completions(
        matches=answer["matches"],
        start=code_point_offset(code, answer["start"]),
        end=code_point_offset(code, answer["end"]),
        types=answer["types"],
    )


def inspect(bridge: Bridge, code: str, cursor: int, detail: int) -> MimeBundle | None:
    """Ask the runtime what is known of the name under the cursor."""
    cursor = min(max(cursor, 0), len(code))
    answer = bridge.call("inspect", code, utf16_offset(code, cursor), detail)
    return json.loads(answer) if answer else None
