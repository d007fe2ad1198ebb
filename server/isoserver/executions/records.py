"""What is known of an execution, and what it can be at."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ExecutionRecord", "Extent", "Outcome", "Status"]


class Status(str, Enum):
    """What an execution is at. All but the first are for ever."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Outcome(NamedTuple):
    """How an execution ended.

    Attributes:
        status: A status that stays.
        result: The value of the code as JSON text, when it completed.
        error: What went wrong, when it did not.
        heap: The key of the heap that it yielded.
        heap_error: Why it yielded none, though it should have.
    """

    status: Status
    result: str | None = None
    error: str | None = None
    heap: str | None = None
    heap_error: str | None = None


class Extent(NamedTuple):
    """How much has been put out.

    Attributes:
        bytes: Bytes in all.
        newlines: How many of them end a line.
        open: Whether there is text after the last newline.
    """

    bytes: int = 0
    newlines: int = 0
    open: bool = False

    @property
    def lines(self) -> int:
        """Lines in all; one without its newline counts."""
        return self.newlines + self.open


class ExecutionRecord(NamedTuple):
    """An execution, as it can be looked up.

    Attributes:
        id: Its name, unique on the server.
        workspace: Whose it is.
        status: What it is at; `running` also while it waits for its turn.
        result: The value of the code as JSON text, when it completed.
        heap: The key of the heap that it yielded.
        heap_error: Why it yielded none, though it should have.
        error: What went wrong, when something did.
        started_at: When it began; while it waits, when it was asked for.
        completed_at: When it ended; None while it hasn't.
        session: The named context that it ran in.
        output: How much it has put out.
    """

    id: str
    workspace: str
    status: Status
    result: str | None
    heap: str | None
    heap_error: str | None
    error: str | None
    started_at: datetime
    completed_at: datetime | None
    session: str | None
    output: Extent
