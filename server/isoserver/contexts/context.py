"""One context: its process, its queue and its state, the same for every language.

A context does one job at a time, in the order in which they came. A job is over when
its reply has come, an execution when idle has come too. Every job has a deadline, and
the end of the process ends all that wait on it.
"""

from __future__ import annotations

import abc
import asyncio
import time
from collections import deque
from datetime import datetime, timezone
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from isoserver.contexts.alarm import Alarm
from isoserver.contexts.identity import Identity, Key, Observer, State, new_id
from isoserver.contexts.jobs import TIMEOUT, Execution, Job, Message, Request, failure
from isoserver.contexts.soundness import is_sound
from isoserver.errors import (
    ContextDeadError,
    ContextDeadlineError,
    ContextReplacedError,
    FieldProblem,
    ForkError,
    InvalidRequestError,
    QueueLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.contexts.records import Checkpoint
    from isoserver.settings.server import ServerSettings

__all__ = ["Context", "Identity", "Key", "Observer", "State", "new_id"]

SECOND_HALF: Final = 5.0
"""Seconds between reply and idle, whichever comes first: no code runs any more."""
DIED: Final = "ContextDiedError"
_UNSOUND: Final = "isokernel: a message that is none of Jupyter's was left out\n"


def _ignore(_context: Context) -> None:
    """Nobody has written anything down of it."""


async def _write_nothing(_context: Context) -> None:
    """Nobody writes anything down of it."""


class Context(abc.ABC):
    """A place where code runs and state stays.

    Attributes:
        identity: What it is; the next four are of it.
        id: Its name, unique in its workspace.
        workspace: Whose it is.
        language: What its code is in unless a request says otherwise.
        cwd: The working folder, as it was asked for.
        state: What it is at.
        reason: Why it is dead, or what of it was lost when it was woken.
        execution_count: Number of the last execution.
        created_at: When it was made.
        last_used: When something was asked of it last.
        pid: Its process; 0 if there is none.
        heap_memory_max: Bytes of V8 heap that it may have; None is V8's own limit.
        checkpoint: The heap that it can go back to.
        origin: The key of the heap that its state has come from; None if it began with
            nothing.
        archived: Whether some of what it has run is kept in the database.
        archived_to: Number of the last execution that is.
        changed: Called with it when what is written down of it isn't so any more.
        written: Awaited with it when that must be so again, because it was saved.
    """

    def __init__(
        self,
        identity: Identity,
        settings: ServerSettings,
        observer: Observer,
    ) -> None:
        self.identity = identity
        self.id = identity.id
        self.workspace = identity.workspace
        self.language = identity.language
        self.cwd = identity.cwd
        self.settings = settings
        self.observer = observer
        self.state = State.STARTING
        self.reason = ""
        self.execution_count = 0
        self.created_at = datetime.now(timezone.utc)
        self.last_used = self.created_at
        self.used = time.monotonic()
        self.pid = 0
        self.heap_memory_max: int | None = None
        self.checkpoint: Checkpoint | None = None
        self.origin: str | None = None
        self.archived = False
        self.archived_to = 0
        self.changed: Callable[[Context], None] = _ignore
        self.written: Callable[[Context], Awaitable[None]] = _write_nothing
        self.history: deque[Execution] = deque()
        self._remembered = 0
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        self._ids = count(1)
        self._changing = asyncio.Lock()
        self._alarm = Alarm()  # of the current job

    @property
    def key(self) -> Key:
        """By what a server knows it."""
        return self.workspace, self.id

    # -- what each kind of context does in its own way --------------------------------

    @abc.abstractmethod
    async def _launch(self) -> None:
        """Start the process; called by `start` and `restart`, never twice at a time.

        Raises:
            ContextStartError: It could not be started.
        """

    @abc.abstractmethod
    async def _kill(self) -> None:
        """End the process and free what it used; called when none may be there too."""

    @abc.abstractmethod
    def _send(self, job: Job) -> None:
        """Send a job's request; called in its turn."""

    @abc.abstractmethod
    def _interrupt(self) -> None:
        """Stop what runs, without waiting for it."""

    @abc.abstractmethod
    def _content(self, request: Request) -> dict[str, Any]:
        """Give the content of an execute request."""

    def _begin_from(self, snapshot: bytes | None) -> None:
        """Have the next process go on from a heap; None has it begin with nothing.

        Raises:
            ForkError: It has no heap.
        """
        if snapshot is not None:
            message = f"a {self.language.name} context can't begin from a heap"
            raise ForkError(message)

    def _wake(self) -> None:
        """Begin to wake; called when a job comes while it sleeps."""
        raise NotImplementedError  # only those sleep that can wake

    def _patience(self, job: Job) -> float:
        """Seconds after which `_overdue` is called for a job that has begun."""
        return job.seconds

    @abc.abstractmethod
    def _give_up(self) -> None:
        """End a job that an interrupt did not end, or whose second half is missing."""

    # -- its life ----------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process.

        Raises:
            ContextStartError: It could not be started.
        """
        async with self._changing:
            await self._begin_process()

    async def _begin_process(self) -> None:
        begin = time.monotonic()
        try:
            await self._launch()
        except BaseException:
            self.died("it could not be started")
            raise
        self.observer.started(self.language.name, time.monotonic() - begin)
        if self.state is State.STARTING:
            self.state = State.IDLE
        self._advance()

    async def restart(
        self,
        reason: str = "the context was restarted",
        *,
        snapshot: bytes | None = None,
        execution_count: int = 0,
    ) -> None:
        """Begin anew with the same id: all state is lost, jobs that wait fail.

        Args:
            reason: What those who wait are told.
            snapshot: A heap that it goes on from, instead of a blank one.
            execution_count: Number of the last execution in that heap.

        Raises:
            ContextStartError: The process could not be started.
            ForkError: It isn't one of V8, and has no heap.
        """
        self._begin_from(snapshot)
        self._abandon("ContextRestartedError", reason)
        self.state = State.STARTING
        async with self._changing:
            await self._kill()
            self._begin_from(snapshot)  # it may have been about to wake
            self.state = State.STARTING
            self.reason = ""
            self.execution_count = execution_count
            self.history.clear()
            self._remembered = 0
            self.touch()
            await self._begin_process()

    async def close(self, reason: str = "the context was deleted") -> None:
        """End it for good; jobs that wait fail."""
        self._abandon("ContextDeletedError", reason)
        self.state = State.DEAD
        self.reason = reason
        async with self._changing:
            # A restart that was on its way may have let it live, and take jobs, again.
            self._abandon("ContextDeletedError", reason)
            self.state = State.DEAD
            self.reason = reason
            await self._kill()

    def died(self, reason: str) -> None:
        """Note that the process is gone: everything that waits on it fails."""
        if self.state is State.DEAD:
            return
        self.state = State.DEAD
        self.reason = reason
        self.changed(self)
        self.observer.died(self.language.name)
        text = f"the context's process ended: {reason}; its state is lost"
        self._fail_current(DIED, text)
        self._refuse_queue(ContextDeadError(reason))

    def _abandon(self, name: str, reason: str) -> None:
        self._fail_current(name, reason)
        self._refuse_queue(ContextReplacedError(reason))

    def _fail_current(self, name: str, reason: str) -> None:
        job, self._current = self._current, None
        self._alarm.close()
        if isinstance(job, Execution):
            job.count = job.count or self.execution_count + 1
            job.fail(failure(name, reason))
            self._record(job)
        elif job is not None:
            job.refuse(ContextReplacedError(reason))

    def _refuse_queue(self, error: Exception) -> None:
        while self._queue:
            self._queue.popleft().refuse(error)

    # -- jobs --------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._queue)

    def is_quiet(self) -> bool:
        """Whether it is idle and nothing is on its way to it."""
        idle = self.state is State.IDLE and not self._queue
        return idle and not self._changing.locked()

    @property
    def current(self) -> Job | None:
        """What it does now."""
        return self._current

    def touch(self) -> None:
        """Note that something was asked of it."""
        self.used = time.monotonic()
        self.last_used = datetime.now(timezone.utc)

    def execute(self, request: Request) -> Execution:
        """Run a cell, now or when it is its turn.

        Raises:
            InvalidRequestError: The context can't run that language.
            QueueLimitError: Too many wait already.
            ContextDeadError: Its process is gone.
        """
        language = request.language or self.language
        if not language.runs_in(self.language):
            problem = f"the context is locked to {self.language.name}"
            raise InvalidRequestError(FieldProblem("language", problem))
        content = self._content(request)
        job = Execution(
            request, language, content, self.settings.cell_output_characters_max
        )
        self.submit(job)
        return job

    async def ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Ask something in its turn and give the reply's content.

        Raises:
            ContextDeadlineError: No reply came in time.
            QueueLimitError: Too many wait already.
            ContextDeadError: Its process is gone.
        """
        job = Job(kind, content, self.settings.context_query_timeout_seconds)
        self.submit(job)
        return await job.done

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        if self.state is State.DEAD:
            raise ContextDeadError(self.reason)
        if len(self._queue) >= self.settings.cells_queued_max:
            raise QueueLimitError(self.settings.cells_queued_max)
        if job.counts:
            self.touch()
        job.id = next(self._ids)
        self._queue.append(job)
        if self.state is State.HIBERNATED:
            self._wake()
        self._advance()

    def cancel(self, job: Job) -> None:
        """Take a job back: out of the queue, or interrupted when it runs."""
        if job is self._current:
            self._interrupt()
        elif job in self._queue:
            self._queue.remove(job)
            job.refuse(ContextReplacedError("the execution was cancelled"))

    def interrupt(self) -> None:
        """Stop what runs; state is kept. Nothing happens when nothing runs.

        Raises:
            ContextDeadError: Its process is gone.
        """
        if self.state is State.DEAD:
            raise ContextDeadError(self.reason)
        self.touch()
        if self._current is not None:
            self._interrupt()

    def _advance(self) -> None:
        if self.state is not State.IDLE:
            return
        # Nobody waits for a question that was cancelled, and the descriptors that it
        # was to send are closed: their numbers may be others' by now.
        while self._queue and self._queue[0].forgotten:
            self._queue.popleft()
        if not self._queue:
            return
        job = self._queue.popleft()
        self._current = job
        self.state = State.BUSY
        job.began = time.monotonic()
        self._alarm.set(self._patience(job), self._overdue)
        self._send(job)

    # -- messages ----------------------------------------------------------------------

    def received(self, parent: int, message: Message) -> None:
        """Take a message from the process.

        Args:
            parent: The id of the job that caused it.
            message: What it says.
        """
        job = self._current
        if not is_sound(message):
            message = Message("stream", {"name": "stderr", "text": _UNSOUND}, {})
        if job is None or job.id != parent:
            self._late(parent, message)
        elif message.kind == "status":
            if message.content.get("execution_state") == "idle":
                job.idle = True
                self._settle(job)
            else:
                job.take(message)
        elif message.kind.endswith("_reply"):
            job.reply = message.content
            self._settle(job)
        else:
            job.take(message)

    def _late(self, parent: int, message: Message) -> None:
        """Put what comes after an execution's end (a timer printed) to its outputs."""
        for execution in reversed(self.history):
            if execution.id == parent:
                execution.outputs.add(message.kind, message.content)
                return

    def _settle(self, job: Job) -> None:
        if not job.over:
            if job.needs_idle:
                self._alarm.set(SECOND_HALF, self._give_up)
            return
        self._alarm.stop()
        self._current = None
        self.state = State.IDLE
        if job.counts:
            self.touch()
        if isinstance(job, Execution):
            self._conclude(job)
        job.succeed()
        if isinstance(job, Execution):
            self._record(job)
        self._advance()

    def _conclude(self, job: Execution) -> None:
        """Read an execution's number and failure from its reply."""
        reply = job.reply or {}
        job.count = reply.get("execution_count") or self.execution_count
        self.execution_count = job.count
        if reply.get("status") == "ok":
            return
        lines = reply.get("traceback") or []
        name = str(reply.get("ename") or "AbortedError")
        value = str(reply.get("evalue") or "")
        text = "\n".join(lines) or f"{name}: {value}"
        job.failure = failure(name, value)._replace(traceback=text.rstrip("\n") + "\n")
        if job.overdue and name != TIMEOUT:
            value = f"the execution took longer than {job.seconds:g} s"
            job.failure = failure(TIMEOUT, value)

    def _record(self, job: Execution) -> None:
        self.execution_count = job.count
        self._remember(job)
        outcome = "ok" if job.failure is None else "error"
        if job.failure is not None and job.failure.name == TIMEOUT:
            outcome = "timeout"
        self.observer.executed(job.language.name, outcome, job.seconds_taken)

    def _remember(self, job: Execution) -> None:
        """Keep an execution for the notebook, and forget old ones over the bounds."""
        self.history.append(job)
        self._remembered += job.size
        while len(self.history) > self.settings.notebook_cells_max or (
            self.history and self._remembered > self.settings.notebook_characters_max
        ):
            self._remembered -= self.history.popleft().size

    def _overdue(self) -> None:
        job = self._current
        if job is None:
            return
        job.overdue = True
        if not isinstance(job, Execution):
            job.refuse(ContextDeadlineError(job.seconds))
        self._interrupt()
        self._alarm.set(self.settings.interrupt_grace_seconds, self._give_up)

    # -- what is known of it -----------------------------------------------------------

    async def memory(self) -> dict[str, int] | None:
        """How many bytes it uses, by kind; None if its process doesn't say."""
        return None

    async def complete(self, code: str, cursor: int) -> dict[str, Any]:
        """Completions at a cursor, counted in code points."""
        return await self.ask("complete_request", {"code": code, "cursor_pos": cursor})

    async def inspect(self, code: str, cursor: int, detail: int) -> dict[str, Any]:
        """What is known of the name under the cursor."""
        content = {"code": code, "cursor_pos": cursor, "detail_level": detail}
        return await self.ask("inspect_request", content)
