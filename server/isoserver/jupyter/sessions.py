"""Sessions of Jupyter Server: which document of a front uses which context.

Each context has one, made up of its id unless a front has made another, as some fronts
(VS Code) list live kernels by their sessions alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from isoserver.contexts.kernel_ids import kernel_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoserver.contexts.context import Key

__all__ = ["Session", "Sessions"]


@dataclass
class Session:
    """A row.

    Attributes:
        path: The document, as the front names it.
        name: Its name.
        kind: `notebook`, `console` or another word of the front's.
        key: The context.
        id: Its UUID.
    """

    path: str
    name: str
    kind: str
    key: Key
    id: str = field(default_factory=lambda: str(uuid4()))

    @classmethod
    def of_context(cls, key: Key) -> Session:
        """Make the one that a context has by itself."""
        _, context_id = key
        return cls(f"{context_id}.ipynb", context_id, "notebook", key, kernel_id(key))


class Sessions:
    """All rows that fronts have made. Used from the event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._rows: dict[str, Session] = {}

    def list(self, keys: Iterable[Key]) -> list[Session]:
        """Return the sessions of some contexts, one or more for each."""
        made: dict[Key, list[Session]] = {}
        for row in self._rows.values():
            made.setdefault(row.key, []).append(row)
        return [
            row for key in keys for row in made.get(key) or [Session.of_context(key)]
        ]

    def add(self, row: Session) -> None:
        """Add a row; one that the same document had is replaced."""
        same = [
            each.id
            for each in self._rows.values()
            if each.path == row.path and each.key[0] == row.key[0]
        ]
        for old in same:
            del self._rows[old]
        self._rows[row.id] = row

    def drop(self, session_id: str) -> None:
        """Drop a row, if a front has made it."""
        self._rows.pop(session_id, None)

    def drop_context(self, key: Key) -> None:
        """Drop all rows of a context."""
        for row in [each for each in self._rows.values() if each.key == key]:
            del self._rows[row.id]
