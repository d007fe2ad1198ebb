"""From the bytes of a stream to events and, at its end, the execution.

Nothing here waits or sends: the synchronous and the asynchronous client feed it.
"""

from __future__ import annotations

import io
import time
from collections import deque
from datetime import datetime, timezone
from typing import Any, Final

import msgspec

from isokernel.client.errors import NetworkError, ProtocolError, StreamError
from isokernel.client.events import (
    Cleared,
    Displayed,
    Ended,
    Event,
    Failed,
    Printed,
    Started,
    Updated,
)
from isokernel.client.executions import (
    Execution,
    ExecutionStatus,
    Failure,
    Logs,
    Output,
    Timings,
)

__all__ = ["ExecutionReader", "Frames"]

_FRAME_BYTES_MAX: Final = 256 << 20
_DATA: Final = b"data:"
_ID: Final = b"id:"
_NO_DATA: Final = ("$ (", "can't be made JSON", "isn't JSON")
"""In the note on a value: it isn't plain data, and JSON has a text in its place."""
_PIECE: Final = 8192
_OUTPUT_BYTES: Final = 1000
"""What an output takes beside its data, roughly."""
_TAIL_PARTS: Final = 4
"""The tail of text that is too long is one of so many parts of what is kept."""


class Frames:
    """Cuts the bytes of server-sent events into the data of each.

    Attributes:
        last_id: The id of the last event that is whole; empty if none had one.
    """

    def __init__(self, bytes_max: int = _FRAME_BYTES_MAX) -> None:
        """Begin with nothing.

        Args:
            bytes_max: What one event may have.
        """
        self.last_id = ""
        self._id = ""
        self._max = bytes_max
        self._rest = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._size = 0

    def reset(self) -> None:
        """Forget the beginning of an event whose end was lost."""
        self._id = self.last_id
        self._rest.clear()
        self._data.clear()
        self._searched = self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that are whole by now.

        Raises:
            ProtocolError: One is larger than it may be.
        """
        self._rest += chunk
        found: list[bytes] = []
        begin = 0
        while (end := self._rest.find(b"\n", max(begin, self._searched))) >= 0:
            line = bytes(self._rest[begin:end]).removesuffix(b"\r")
            begin = end + 1
            if line.startswith(_DATA):
                self._data.append(line.removeprefix(_DATA))
                self._size += len(line)
            elif line.startswith(_ID):
                self._id = line.removeprefix(_ID).strip().decode("ascii", "replace")
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data, self._size = [], 0
                self.last_id = self._id
        del self._rest[:begin]
        self._searched = len(self._rest)
        if self._searched + self._size > self._max:
            message = f"an event has more than {self._max} bytes"
            raise ProtocolError(message)
        return found


class _Message(msgspec.Struct):
    """A message of Jupyter's, as `/execute/async?format=jupyter` has it."""

    msg_type: str
    content: dict[str, Any]
    parent_header: dict[str, Any] = {}
    execution_status: ExecutionStatus | None = None


_decode: Final = msgspec.json.Decoder(_Message).decode


class _Text:
    """What was printed to one stream: all of it, or its head and its tail."""

    def __init__(self, characters_max: int) -> None:
        self._tail_max = characters_max // _TAIL_PARTS
        self._room = characters_max - self._tail_max
        self._head = io.StringIO()
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self.left_out = 0

    def add(self, text: str) -> None:
        if self._room and not self._tail:
            taken = self._head.write(text[: self._room])
            text = text[taken:]
            self._room -= taken
        if not text:
            return
        if self._tail and len(self._tail[-1]) < _PIECE:
            self._tail[-1] += text  # a piece takes more memory than a character
        else:
            self._tail.append(text)
        self._tail_size += len(text)
        while (over := self._tail_size - self._tail_max) > 0:
            first = self._tail.popleft()
            if over < len(first):
                self._tail.appendleft(first[over:])
            gone = min(over, len(first))
            self._tail_size -= gone
            self.left_out += gone

    def whole(self) -> str:
        left = f"\n[{self.left_out} characters left out]\n" if self.left_out else ""
        return "".join([self._head.getvalue(), left, *self._tail])


