"""Events as Jupyter messages: the protocol's content, whatever carries it.

Pure functions on plain data. Headers, signatures and sockets belong to the fronts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from isokernel.context.events import (
    ClearOutput,
    CommEvent,
    DisplayData,
    ErrorInfo,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    ResultJson,
    Stream,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isokernel.context.events import CapabilityCall, MimeBundle

__all__ = [
    "OutgoingMessage",
    "PublishedEvent",
    "call_message",
    "error_content",
    "error_reply_content",
    "event_message",
    "execute_reply_content",
    "expression_content",
    "outcome_content",
]


PublishedEvent: TypeAlias = (
    Stream
    | DisplayData
    | ClearOutput
    | ExecuteResult
    | ExecutionError
    | CommEvent
    | ToolCall
)
"""All events but `ExecutionDone` and `ResultJson`, which become the reply, and
`CapabilityCall` and `CapabilityDrop`, which are for whoever answers calls alone."""


class OutgoingMessage(NamedTuple):
    """A message to send, without what says to whom and in answer to what.

    Attributes:
        type: Jupyter's message type.
        content: Its content.
        metadata: Jupyter's metadata, if any.
        buffers: Binary attachments.
    """

    type: str
    content: dict[str, Any]
    metadata: dict[str, Any] | None = None
    buffers: tuple[bytes, ...] = ()


def event_message(event: PublishedEvent) -> OutgoingMessage:
    """Return the message that tells the front ends of an event."""
    content: dict[str, Any]
    if isinstance(event, CommEvent):
        content = {"comm_id": event.comm_id, "data": event.data}
        if event.kind == "comm_open":
            content["target_name"] = event.target_name
        return OutgoingMessage(event.kind, content, event.metadata, event.buffers)
    if isinstance(event, Stream):
        kind, content = "stream", {"name": event.name, "text": event.text}
    elif isinstance(event, ExecuteResult):
        kind = "execute_result"
        content = {
            "execution_count": event.execution_count,
            "data": event.data,
            "metadata": event.metadata,
        }
    elif isinstance(event, ExecutionError):
        kind, content = "error", error_content(event.error)
    elif isinstance(event, DisplayData):
        kind = "update_display_data" if event.update else "display_data"
        display_id = event.display_id
        content = {
            "data": event.data,
            "metadata": event.metadata,
            "transient": {} if display_id is None else {"display_id": display_id},
        }
    elif isinstance(event, ClearOutput):
        kind, content = "clear_output", {"wait": event.wait}
    else:
        kind = "tool_call"
        content = {"call_id": event.call_id, "path": event.path, "input": event.input}
    return OutgoingMessage(kind, content)


def call_message(call: CapabilityCall) -> OutgoingMessage:
    """Return the message that asks a server for what is beyond a context."""
    content = {
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
    }
    buffers = () if call.data is None else (call.data,)
    return OutgoingMessage("capability_call", content, None, buffers)


def error_content(error: ErrorInfo) -> dict[str, Any]:
    """Return the content of an `error` message."""
    return {
        "ename": error.ename,
        "evalue": error.evalue,
        "traceback": list(error.traceback),
    }


def error_reply_content(ename: str, evalue: str) -> dict[str, Any]:
    """Return the content of any reply to a request that can't be served."""
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": []}


def execute_reply_content(
    done: ExecutionDone,
    expressions: Mapping[str, dict[str, Any]],
    payload: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return the content of an `execute_reply` to an execution that ran.

    Args:
        done: How it ended.
        expressions: Its `user_expressions`, evaluated.
        payload: What the front end shall do: show a page, or end.
    """
    status = {"status": "ok"} if done.error is None else {"status": "error"}
    return {
        **status,
        **({} if done.error is None else error_content(done.error)),
        "execution_count": done.execution_count,
        "payload": list(payload),
        "user_expressions": dict(expressions),
    }


def outcome_content(done: ExecutionDone, result: ResultJson | None) -> dict[str, Any]:
    """Return what a server learns of an execution's end beside Jupyter's own fields.

    Jupyter's schema allows no others, so a kernel's reply must not have them.

    Args:
        done: How it ended.
        result: Its value as JSON, if it was asked for and there is one.
    """
    content: dict[str, Any] = {
        **({"denied": True} if done.denied else {}),
        **({"stopped": True} if done.stopped else {}),
    }
    if result is not None:
        found = {
            "result_json": result.text,
            "result_text": result.shown,
            "result_note": result.note,
            "result_cut": result.cut or None,
            "result_whole": result.whole,
        }
        content |= {name: value for name, value in found.items() if value is not None}
    return content


def expression_content(
    value: tuple[MimeBundle, dict[str, Any]] | ErrorInfo,
) -> dict[str, Any]:
    """Return one value of a reply's `user_expressions`."""
    if isinstance(value, ErrorInfo):
        return {"status": "error", **error_content(value)}
    data, metadata = value
    return {"status": "ok", "data": data, "metadata": metadata}


def well_formed(text: str) -> str:
    """Return text that UTF-8 has bytes for: U+FFFD for each half of a pair alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
