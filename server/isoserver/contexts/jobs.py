"""What is asked of a context: executions, and questions that run no cell."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isoserver.contexts.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.contexts.languages import Language

__all__ = ["TIMEOUT", "Execution", "Failure", "Job", "Message", "Request", "failure"]

TIMEOUT: Final = "TimeoutError"
_NUMBERS: Final = count(time.time_ns() // 1000)


class Message(NamedTuple):
    """A message from a context, without its envelope."""

    kind: str
    content: dict[str, Any]
    metadata: dict[str, Any]


class Failure(NamedTuple):
    """How an execution failed.

    Attributes:
        name: The error's name.
        value: Its message.
        traceback: Text to show, which ends with a newline.
    """

    name: str
    value: str
    traceback: str


class Request(NamedTuple):
    """What an execution shall do.

    Attributes:
        code: The source text.
        language: What it is in; None for the context's.
        seconds: How long it may take, from its beginning.
        env: Environment variables, for this execution only.
        options: More that a context's process is asked for, by name.
    """

    code: str
    language: Language | None
    seconds: float
    env: dict[str, str] | None = None
    options: dict[str, Any] | None = None


def failure(name: str, value: str) -> Failure:
    """Make a failure that has no traceback of its own."""
    return Failure(name, value, f"{name}: {value}\n")


class Job:
    """Something that a context does in its turn.

    Attributes:
        id: Its number in the context; `parent` in the messages that it causes.
        kind: The type of the request's message.
        content: The request's content.
        seconds: How long it may take from its beginning.
        done: Set when it is over, to the reply's content; an error of ours when it
            never ran, or could not be answered.
        began: When it was sent, by the monotonic clock; None while it waits.
        reply: The reply's content, once there.
        idle: Whether the context has said that it is idle again.
        overdue: Whether it was interrupted because its time was over.
        fds: Descriptors that go with the request.
        counts: Whether asking it means that the context is used.
    """

    needs_idle = False

    def __init__(self, kind: str, content: dict[str, Any], seconds: float) -> None:
        self.id = 0
        self.kind = kind
        self.content = content
        self.seconds = seconds
        self.done: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self.began: float | None = None
        self.reply: dict[str, Any] | None = None
        self.idle = False
        self.overdue = False
        self.fds: tuple[int, ...] = ()
        self.counts = True

    @property
    def over(self) -> bool:
        """Whether all that ends it has come."""
        return self.reply is not None and (self.idle or not self.needs_idle)

    def take(self, message: Message) -> None:
        """Take a message that isn't its end; questions have none."""

    def succeed(self) -> None:
        """Give its reply to whoever waits for it."""
        if not self.done.done():
            self.done.set_result(self.reply or {})

    def refuse(self, error: Exception) -> None:
        """Fail with an error of ours, because it can't be run or answered."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever asked may be gone: that is no defect

    @property
    def forgotten(self) -> bool:
        """Whether nobody waits for it any more, and nothing comes of it."""
        return self.done.done() and not self.needs_idle


class Execution(Job):
    """A cell that runs in a context.

    Attributes:
        request: What was asked.
        language: What the code is in.
        number: Higher than those of all executions before, by earlier servers too.
        outputs: What it has put out so far.
        count: Its number, the N of `In [N]`; 0 until it is known.
        failure: How it failed; None while it runs, and when it succeeded.
        seconds_taken: How long it took, once it is over.
        listeners: Called with each message when it comes.
    """

    needs_idle = True

    def __init__(
        self, request: Request, language: Language, content: dict[str, Any], limit: int
    ) -> None:
        super().__init__("execute_request", content, request.seconds)
        self.request = request
        self.language = language
        self.number = next(_NUMBERS)
        self.outputs = Outputs(limit)
        self.count = 0
        self.failure: Failure | None = None
        self.seconds_taken = 0.0
        self._size = 0
        self.listeners: list[Callable[[Message], None]] = []

    @property
    def size(self) -> int:
        """Characters of code and outputs, at its end."""
        return self._size

    @property
    def timed_out(self) -> bool:
        """Whether its time limit ended it; its own code may throw errors so named."""
        if self.failure is None or self.failure.name != TIMEOUT:
            return False
        return self.overdue or bool((self.reply or {}).get("stopped"))

    def take(self, message: Message) -> None:
        """Keep what it put out, and tell the listeners."""
        self.outputs.add(message.kind, message.content)
        for listener in self.listeners:
            listener(message)

    def fail(self, failed: Failure) -> None:
        """Let it end with a failure that the context itself did not report."""
        lines = failed.traceback.splitlines()
        content = {
            "ename": failed.name,
            "evalue": failed.value,
            "traceback": lines,
        }
        self.failure = failed
        self.take(Message("error", content, {}))
        self.reply = {"status": "error", "execution_count": self.count, **content}
        self.succeed()

    def succeed(self) -> None:
        """Tell listeners that it is over, and give the reply."""
        if self.began is not None:
            self.seconds_taken = time.monotonic() - self.began
        self._size = len(self.request.code) + self.outputs.size
        message = Message("execute_reply", self.reply or {}, {})
        for listener in self.listeners:
            listener(message)
        super().succeed()
