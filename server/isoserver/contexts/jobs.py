"""What is asked of a context: executions, and questions that run no cell."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isoserver.contexts.messages import Message
from isoserver.contexts.outputs import Outputs
from isoserver.contexts.transcript import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from isokernel.capabilities import Stage
    from isoserver.contexts.languages import Language
    from isoserver.tools.calls import Requester

__all__ = [
    "DELETED",
    "DIED",
    "RESTARTED",
    "TIMEOUT",
    "UNSAVED",
    "Execution",
    "Failure",
    "Job",
]

TIMEOUT: Final = "TimeoutError"
DIED: Final = "ContextDiedError"
RESTARTED: Final = "ContextRestartedError"
DELETED: Final = "ContextDeletedError"
UNSAVED: Final = "ContextUnsavedError"


def _from_now() -> Iterator[int]:
    """Count on from the time of the first number, which may be in a forked process."""
    yield from count(time.time_ns() // 1000)


_NUMBERS: Final = _from_now()
_IDS: Final = _from_now()


class Failure(NamedTuple):
    """How an execution failed.

    Attributes:
        name: The error's name.
        value: Its message.
        traceback: Text to show; it ends with a newline.
    """

    name: str
    value: str
    traceback: str

    @classmethod
    def without_traceback(cls, name: str, value: str) -> Failure:
        """Make one of an error that the user's code did not throw."""
        return cls(name, value, f"{name}: {value}\n")

    def content(self) -> dict[str, Any]:
        """Return the content of the message that tells it."""
        return {
            "ename": self.name,
            "evalue": self.value,
            "traceback": self.traceback.splitlines(),
        }


