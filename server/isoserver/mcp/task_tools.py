"""The table of the tools of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_types import ToolAnnotations

from isoserver.mcp import task_schemas
from isoserver.mcp.executions import READS
from isoserver.mcp.tasks import TaskTools
from isoserver.mcp.texts import read
from isoserver.mcp.toolbox import Tool
from isoserver.tasks.records import RUNTIMES

if TYPE_CHECKING:
    from isoserver.settings.server import ServerSettings

__all__ = ["task_tools"]

_OPEN: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, open_world_hint=True
)
_DECIDES: Final = ToolAnnotations(
    read_only_hint=False,
    destructive_hint=True,
    idempotent_hint=True,
    open_world_hint=True,
)


def task_tools(settings: ServerSettings) -> list[Tool]:
    """Make the tools of tasks."""
    tools = TaskTools(settings)
    text = settings.execute_description or read("execute")
    return [
        Tool(
            "execute",
            "Run TypeScript with the workspace's tools",
            text.replace("{runtimes}", ", ".join(RUNTIMES)),
            task_schemas.Execute,
            task_schemas.TaskResult,
            tools.execute,
            _OPEN,
        ),
        Tool(
            "get_task",
            "Status and result of a task",
            "Get the status of a task that execute began, and its result once it has "
            "ended. With resultTimeoutMs, wait for the end that long first.",
            task_schemas.GetTask,
            task_schemas.TaskResult,
            tools.get,
            READS,
        ),
        Tool(
            "cancel_task",
            "Cancel a task",
            "Stop a task that is queued, running or waiting for an approval. Calls of "
            "tools that it waits for are given up; what they have done stays done.",
            task_schemas.TaskId,
            task_schemas.TaskResult,
            tools.cancel,
            _DECIDES,
        ),
        Tool(
            "resume",
            "Decide an approval",
            "Approve or deny a call that a task waits with, and get the task's result "
            "once it has gone on. Call it only with what your user decided; never "
            "approve on your own. Works from every connection; the same decision again "
            "changes nothing.",
            task_schemas.Resume,
            task_schemas.Resumed,
            tools.resume,
            _DECIDES,
        ),
    ]
