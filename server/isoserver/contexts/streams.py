"""An execution's events for a client: a view of its context's transcript.

Each event has an id of two numbers, N.K: the client has all that the context has said
up to its message N, and the K events that follow. N is the last message with which no
line was left unfinished. So whoever comes back with the id of the last event that
arrived gets the events after it, and no other, whatever the text was cut into.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isokernel.timeouts import timeout
from isoserver.contexts.jobs import DELETED, DIED, RESTARTED, TIMEOUT
from isoserver.contexts.outputs import lines
from isoserver.contexts.transcript import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution

__all__ = ["ExecutionStream", "JupyterEvents", "LineEvents", "Place", "read_place"]

Place = tuple[int, int]
"""What a client has, as the module's text says."""

STDOUT, STDERR, EXIT, ERROR = range(4)
_PARTIAL_CHARACTERS: Final = 64 * 1024
"""What of a line is held back until its end comes."""
_BROKEN: Final = {DIED, RESTARTED, DELETED}
_AT_ONCE: Final = 100
"""Messages that are looked up at once."""
_PIECE_CHARACTERS: Final = 256 * 1024
"""After which what has been made of messages is sent."""
_MISSED: Final = (
    "{} messages were dropped before they could be sent (transcript_bytes_max)\n"
)
_PLACE: Final = re.compile(r"(\d{1,15})\.(\d{1,15})")


def read_place(text: str) -> Place | None:
    """Read an event's id; None if it is none."""
    found = _PLACE.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))


