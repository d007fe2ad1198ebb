"""Heaps as plain data, and what their keys and tags may be.

Times are seconds since 1970, as `time.time` returns them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from isoserver.errors import FieldProblem, InvalidRequestError

__all__ = [
    "KEY_PATTERN",
    "SESSION_FIELDS",
    "TAGS_MAX",
    "TAG_NAME_CHARACTERS_MAX",
    "TAG_VALUE_CHARACTERS_MAX",
    "Collected",
    "HeapOrigin",
    "HeapRecord",
    "SessionEntry",
    "check_tags",
    "choose_fields",
    "is_key",
    "split_names",
]

KEY_PATTERN: Final = "^[0-9a-f]{64}$"
TAGS_MAX: Final = 100
"""How many tags a heap may have."""
TAG_NAME_CHARACTERS_MAX: Final = 256
TAG_VALUE_CHARACTERS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class HeapOrigin:
    """Where a heap that is to be saved comes from.

    Attributes:
        workspace: Who will own it.
        session: The session whose state it is, if any.
        input_heap: The heap that the session went on from.
        code: What led from that heap to this one, as the client sent it.
        execution_id: The run that yields it, if any.
        tags: Names and values to find it by.
    """

    workspace: str
    session: str | None = None
    input_heap: str | None = None
    code: str = ""
    execution_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class HeapRecord(NamedTuple):
    """A workspace's heap as the database has it.

    Attributes:
        key: The heap key.
        size: Bytes of the heap.
        compressed_size: Bytes of its file.
        created_at: When this workspace first saved it.
        last_used: When it was last saved or loaded, to the minute.
        parent: The heap that the context had gone on from.
        session: The session whose state it is.
        execution_id: The run that yielded it.
        engine: The identity of the engine that wrote it, and alone can read it.
        language: The name of the language of its context.
        execution_count: Number of the last execution in it.
        tags: Names and values to find it by.
    """

    key: str
    size: int
    compressed_size: int
    created_at: float
    last_used: float
    parent: str | None
    session: str | None
    execution_id: str | None
    engine: str
    language: str
    execution_count: int
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One step in the history of a session.

    Attributes:
        index: Its number in the session, from 0.
        input_heap: The heap that the code went on from.
        output_heap: The heap that it led to.
        code: The code, as the client sent it.
        timestamp: When the heap was saved.
    """

    index: int
    input_heap: str | None
    output_heap: str
    code: str
    timestamp: float


SESSION_FIELDS: Final = tuple(field.name for field in fields(SessionEntry))


class Collected(NamedTuple):
    """What one collection has deleted.

    Attributes:
        forgotten: How many heaps their workspaces no longer own.
        deleted: How many files nobody owned.
        freed_bytes: The size of these files, as far as the store tells it.
    """

    forgotten: int
    deleted: int
    freed_bytes: int


def is_key(text: str) -> bool:
    """Tell whether a text can be a heap key: 64 lower-case hexadecimal digits."""
    return re.fullmatch(KEY_PATTERN, text) is not None


def check_tags(tags: dict[str, str]) -> None:
    """Check the tags of a heap, wherever they come from.

    Raises:
        InvalidRequestError: There are too many of them, one is too long, or one has a
            NUL character, which PostgreSQL can't store.
    """
    problem = None
    if len(tags) > TAGS_MAX:
        problem = f"there are {len(tags)} tags; the limit is {TAGS_MAX}"
    elif any("\0" in text for pair in tags.items() for text in pair):
        problem = "NUL characters are not allowed"
    elif not all(
        1 <= len(name) <= TAG_NAME_CHARACTERS_MAX
        and len(value) <= TAG_VALUE_CHARACTERS_MAX
        for name, value in tags.items()
    ):
        problem = (
            f"names have 1 to {TAG_NAME_CHARACTERS_MAX} characters, and values up to "
            f"{TAG_VALUE_CHARACTERS_MAX}"
        )
    if problem is not None:
        raise InvalidRequestError(FieldProblem("tags", problem))


def split_names(text: str) -> tuple[str, ...]:
    """Split names at the commas between them; blanks around them don't count."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def choose_fields(text: str | None) -> tuple[str, ...]:
    """Return the fields of a `SessionEntry` that a client asks for, all for None.

    Raises:
        InvalidRequestError: There is no such field.
    """
    if text is None:
        return SESSION_FIELDS
    names = split_names(text)
    for name in names:
        if name not in SESSION_FIELDS:
            problem = f"there is no {name[:64]!r}; there are: "
            problem += ", ".join(SESSION_FIELDS)
            raise InvalidRequestError(FieldProblem("fields", problem))
    return tuple(name for name in SESSION_FIELDS if name in names)
