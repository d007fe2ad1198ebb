"""What is asked and told of heaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Collected", "HeapEntry", "HeapRecord", "SnapshotEntry"]


class HeapEntry(NamedTuple):
    """Where a heap that is to be saved comes from.

    Attributes:
        workspace: Whose it is.
        session: The session that it is of, if any.
        input_heap: The heap that the session went on from.
        code: What led from that to this one, as the client sent it.
        execution_id: The execution that it is of, if any.
        tags: Names and values to find it by.
    """

    workspace: str
    session: str | None
    input_heap: str | None
    code: str
    execution_id: str | None
    tags: dict[str, str]


class HeapRecord(NamedTuple):
    """What is known of a heap. Times are seconds since 1970.

    Attributes:
        key: The SHA-256 of what V8 wrote.
        size: Bytes of it.
        compressed_size: Bytes of its file.
        created_at: When this workspace saved it first.
        last_used: When it was saved or loaded last, to the minute.
        parent: The heap that it came from.
        session: The session that it is of.
        execution_id: The execution that it is of.
        engine: The engine that wrote it.
        language: The language of the context that it is of.
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
class SnapshotEntry:
    """One step of a session.

    Attributes:
        index: Its number in the session, from 0.
        input_heap: The heap that it went on from.
        output_heap: The heap that it led to.
        code: What was run, as the client sent it.
        timestamp: When, in seconds since 1970.
    """

    index: int
    input_heap: str | None
    output_heap: str
    code: str
    timestamp: float


class Collected(NamedTuple):
    """What a collection has found.

    Attributes:
        forgotten: Heaps that a workspace owns no more.
        deleted: Files that nobody owned.
        freed: Bytes of them, as far as known.
    """

    forgotten: int
    deleted: int
    freed: int
