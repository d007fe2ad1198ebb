"""What is known of a run, as plain data."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

__all__ = [
    "EXIT_CODES",
    "LIST_DEFAULT",
    "LIST_MAX",
    "UNENDED",
    "Diagnostic",
    "Ending",
    "Extent",
    "Kind",
    "RunFailure",
    "RunRecord",
    "Status",
    "Wanted",
    "WrittenFile",
]

LIST_DEFAULT: Final = 100
LIST_MAX: Final = 1000


class Kind(str, Enum):
    """What kind of order a run is of; the names are in the database."""

    SCRIPT = "script"
    """Code by itself: an execution to the API."""
    TASK = "task"
    """Code with tools to call: a task to the API."""


class Status(str, Enum):
    """How a run stands. All but the first three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting_for_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DENIED = "denied"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it never changes again."""
        return self in EXIT_CODES

    @property
    def of_execution(self) -> Status:
        """What the API of executions calls it: `running` until it is final."""
        return self if self.final else Status.RUNNING


EXIT_CODES: Final[dict[Status, int]] = {
    Status.COMPLETED: 0,
    Status.FAILED: 1,
    # What shells and timeout(1) say.
    Status.TIMED_OUT: 124,
    Status.DENIED: 126,
    Status.CANCELLED: 130,
}
UNENDED: Final = frozenset(Status) - EXIT_CODES.keys()


class RunFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run did not complete.

    Attributes:
        name: The error's name.
        message: Its message.
        stack: Where in the code, as text for people; empty if it isn't the code's.
    """

    name: str
    message: str
    stack: str = ""


class Diagnostic(msgspec.Struct, frozen=True):
    """An error that the type checker found.

    Attributes:
        line: From 1.
        column: From 1, in UTF-16 units.
        code: TypeScript's number for it, such as 2322.
        message: In TypeScript's words.
    """

    line: int
    column: int
    code: int
    message: str


class WrittenFile(msgspec.Struct, frozen=True):
    """A file that a run has written or changed.

    Attributes:
        path: From the context's folder.
        size: Bytes.
    """

    path: str
    size: int


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run ended; stored as JSON, so that a new field needs a default.

    Attributes:
        status: A final status.
        error: Why it did not complete; None if it did.
        result: The value of the code as JSON text; None for undefined.
        result_cut: `result` is head and tail of a value that was too long.
        result_text: The value as text, when JSON doesn't hold all of it.
        result_note: What JSON doesn't hold of it, and what was cut.
        heap: The key of the heap that a script yielded.
        heap_error: Why it yielded none, though it completed.
        logs: What a task printed, by stream, one entry a line.
        displays: What a task displayed: `data` by MIME type, and `metadata`.
        diagnostics: The type errors because of which a task did not run.
        context_id: The context whose files `files` are.
        files: What it wrote into the context's folder, as much as is told.
        files_count: How many files it wrote there.
    """

    status: Status
    error: RunFailure | None = None
    result: str | None = None
    result_cut: bool = False
    result_text: str | None = None
    result_note: str | None = None
    heap: str | None = None
    heap_error: str | None = None
    logs: dict[str, list[str]] = {}
    displays: list[dict[str, Any]] = []
    diagnostics: list[Diagnostic] = []
    context_id: str = ""
    files: list[WrittenFile] = []
    files_count: int = 0


class Extent(NamedTuple):
    """How much has been printed.

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


class Wanted(NamedTuple):
    """Which runs of a list are wanted, newest first.

    Attributes:
        limit: How many at most.
        offset: How many are passed over first.
        statuses: Only those with one of these: all final, or none of them.
        metadata: Only those whose metadata has all of these names, with these values.
    """

    limit: int = LIST_DEFAULT
    offset: int = 0
    statuses: frozenset[Status] | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def has(self, metadata: dict[str, Any]) -> bool:
        """Whether metadata is as it shall be."""
        return all(
            name in metadata and _as_text(metadata[name]) == value
            for name, value in self.metadata
        )


def _as_text(value: Any) -> str | None:
    """Return a value as a query has it: text as it is, numbers and so on as JSON."""
    if isinstance(value, str):
        return value
    return None if isinstance(value, (list, dict)) else json.dumps(value)


class RunRecord(NamedTuple):
    """A run, as it can be looked up. Times are seconds since 1970.

    Attributes:
        id: Its name, unique on the server; a task's can't be guessed.
        kind: What kind of order it is of.
        workspace: Who owns it.
        session: The named context that it runs in; None for one of its own.
        seconds: How long its code may run.
        details: What else was ordered and is kept: `Order.details`.
        status: How it stands.
        created_at: When it was ordered.
        started_at: When its code began; None if it hasn't.
        ended_at: When it ended; None if it hasn't.
        ending: How it ended; None if it hasn't, and in lists.
        output: How much a script has printed.
    """

    id: str
    kind: Kind
    workspace: str
    session: str | None
    seconds: float
    details: dict[str, Any]
    status: Status
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None
    output: Extent = Extent()
