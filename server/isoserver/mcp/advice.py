"""What to do next, for a model that got an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isoserver.errors import (
    ApprovalDecidedError,
    ApprovalMissingError,
    ExecutionMissingError,
    HeapDamagedError,
    HeapEngineError,
    HeapMissingError,
    LimitError,
    NotRunningError,
    RateLimitError,
    StoppingError,
    TaskEndedError,
    TaskMissingError,
    in_words,
)

if TYPE_CHECKING:
    from isoserver.errors import ServerError

__all__ = ["explain"]

_ADVICE: Final[dict[type[ServerError], str]] = {
    ExecutionMissingError: "list_executions shows those that there are.",
    NotRunningError: "There is nothing to cancel; get_execution has its result.",
    HeapMissingError: "query_heaps_by_tags and list_session_snapshots show those that "
    "there are; get_execution tells the heap of an execution.",
    TaskMissingError: "execute tells the taskId of each task that it begins.",
    TaskEndedError: "There is nothing to cancel; get_task has its result.",
    ApprovalMissingError: "get_task shows the approvals that a task waits for.",
    ApprovalDecidedError: "Nothing is left to decide; get_task shows how its task "
    "stands.",
    HeapEngineError: "It can't be used here: run its code again.",
    HeapDamagedError: "It can't be used any more: run its code again.",
    StoppingError: "Connect again in a few seconds.",
}


def explain(error: ServerError) -> str:
    """Give the text of an error, with what to do next."""
    text = in_words(error)
    text = text[:1].upper() + text[1:]
    if not text.endswith((".", "!", "?")):
        text += "."
    advice = _ADVICE.get(type(error))
    says_when = isinstance(error, RateLimitError)
    if advice is None and isinstance(error, LimitError) and not says_when:
        advice = f"Try again in {error.retry_after} s."
    return text if advice is None else f"{text} {advice}"
