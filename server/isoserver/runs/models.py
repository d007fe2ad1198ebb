"""Requests and answers about runs: what is under /api/exec, /api/executions and /tasks.

The tools of MCP take and answer the same, so that types, patterns and ranges are here
only. The documented names are the API's.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from isoserver.heaps.models import (  # noqa: TC001 - pydantic reads annotations
    HeapKey,
    HeapTags,
)
from isoserver.http.models import (
    AnswerModel,
    NextOffset,
    Offset,
    QueryModel,
    RequestModel,
)
from isoserver.runs.orders import (
    RUNTIME_ALIASES,
    RUNTIMES,
    answer_seconds,
    task_order,
)
from isoserver.runs.records import LIST_DEFAULT, LIST_MAX
from isoserver.settings.rules import (
    CapabilitiesModel,
    policy_of,
)
from isoserver.webhooks.models import (
    WebhookModel,  # noqa: TC001 - pydantic reads annotations
)

if TYPE_CHECKING:
    from isoserver.principal import Principal
    from isoserver.runs.orders import TaskOrder

__all__ = [
    "CancelResult",
    "ExecAccepted",
    "ExecOptions",
    "ExecRequest",
    "ExecutionInfo",
    "ExecutionList",
    "ExecutionOutput",
    "ExecutionSummary",
    "Limit",
    "ListQuery",
    "MemoryMb",
    "OutputQuery",
    "OutputRange",
    "ResultTimeoutMs",
    "SessionName",
    "StatusName",
    "TaskArguments",
    "TaskInfo",
    "TaskList",
    "TaskListQuery",
    "TaskRequest",
    "TaskStatusName",
    "TaskSummary",
    "TimeoutSeconds",
]

METADATA_MAX = 100
StatusName = Literal["running", "completed", "failed", "timed_out", "cancelled"]
TaskStatusName = Literal[
    "queued",
    "running",
    "waiting_for_approval",
    "completed",
    "failed",
    "timed_out",
    "denied",
    "cancelled",
]


def _printable(text: str) -> str:
    """Refuse what can't be shown, such as control characters and halves of pairs."""
    if not text.isprintable():
        message = "must have printable characters only"
        raise ValueError(message)
    return text


SessionName = Annotated[
    str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)
]
LanguageName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TimeoutSeconds = Annotated[int, Field(ge=1, le=300)]
MemoryMb = Annotated[int, Field(ge=0, le=1 << 20)]
ResultCharacters = Annotated[int, Field(ge=100, le=1 << 30)]
ResultTimeoutMs = Annotated[int, Field(ge=100, le=900_000)]
Natural = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]
Limit = Annotated[int, Field(ge=1, le=LIST_MAX, description="How many at most.")]


# -- executions: requests --------------------------------------------------------------


class ExecOptions(RequestModel):
    """How code shall run."""

    execution_timeout_secs: TimeoutSeconds | None = Field(
        None, description="Seconds that it may run, from its beginning."
    )
    heap: HeapKey | None = Field(
        None, description="The heap that it goes on from; a blank one if omitted."
    )
    heap_memory_max_mb: MemoryMb | None = Field(
        None,
        description="MiB of V8 heap; less than 8 is taken as 8. Of Python and others, "
        "MiB of all memory.",
    )
    session: SessionName | None = Field(
        None,
        description="The context that it runs in, by its id, made if there is none; a "
        "context of its own if omitted.",
    )
    language: LanguageName | None = Field(
        None,
        description="What the code is in: that of the session, or JavaScript and "
        "TypeScript, if omitted.",
    )
    result_characters_max: ResultCharacters | None = Field(
        None,
        description="Characters of the result; of a longer one head and tail are kept.",
    )


class ExecRequest(ExecOptions):
    """Code to run."""

    code: str = Field(description="The source text.")
    tags: HeapTags | None = Field(
        None, description="What the heap that it yields is tagged with."
    )
    capabilities: CapabilitiesModel | None = Field(
        None,
        description="What the code may do beyond its context, of what the workspace "
        "allows; all of that if omitted.",
    )
    webhook: WebhookModel | None = Field(
        None, description="Where to tell that it has ended."
    )


