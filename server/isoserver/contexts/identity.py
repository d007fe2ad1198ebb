"""What a context is, and what it can be at."""

from __future__ import annotations

import secrets
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from isoserver.contexts.languages import Language

__all__ = ["Identity", "Key", "Observer", "State", "new_id"]

Key: TypeAlias = tuple[str, str]
"""Workspace and id."""

_ID_CHARACTERS: Final = 21


class State(str, Enum):
    """What a context is at."""

    STARTING = "starting"
    HIBERNATED = "hibernated"
    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"


class Observer(Protocol):
    """Who counts what contexts do (the metrics)."""

    def executed(self, language: str, outcome: str, seconds: float) -> None:
        """An execution is over."""

    def started(self, language: str, seconds: float) -> None:
        """A context's process is ready."""

    def died(self, language: str) -> None:
        """A context's process ended by itself."""


def new_id() -> str:
    """Make an id: 126 random bits in 21 characters that are safe in a URL."""
    return secrets.token_urlsafe(16)[:_ID_CHARACTERS]


class Identity(NamedTuple):
    """What a context is, whatever becomes of its process.

    Attributes:
        workspace: Whose it is.
        id: Its name, unique in the workspace.
        language: What its code is in unless a request says otherwise.
        cwd: The working folder, as it was asked for.
    """

    workspace: str
    id: str
    language: Language
    cwd: str
