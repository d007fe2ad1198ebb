"""Executions and contexts as the answers of the API, plain data for JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution, Failure
    from isoserver.contexts.languages import Language
    from isoserver.contexts.records import Record

__all__ = [
    "context_answer",
    "execution_answer",
    "failed_answer",
    "lines",
    "record_answer",
]

FIELDS: Final = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "text/javascript": "javascript",
}
"""Where a MIME type is in an item; others are under `extra`."""


def lines(text: str) -> list[str]:
    """Split what was printed; a newline at the end begins no other line."""
    if not text:
        return []
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return found


def execution_answer(context_id: str, execution: Execution) -> dict[str, Any]:
    """Give the answer to `/execute`."""
    outputs = execution.outputs
    return {
        "context_id": context_id,
        "items": [_item(output) for output in outputs.displays()],
        "logs": {
            "stdout": lines(outputs.text("stdout")),
            "stderr": lines(outputs.text("stderr")),
        },
        "error": _error(execution.failure),
        "execution_count": execution.count,
    }


def failed_answer(context_id: str, failure: Failure) -> dict[str, Any]:
    """Give the answer to `/execute` when the server itself failed."""
    return {
        "context_id": context_id,
        "items": [],
        "logs": {"stdout": [], "stderr": []},
        "error": _error(failure),
    }


def _error(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else failure._asdict()


def _item(output: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if output["output_type"] == "execute_result":
        item["is_primary"] = True
    extra: dict[str, Any] = {}
    for mime, value in output["data"].items():
        field = FIELDS.get(mime)
        if field == "json" and isinstance(value, dict):
            item["json"] = value
        elif field is None or field == "json":
            extra[mime] = value
        else:
            item[field] = "".join(value) if isinstance(value, list) else str(value)
    if extra:
        item["extra"] = extra
    return item


def context_answer(
    context: Context, memory: dict[str, int] | None = None
) -> dict[str, Any]:
    """Give a context as the API shows it."""
    answer: dict[str, Any] = {
        "id": context.id,
        "language": context.language.number,
        "cwd": context.cwd,
        "language_name": context.language.name,
        "state": context.state.value,
        "created_at": context.created_at,
        "last_used": context.last_used,
        "execution_count": context.execution_count,
        "waiting": context.waiting,
    }
    if context.reason:
        answer["reason"] = context.reason
    if context.checkpoint is not None:
        answer["heap"] = context.checkpoint.key
    if memory:
        answer["memory"] = memory
    return answer


def record_answer(record: Record, language: Language) -> dict[str, Any]:
    """Give a context without a process as the API shows it."""
    answer: dict[str, Any] = {
        "id": record.id,
        "language": language.number,
        "cwd": record.cwd,
        "language_name": language.name,
        "state": record.state,
        "created_at": datetime.fromtimestamp(record.created_at, timezone.utc),
        "last_used": datetime.fromtimestamp(record.last_used, timezone.utc),
        "execution_count": record.execution_count,
        "waiting": 0,
    }
    if record.reason:
        answer["reason"] = record.reason
    if record.heap is not None:
        answer["heap"] = record.heap
    return answer
