"""Names of tools: one canonical spelling, and all others found.

Canonical is snake_case in lower case, dots between segments. What is looked up is
compared without underscores, hyphens and case, so `createIssue`, `create_issue` and
`create-issue` are one.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["camel", "distinct", "key", "nearest", "snake", "words"]

_ACRONYM: Final = re.compile(r"([A-Z]+)([A-Z][a-z])")
_HUMP: Final = re.compile(r"([a-z0-9])([A-Z])")
_OTHER: Final = re.compile(r"[^a-z0-9]+")
_SEGMENT_MAX: Final = 96
_NEAREST: Final = 3
_LIKENESS: Final = 0.55
_COMPARED_MAX: Final = 200


def words(text: str) -> list[str]:
    """Return the words of a name or a text, in lower case."""
    spaced = _HUMP.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", text))
    return [word for word in _OTHER.split(spaced.lower()) if word]


def snake(text: str) -> str:
    """Return the canonical spelling of one segment."""
    made = "_".join(words(text))[:_SEGMENT_MAX].strip("_")
    if not made:
        return "tool"
    return f"_{made}" if made[0].isdigit() else made


def camel(segment: str) -> str:
    """Return the camelCase spelling of a canonical segment."""
    lead = "_" if segment.startswith("_") else ""
    first, *others = segment.strip("_").split("_")
    return lead + first + "".join(other.capitalize() for other in others)


def key(path: str) -> str:
    """Return what all spellings of a path have in common."""
    return re.sub(r"[_\-\s]+", "", path).lower()


def distinct(paths: Sequence[str]) -> list[str]:
    """Number the paths that would be one, `_2`, `_3` and so on, in the order given."""
    taken: set[str] = set()
    made = []
    for path in paths:
        name, number = path, 1
        while key(name) in taken:
            number += 1
            name = f"{path}_{number}"
        taken.add(key(name))
        made.append(name)
    return made


def nearest(path: str, known: Iterable[str]) -> list[str]:
    """Return the known paths that are most like one that is unknown."""
    wanted = key(path[:_COMPARED_MAX])
    by_key = {key(name): name for name in known}
    same_end = [
        name
        for name in by_key.values()
        if key(name).rpartition(".")[2] == wanted.rpartition(".")[2]
    ]
    alike = difflib.get_close_matches(wanted, by_key, _NEAREST, _LIKENESS)
    ranked = [*same_end[:_NEAREST], *(by_key[found] for found in alike)]
    return list(dict.fromkeys(ranked))[:_NEAREST]
