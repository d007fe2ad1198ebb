"""Events on their way from an execution to a client that reads at its own pace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.contexts.jobs import DELETED, DIED, RESTARTED, TIMEOUT
from isoserver.contexts.messages import Message
from isoserver.contexts.outputs import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution

__all__ = ["Feed", "JupyterEvents", "LineEvents"]

STDOUT, STDERR, EXIT, ERROR = range(4)
_PARTIAL_CHARACTERS: Final = 64 * 1024
"""What of a line is held back until its end comes."""
_BROKEN: Final = {DIED, RESTARTED, DELETED}
_CUT: Final = "the stream was cut: its client doesn't read; the execution goes on"


class Feed:
    """Frames that wait for the client, up to a limit.

    Attributes:
        ended: Whether what `get` returned last was the end.
    """

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: Characters that may wait.
        """
        self.ended = False
        self._limit = limit
        self._frames: list[str] = []
        self._size = 0
        self._closed = False
        self._ready = asyncio.Event()

    def put(self, event: dict[str, Any], cut: dict[str, Any]) -> None:
        """Add an event.

        Args:
            event: The event.
            cut: What is sent instead of all that waits, as the last event, when there
                is too much of it.
        """
        if self._closed:
            return
        frame = _frame(event)
        self._size += len(frame)
        if self._size > self._limit:
            self._frames = [_frame(cut)]
            self._closed = True
        else:
            self._frames.append(frame)
        self._ready.set()

    def close(self) -> None:
        """Accept no more events; `get` returns what is left."""
        self._closed = True
        self._ready.set()

    async def get(self, seconds: float) -> str:
        """Return the frames that wait; none if none came for so many seconds."""
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except asyncio.TimeoutError:
            return ""
        frames, self._frames = self._frames, []
        self._size = 0
        self.ended = self._closed
        self._ready.clear()
        return "".join(frames)


class _Events:
    """Turns an execution's messages into events of a feed."""

    def __init__(self, feed: Feed, execution: Execution) -> None:
        """Begin.

        Args:
            feed: Where events wait for the client.
            execution: What they are about.
        """
        self._feed = feed
        self._execution = execution
        self._items: Callable[[Execution], list[dict[str, Any]]] = lambda _: []

    def take(self, message: Message) -> None:
        """Add a message; called as a listener of the execution."""
        raise NotImplementedError

    def begin(
        self, context: Context, items: Callable[[Execution], list[dict[str, Any]]]
    ) -> None:
        """Put what earlier executions have printed since the context's last answer.

        Args:
            context: Where the execution runs.
            items: Returns what it has displayed, in the form of an answer.
        """
        self._items = items
        for name, printed in context.late.take_logs().items():
            for line in printed:
                content = {"name": name, "text": f"{line}\n"}
                self.take_late(Message("stream", content, {}))

    def take_late(self, message: Message) -> None:
        """Add what an earlier execution prints."""
        raise NotImplementedError

    def over(self, done: asyncio.Future[dict[str, Any]]) -> None:
        """End the feed, and say so if the execution could not be run."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._refused(str(error))
        self._feed.close()

    def _refused(self, reason: str) -> None:
        raise NotImplementedError


class LineEvents(_Events):
    """The documented events: lines of output, then the exit."""

    def __init__(self, feed: Feed, execution: Execution) -> None:
        super().__init__(feed, execution)
        self._partial = {STDOUT: "", STDERR: ""}

    def take(self, message: Message) -> None:
        """Put whole lines, and the end."""
        if message.kind == "stream":
            number = STDERR if message.content["name"] == "stderr" else STDOUT
            self._print(number, message.content["text"])
        elif message.kind == "execute_reply":
            self._finish()

    def take_late(self, message: Message) -> None:
        """Put its lines, marked as late."""
        number = STDERR if message.content["name"] == "stderr" else STDOUT
        for line in lines(message.content["text"]):
            self._put({"type": number, "data": line, "late": True})

    def _refused(self, reason: str) -> None:
        self._put({"type": ERROR, "data": reason})
        self._put({"type": EXIT, "code": 1})

    def _print(self, number: int, text: str) -> None:
        whole, newline, rest = (self._partial[number] + text).rpartition("\n")
        for line in lines(whole + newline):
            self._put({"type": number, "data": line})
        if len(rest) > _PARTIAL_CHARACTERS:
            self._put({"type": number, "data": rest})
            rest = ""
        self._partial[number] = rest

    def _finish(self) -> None:
        for number, rest in self._partial.items():
            if rest:
                self._put({"type": number, "data": rest})
        failed = self._execution.failure
        items = self._items(self._execution)
        answer = {"items": items} if items else {}
        if failed is None:
            self._put({"type": EXIT, "code": 0, **answer})
            return
        for line in lines(failed.traceback):
            self._put({"type": STDERR, "data": line})
        if failed.name == TIMEOUT:
            self._put({"type": ERROR, "data": "timeout"})
        elif failed.name in _BROKEN:
            self._put({"type": ERROR, "data": failed.value})
        self._put({"type": EXIT, "code": 1, **answer})

    def _put(self, event: dict[str, Any]) -> None:
        self._feed.put(event, {"type": ERROR, "data": _CUT})


class JupyterEvents(_Events):
    """Every message as it is, without a signature."""

    def take(self, message: Message) -> None:
        """Pass a message on."""
        cut = self._event("execute_reply", _aborted(_CUT), {})
        failed = self._execution.failure
        if failed and message.kind == "execute_reply" and self._execution.timed_out:
            # A kernel of another language knows only that it was interrupted.
            content = {**message.content, **failed.content(), "stopped": True}
            message = message._replace(content=content)
        self._feed.put(self._told(message), cut)

    def take_late(self, message: Message) -> None:
        """Pass it on; its parent isn't this execution."""
        event = {**self._told(message), "parent_header": {}}
        self._feed.put(event, event)

    def _told(self, message: Message) -> dict[str, Any]:
        return self._event(message.kind, message.content, message.metadata)

    def _refused(self, reason: str) -> None:
        event = self._event("execute_reply", _aborted(reason), {})
        self._feed.put(event, event)

    def _event(
        self, kind: str, content: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "msg_type": kind,
            "parent_header": {"msg_id": str(self._execution.id)},
            "content": content,
            "metadata": metadata,
        }


def _aborted(value: str) -> dict[str, Any]:
    return {"status": "aborted", "ename": "StreamError", "evalue": value}


def _frame(event: dict[str, Any]) -> str:
    return f"data: {msgspec.json.encode(event, enc_hook=str).decode()}\n\n"