class LineEvents:
    """The documented events: lines of output, then the exit.

    Attributes:
        whole: Whether no line is unfinished.
    """

    def __init__(
        self,
        execution: Execution,
        items: Callable[[Execution], list[dict[str, Any]]],
    ) -> None:
        """Begin.

        Args:
            execution: What the events are about.
            items: Returns what it has displayed, in the form of an answer.
        """
        self._execution = execution
        self._items = items
        self._partial = {STDOUT: "", STDERR: ""}

    @property
    def whole(self) -> bool:
        """See the class."""
        return not any(self._partial.values())

    def of(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """Make events of a message of the execution."""
        if entry.kind == "stream":
            number = STDERR if entry.content["name"] == "stderr" else STDOUT
            yield from self._print(number, entry.content["text"])

    def late(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """Make events of what an earlier execution prints."""
        number = STDERR if entry.content["name"] == "stderr" else STDOUT
        for line in lines(entry.content["text"]):
            yield {"type": number, "data": line, "late": True}

    def missed(self, number: int) -> Iterator[dict[str, Any]]:
        """Tell that messages are gone."""
        yield from self._finish()
        yield {"type": STDERR, "data": _MISSED.format(number).rstrip()}

    def end(self) -> Iterator[dict[str, Any]]:
        """Make the events of the end."""
        yield from self._finish()
        failed = self._execution.failure
        items = self._items(self._execution)
        answer = {"items": items} if items else {}
        if failed is None:
            yield {"type": EXIT, "code": 0, **answer}
            return
        for line in lines(failed.traceback):
            yield {"type": STDERR, "data": line}
        if failed.name == TIMEOUT:
            yield {"type": ERROR, "data": "timeout"}
        elif failed.name in _BROKEN:
            yield {"type": ERROR, "data": failed.value}
        yield {"type": EXIT, "code": 1, **answer}

    def refused(self, reason: str) -> Iterator[dict[str, Any]]:
        """Tell that the execution could not be run."""
        yield {"type": ERROR, "data": reason}
        yield {"type": EXIT, "code": 1}

    def _finish(self) -> Iterator[dict[str, Any]]:
        for number, rest in self._partial.items():
            if rest:
                self._partial[number] = ""
                yield {"type": number, "data": rest}

    def _print(self, number: int, text: str) -> Iterator[dict[str, Any]]:
        whole, newline, rest = (self._partial[number] + text).rpartition("\n")
        for line in lines(whole + newline):
            yield {"type": number, "data": line}
        if len(rest) > _PARTIAL_CHARACTERS:
            yield {"type": number, "data": rest}
            rest = ""
        self._partial[number] = rest


class JupyterEvents:
    """Every message as it is, without a signature."""

    whole = True

    def __init__(
        self,
        execution: Execution,
        _items: Callable[[Execution], list[dict[str, Any]]],
    ) -> None:
        """Begin; what is asked is as of `LineEvents`."""
        self._execution = execution
        self._parent = {"msg_id": execution.execution_id}

    def of(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """Pass a message on; the reply is that of the end."""
        if entry.kind != "execute_reply":
            yield self._event(entry.kind, entry.content, entry.metadata)

    def late(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """Pass on what an earlier execution prints, which is its parent."""
        name = entry.parent.get("msg_id")
        event = self._event(entry.kind, entry.content, entry.metadata)
        yield {**event, "parent_header": {} if name is None else {"msg_id": str(name)}}

    def missed(self, number: int) -> Iterator[dict[str, Any]]:
        """Tell that messages are gone."""
        content = {"name": "stderr", "text": _MISSED.format(number)}
        yield self._event("stream", content, {})

    def end(self) -> Iterator[dict[str, Any]]:
        """Pass the reply on."""
        content, failed = self._execution.reply or {}, self._execution.failure
        if failed and self._execution.timed_out:
            # A kernel of another language knows only that it was interrupted.
            content = {**content, **failed.content(), "stopped": True}
        yield self._last(content)

    def refused(self, reason: str) -> Iterator[dict[str, Any]]:
        """Tell that the execution could not be run."""
        content = {"status": "aborted", "ename": "StreamError", "evalue": reason}
        yield self._last(content)

    def _last(self, content: dict[str, Any]) -> dict[str, Any]:
        """Make the last event, which has the execution's status beside the message."""
        event = self._event("execute_reply", content, {})
        return {**event, "execution_status": self._execution.status}

    def _event(self, kind: str, content: Any, metadata: Any) -> dict[str, Any]:
        return {
            "msg_type": kind,
            "parent_header": self._parent,
            "content": content,
            "metadata": metadata,
        }


class ExecutionStream:
    """What a client that follows an execution is sent, at its own pace.

    Attributes:
        ended: Whether what `get` returned last was the end.
    """

    def __init__(
        self,
        context: Context,
        execution: Execution,
        events: LineEvents | JupyterEvents,
        place: Place | None = None,
    ) -> None:
        """Begin after what the client has; `close` must follow.

        Args:
            context: Where the execution runs.
            execution: It may be over.
            events: What is made of its messages.
            place: What the client has of it; None for nothing.
        """
        self.ended = False
        self._context = context
        self._execution = execution
        self._events = events
        self._transcript = context.transcript
        self._frames: list[str] = []
        self._size = 0
        self._ready = asyncio.Event()
        # What the events that have been made are of, and the id of the last one; how
        # many of those that follow the client has.
        self._told, self._passed = place or (0, 0)
        self._mark, self._count = self._told, 0
        self._placed = False
        self._closed = False
        # With the first event.
        self._ids: dict[str, Any] = {
            "execution_id": execution.execution_id,
            "context_id": context.id,
        }
        execution.followers += 1
        self._transcript.listen(self._notice)
        execution.done.add_done_callback(self._notice)

    def close(self) -> None:
        """Follow no more."""
        if self._closed:
            return
        self._closed = True
        self._execution.followers -= 1
        self._transcript.listeners.remove(self._notice)
        self._execution.done.remove_done_callback(self._notice)

    def take_late(self) -> None:
        """Put what earlier executions have printed since the context's last answer."""
        for name, printed in self._context.late.take_logs().items():
            for line in printed:
                content = {"name": name, "text": f"{line}\n"}
                self._put(self._events.late(_entry("stream", content)), counted=False)

    async def get(self, seconds: float) -> str:
        """Return the next events; none if none came for so many seconds."""
        end = time.monotonic() + seconds
        while not (text := self.read()) and not self.ended:
            left = end - time.monotonic()
            try:
                async with timeout(left):
                    await self._ready.wait()
            except asyncio.TimeoutError:
                return ""
        return text

    def read(self) -> str:
        """Return the next events that there are, up to a size."""
        self._ready.clear()
        while not self.ended and self._size < _PIECE_CHARACTERS and self._go_on():
            pass
        frames, self._frames = self._frames, []
        self._size = 0
        return "".join(frames)

    def _notice(self, _: object) -> None:
        self._ready.set()

    # -- from messages to events -------------------------------------------------------

    def _go_on(self) -> bool:
        """Put the events of a few messages; return whether there were any."""
        execution = self._execution
        if not execution.first:
            return self._begun_never()
        if not self._placed:
            self._begin()
        last = execution.last
        if last and self._told >= last:
            return self._end()
        entries = self._transcript.after(self._told, _AT_ONCE)
        for entry in entries:
            number = min(entry.number, last or entry.number)
            if number > self._told + 1:
                self._skip(number - 1)
            if number == last:
                self._told = last
                break
            self._take(entry)
            if self._size >= _PIECE_CHARACTERS:
                break
        return bool(entries)

    def _begin(self) -> None:
        """Find where to begin, now that the execution has."""
        self._placed = True
        execution = self._execution
        first, last = execution.first, execution.last
        fresh = not self._told
        if not first - 1 <= self._told <= (last or self._transcript.last):
            self._told = self._mark = first - 1
            self._passed = 0
        if not last or (self._has(last) and (self._has(first) or not fresh)):
            return
        # It is over, and its messages are gone: those of a context that was forked or
        # that has slept are another's. Its outputs are still there.
        if fresh:
            for output in execution.outputs.plain():
                kind = output["output_type"]
                self._put(self._events.of(_entry(kind, output)), counted=False)
            self._told = self._mark = last
        elif self._told < last:
            self._skip(last)

    def _has(self, number: int) -> bool:
        """Whether a message is there, and the execution's."""
        found = self._transcript.after(number - 1, 1)
        return bool(found) and found[0].number == number and self._is_own(found[0])

    def _is_own(self, entry: Entry) -> bool:
        return entry.parent.get("msg_id") == self._execution.header.get("msg_id")

    def _take(self, entry: Entry) -> None:
        self._told = entry.number
        if self._is_own(entry):
            self._put(self._events.of(entry))
        elif entry.kind == "stream":
            self._put(self._events.late(entry))
        if self._events.whole:
            self._mark, self._count = entry.number, 0
            self._passed = 0

    def _skip(self, number: int) -> None:
        """Go on after messages that are gone."""
        self._put(self._events.missed(number - self._told), counted=False)
        self._told = self._mark = number
        self._count = self._passed = 0

    def _begun_never(self) -> bool:
        """Wait for its turn, or tell that it has none."""
        done = self._execution.done
        if not done.done():
            return False
        error = None if done.cancelled() else done.exception()
        if error is None:
            return self._end()
        self._put(self._events.refused(str(error)))
        self.ended = True
        return True

    def _end(self) -> bool:
        """Put the end, once it is known whole."""
        if not self._execution.done.done():
            return False
        self._put(self._events.end())
        self.ended = True
        return True

    def _put(self, events: Iterator[dict[str, Any]], *, counted: bool = True) -> None:
        for event in events:
            name = ""
            if counted:
                self._count += 1
                if self._count <= self._passed:
                    continue
                name = f"id: {self._mark}.{self._count}\n"
            data = msgspec.json.encode({**event, **self._ids}, enc_hook=str).decode()
            self._ids = {}
            frame = f"{name}data: {data}\n\n"
            self._size += len(frame)
            self._frames.append(frame)


def _entry(kind: str, content: dict[str, Any]) -> Entry:
    return Entry(0, 0.0, kind, content, {}, {}, (), "")