class OutputRange(BaseModel):
    """Which part of the output is wanted."""

    line_offset: Natural = Field(1, description="The first line, from 1.")
    line_limit: Natural = Field(
        100,
        description="How many lines, up to 10,000.",
    )
    byte_offset: Natural | None = Field(
        None, description="The first byte, from 0: the page is by bytes, not lines."
    )
    byte_limit: Natural = Field(
        4096,
        description="How many bytes, up to 1,048,576; with byte_offset.",
    )


class OutputQuery(OutputRange, QueryModel):
    """Which part of the output is wanted."""


class ListQuery(QueryModel):
    """Which executions are wanted."""

    limit: Limit = LIST_DEFAULT
    offset: Offset = 0
    status: StatusName | None = Field(None, description="Only those that are at it.")


# -- executions: answers ---------------------------------------------------------------


class ExecAccepted(AnswerModel):
    """The code will run, and what is known of it is kept."""

    execution_id: str


class ExecutionSummary(AnswerModel):
    """An execution, in short."""

    execution_id: str
    status: StatusName
    started_at: datetime
    completed_at: datetime | None


class ExecutionList(AnswerModel):
    """Executions, newest first."""

    executions: list[ExecutionSummary]
    next_offset: NextOffset


class ExecutionInfo(ExecutionSummary):
    """An execution. Every key is always there."""

    result: str | None = Field(
        description="The value of the code as JSON text, when it completed."
    )
    result_text: str | None = Field(
        description="The value as text, when JSON doesn't hold all of it."
    )
    result_note: str | None = Field(
        description="What JSON doesn't hold of the value, and what was cut."
    )
    heap: str | None = Field(
        description="The key of the heap that it yielded, when it completed."
    )
    heap_error: str | None = Field(
        description="Why it yielded none, though it completed."
    )
    error: str | None = Field(
        description="What went wrong, when it failed, timed out or was cancelled."
    )


class ExecutionOutput(AnswerModel):
    """A page of output. Both cursors are there, however it was asked for."""

    execution_id: str
    data: str = Field(
        description="The text. A page of lines has no newline at its end."
    )
    start_line: int = Field(description="The first line, from 1; 0 if there is none.")
    end_line: int = Field(description="The last line, inclusive.")
    next_line_offset: int
    total_lines: int
    start_byte: int
    end_byte: int = Field(description="Exclusive.")
    next_byte_offset: int
    total_bytes: int
    has_more: bool = Field(description="Whether there is more by now.")
    status: StatusName


class CancelResult(AnswerModel):
    """What became of a cancellation."""

    ok: bool
    error: str | None = None


# -- tasks -----------------------------------------------------------------------------


class TaskArguments(RequestModel):
    """Code to run with tools, by whichever front."""

    code: str = Field(
        min_length=1,
        description="TypeScript, as the body of a function; or Python.",
    )
    timeoutMs: int = Field(  # noqa: N815 - the documented name, as below
        300_000,
        ge=1,
        le=600_000,
        description="Milliseconds that the code may run, approvals not counted.",
    )
    runtimeId: str = Field(  # noqa: N815
        RUNTIMES[0],
        max_length=64,
        description="What runs it: isokernel-v8, python, or another kernel that is "
        "served.",
        examples=[*RUNTIMES],
    )
    metadata: dict[str, Any] = Field(
        {}, max_length=METADATA_MAX, description="Kept with the task."
    )
    sessionId: SessionName | None = Field(  # noqa: N815
        None,
        description="A context that persists, made at need; one of its own if omitted.",
    )
    waitForResult: bool = Field(  # noqa: N815
        default=False, description="Answer when the task has ended."
    )
    resultTimeoutMs: ResultTimeoutMs | None = Field(  # noqa: N815
        None,
        description="Milliseconds that the answer waits; timeoutMs + 30,000 if "
        "omitted, at least 120,000.",
    )
    typecheck: bool | None = Field(
        None,
        description="Check types first; code with errors doesn't run.",
    )

    capabilities: CapabilitiesModel | None = Field(
        None,
        description="What the code may do beyond its context, of what the workspace "
        "allows; all of that if omitted.",
    )
    resultCharactersMax: ResultCharacters | None = Field(  # noqa: N815
        None,
        description="Characters of the result; a longer one is cut in its middle.",
    )

    def order(self, principal: Principal, session: str | None = None) -> TaskOrder:
        """Make the order; `session` counts where the request names none.

        Other languages have a context each beside that one: `SESSION:python`.

        Raises:
            InvalidRequestError: There is no code, or no such runtime.
        """
        v8 = {RUNTIMES[0], *RUNTIME_ALIASES}
        if session is not None and self.runtimeId not in v8:
            session = f"{session}:{self.runtimeId}"
        return task_order(
            principal,
            code=self.code,
            timeout_ms=self.timeoutMs,
            runtime_id=self.runtimeId,
            metadata=self.metadata,
            session=self.sessionId or session,
            typecheck=self.typecheck,
            result_characters_max=self.resultCharactersMax,
            capabilities=policy_of(self.capabilities),
        )

    @property
    def answer_seconds(self) -> float:
        """How long the answer waits for the end."""
        return answer_seconds(self.timeoutMs, self.resultTimeoutMs)


