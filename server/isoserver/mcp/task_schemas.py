"""What the tools of tasks take and answer, as documented."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from isoserver.mcp.tools import Arguments, Result
from isoserver.runs.models import ResultTimeoutMs, TaskRequest, TaskSummary

__all__ = ["Execute", "GetTask", "Resume", "Resumed", "TaskId", "TaskResult"]

RESULT_WAIT_MS = 120_000


class Execute(TaskRequest, Arguments):
    """Arguments of execute."""

    waitForResult: bool = Field(  # noqa: N815 - the documented name, as below
        default=True,
        description="Answer when the task has ended; else at once, with its taskId.",
    )


class TaskId(Arguments):
    """Arguments of tools about one task."""

    taskId: str = Field(description="ID returned by execute.")  # noqa: N815


class GetTask(TaskId):
    """Arguments of get_task."""

    resultTimeoutMs: ResultTimeoutMs | None = Field(  # noqa: N815
        None,
        description="Milliseconds to wait for the end; none if left out.",
    )


class Resume(Arguments):
    """Arguments of resume."""

    approvalId: str = Field(  # noqa: N815
        description="The approval, as an answer of execute or get_task lists it."
    )
    decision: Literal["approve", "deny"] = Field(description="What the user decided.")
    reason: str = Field("", max_length=2000, description="Why; told to the code.")
    waitForResult: bool = Field(  # noqa: N815
        default=True, description="Answer when the task has ended, or waits again."
    )
    resultTimeoutMs: ResultTimeoutMs = Field(  # noqa: N815
        RESULT_WAIT_MS,
        description="Milliseconds to wait for that.",
    )


class PendingApproval(Result):
    """A call that waits for the decision of a person."""

    approvalId: str  # noqa: N815
    path: str
    description: str
    input: str


class TaskResult(TaskSummary):
    """What execute, get_task and cancel_task answer; displays are content."""

    result: Any = Field(None, description="What the code returned.")
    resultCut: bool = Field(  # noqa: N815
        default=False, description="Whether the result was too long."
    )
    logs: dict[str, list[str]] | None = Field(
        None, description="Lines printed, by stdout and stderr."
    )
    diagnostics: list[dict[str, Any]] | None = Field(
        None, description="Type errors, which kept the code from running."
    )
    approvals: list[PendingApproval] | None = Field(
        None, description="Calls that wait for a decision."
    )


class Resumed(Result):
    """What resume answers."""

    approvalId: str  # noqa: N815
    state: str
    path: str | None = None
    task: TaskResult | None = None
