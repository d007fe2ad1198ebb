"""Tasks as the API and the tools show them: plain data, and text for people."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from isoserver.tasks.records import Task

__all__ = ["PREVIEW_MAX", "task_answer", "task_text"]

PREVIEW_MAX: Final = 30_000
"""Characters of a result in a text; structured answers have all of it."""


def task_answer(task: Task) -> dict[str, Any]:
    """Give a task as JSON has it; what there isn't (yet) is null."""
    order, ending = task.order, task.ending
    answer: dict[str, Any] = {
        "taskId": task.id,
        "status": task.status.value,
        "runtimeId": order.runtime_id,
        "sessionId": order.session,
        "metadata": order.metadata,
        "timeoutMs": round(order.seconds * 1e3),
        "createdAt": _moment(task.created_at),
        "startedAt": _moment(task.started_at),
        "endedAt": _moment(task.ended_at),
        "exitCode": task.exit_code,
    }
    if ending is None:
        return {**answer, "error": None}
    return {
        **answer,
        "error": None if ending.error is None else ending.error._asdict(),
        "result": None if ending.result is None else json.loads(ending.result),
        "resultCut": ending.result_cut,
        "logs": {"stdout": [], "stderr": [], **ending.logs},
        "displays": ending.displays,
        "diagnostics": [found._asdict() for found in ending.diagnostics],
    }


def task_text(task: Task, preview_max: int = PREVIEW_MAX) -> str:
    """Give a task as text: a line for each fact, then its value as JSON.

    Args:
        task: It.
        preview_max: Characters of the value; the rest is cut, and counted.
    """
    ending = task.ending
    facts = [
        f"taskId: {task.id}",
        f"status: {task.status.value}",
        f"runtimeId: {task.order.runtime_id}",
    ]
    if task.exit_code is not None:
        facts.append(f"exitCode: {task.exit_code}")
    if ending is None:
        return "\n".join(facts)
    if ending.error is not None:
        facts.append(f"error: {ending.error.name}: {ending.error.message}")
    facts += [
        f"  {found.line}:{found.column} - TS{found.code}: {found.message}"
        for found in ending.diagnostics
    ]
    if ending.result is not None:
        facts += ["", "```json", _preview(ending.result, preview_max), "```"]
    return "\n".join(facts)


def _preview(result: str, limit: int) -> str:
    text = json.dumps(json.loads(result), indent=2, ensure_ascii=False)
    if len(text) <= limit:
        return text
    more = len(text) - limit
    return f"{text[:limit]}\n... [result preview truncated {more} chars]"


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