class TaskRequest(TaskArguments):
    """TypeScript to run with tools."""

    webhook: WebhookModel | None = Field(
        None, description="Where to tell that it has ended."
    )


class TaskListQuery(QueryModel):
    """Which tasks to list."""

    status: TaskStatusName | None = Field(None, description="Only those at this.")
    limit: Limit = LIST_DEFAULT
    offset: Offset = 0


class TaskFailure(AnswerModel):
    """Why a task did not complete."""

    name: str = Field(description="Error type name.", examples=["ToolError"])
    message: str
    stack: str = Field(description="Where it happened, for people.")


class TaskLogs(AnswerModel):
    """What was printed, a line an entry."""

    stdout: list[str]
    stderr: list[str]


class TaskDisplay(AnswerModel):
    """Something that was shown."""

    data: dict[str, Any] = Field(description="By MIME type; binary ones in base64.")
    metadata: dict[str, Any]


class TaskDiagnostic(AnswerModel):
    """A type error."""

    line: int = Field(description="From 1.")
    column: int = Field(description="From 1, in UTF-16 units.")
    code: int = Field(description="TypeScript's number for it.", examples=[2322])
    message: str


class TaskSummary(AnswerModel):
    """A task, without how it ended."""

    taskId: str  # noqa: N815
    status: TaskStatusName = Field(description="The last five are for ever.")
    runtimeId: str  # noqa: N815
    sessionId: str | None  # noqa: N815
    metadata: dict[str, Any]
    timeoutMs: int  # noqa: N815
    createdAt: datetime  # noqa: N815
    startedAt: datetime | None  # noqa: N815
    endedAt: datetime | None  # noqa: N815
    exitCode: int | None = Field(  # noqa: N815
        description="0: completed, 1: failed, 124: timed_out, 126: denied, 130: "
        "cancelled; null while it hasn't ended."
    )
    error: TaskFailure | None = Field(description="Null while nothing is wrong.")


class TaskInfo(TaskSummary):
    """A task; from `result` on only when it has ended."""

    result: Any = Field(None, description="The value; null for undefined.")
    resultCut: bool = Field(  # noqa: N815
        default=False,
        description="The value was too long; `result` is its head and tail.",
    )
    resultText: str | None = Field(  # noqa: N815
        None, description="The value as text, when JSON doesn't hold all of it."
    )
    resultNote: str | None = Field(  # noqa: N815
        None, description="What JSON doesn't hold of the value, and what was cut."
    )
    logs: TaskLogs = Field(TaskLogs(stdout=[], stderr=[]))
    displays: list[TaskDisplay] = Field([], description="What was shown, in order.")
    diagnostics: list[TaskDiagnostic] = Field(
        [], description="Type errors, because of which the code did not run."
    )


class TaskList(AnswerModel):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    next_offset: NextOffset


# -- the client's downloads ------------------------------------------------------------
