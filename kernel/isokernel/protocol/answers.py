"""Answers to the requests that aren't cells: the contents of their replies.

Shared by the fronts. Each takes a request's content, which may be anything, and asks
the context; on the V8 thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isokernel.context.context import Context
    from isokernel.context.tools import Answer

__all__ = [
    "comm_close",
    "comm_info",
    "comm_message",
    "comm_open",
    "complete",
    "inspect",
    "is_complete",
    "names",
    "pause",
    "tool_result",
]


_TOOL_ANSWERS: Final[frozenset[Answer]] = frozenset({"value", "error", "denied"})


def complete(context: Context, content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of complete_reply.

    Raises:
        MessageError: The request can't be understood.
    """
    code, cursor = _code_at_cursor(content)
    found = context.complete(code, cursor)
    types = [
        {"start": found.start, "end": found.end, "text": text, "type": kind}
        for text, kind in zip(found.matches, found.types, strict=False)
    ]
    return {
        "status": "ok",
        "matches": list(found.matches),
        "cursor_start": found.start,
        "cursor_end": found.end,
        "metadata": {"_jupyter_types_experimental": types},
    }


def inspect(context: Context, content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of inspect_reply.

    Raises:
        MessageError: The request can't be understood.
    """
    code, cursor = _code_at_cursor(content)
    data = context.inspect(code, cursor, 1 if content.get("detail_level") == 1 else 0)
    return {
        "status": "ok",
        "found": data is not None,
        "data": data or {},
        "metadata": {},
    }


def is_complete(context: Context, content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of is_complete_reply.

    Raises:
        MessageError: The request can't be understood.
    """
    status, indent = context.is_complete(_text(content, "code"))
    return {"status": status, **({"indent": indent} if status == "incomplete" else {})}


def comm_info(context: Context, content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of comm_info_reply."""
    wanted = content.get("target_name")
    comms = {
        comm_id: {"target_name": target}
        for comm_id, target in context.comms().items()
        if wanted in {None, "", target}
    }
    return {"status": "ok", "comms": comms}


def comm_open(
    context: Context,
    content: Mapping[str, Any],
    metadata: dict[str, Any],
    buffers: Sequence[bytes],
) -> dict[str, Any] | None:
    """Take in a comm_open; the content of the comm_close that refuses it, or None.

    Raises:
        MessageError: The message can't be understood.
    """
    comm_id = _text(content, "comm_id")
    known = context.comm_open(
        comm_id,
        _text(content, "target_name"),
        _data(content),
        metadata,
        tuple(buffers),
    )
    return None if known else {"comm_id": comm_id, "data": {}}


def comm_message(
    context: Context,
    content: Mapping[str, Any],
    metadata: dict[str, Any],
    buffers: Sequence[bytes],
) -> None:
    """Take in a comm_msg.

    Raises:
        MessageError: The message can't be understood.
    """
    context.comm_message(
        _text(content, "comm_id"), _data(content), metadata, tuple(buffers)
    )


def comm_close(
    context: Context, content: Mapping[str, Any], metadata: dict[str, Any]
) -> None:
    """Take in a comm_close.

    Raises:
        MessageError: The message can't be understood.
    """
    context.comm_close(_text(content, "comm_id"), _data(content), metadata)


def tool_result(context: Context, content: Mapping[str, Any]) -> None:
    """Take in the answer to a tool call; see `Context.settle_tool`.

    Raises:
        MessageError: The message can't be understood.
    """
    call_id, answer = content.get("call_id"), content.get("answer")
    if type(call_id) is not int or answer not in _TOOL_ANSWERS:
        message = "the message says nothing of a tool call"
        raise MessageError(message)
    context.settle_tool(call_id, answer, _text(content, "content"))


def names(context: Context) -> dict[str, Any]:
    """Give the content of names_reply."""
    return {"status": "ok", "names": context.names()}


def pause(context: Context, content: Mapping[str, Any]) -> None:
    """Begin or end a pause of the running execution; see `Context.pause`.

    Raises:
        MessageError: The message can't be understood.
    """
    execution, paused = content.get("execution"), content.get("paused")
    if type(execution) is not int or type(paused) is not bool:
        message = "the message names no execution, or not what to do with it"
        raise MessageError(message)
    context.pause(execution, paused=paused)


def _text(content: Mapping[str, Any], field: str) -> str:
    value = content.get(field)
    if not isinstance(value, str):
        message = f"the message has no {field}"
        raise MessageError(message)
    return value


def _data(content: Mapping[str, Any]) -> dict[str, Any]:
    value = content.get("data", {})
    if not isinstance(value, dict):
        message = "the message's data is no object"
        raise MessageError(message)
    return value


def _code_at_cursor(content: Mapping[str, Any]) -> tuple[str, int]:
    """Read code and cursor; a cursor outside, or none, is taken as the nearest end."""
    code = _text(content, "code")
    cursor = content.get("cursor_pos")
    if cursor is None:
        cursor = len(code)
    if isinstance(cursor, bool) or not isinstance(cursor, int):
        message = "the message's cursor_pos is no integer"
        raise MessageError(message)
    return code, min(max(cursor, 0), len(code))
