"""What a context reports while it runs: events, the same for every front.

Events are plain data. They are handed to the context's sink on the thread that runs
V8, in the order in which they happened, and everything that an execution printed comes
before its `ExecutionDone`. Each carries the id of the execution that caused it, also
when that execution is long over (a timer that fires later), so that a front can put
output where it belongs.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

MimeBundle: TypeAlias = dict[str, Any]
"""MIME type to value: text, base64 text for binary types, objects for JSON types."""

StreamName: TypeAlias = Literal["stdout", "stderr"]


class ErrorInfo(NamedTuple):
    """A failure of the user's code, ready to be shown.

    Attributes:
        ename: The error's name, such as `TypeError`; for thrown values that are not
            errors the name of their type.
        evalue: The message, without the name.
        traceback: Lines to show, the first names the error; plain text, unless the
            context has `error_colors`.
    """

    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()


class Stream(NamedTuple):
    """Text that was printed, whole lines or pieces, batched."""

    execution_id: int
    name: StreamName
    text: str


class DisplayData(NamedTuple):
    """Something to display. With `update`, it replaces what has the same id."""

    execution_id: int
    data: MimeBundle
    metadata: dict[str, Any]
    display_id: str | None = None
    update: bool = False


class ClearOutput(NamedTuple):
    """Remove the output so far; with `wait`, when the next output comes."""

    execution_id: int
    wait: bool


class ExecuteResult(NamedTuple):
    """The value of a cell's last expression."""

    execution_id: int
    execution_count: int
    data: MimeBundle
    metadata: dict[str, Any]


class ResultJson(NamedTuple):
    """The value of a cell's last expression as data, for executions that ask for it.

    Comes before the `ExecuteResult`; not at all for undefined.

    Attributes:
        execution_id: Whose value.
        text: What `JSON.stringify` returns; where it throws (a cycle, a bigint), or the
            value is nested too deep, a JSON string with the text that inspecting shows;
            None for what JSON has no word for, such as functions.
        cut: It was too long: it is head and tail, with what lies between counted.
        shown: The value as text, when JSON doesn't hold all of it.
        note: What JSON doesn't hold of it, and what was cut, for people.
        whole: What was cut, uncut, if that was asked for and isn't too long.
    """

    execution_id: int
    text: str | None
    cut: bool = False
    shown: str | None = None
    note: str | None = None
    whole: str | None = None


class ExecutionError(NamedTuple):
    """The cell failed: its code threw, it was interrupted, or a limit was reached."""

    execution_id: int
    error: ErrorInfo


class ExecutionDone(NamedTuple):
    """The cell is over; nothing that it printed comes after this but timers' output.

    Attributes:
        execution_id: Which execution.
        execution_count: Its number, the N of `In [N]`.
        error: None when it succeeded.
        denied: The code ended with the very error of a tool call that was denied.
        stopped: Whether it was stopped from outside; the error says why. Code can
            throw an error that looks like it.
    """

    execution_id: int
    execution_count: int
    error: ErrorInfo | None
    denied: bool = False
    stopped: bool = False


class ToolCall(NamedTuple):
    """The code has called a tool, and waits for `Context.settle_tool`.

    Attributes:
        execution_id: Who calls.
        call_id: Its number in the context.
        path: The tool's name, dots between its parts.
        input: JSON text of an object.
    """

    execution_id: int
    call_id: int
    path: str
    input: str


class CapabilityCall(NamedTuple):
    """The code asks for something beyond its context, of whoever holds it.

    It is reported if the code goes on meanwhile, and waits for `Context.settle_call`.

    Attributes:
        execution_id: Who asks.
        call_id: Its number in the context.
        name: What is asked for: a capability, a dot, and what to do with it.
        arguments: JSON text of an object.
        data: Bytes that go with it, if any.
    """

    execution_id: int
    call_id: int
    name: str
    arguments: str
    data: bytes | None = None


class CapabilityDrop(NamedTuple):
    """Nobody waits for the answer of a `CapabilityCall` any more; end it.

    Its answer is taken all the same, and frees its place.

    Attributes:
        execution_id: The execution, which was stopped.
        call_id: As the call has it.
    """

    execution_id: int
    call_id: int


class CallAnswer(NamedTuple):
    """The answer to a `CapabilityCall`.

    Attributes:
        kind: What comes.
        text: The value as JSON, nothing for undefined; or the error's fields as a JSON
            object: name, message, code and what else the error has.
        data: Bytes that come with the value, if any.
    """

    kind: Literal["value", "error"]
    text: str
    data: bytes | None = None


class CommEvent(NamedTuple):
    """JavaScript opened, used or closed a comm (Jupyter's two-way channel).

    Attributes:
        execution_id: Who caused it.
        kind: The message type.
        comm_id: The comm's id.
        data: The payload, any JSON object.
        metadata: Jupyter's metadata for the message.
        target_name: For `comm_open`, the name that the front end registered.
        buffers: Binary attachments.
    """

    execution_id: int
    kind: Literal["comm_open", "comm_msg", "comm_close"]
    comm_id: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    target_name: str = ""
    buffers: tuple[bytes, ...] = ()


Event: TypeAlias = (
    Stream
    | DisplayData
    | ClearOutput
    | ExecuteResult
    | ResultJson
    | ExecutionError
    | ExecutionDone
    | CommEvent
    | ToolCall
    | CapabilityCall
    | CapabilityDrop
)