class Job:
    """Something that a context does in its turn; by itself, a question.

    Attributes:
        id: Its number, which the messages that it causes name as parent. Jobs of other
            contexts, and of earlier servers, have others.
        kind: The type of the request's message.
        content: The request's content.
        seconds: How long it may take, from its beginning.
        fds: Descriptors that go with the request.
        header: Jupyter's header of the request, the parent of what it causes. That of
            a request that came otherwise names no session of a front.
        front: The session of the front that asked; empty if none did.
        counts_as_use: Whether it keeps the context from hibernating and expiring.
        done: The reply's content; an error of ours if the job never ran, or could not
            be answered.
        began: When it was sent, by the monotonic clock; None while it waits.
        reply: The reply's content, once it has come.
        idle: Whether the context has said that it is idle again.
        overdue: Whether it was interrupted because its time was up.
        pauses: For how many reasons its clock stands still.
    """

    needs_idle = False

    def __init__(  # noqa: PLR0913 - the parts of a request
        self,
        kind: str,
        content: dict[str, Any],
        seconds: float,
        *,
        fds: tuple[int, ...] = (),
        counts_as_use: bool = True,
        header: Mapping[str, Any] | None = None,
        front: str = "",
    ) -> None:
        self.id = next(_IDS)
        self.header = header or {}
        self.front = front
        self.kind = kind
        self.content = content
        self.seconds = seconds
        self.fds = fds
        self.counts_as_use = counts_as_use
        self.done: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self.began: float | None = None
        self.reply: dict[str, Any] | None = None
        self.idle = False
        self.overdue = False
        self.pauses = 0

    @property
    def cause(self) -> Cause:
        """What the messages that come of it name as such."""
        return Cause(self.id, self.header, self.front)

    @property
    def over(self) -> bool:
        """Whether everything that ends it has come."""
        return self.reply is not None and (self.idle or not self.needs_idle)

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more, and nothing comes of it."""
        return self.done.done() and not self.needs_idle

    def take(self, message: Message) -> None:
        """Handle a message that isn't the end; a question has none."""

    def succeed(self) -> None:
        """Pass the reply to whoever waits for it."""
        if not self.done.done():
            self.done.set_result(self.reply or {})

    def refuse(self, error: Exception) -> None:
        """Fail with an error of ours, because it can't be run or answered."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever asked may be gone: that is no defect


class Execution(Job):
    """One running of a cell in a context.

    Attributes:
        code: The source text.
        language: What the code is in.
        env: Environment variables, for this execution only.
        options: Further fields of the execute request that a V8 context takes; with
            `value_json`, a Python context's reply has its value as JSON.
        number: Orders all executions of this and earlier servers.
        silent: Whether it isn't counted, and is in no history.
        outputs: What it has put out so far.
        count: Its number in the context, the N of `In [N]`; 0 until it is known.
        failure: How it failed; None while it runs, and when it succeeded.
        seconds_taken: How long it took, once it is over.
        size: Characters of code and outputs, once it is over.
        first: The number, in the context's transcript, of its first message; 0 while
            it waits.
        last: That of the message which says that it is over; 0 until then.
        cancelled: Whether somebody has cancelled it.
        refused_for_now: Whether it never began, for a reason that may pass: what is
            asked again with its name begins it.
        has_webhook: Whether a webhook is sent when it is over.
        followers: How many streams show it, and what earlier executions print
            meanwhile.
        listeners: Called with each message as it comes.
        stage_listeners: Called with how far something has come that its code waits for.
        stops: Whether those of its front that wait for it never run if it fails.
        asks: Whether its code waits for an answer of its front's user.
        requester: Who is asked for approvals; None if nobody is by the execution.
        awaited: Whether an answer with all its outputs has yet to be made; until then
            nothing that it prints comes late.
    """

    needs_idle = True

    def __init__(  # noqa: PLR0913 - the fields of a request, by their names
        self,
        code: str,
        language: Language,
        seconds: float,
        *,
        env: dict[str, str] | None,
        options: dict[str, Any] | None,
        output_bytes_max: int,
        header: Mapping[str, Any] | None = None,
        front: str = "",
        execution_id: str | None = None,
    ) -> None:
        super().__init__("execute_request", {}, seconds, header=header, front=front)
        self.code = code
        self.language = language
        self.env = env or {}
        self.options = options or {}
        self.number = next(_NUMBERS)
        if not self.header:
            self.header = {
                "msg_id": execution_id or str(self.number),
                "msg_type": "execute_request",
            }
        self.silent = bool(self.options.get("silent"))
        self.outputs = Outputs(output_bytes_max, cut_before=language.engine == "v8")
        self.count = 0
        self.failure: Failure | None = None
        self.seconds_taken = 0.0
        self.size = 0
        self.first = self.last = 0
        self.cancelled = self.has_webhook = self.refused_for_now = False
        self.followers = 0
        self.listeners: list[Callable[[Message], None]] = []
        self.stage_listeners: list[Callable[[Stage], None]] = []
        self.stops = self.asks = False
        self.requester: Requester | None = None
        self.awaited = False
        self._finished = False

    @property
    def execution_id(self) -> str:
        """What it is called: the id of the request, by which its messages name it."""
        return str(self.header.get("msg_id", self.number))

    @property
    def status(self) -> str:
        """How it stands, in the words of runs."""
        if not self.done.done():
            return "queued" if self.began is None else "running"
        refused = self.done.cancelled() or self.done.exception() is not None
        if not refused and self.failure is None:
            return "completed"
        if self.cancelled:
            return "cancelled"
        return "timed_out" if self.timed_out else "failed"

    @property
    def timed_out(self) -> bool:
        """Whether its time limit ended it; its own code may throw errors so named."""
        if self.failure is None or self.failure.name != TIMEOUT:
            return False
        return self.overdue or bool((self.reply or {}).get("stopped"))

    def take(self, message: Message) -> None:
        """Keep what it puts out, and tell the listeners."""
        self.outputs.add(message.kind, message.content)
        for listener in self.listeners:
            listener(message)

    def fail(self, failure: Failure) -> None:
        """End with a failure that the context itself did not report."""
        content = failure.content()
        self.failure = failure
        self.take(Message("error", content, {}))
        self.reply = {"status": "error", "execution_count": self.count, **content}
        self.succeed()

    def read_reply(self, execution_count: int) -> None:
        """Read the execution's number and failure from the reply.

        Args:
            execution_count: The context's, for replies that have none.
        """
        reply = self.reply or {}
        self.count = reply.get("execution_count") or execution_count
        if reply.get("status") == "ok":
            return
        lines = reply.get("traceback") or []
        name = str(reply.get("ename") or "AbortedError")
        value = str(reply.get("evalue") or "")
        text = "\n".join(lines) or f"{name}: {value}"
        self.failure = Failure(name, value, text.rstrip("\n") + "\n")
        if self.overdue and name != TIMEOUT:
            value = f"the execution took longer than {self.seconds:g} s"
            self.failure = Failure.without_traceback(TIMEOUT, value)

    def finish(self) -> None:
        """Know how long it took and how much it is: nothing more comes."""
        if self._finished:
            return
        self._finished = True
        if self.began is not None:
            self.seconds_taken = time.monotonic() - self.began
        self.outputs.finish()
        self.size = len(self.code) + self.outputs.size

    def succeed(self) -> None:
        """Tell the listeners that it is over, and pass on the reply."""
        self.finish()
        message = Message("execute_reply", self.reply or {}, {})
        for listener in self.listeners:
            listener(message)
        super().succeed()
