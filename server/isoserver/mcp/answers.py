"""Tasks as tools answer them: text, data, pictures, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isoserver.mcp.blocks import content_blocks
from isoserver.mcp.executions import plain
from isoserver.mcp.toolbox import Reply
from isoserver.runs.answers import task_answer, task_text
from isoserver.runs.records import Status

if TYPE_CHECKING:
    from isoserver.mcp.toolbox import Asked
    from isoserver.runs.records import Record

__all__ = ["task_reply"]


async def task_reply(
    asked: Asked,
    task: Record,
    text: str | None = None,
    *,
    failed: bool | None = None,
) -> Reply:
    """Tell how a task stands.

    Args:
        asked: Who asks.
        task: The task.
        text: The text, up to what to do next; all of the task's facts if None.
        failed: Whether it is an error; if None, when the task ended without success.
    """
    data = plain(task_answer(task))
    displays = data.pop("displays", [])
    lines = [task_text(task) if text is None else text]
    if task.status is Status.WAITING:
        waiting = await _approvals(asked, task)
        data["approvals"] = waiting
        lines += [
            f"waits for approval of {each['path']} with {each['input']}: call "
            f"resume with approvalId {each['approvalId']}, once your user has "
            "decided"
            for each in waiting
        ]
    if not task.status.final:
        lines.append(
            f"Task {task.id} is still {task.status.value}: get_task with this "
            "taskId gives its result later."
        )
    if failed is None:
        failed = task.status.final and task.status is not Status.COMPLETED
    return Reply(
        data,
        failed=failed,
        text="\n".join(lines),
        blocks=content_blocks(task.id, displays),
    )


async def _approvals(asked: Asked, task: Record) -> list[dict[str, Any]]:
    found, _ = await asked.service.tools.approvals.pending(asked.workspace, limit=1000)
    return [
        {
            "approvalId": approval.id,
            "path": approval.path,
            "description": approval.description,
            "input": approval.input,
        }
        for approval in found
        if approval.task_id == task.id
    ]
