"""Requests and answers of what is under /tasks."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import Any, Literal

from pydantic import Field

from isoserver.contexts.models import AnswerModel, RequestModel
from isoserver.executions.models import QueryModel, SessionName
from isoserver.tasks.records import RUNTIME_DEFAULT, RUNTIMES
from isoserver.tasks.service import LIST_DEFAULT, LIST_MAX

__all__ = [
    "TaskInfo",
    "TaskList",
    "TaskListQuery",
    "TaskRequest",
    "TaskStatusName",
]

METADATA_MAX = 100
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


class TaskRequest(RequestModel):
    """TypeScript to run with tools."""

    code: str = Field(
        min_length=1,
        description="TypeScript, as the body of a function: what it returns is the "
        "result; without a return, the value of its last expression.",
    )
    timeoutMs: int = Field(  # noqa: N815 - the documented name, as below
        300_000,
        ge=1,
        le=600_000,
        description="Milliseconds that the code may run; waiting for approvals doesn't "
        "count.",
    )
    runtimeId: str = Field(  # noqa: N815
        RUNTIME_DEFAULT,
        description="What runs it.",
        json_schema_extra={"enum": list(RUNTIMES)},
    )
    metadata: dict[str, Any] = Field(
        {}, max_length=METADATA_MAX, description="Kept with the task."
    )
    sessionId: SessionName | None = Field(  # noqa: N815
        None,
        description="A context that persists, made if there is none; one that goes "
        "with the task if omitted.",
    )
    waitForResult: bool = Field(  # noqa: N815
        default=False, description="Answer when the task has ended."
    )
    resultTimeoutMs: int | None = Field(  # noqa: N815
        None,
        ge=100,
        le=900_000,
        description="Milliseconds that the answer waits for the end; timeoutMs and "
        "30,000 more if omitted, but at least 120,000.",
    )
    typecheck: bool | None = Field(
        None,
        description="Check types first, and don't run code that has type errors; the "
        "server's setting if omitted.",
    )


class TaskListQuery(QueryModel):
    """Which tasks to list."""

    status: TaskStatusName | None = Field(None, description="Only those at this.")
    limit: int = Field(LIST_DEFAULT, ge=1, le=LIST_MAX, description="How many at most.")


class TaskError(AnswerModel):
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
    error: TaskError | None = Field(description="Null while nothing is wrong.")


class TaskInfo(TaskSummary):
    """A task; from `result` on only when it has ended."""

    result: Any = Field(None, description="The value; null for undefined.")
    resultCut: bool = Field(  # noqa: N815
        default=False,
        description="The value was too long; `result` says how long.",
    )
    logs: TaskLogs = Field(TaskLogs(stdout=[], stderr=[]))
    displays: list[TaskDisplay] = Field([], description="What was shown, in order.")
    diagnostics: list[TaskDiagnostic] = Field(
        [], description="Type errors, because of which the code did not run."
    )


class TaskList(AnswerModel):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
