"""Answers to the requests that aren't cells, for every front.

On the V8 thread; at once, also while a cell awaits. A request's content may be
anything: what can't be understood is a MessageError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from isokernel.context.events import CallAnswer
from isokernel.errors import MessageError
from isokernel.protocol.messages import OutgoingMessage, error_reply_content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from isokernel.context import Context
    from isokernel.context.context import ToolAnswer

__all__ = [
    "Answers",
    "RequestMessage",
    "answer",
    "call_answer",
    "capability_result",
    "names",
    "pause",
    "refusal",
    "reply_type",
    "restart_clock",
    "tool_result",
]


class RequestMessage(Protocol):
    """A message as every front has it; see `frames.Frame`."""

    @property
    def type(self) -> str:
        """Jupyter's message type."""

    @property
    def content(self) -> dict[str, Any]:
        """The content."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Jupyter's metadata."""

    @property
    def buffers(self) -> Sequence[bytes]:
        """Binary attachments."""


Answers: TypeAlias = (
    "Mapping[str, Callable[[Context, RequestMessage], dict[str, Any] | None]]"
)
"""By the type of a request: returns the content of its reply, or None for no reply."""


def answer(
    context: Context, request: RequestMessage, own: Answers
) -> OutgoingMessage | None:
    """Serve a request, or process a message that has no reply.

    Args:
        context: Serves it.
        request: The message.
        own: What this front serves in addition to what all do.

    Returns:
        What is to be sent for it.

    Raises:
        MessageError: It can't be understood.
    """
    kind = request.type
    serve = own.get(kind) or _ANSWERS.get(kind)
    if serve is not None:
        content = serve(context, request)
        return None if content is None else OutgoingMessage(reply_type(kind), content)
    if kind == "comm_open":
        return _comm_open(context, request)
    message = f"{kind} isn't known here"
    raise MessageError(message)


def reply_type(kind: str) -> str:
    """Return the type of the reply to a request of this type."""
    return f"{kind.removesuffix('_request')}_reply"


def refusal(kind: str, error: Exception) -> dict[str, Any]:
    """Return the content of the reply to a request that can't be served."""
    if kind == "is_complete_request":
        # The one reply whose status can't be "error".
        return {"status": "unknown"}
    return error_reply_content(type(error).__name__, str(error))


def _complete(context: Context, request: RequestMessage) -> dict[str, Any]:
    code, cursor = _code_at_cursor(request.content)
    found = context.queries.complete(code, cursor)
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


def _inspect(context: Context, request: RequestMessage) -> dict[str, Any]:
    code, cursor = _code_at_cursor(request.content)
    detail = 1 if request.content.get("detail_level") == 1 else 0
    data = context.queries.inspect(code, cursor, detail)
    found = data is not None
    return {"status": "ok", "found": found, "data": data or {}, "metadata": {}}


def _is_complete(context: Context, request: RequestMessage) -> dict[str, Any]:
    status, indent = context.queries.is_complete(_text(request.content, "code"))
    return {"status": status, **({"indent": indent} if status == "incomplete" else {})}


def _comm_info(context: Context, request: RequestMessage) -> dict[str, Any]:
    wanted = request.content.get("target_name")
    comms = {
        comm_id: {"target_name": target}
        for comm_id, target in context.comms.targets().items()
        if wanted in {None, "", target}
    }
    return {"status": "ok", "comms": comms}


def _comm_open(context: Context, request: RequestMessage) -> OutgoingMessage | None:
    content = request.content
    comm_id = _text(content, "comm_id")
    known = context.comms.open(
        comm_id,
        _text(content, "target_name"),
        _data(content),
        request.metadata,
        tuple(request.buffers),
    )
    if known:
        return None
    return OutgoingMessage("comm_close", {"comm_id": comm_id, "data": {}})


def _comm_message(context: Context, request: RequestMessage) -> None:
    comm_id, data = _text(request.content, "comm_id"), _data(request.content)
    context.comms.message(comm_id, data, request.metadata, tuple(request.buffers))


def _comm_close(context: Context, request: RequestMessage) -> None:
    comm_id, data = _text(request.content, "comm_id"), _data(request.content)
    context.comms.close(comm_id, data, request.metadata)


_ANSWERS: Final[Answers] = {
    "complete_request": _complete,
    "inspect_request": _inspect,
    "is_complete_request": _is_complete,
    "comm_info_request": _comm_info,
    "comm_msg": _comm_message,
    "comm_close": _comm_close,
}

# -- of our own server -------------------------------------------------------------

_TOOL_ANSWERS: Final[frozenset[ToolAnswer]] = frozenset({"value", "error", "denied"})

_CALL_ANSWERS: Final = frozenset({"value", "error"})


def names(context: Context, _request: RequestMessage) -> dict[str, Any]:
    """Return the content of names_reply."""
    return {"status": "ok", "names": context.queries.names()}


def tool_result(context: Context, request: RequestMessage) -> None:
    """Settle a tool call; see `Context.settle_tool`."""
    content = request.content
    call_id, answer = content.get("call_id"), content.get("answer")
    if type(call_id) is not int or answer not in _TOOL_ANSWERS:
        message = "tool_result has no valid call_id or answer"
        raise MessageError(message)
    context.settle_tool(call_id, answer, _text(content, "content"))


def capability_result(context: Context, request: RequestMessage) -> None:
    """Settle a call for what is beyond the context; see `Context.settle_call`."""
    context.settle_call(*call_answer(request))


def call_answer(request: RequestMessage) -> tuple[int, CallAnswer]:
    """Return the number of the call that a capability_result answers, and the answer.

    Raises:
        MessageError: It can't be understood.
    """
    content, buffers = request.content, request.buffers
    call_id, kind = content.get("call_id"), content.get("answer")
    if type(call_id) is not int or kind not in _CALL_ANSWERS or len(buffers) > 1:
        message = "capability_result has no valid call_id, answer or data"
        raise MessageError(message)
    data = buffers[0] if buffers else None
    return call_id, CallAnswer(kind, _text(content, "content"), data)


def restart_clock(context: Context, _request: RequestMessage) -> None:
    """Have the context's clock begin now; what has loaded it before was nobody."""
    context.bridge.call("restartClock")


def pause(context: Context, request: RequestMessage) -> None:
    """Begin or end a pause of the running execution; see `Context.pause`."""
    content = request.content
    execution, paused = content.get("execution"), content.get("paused")
    if type(execution) is not int or type(paused) is not bool:
        message = "pause_request has no valid execution or paused"
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
        message = "the message's data isn't an object"
        raise MessageError(message)
    return value


def _code_at_cursor(content: Mapping[str, Any]) -> tuple[str, int]:
    """Read code and cursor; a cursor outside, or none, is taken as the nearest end."""
    code = _text(content, "code")
    cursor = content.get("cursor_pos")
    if cursor is None:
        cursor = len(code)
    if isinstance(cursor, bool) or not isinstance(cursor, int):
        message = "the message's cursor_pos isn't an integer"
        raise MessageError(message)
    return code, min(max(cursor, 0), len(code))