class ExecutionReader:
    """Reads one execution, over as many connections as it takes.

    Attributes:
        execution: What it was; None while its end hasn't come.
        execution_id: What it is called.
    """

    def __init__(
        self, execution_id: str, *, output_bytes_max: int, trusted: bool
    ) -> None:
        """Prepare.

        Args:
            execution_id: What it is called: messages of others come late.
            output_bytes_max: How much of its output is kept: as many characters of
                each stream, and as many bytes of displays.
            trusted: Whether notebooks show its outputs as they are.
        """
        self.execution: Execution | None = None
        self.execution_id = execution_id
        self._context_id = ""
        self._count = 0
        self._max = output_bytes_max
        self._trusted = trusted
        self._frames = Frames()
        self._late = {name: _Text(self._max) for name in ("stdout", "stderr")}
        self._truncated = self._clearing = False
        self._sent_at = datetime.now(timezone.utc)
        self._sent = time.monotonic()
        self._forget()

    def begin(self, context_id: str) -> None:
        """Note that the cell is sent now."""
        self._context_id = context_id
        self._sent_at = datetime.now(timezone.utc)
        self._sent = time.monotonic()

    @property
    def place(self) -> str:
        """The id of the last event that has come, for who goes on after it."""
        return self._frames.last_id

    def over(self) -> bool:
        """Whether its end has come."""
        return self.execution is not None

    def rejoin(self) -> None:
        """Note that another connection goes on after the last whole event."""
        self._frames.reset()

    def check_end(self) -> None:
        """Check, where a connection has ended, that all has come.

        Raises:
            NetworkError: It hasn't.
        """
        if self.execution is None:
            message = "the stream ended before its execution"
            raise NetworkError(message)

    def feed(self, chunk: bytes) -> list[Event]:
        """Return what has happened by now.

        Raises:
            ProtocolError: That is no such stream.
            StreamError: The server has cut the stream, or can't run the cell.
        """
        events: list[Event] = []
        for data in self._frames.feed(chunk):
            try:
                message = _decode(data)
            except (msgspec.MsgspecError, RecursionError) as error:
                text = f"the stream has something that is no message: {error}"
                raise ProtocolError(text) from error
            event = self._take(message, len(data))
            if event is not None:
                events.append(event)
        return events

    def finish(self) -> Execution:
        """Return the execution, now that the stream is closed.

        Raises:
            StreamError: Its end hasn't come.
        """
        if self.execution is None:
            message = "the stream was closed before its execution ended"
            raise StreamError(message)
        return self.execution

    def _take(self, message: _Message, size: int) -> Event | None:
        kind, content = message.msg_type, message.content
        late = message.parent_header.get("msg_id") != self.execution_id
        if kind == "stream":
            return self._print(content, late=late)
        if kind in {"display_data", "execute_result"}:
            result = kind == "execute_result"
            return self._display(content, size, result=result, late=late)
        read = {
            "clear_output": self._clear,
            "error": self._fail,
            "execute_input": self._start,
            "update_display_data": self._update,
        }.get(kind)
        if late:
            return None
        if kind == "execute_reply":
            return self._end(content, message.execution_status or "failed")
        return read and read(content)

    def _start(self, content: dict[str, Any]) -> Event:
        self._count = _number(content.get("execution_count"))
        return Started(id=self.execution_id, execution_count=self._count)

    def _fail(self, content: dict[str, Any]) -> Event:
        return Failed(error=_failure(content))

    def _print(self, content: dict[str, Any], *, late: bool) -> Event:
        text = str(content.get("text", ""))
        error = content.get("name") == "stderr"
        if late:
            self._late["stderr" if error else "stdout"].add(text)
        else:
            self._forget_if_asked()
            self._texts["stderr" if error else "stdout"].add(text)
        return Printed(stream="stderr" if error else "stdout", text=text, late=late)

    def _display(
        self, content: dict[str, Any], size: int, *, result: bool, late: bool
    ) -> Event:
        output = self._output(content, result=result)
        if not late:
            self._forget_if_asked()
            self._shown_bytes += size + _OUTPUT_BYTES
            if self._shown_bytes <= self._max or result:
                self._outputs.append(output)
            else:
                self._truncated = True
        return Displayed(output=output, late=late)

    def _update(self, content: dict[str, Any]) -> Event:
        output = self._output(content, result=False)
        for place, shown in enumerate(self._outputs):
            if output.display_id and shown.display_id == output.display_id:
                self._outputs[place] = output
        return Updated(output=output)

    def _output(self, content: dict[str, Any], *, result: bool) -> Output:
        transient = _dict(content.get("transient"))
        return Output(
            data=_dict(content.get("data")),
            metadata=_dict(content.get("metadata")),
            is_result=result,
            display_id=str(transient.get("display_id") or ""),
            trusted=self._trusted,
        )

    def _clear(self, content: dict[str, Any]) -> Event:
        wait = bool(content.get("wait"))
        self._clearing = True
        if not wait:
            self._forget_if_asked()
        return Cleared(wait=wait)

    def _forget_if_asked(self) -> None:
        if self._clearing:
            self._forget()

    def _forget(self) -> None:
        self._clearing = False
        self._outputs: list[Output] = []
        self._shown_bytes = 0
        self._texts = {name: _Text(self._max) for name in ("stdout", "stderr")}

    def _end(self, content: dict[str, Any], status: ExecutionStatus) -> Event:
        if content.get("status") == "aborted":
            reason = str(content.get("evalue") or "the cell was not run")
            if status != "cancelled":
                raise StreamError(reason)
            content = {"ename": "CancelledError", "evalue": reason}
        error = None if content.get("status") == "ok" else _failure(content)
        value, note = (None, "") if error else _value(content)
        texts = (*self._texts.values(), *self._late.values())
        self.execution = Execution(
            id=self.execution_id,
            context_id=self._context_id,
            status="completed" if error is None else status,
            value=value,
            value_note=note,
            outputs=self._outputs,
            logs=Logs(**{name: text.whole() for name, text in self._texts.items()}),
            late=Logs(**{name: text.whole() for name, text in self._late.items()}),
            error=error,
            execution_count=_number(content.get("execution_count")) or self._count,
            truncated=self._truncated or any(text.left_out for text in texts),
            timings=Timings(
                sent_at=self._sent_at,
                seconds=time.monotonic() - self._sent,
            ),
        )
        return Ended(execution=self.execution)


def _failure(content: dict[str, Any]) -> Failure:
    name = str(content.get("ename") or "Error")
    message = str(content.get("evalue") or "")
    lines = content.get("traceback")
    text = "\n".join(map(str, lines)) if isinstance(lines, list) else ""
    text = (text or f"{name}: {message}").rstrip("\n") + "\n"
    return Failure(name=name, message=message, traceback=text)


def _value(content: dict[str, Any]) -> tuple[Any, str]:
    """Return the value, and what is to be said about it."""
    text, note = content.get("result_json"), str(content.get("result_note") or "")
    if not isinstance(text, str) or any(sign in note for sign in _NO_DATA):
        return None, note
    try:
        return msgspec.json.decode(text), note
    except (msgspec.MsgspecError, RecursionError):  # a process of code may be its own
        return None, note or "the value isn't JSON"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
