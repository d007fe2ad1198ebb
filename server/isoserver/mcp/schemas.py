"""What the tools of executions and heaps take and answer, as documented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from isoserver.executions.models import TIMEOUT_MAX, SessionName
from isoserver.heaps.models import HeapKey, HeapTags
from isoserver.mcp.toolbox import Arguments, Result

__all__ = [
    "AllTags",
    "Cancelled",
    "DeleteTags",
    "Entries",
    "ExecutionId",
    "ExecutionList",
    "Found",
    "Heap",
    "Info",
    "Nothing",
    "Output",
    "OutputPage",
    "Run",
    "Sessions",
    "SetTags",
    "Snapshots",
    "StatelessOutput",
    "StatelessRun",
    "Submitted",
    "Tagged",
    "Tags",
]

Code = Annotated[str, Field(description="JavaScript or TypeScript source to execute.")]
Id = Annotated[str, Field(description="ID returned by run_js.")]
Key = Annotated[HeapKey, Field(description="Heap snapshot key: 64 hex digits.")]
Memory = Annotated[
    int | None,
    Field(
        ge=1,
        description="V8 heap memory cap of this execution in megabytes (at least 8). "
        "Overrides the server's default.",
    ),
]
Seconds = Annotated[
    int | None,
    Field(
        ge=1,
        le=TIMEOUT_MAX,
        description="Wall-clock timeout of this execution in seconds (1-300). "
        "Overrides the server's default.",
    ),
]
Status = Literal["running", "completed", "failed", "timed_out", "cancelled"]
Time = Annotated[str, Field(description="ISO-8601, UTC.")]


class Nothing(Arguments):
    """No arguments."""


class StatelessRun(Arguments):
    """Arguments of run_js in stateless mode."""

    code: Code
    heap_memory_max_mb: Memory = None
    execution_timeout_secs: Seconds = None


class Run(StatelessRun):
    """Arguments of run_js."""

    heap: HeapKey | None = Field(
        None,
        description="Heap snapshot key to restore before the execution. Within a "
        "session this resets the session to that heap.",
    )
    tags: HeapTags | None = Field(
        None,
        description="Tags attached to the heap snapshot that results.",
    )


class ExecutionId(Arguments):
    """Arguments of tools about one execution."""

    execution_id: Id


class OutputPage(ExecutionId):
    """Arguments of get_execution_output."""

    line_offset: int = Field(
        1,
        ge=0,
        description="First line to return (1-based). Ignored when byte_offset is "
        "given.",
    )
    line_limit: int = Field(
        100,
        ge=1,
        description="Lines to return at most (up to 10,000). Ignored when "
        "byte_offset is given.",
    )
    byte_offset: int | None = Field(
        None,
        ge=0,
        description="Return output from this byte on, instead of by lines.",
    )
    byte_limit: int = Field(
        4096,
        ge=1,
        description="Bytes to return at most (up to 1 MiB). Only used when "
        "byte_offset is given.",
    )


class Heap(Arguments):
    """Arguments of get_heap_tags."""

    heap: Key


class SetTags(Heap):
    """Arguments of set_heap_tags."""

    tags: HeapTags = Field(description="The tags, which replace all others.")


class DeleteTags(Heap):
    """Arguments of delete_heap_tags."""

    keys: str | list[str] | None = Field(
        None,
        description="Keys of the tags to delete, as a list or with commas between "
        "them; all tags if left out.",
    )


class AllTags(Arguments):
    """Arguments of query_heaps_by_tags."""

    tags: HeapTags = Field(
        description="Tags that a heap must have, all of them, with these values.",
    )


class Submitted(Result):
    """What run_js answers."""

    execution_id: str


class StatelessOutput(Result):
    """What run_js answers in stateless mode."""

    output: str = Field(description="All console output.")
    error: str | None = Field(None, description="What went wrong, if it failed.")


class Info(Result):
    """What get_execution answers."""

    execution_id: str
    status: Status
    result: str | None = Field(
        description="The value of the last expression as JSON, when completed."
    )
    heap: str | None = Field(description="Key of the heap snapshot that it left.")
    heap_error: str | None = Field(description="Why it left none, if so.")
    error: str | None = Field(description="What went wrong, if something did.")
    started_at: Time
    completed_at: Time | None


class Output(Result):
    """What get_execution_output answers."""

    execution_id: str
    data: str
    start_line: int
    end_line: int
    next_line_offset: int
    total_lines: int
    start_byte: int
    end_byte: int
    next_byte_offset: int
    total_bytes: int
    has_more: bool
    status: Status


class Cancelled(Result):
    """What cancel_execution answers."""

    ok: bool
    error: str | None = None


class ListedExecution(Result):
    """An execution in a list."""

    execution_id: str
    status: Status
    started_at: Time
    completed_at: Time | None


class ExecutionList(Result):
    """What list_executions answers."""

    executions: list[ListedExecution]


class Sessions(Result):
    """What list_sessions answers."""

    sessions: list[str]


class Snapshot(Result):
    """An entry of a session's history."""

    index: int
    input_heap: str | None
    output_heap: str | None
    code: str
    timestamp: Time


class Snapshots(Arguments):
    """Arguments of list_session_snapshots."""

    session: SessionName | None = Field(
        None, description="The session; that of this connection if left out."
    )
    fields: str | None = Field(
        None,
        description="The fields to return, with commas between them: index, "
        "input_heap, output_heap, code, timestamp. All if left out.",
    )


class Entries(Result):
    """What list_session_snapshots answers."""

    entries: list[dict[str, int | str | None]]


class Tags(Result):
    """What get_heap_tags answers."""

    tags: dict[str, str]


class Tagged(Result):
    """What set_heap_tags and delete_heap_tags answer."""

    ok: bool


class FoundHeap(Result):
    """A heap with its tags."""

    heap: str
    tags: dict[str, str]


class Found(Result):
    """What query_heaps_by_tags answers."""

    results: list[FoundHeap]
