"""Runs as the API and the tools show them: plain data, and text for people."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from isoserver.contexts.results import cut_json, cut_text
from isoserver.runs.records import EXIT_CODES, Kind
from isoserver.webhooks.service import PART_BYTES_MAX

if TYPE_CHECKING:
    from isoserver.runs.records import RunRecord

__all__ = [
    "CUT_FOR_MCP",
    "PREVIEW_MAX_CHARACTERS",
    "execution_answer",
    "execution_summary",
    "lost_cell_body",
    "task_answer",
    "task_summary",
    "task_text",
    "webhook_body",
]

PREVIEW_MAX_CHARACTERS: Final = 30_000
"""Of a result in a text; structured answers have all of it."""
CUT_FOR_MCP: Final = "cut for MCP, the HTTP API has all of it"
_LOG_MAX_CHARACTERS: Final = 8_000
_STACK_MAX_CHARACTERS: Final = 4_000
_METADATA_MAX_CHARACTERS: Final = 4_000
_NAME_MAX_CHARACTERS: Final = 100
_MESSAGE_MAX_CHARACTERS: Final = 1_000
"""Of metadata and an error in a webhook."""


def execution_summary(record: RunRecord) -> dict[str, Any]:
    """Return an execution as lists show it."""
    return {
        "execution_id": record.id,
        "status": record.status.of_execution,
        "started_at": _moment(record.started_at or record.created_at),
        "completed_at": _moment(record.ended_at),
    }


def execution_answer(record: RunRecord) -> dict[str, Any]:
    """Return an execution as the API shows it; every key is always there."""
    ending = record.ending
    failure = None if ending is None else ending.error
    return {
        **execution_summary(record),
        "result": None if ending is None else ending.result,
        "result_text": None if ending is None else ending.result_text,
        "result_note": None if ending is None else ending.result_note,
        "heap": None if ending is None else ending.heap,
        "heap_error": None if ending is None else ending.heap_error,
        "error": None if failure is None else failure.stack or failure.message,
    }


def task_summary(record: RunRecord) -> dict[str, Any]:
    """Return a task as lists show it: without how it ended."""
    return {
        "taskId": record.id,
        "status": record.status,
        "runtimeId": record.details["runtime_id"],
        "sessionId": record.session,
        "metadata": record.details["metadata"],
        "timeoutMs": round(record.seconds * 1e3),
        "createdAt": _moment(record.created_at),
        "startedAt": _moment(record.started_at),
        "endedAt": _moment(record.ended_at),
        "exitCode": EXIT_CODES.get(record.status),
        "error": None,
    }


def task_answer(
    record: RunRecord, result_characters_max: int | None = None
) -> dict[str, Any]:
    """Return a task as the API shows it; how it ended only when it has.

    Args:
        record: The task.
        result_characters_max: What its result is cut to, if anything; values are made
            of no more, as those of millions of characters take seconds.
    """
    answer, ending = task_summary(record), record.ending
    if ending is None:
        return answer
    error = ending.error
    if error is not None:
        answer["error"] = {
            "name": error.name,
            "message": error.message,
            "stack": error.stack,
        }
    text, note, cut = ending.result, ending.result_note, ending.result_cut
    if text and result_characters_max is not None and len(text) > result_characters_max:
        text, cut = cut_json(text, result_characters_max), True
        note = "; ".join(filter(None, (note, CUT_FOR_MCP)))
    return {
        **answer,
        "result": None if text is None else json.loads(text),
        "resultCut": cut,
        **({"resultText": ending.result_text} if ending.result_text else {}),
        **({"resultNote": note} if note else {}),
        "logs": {"stdout": [], "stderr": [], **ending.logs},
        "displays": ending.displays,
        "diagnostics": [structs.asdict(found) for found in ending.diagnostics],
    }


def task_text(task: RunRecord) -> str:
    """Return a task as text: a line for each fact, then its value as JSON."""
    ending = task.ending
    facts = [
        f"taskId: {task.id}",
        f"status: {task.status.value}",
        f"runtimeId: {task.details['runtime_id']}",
    ]
    if ending is None:
        return "\n".join(facts)
    facts.append(f"exitCode: {EXIT_CODES[task.status]}")
    if ending.error is not None:
        facts.append(f"error: {ending.error.name}: {ending.error.message}")
        if ending.error.stack and not ending.diagnostics:
            facts += [cut_text(ending.error.stack, _STACK_MAX_CHARACTERS)]
    facts += [
        f"  {found.line}:{found.column} - TS{found.code}: {found.message}"
        for found in ending.diagnostics
    ]
    for name in ("stdout", "stderr"):
        if ending.logs.get(name):
            printed = "\n".join(ending.logs[name])
            facts += ["", f"{name}:", cut_text(printed, _LOG_MAX_CHARACTERS)]
    if ending.result is not None:
        facts += ["", "```json", _preview(ending.result), "```"]
    if ending.result_note is not None:
        facts.append(ending.result_note)
    if ending.result_text is not None:
        facts.append(cut_text(ending.result_text, _LOG_MAX_CHARACTERS))
    return "\n".join(facts)


def _preview(result: str) -> str:
    """Return JSON with indentation, or what fits of it."""
    characters = len(result)
    if characters <= PREVIEW_MAX_CHARACTERS:  # what is longer takes seconds, maybe
        whole = json.dumps(json.loads(result), indent=2, ensure_ascii=False)
        characters = len(whole)
        if characters <= PREVIEW_MAX_CHARACTERS:
            return whole
    cut = json.loads(cut_json(result, PREVIEW_MAX_CHARACTERS // 2))
    shown = json.dumps(cut, indent=2, ensure_ascii=False)
    if len(shown) > PREVIEW_MAX_CHARACTERS:  # what is nested is mostly indentation
        shown = json.dumps(cut, ensure_ascii=False)
    gone = max(characters - len(shown), 1)
    return f"{shown}\n... [result preview truncated {gone} chars]"


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def webhook_body(
    record: RunRecord, *, printed: str | None
) -> tuple[str, dict[str, Any]]:
    """Return what a webhook tells of a run that has ended: no code, and little else.

    Args:
        record: The run.
        printed: The beginning of what it has printed; None if neither that nor the
            result is wanted.

    Returns:
        The event's name, and the data.
    """
    ending, is_task = record.ending, record.kind is Kind.TASK
    error = None if ending is None else ending.error
    told = task_summary(record) if is_task else execution_summary(record)
    if is_task and len(json.dumps(told["metadata"])) > _METADATA_MAX_CHARACTERS:
        del told["metadata"]
    told["session" if not is_task else "sessionId"] = record.session
    told["error"] = error and {
        "name": cut_text(error.name, _NAME_MAX_CHARACTERS),
        "message": cut_text(error.message, _MESSAGE_MAX_CHARACTERS),
    }
    if ending is not None and ending.heap is not None:
        told["heap"] = ending.heap
    if printed is not None and ending is not None:
        # Characters take up to four bytes.
        result = cut_json(ending.result or "null", PART_BYTES_MAX // 4)
        told["result"] = json.loads(result) if is_task else result
        if is_task:
            logs = ending.logs.values()
            printed = "".join(f"{line}\n" for lines in logs for line in lines)
        told["output"] = cut_text(printed, PART_BYTES_MAX)
    return ("task.ended" if is_task else "execution.ended"), told


def lost_cell_body(subject: str) -> tuple[str, dict[str, Any]]:
    """Return what a webhook tells of a context's execution that nobody has seen end."""
    context_id, _, execution_id = subject.rpartition("/")
    text = "the server ended before it could tell how the execution did"
    error = {"name": "ServerStoppedError", "message": text}
    data = {"context_id": context_id, "execution_id": execution_id}
    return "cell.ended", {**data, "status": "failed", "error": error}
