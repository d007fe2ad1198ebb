"""One context: a queue of jobs and a state, which own a process.

A context does one job at a time, in the order in which they came. A question is over
when its reply has come, an execution when the context has also said that it is idle.
Every job has a deadline, and the end of the process ends all jobs that wait for it.
What kind of process it is, only `ContextProcess` knows.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections import deque
from contextlib import closing
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from isoserver.contexts.calls import ContextCalls
from isoserver.contexts.comms import Comms
from isoserver.contexts.deadline import Deadline
from isoserver.contexts.history import History
from isoserver.contexts.jobs import (
    DELETED,
    DIED,
    RESTARTED,
    TIMEOUT,
    UNSAVED,
    Execution,
    Failure,
    Job,
)
from isoserver.contexts.messages import Message, is_valid
from isoserver.contexts.outputs import Outputs
from isoserver.contexts.result_files import has_much
from isoserver.contexts.transcript import Transcript
from isoserver.errors import (
    CellAbortedError,
    ContextDeadError,
    ContextReplacedError,
    ContextStartError,
    FieldProblem,
    ForkError,
    HeapUnsavableError,
    InvalidRequestError,
    QueueLimitError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from isokernel.capabilities import Policy
    from isoserver.contexts.calls import CallHolder
    from isoserver.contexts.languages import Language
    from isoserver.contexts.process import ContextProcess, ProcessFactory
    from isoserver.contexts.records import Checkpoint, ContextRecord, LoadedHeap
    from isoserver.settings.server import ServerSettings

__all__ = [
    "Context",
    "ContextOwner",
    "Identity",
    "Key",
    "Observer",
    "SavedState",
    "State",
    "id_made_for",
    "new_id",
]

Key: TypeAlias = tuple[str, str]
"""Workspace and id."""

_ID_CHARACTERS: Final = 21
_LATE_MAX_BYTES: Final = 100_000
_REFUSED_MAX: Final = 100
"""Executions without a turn that are remembered; the oldest go."""
_CALLS: Final = {
    "capability_call": ContextCalls.take,
    "capability_cancel": ContextCalls.cancel,
}
_INVALID: Final = "isokernel: an invalid message was left out\n"


class State(str, Enum):
    """What a context is doing.

        STARTING ──> IDLE <──> BUSY       launched; a job begins, is over
        IDLE ──> HIBERNATED ──> STARTING  saved, process closed; woken by a job
        any ──> DEAD ──> STARTING         the process ended, or deleted; restarted
        any ──> STARTING                  restarted

    In STARTING and HIBERNATED jobs queue up; in DEAD they are refused.
    """

    STARTING = "starting"
    HIBERNATED = "hibernated"
    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"


def new_id() -> str:
    """Make an id: 126 random bits in 21 characters that are safe in a URL."""
    return secrets.token_urlsafe(16)[:_ID_CHARACTERS]


def id_made_for(execution_id: str) -> str:
    """Return the id of the context that is made for an execution that has an id."""
    text = execution_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, person=b"made for", digest_size=16)
    return base64.urlsafe_b64encode(digest.digest()).decode()[:_ID_CHARACTERS]


class Identity(NamedTuple):
    """What a context is, whatever becomes of its process.

    Attributes:
        workspace: Who owns it.
        id: Its name, unique in the workspace.
        language: What its code is in unless a request says otherwise.
        cwd: The working folder, as it was asked for.
        heap_memory_max_bytes: Of V8 heap that it may have; None for V8's own limit. Of
            a kernel, of all memory; None for what the settings say.
        packages: What is loaded whenever it begins with nothing.
        durability: Seconds after an execution by which it is saved; 0 saves it before
            anybody is told that the execution is over. None saves it when it sleeps.
    """

    workspace: str
    id: str
    language: Language
    cwd: str
    heap_memory_max_bytes: int | None = None
    packages: tuple[str, ...] = ()
    durability: float | None = None


class Observer(Protocol):
    """Counts what contexts do (the metrics)."""

    def executed(self, language: str, outcome: str, seconds: float) -> None:
        """Count an execution that is over."""

    def started(self, language: str, seconds: float) -> None:
        """Count a process that is ready."""

    def died(self, language: str) -> None:
        """Count a process that ended by itself."""


class ContextOwner(Protocol):
    """Keeps contexts beyond the life of their process (hibernation)."""

    def died(self, context: Context) -> None:
        """Handle the death of a context; called once, after it."""

    async def saved(self, context: Context) -> None:
        """Record that a context has a new checkpoint, before anybody relies on it."""

    def executed(self, context: Context) -> None:
        """Have a context saved in the time that its durability says."""

    async def keep(self, context: Context) -> None:
        """Save a context, and return once its heap is stored and recorded."""

    async def wake(self, context: Context) -> LoadedHeap:
        """Return the heap that a hibernated context goes on from.

        Raises:
            ContextDeadError: There is none that it could use, now or later.
            ServerError: It can't be had now; the context stays hibernated.
        """


class SavedState(NamedTuple):
    """A heap that a context was just saved to.

    Attributes:
        data: The heap.
        execution_count: Number of the last execution in it.
        lock: Which packages it has; empty if it has none.
    """

    data: bytes
    execution_count: int
    lock: Mapping[str, Any] = {}


class Context:
    """A place where code runs and state stays; a `ProcessListener` of its process.

    Attributes:
        identity: What it is; `id`, `workspace` and `language` are of it.
        process: What runs its code. Others may look at its capabilities, `tell` it
            something or `kill` it; everything else goes through the queue.
        state: What it is doing.
        reason: Why it is dead, or what was lost when it was woken.
        execution_count: Number of the last execution.
        created_at: When it was made, in seconds since 1970.
        last_used: When something was asked of it last; `used` is the same by the
            monotonic clock.
        checkpoint: The heap that it can go back to.
        origin: The key of the heap that its state comes from; None if it began with
            nothing.
        history: What it has run.
        transcript: All that it has said, for fronts.
        late: What executions that are over have printed since the last answer.
        calls: What its code asks for beyond it.
    """

    def __init__(  # noqa: PLR0913 - the parts of a server that it needs
        self,
        identity: Identity,
        settings: ServerSettings,
        observer: Observer,
        make_process: ProcessFactory,
        *,
        owner: ContextOwner | None = None,
        calls: CallHolder | None = None,
    ) -> None:
        """Make a context that isn't started.

        Args:
            identity: What it is.
            settings: The server's settings.
            observer: Counts what it does.
            make_process: Makes its process.
            owner: Keeps it beyond the life of its process; without one it doesn't
                hibernate.
            calls: Answers what its code asks for beyond it.
        """
        self.identity = identity
        self.id = identity.id
        self.workspace = identity.workspace
        self.language = identity.language
        self.process: ContextProcess = make_process(identity, self)
        self.state = State.STARTING
        self.reason = ""
        self._killed_for = ""
        self.execution_count = 0
        self.created_at = time.time()
        self.last_used = self.created_at
        self.used = time.monotonic()
        self.checkpoint: Checkpoint | None = None
        self.origin: str | None = None
        self.history = History(
            settings.notebook_cells_max, settings.notebook_characters_max
        )
        self.transcript = Transcript(settings.transcript_bytes_max)
        self.late = Outputs(_LATE_MAX_BYTES)
        self._settings = settings
        self._observer = observer
        self._owner = owner
        self.calls = ContextCalls(self, settings, calls)
        self._queue: deque[Job] = deque()
        self._refused: deque[Execution] = deque(maxlen=_REFUSED_MAX)
        self._current: Job | None = None
        self._comms = Comms(self)
        self._changing = asyncio.Lock()  # held while the process starts and ends
        self._deadline = Deadline(self, settings)  # of the current job
        self._background: asyncio.Task[None] | None = None  # wakes or restarts it
        self._ending: set[asyncio.Task[None]] = set()  # ends that take a while
        self._unsaved: Execution | None = None  # nothing begins before it is saved

    @property
    def key(self) -> Key:
        """What identifies it on this server."""
        return self.workspace, self.id

    # -- changes of state, one method each ---------------------------------------------

    async def start(self, heap: LoadedHeap | None = None) -> None:
        """Launch the process of a new context.

        Args:
            heap: What it goes on from, if its process can be saved.

        Raises:
            ContextStartError: It could not be started; the context is dead.
        """
        async with self._changing:
            await self._launch(heap)

    async def restart(
        self,
        reason: str = "the context was restarted",
        heap: LoadedHeap | None = None,
        ended: Callable[[], Awaitable[None]] | None = None,
        begin: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Begin anew with the same id: all state is lost, jobs that wait fail.

        Args:
            reason: What those who wait are told.
            heap: What it goes on from, if its process can be saved; None begins with
                nothing.
            ended: Called when its process has ended, before another one begins.
            begin: Gives it a process that has something loaded, in place of a heap.

        Raises:
            ContextStartError: The process could not be started; the context is dead.
            ServerError: `begin` has failed; the context is dead.
        """
        self._abandon(RESTARTED, reason)
        self.state = State.STARTING
        # Not `restarting`: fronts take that for a death, and say so.
        self.transcript.add_state("starting")
        async with self._changing:
            # Waking, or another restart, may have begun a job meanwhile. None may begin
            # in the process that is closed now.
            self._fail_current(RESTARTED, reason)
            self.state = State.STARTING
            self.calls.end()
            await self.process.close()
            self.state = State.STARTING
            self.reason = ""
            self.execution_count = 0
            self.history.clear()
            self.touch()
            if ended is not None:
                try:
                    await ended()
                except BaseException:
                    self.ended("it could not be started")
                    raise
            if begin is None:
                await self._launch(heap)
            else:
                await self._begin_by(begin)

    async def _begin_by(self, begin: Callable[[], Awaitable[None]]) -> None:
        """Have something give it a process, as `take_process` and `fork_into` do."""
        since = time.monotonic()
        try:
            await begin()
        except BaseException as error:
            known = isinstance(error, ServerError)
            self.ended(f"it could not be started{f': {error}' if known else ''}")
            raise
        self.origin = None
        self._launched(since)

    async def _launch(self, heap: LoadedHeap | None) -> None:
        begin = time.monotonic()
        self.calls.begin({} if heap is None else heap.lock)
        try:
            await self.process.launch(None if heap is None else heap.file)
        except BaseException:
            self.ended("it could not be started")
            raise
        self.origin = None
        if heap is not None:
            self.checkpoint = heap.checkpoint
            self.origin = heap.checkpoint.key
            self.execution_count = heap.checkpoint.execution_count
        self._launched(begin)

    def _launched(self, begin: float) -> None:
        self._observer.started(self.language.name, time.monotonic() - begin)
        if self.state is State.STARTING:
            self.state = State.IDLE
            self.transcript.add_state("idle")
        self._advance()

    async def close(self, reason: str = "the context was deleted") -> None:
        """End it for good; jobs that wait fail."""
        self._close(reason)
        async with self._changing:
            # A restart that was on its way may have let it live, and take jobs, again.
            self._close(reason)
            self.calls.end()
            await self.process.close()
            await self.calls.closed()

    def _close(self, reason: str) -> None:
        self._abandon(DELETED, reason)
        self.state = State.DEAD
        self.reason = reason

    def kill(self, reason: str) -> None:
        """End its process at once; what waits for it is told why."""
        self._killed_for = reason
        self.process.kill()

    def ended(self, reason: str) -> None:
        """Be dead, because the process ended: everything that waits for it fails."""
        self.calls.end()
        if self.state is State.DEAD:
            return
        reason, self._killed_for = self._killed_for or reason, ""
        self.state = State.DEAD
        self.reason = reason
        if self._owner is not None:
            self._owner.died(self)
        self._observer.died(self.language.name)
        text = f"the context's process ended: {reason}; its state is lost"
        self._fail_current(DIED, text)
        self._refuse_queue(ContextDeadError(reason))
        self.transcript.add_state("dead")

    async def hibernate(self) -> None:
        """End the process of an idle context that was saved; the next job wakes it."""
        self.state = State.HIBERNATED
        self.reason = ""
        self.history.clear()
        self.transcript.put_away()
        self._deadline.close()
        self.calls.end()
        async with self._changing:
            await self.process.close()

    async def _wake(self) -> None:
        begin = time.monotonic()
        try:
            async with self._changing:
                assert self._owner is not None  # noqa: S101 - by it it was hibernated
                with closing(await self._owner.wake(self)) as heap:
                    if self.state is not State.STARTING:
                        return  # deleted meanwhile
                    self.calls.begin(heap.lock)
                    await self.process.launch(heap.file)
        except ContextDeadError as error:
            self.state, self.reason = State.DEAD, error.reason
            self._refuse_queue(error)
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it
            self.state = State.HIBERNATED
            known = isinstance(error, ServerError)
            text = f"the context can't be woken now: {error}"
            cause = error if known else ContextStartError(text)
            self._refuse_queue(cause, for_now=True)
        else:
            self._launched(begin)

    def recall(self, record: ContextRecord) -> None:
        """Be what is recorded of a context without a process."""
        self.state = State(record.state)
        self.reason = record.reason
        self.execution_count = record.execution_count
        self.created_at = record.created_at
        self.last_used = record.last_used
        self.checkpoint = record.checkpoint
        self.origin = record.heap
        self.history.stored = True

    def end_lost(self, header: Mapping[str, Any], front: str) -> None:
        """Say that an execution is over which an earlier server has not ended.

        Args:
            header: That of its request.
            front: The session of the front that asked for it, if one did.
        """
        job = Execution(
            "", self.language, 0.0, env=None, options=None, output_bytes_max=0
        )
        job.header, job.front = header, front
        text = f"the server ended while it ran: {self.reason}"
        self._fail(job, DIED, text)
        self._say_end(job)

    async def saved(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint, made by `save`; return once that is recorded.

        Raises:
            DatabaseError: It can't be recorded.
        """
        self.checkpoint = checkpoint
        self.origin = checkpoint.key
        if self._owner is not None:
            await self._owner.saved(self)

    async def fork_into(
        self, *others: Context, forked: Callable[[], None] | None = None
    ) -> None:
        """Let other contexts, which aren't started, begin with this one's state.

        Args:
            others: The other contexts; `FORKS_MAX` at most.
            forked: Called at the moment whose state it has.

        Raises:
            ForkError: It could not be forked.
        """

        async def ask(job: Job) -> dict[str, Any]:
            reply = await self.run(job)
            if forked is not None:
                forked()
            return reply

        processes = await self.process.fork(ask, others)
        dead = next((one for one in others if one.state is State.DEAD), None)
        if dead is not None:
            await asyncio.gather(*(process.close() for process in processes))
            raise ForkError(dead.reason)
        for other, process in zip(others, processes, strict=True):
            other._forked(self, process)  # noqa: SLF001 - of its own class

    def take_process(self, other: Context) -> None:
        """Begin with the process of another context, which was made for that.

        Args:
            other: It is idle, and is dead afterwards.
        """
        process = other.process
        other.state, other.reason = State.DEAD, "its process is another context's"
        other._deadline.close()
        process.pass_on(self.identity, self)
        self._forked(other, process)

    def _forked(self, origin: Context, process: ContextProcess) -> None:
        self.process = process
        self.execution_count = origin.execution_count
        self.history.copy_from(origin.history)
        self.state = State.IDLE

    def _abandon(self, name: str, reason: str) -> None:
        self._fail_current(name, reason)
        self._refuse_queue(ContextReplacedError(reason))

    def _fail_current(self, name: str, reason: str) -> None:
        self._comms.end()
        job, self._current = self._current, None
        self._deadline.close()
        if isinstance(job, Execution):
            job.count = job.count or self.execution_count + 1
            self._fail(job, name, reason)
            self._say_end(job)
            self._abort_behind(job)
            self._record(job)
        elif job is not None:
            job.refuse(ContextReplacedError(reason))

    def _refuse_queue(self, error: Exception, *, for_now: bool = False) -> None:
        while self._queue:
            self._refuse(self._queue.popleft(), error, for_now=for_now)

    def _abort_behind(self, failed: Execution) -> None:
        """Drop what a front has sent behind a cell of its that failed.

        In the moment in which the front hears of it: before the next of them begins,
        and before a cell comes that was sent with the failure known.
        """
        if failed.failure is None or not failed.stops:
            return
        for job in tuple(self._queue):
            if isinstance(job, Execution) and job.front == failed.front:
                self._queue.remove(job)
                job.cancelled = True
                self._refuse(job, CellAbortedError())

    def _refuse(self, job: Job, error: Exception, *, for_now: bool = False) -> None:
        if isinstance(job, Execution):
            job.refused_for_now = for_now
            if not for_now:
                self._refused.append(job)
        job.refuse(error)

    # -- jobs --------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._queue)

    @property
    def current(self) -> Job | None:
        """What it does now."""
        return self._current

    @property
    def ending(self) -> tuple[asyncio.Task[None], ...]:
        """What has yet to be stored of executions that have run."""
        return tuple(self._ending)

    def find(self, execution_id: str) -> Execution | None:
        """Find an execution that waits, runs or is remembered."""
        jobs = (*reversed(self._queue), self._current)
        for job in chain(jobs, reversed(self.history.executions), self._refused):
            if isinstance(job, Execution) and job.execution_id == execution_id:
                return job
        return None

    def is_quiet(self) -> bool:
        """Whether it is idle, and nothing is on its way to it."""
        idle = self.state is State.IDLE and not self._queue and not self._ending
        return idle and not self._changing.locked()

    def touch(self) -> None:
        """Note that something was asked of it."""
        self.used = time.monotonic()
        self.last_used = time.time()

    def execute(  # noqa: PLR0913 - the fields of a request, by their names
        self,
        code: str,
        seconds: float,
        *,
        language: Language | None = None,
        env: dict[str, str] | None = None,
        options: dict[str, Any] | None = None,
        policy: Policy | None = None,
        header: Mapping[str, Any] | None = None,
        front: str = "",
        execution_id: str | None = None,
    ) -> Execution:
        """Run a cell, now or when its turn comes.

        Args:
            code: The source text.
            seconds: How long it may run, from its beginning.
            language: What it is in; None for the context's.
            env: Environment variables, for this execution only.
            options: Those of `Execution`.
            policy: Narrows what it may do beyond the context.
            header: That of a front's request.
            front: The session of that front.
            execution_id: What a client calls it that has no header; a number if None.

        Raises:
            InvalidRequestError: The context can't run that language.
            QueueLimitError: Too many jobs wait already.
            ContextDeadError: The context is dead.
        """
        language = language or self.language
        if not language.runs_in(self.language):
            problem = f"the context is locked to {self.language.name}"
            raise InvalidRequestError(FieldProblem("language", problem))
        variables = self.calls.environment(policy)
        job = Execution(
            code,
            language,
            seconds,
            env={**variables, **(env or {})} if variables else env,
            options=options,
            output_bytes_max=self._settings.output_bytes_max,
            header=header,
            front=front,
            execution_id=execution_id,
        )
        job.content = self.process.content(job)
        self.submit(job)
        if policy is not None:
            self.calls.narrow(job.id, policy)
        return job

    async def ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Ask a question in its turn, and return the reply's content.

        Raises:
            ContextDeadlineError: No reply came in time.
            QueueLimitError: Too many jobs wait already.
            ContextDeadError: The context is dead.
        """
        return await self.run(
            Job(kind, content, self._settings.context_query_timeout_seconds)
        )

    async def run(self, job: Job) -> dict[str, Any]:
        """Queue a job and return the reply's content; raises what `ask` does."""
        self.submit(job)
        return await job.done

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Put a job at the end of the queue, or before all others that wait."""
        if self.state is State.DEAD:
            raise ContextDeadError(self.reason)
        if len(self._queue) >= self._settings.cells_queued_max and not first:
            raise QueueLimitError(self._settings.cells_queued_max)
        if job.counts_as_use:
            self.touch()
        if first:
            self._queue.appendleft(job)
            self._unsaved = None
        else:
            self._queue.append(job)
        self.rouse()
        self._advance()

    def rouse(self) -> None:
        """Begin to wake it, if it hibernates: something will be asked of it soon."""
        if self.state is State.HIBERNATED:
            self.state = State.STARTING
            self._background = asyncio.ensure_future(self._wake())

    def cancel(self, job: Job) -> None:
        """Cancel a job: remove it from the queue, or interrupt it when it runs."""
        if isinstance(job, Execution):
            job.cancelled = job.cancelled or not job.done.done()
        if job is self._current:
            self._deadline.interrupt(job)
        elif job in self._queue:
            self._queue.remove(job)
            self._refuse(job, ContextReplacedError("the execution was cancelled"))

    def interrupt(self) -> None:
        """Stop what runs; state is kept. Nothing happens when nothing runs.

        Raises:
            ContextDeadError: The context is dead.
        """
        if self.state is State.DEAD:
            raise ContextDeadError(self.reason)
        self.touch()
        current = self._current
        if isinstance(current, Execution):
            current.cancelled = True
        if current is not None:
            self.process.interrupt(current)

    def pause(self, job: Job, *, paused: bool) -> None:
        """Stop a running job's clock except while its JavaScript runs, or go on.

        The process counts; the context's own deadline begins anew when the pause ends.
        Calls of tools and of capabilities pause it independently: it goes on once
        neither waits.
        """
        if job is not self._current:
            return
        before = job.pauses
        job.pauses += 1 if paused else -1
        if (before == 0) == (job.pauses == 0):
            return
        if paused:
            self._deadline.stop()
        else:
            self._deadline.begin(job)
        self.process.tell("pause_request", {"execution": job.id, "paused": paused})

    def _advance(self) -> None:
        if self.state is not State.IDLE or self._unsaved is not None:
            return
        # Nobody waits for a question that was cancelled, and the descriptors that it
        # was to send are closed: their numbers may be others' by now.
        while self._queue and self._queue[0].abandoned:
            self._queue.popleft()
        if not self._queue:
            return
        job = self._queue.popleft()
        self._current = job
        self.state = State.BUSY
        job.began = time.monotonic()
        self._deadline.begin(job)
        # First of all: it runs while its beginning is written down. Of what it says,
        # nothing is heard before the next turn of the event loop.
        self.process.send(job)
        if isinstance(job, Execution):
            self.transcript.add_state("busy", job.cause)
            job.first = self.transcript.last
            if not job.silent:
                count = self.execution_count + 1
                content = {"code": job.code, "execution_count": count}
                self.transcript.add("execute_input", content, job.cause)

    def give_up(self) -> None:
        """End a job that an interrupt did not end, or whose second half is missing."""
        job = self._current
        if job is None:
            return
        if not self.process.restarts_when_stuck:
            self.process.kill()
            return
        what = (
            f"the execution took longer than {job.seconds:g} s and ignored an interrupt"
            if job.overdue
            else "the kernel did not finish its answer"
        )
        reason = f"{what}: the context was restarted, its state is lost"
        self._fail_current(TIMEOUT if job.overdue else DIED, reason)
        self._background = asyncio.ensure_future(self._restart_stuck(reason))

    async def _restart_stuck(self, reason: str) -> None:
        try:
            await self.restart(reason)
        except ContextStartError:
            return  # the context is dead, and says why

    # -- messages ----------------------------------------------------------------------

    def received(self, parent: int, message: Message) -> None:
        """Handle a message from the process; see `ProcessListener`."""
        take = _CALLS.get(message.kind)
        if take is not None and self.process.can_call_tools:
            take(self.calls, parent, message)
            return
        job = self._current
        if message.kind == "input_request":
            self._ask_user(parent, message)
            return
        if not is_valid(message):
            message = Message("stream", {"name": "stderr", "text": _INVALID}, {})
        if self._comms.take(parent, message):
            return
        if job is None or job.id != parent:
            self._take_late(parent, message)
        elif message.kind == "status":
            if message.content.get("execution_state") == "idle":
                job.idle = True
                self._settle(job)
            else:
                job.take(message)
        elif message.kind.endswith("_reply"):
            job.reply = message.content
            # V8's contexts say so at once of what they needn't announce.
            job.idle = job.reply.pop("idle", False) is True or job.idle
            self._settle(job)
        else:
            self.transcript.pass_on(message, job.cause)
            job.take(message)

    def tell_comm(self, message: Message, header: Mapping[str, Any]) -> None:
        """Pass on a message of a comm of a front's.

        Args:
            message: The message.
            header: Its header: the parent of what comes of it.
        """
        self.touch()
        lives = self.state in {State.IDLE, State.BUSY}
        self._comms.send(message, header, says_idle=self.process.says_idle and lives)

    def _take_late(self, parent: int, message: Message) -> None:
        """Handle what comes after an execution's end, as when a timer prints."""
        job = self._current
        late = self.history.find(parent)
        if late is None:  # it may have been before a sleep
            self.transcript.pass_on_late(message, parent)
        else:
            late.outputs.add(message.kind, message.content)
            self.transcript.pass_on(message, late.cause)
        shown = isinstance(job, Execution) and job.followers
        awaited = late is not None and late.awaited
        if message.kind == "stream" and not (shown or awaited):
            self.late.add(message.kind, message.content)

    def _ask_user(self, parent: int, message: Message) -> None:
        """Have the front that asked for the cell which runs ask its user."""
        job = self._current
        if not (isinstance(job, Execution) and job.front and job.id == parent):
            return
        if is_valid(message):
            job.asks = True
            self.transcript.pass_on(message, job.cause)

    def answer_user(self, front: str, text: str) -> None:
        """Pass on what a user has answered, if the code waits for that.

        Args:
            front: The session of the user's front.
            text: The answer.
        """
        job = self._current
        if isinstance(job, Execution) and job.asks and job.front == front:
            job.asks = False
            self.process.tell("input_reply", {"status": "ok", "value": text})

    def _fail(self, job: Execution, name: str, reason: str) -> None:
        """Have an execution fail of which the process has reported no failure."""
        failure = Failure.without_traceback(name, reason)
        self.transcript.add("error", failure.content(), job.cause)
        job.fail(failure)

    def _say_end(self, job: Execution) -> None:
        """Say that an execution is over; a front's also has a reply."""
        if job.front:
            reply = {"payload": [], "user_expressions": {}, **(job.reply or {})}
            reply.pop("result_json", None)
            self.transcript.add("execute_reply", reply, job.cause)
        self.transcript.add_state("idle", job.cause)
        job.last = self.transcript.last

    def _settle(self, job: Job) -> None:
        """End a job if everything that ends it has come."""
        if not job.over:
            if job.needs_idle:
                self._deadline.wait_for_end()
            return
        self._deadline.stop()
        self._current = None
        self.state = State.IDLE
        if job.counts_as_use:
            self.touch()
        if isinstance(job, Execution):
            job.read_reply(self.execution_count)
            self.execution_count = job.count
            if self.identity.durability is None:
                self._end(job)
            else:
                self._end_and_save(job, self.identity.durability)
        else:
            job.succeed()
        self._advance()

    def _end(self, job: Execution) -> None:
        """Tell all who want to know that an execution is over."""
        self._say_end(job)
        self._abort_behind(job)
        if has_much(job):
            self._end_later(self._keep_whole(job))
        else:
            job.succeed()
        self._record(job)

    def _end_later(self, end: Coroutine[Any, Any, None]) -> None:
        ending = asyncio.ensure_future(end)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _keep_whole(self, job: Execution) -> None:
        try:
            await self.calls.keep_whole(job)
        finally:
            job.succeed()

    def _end_and_save(self, job: Execution, seconds: float) -> None:
        """End an execution of a context that is saved before it sleeps."""
        if seconds:
            self._end(job)
            if self._owner is not None:
                self._owner.executed(self)
        else:
            self._abort_behind(job)  # before the next begins
            self._unsaved = job
            self._end_later(self._save_and_end(job))

    async def _save_and_end(self, job: Execution) -> None:
        """Save what an execution has come to, and only then say that it is over."""
        why = "the server stopped"
        try:
            if has_much(job):
                await self.calls.keep_whole(job)
            job.finish()
            self._record(job)
            if self._owner is not None:
                await self._owner.keep(self)
            why = ""
        except ServerError as error:
            why = str(error)
        except OSError:  # its folder goes when its server may not serve any more
            why = "its files are gone"
        finally:
            if self._unsaved is job:  # else the next one may have ended by now
                self._unsaved = None
            if why:
                text = f"the code has run, but what came of it can't be saved: {why}"
                self._fail(job, UNSAVED, text)
            self._say_end(job)
            self._abort_behind(job)
            job.succeed()
            self._advance()

    def _record(self, job: Execution) -> None:
        self.execution_count = job.count
        if not job.silent:
            self.history.add(job)
        outcome = "ok" if job.failure is None else "error"
        if job.failure is not None and job.failure.name == TIMEOUT:
            outcome = "timeout"
        self._observer.executed(job.language.name, outcome, job.seconds_taken)

    # -- questions ---------------------------------------------------------------------

    async def save(
        self, forked: Callable[[], None] | None = None, *, last: bool = False
    ) -> SavedState:
        """Save its state, in its turn; it goes on at once, and is as it was.

        Args:
            forked: Called at the moment whose state is saved.
            last: It is closed afterwards, and needn't go on.

        Raises:
            HeapUnsavableError: What is there can't be saved, or not in time.
            ContextDeadError: The context is dead.
            QueueLimitError: Too many jobs wait already.
        """
        if not self.process.can_save:
            text = f"a {self.language.name} context can't be saved"
            raise HeapUnsavableError(text)
        execution_count = 0

        async def ask(job: Job) -> dict[str, Any]:
            nonlocal execution_count
            self.submit(job, first=self._unsaved is not None)
            reply = await job.done
            execution_count = self.execution_count  # what runs now isn't in the heap
            if forked is not None:
                forked()
            return reply

        data = await self.process.save(ask, last=last)
        return SavedState(data, execution_count)

    async def names(self) -> list[str]:
        """Return the names that its cells have declared, and those of numbered results.

        Of V8's contexts only, as kernels know no such question; raises what `ask` does.
        """
        reply = await self.ask("names_request", {})
        return [name for name in reply.get("names", []) if isinstance(name, str)]
