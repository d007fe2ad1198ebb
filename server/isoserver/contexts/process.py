"""The processes that contexts own: what one can do, and what it reports.

    Context            queue, state, history          (context.py)
       │  owns one `ContextProcess`   ▲
       ▼                              │ reports to its `ProcessListener`
    V8Process, KernelProcess           (v8.py, kernels.py)

A context makes one of these objects, launches it, and launches it again after `close`
(a restart, or waking from hibernation). To support another engine, or processes on
another machine, implement `ContextProcess` and register its factory in
`isoserver.contexts.service`. Everything here is called on the event loop.
"""

from __future__ import annotations

import asyncio
import resource
import time
from abc import abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
)

from isoserver.errors import ForkError, HeapUnsavableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from isokernel.forkserver import MemoryFile
    from isoserver.contexts.context import Identity
    from isoserver.contexts.jobs import Execution, Job
    from isoserver.contexts.messages import Message

__all__ = [
    "Ask",
    "ContextProcess",
    "ProcessFactory",
    "ProcessListener",
    "Resident",
    "look",
    "resident",
]

Ask: TypeAlias = "Callable[[Job], Awaitable[dict[str, Any]]]"
"""Queues a job in the context and returns the content of its reply.

Raises what `Context.run` raises.
"""


Seen = TypeVar("Seen")


class ProcessListener(Protocol):
    """What a process reports to; its context."""

    def received(self, parent: int, message: Message) -> None:
        """Handle a message; called in the order in which messages arrive.

        Args:
            parent: The id of the job that caused it; 0 if none did.
            message: Its content has not been validated.
        """

    def ended(self, reason: str) -> None:
        """Handle the end of the process without `close` having been called.

        Called once per launch, after the last `received`; perhaps while `launch` waits,
        which then raises.

        Args:
            reason: Why, as clients are told: a signal, an exit code, its last words.
        """


class ContextProcess(Protocol):
    """A process that runs one context's code.

    Subclass it to implement it: what an engine can't do has a default.

    Attributes:
        pid: Its process id; 0 while there is none.
        unsent_bytes: How much of what it was sent it has not read yet.
        can_save: Whether its state can be saved as a heap, and `launch` takes one.
            Contexts that can't be saved don't hibernate, and die with the server.
        can_fork: Whether it can be forked.
        can_call_tools: Whether code in it can call tools: it sends `tool_call`
            messages, and takes `tell`. So it is with calls of capabilities.
        enforces_deadline: Whether it interrupts an execution itself when its time is
            up. The context then waits a little longer before it does so.
        restarts_when_stuck: Whether the context is restarted when it ignores an
            interrupt; else the process is killed, and the context is dead.
        shares_memory: Whether its pages are partly those of other contexts.
        says_idle: Whether it says `idle` when it has handled a message of a comm.
        information: What a kernel has said of itself when it was launched, as content
            of a `kernel_info_reply`; nothing if it wasn't asked.
    """

    pid: int
    information: Mapping[str, Any] = MappingProxyType({})
    can_save: ClassVar[bool] = False
    can_fork: ClassVar[bool] = False
    can_call_tools: ClassVar[bool] = False
    enforces_deadline: ClassVar[bool] = False
    restarts_when_stuck: ClassVar[bool] = False
    shares_memory: ClassVar[bool] = False
    says_idle: ClassVar[bool] = False

    @abstractmethod
    async def launch(self, heap: MemoryFile | None) -> None:
        """Start the process, and return when it takes requests.

        Called by the context when it starts, restarts or wakes; never twice at a time,
        and never before `close` if it was launched before.

        Args:
            heap: The heap to go on from; None begins with nothing, and is all that is
                passed unless `can_save`.

        Raises:
            ContextStartError: It could not be started; nothing is left of it.
        """

    @abstractmethod
    async def close(self) -> None:
        """End the process and free all it used; the listener hears no more of it.

        Called before a restart, for hibernation and on deletion, also when the process
        has ended or was never launched.
        """

    @abstractmethod
    def kill(self) -> None:
        """End the process at once; the listener is told as of any other end.

        Called when it ignores an interrupt or breaks the protocol.
        """

    @abstractmethod
    def content(self, execution: Execution) -> dict[str, Any]:
        """Return the content of the message that runs a cell.

        Called when the cell is queued, perhaps before the process is launched.

        Raises:
            InvalidRequestError: It can't do something that is asked for.
        """

    @abstractmethod
    def send(self, job: Job) -> None:
        """Send a job's request; called when its turn has come.

        The job is over when its reply was `received`, and for an execution also the
        status `idle`.
        """

    @abstractmethod
    def interrupt(self, job: Job) -> None:
        """Stop the job that was sent last, without waiting for it; state is kept."""

    @abstractmethod
    async def memory(self) -> dict[str, int] | None:
        """Return the bytes it uses, by kind; None if it doesn't say, or has ended."""

    def own_bytes(self) -> int:
        """Return the memory that no file backs, of all its processes; in any thread."""
        return resident(self.pid).own_bytes

    def tell(
        self,
        kind: str,
        content: dict[str, Any],
        buffers: tuple[bytes, ...] = (),
        *,
        metadata: Mapping[str, Any] | None = None,
        number: int = 0,
    ) -> None:
        """Send a message that has no reply, while a job runs too.

        Args:
            kind: The message's type.
            content: Its content.
            buffers: Its binary attachments.
            metadata: Its metadata.
            number: The parent of what comes of it, if the process `says_idle`.
        """
        del kind, content, buffers, metadata, number

    @property
    def unsent_bytes(self) -> int:
        """See the class."""
        return 0

    async def save(self, ask: Ask, *, last: bool = False) -> bytes:
        """Return its state as a heap; it goes on meanwhile. Called if `can_save`.

        Args:
            ask: How to ask the process in the context's turn.
            last: Nothing else is asked of it afterwards, so it needn't go on.

        Raises:
            HeapUnsavableError: The state can't be saved, or not in time.
        """
        del ask, last
        message = "its process can't be saved"
        raise HeapUnsavableError(message)

    def pass_on(self, identity: Identity, listener: ProcessListener) -> None:
        """Be another context's process from now on; it has run nothing of anybody's.

        Called if `can_fork`, of processes that were forked to wait for this.

        Args:
            identity: The other context.
            listener: What it reports to.
        """
        del identity, listener

    async def fork(
        self, ask: Ask, listeners: Sequence[ProcessListener]
    ) -> Sequence[ContextProcess]:
        """Return launched processes with its state of one moment, if `can_fork`.

        Args:
            ask: How to ask the process in the context's turn.
            listeners: What each of the new processes reports to; `FORKS_MAX` at most.

        Raises:
            ForkError: It could not be forked.
        """
        del ask, listeners
        message = "its process can't be forked"
        raise ForkError(message)


ProcessFactory: TypeAlias = "Callable[[Identity, ProcessListener], ContextProcess]"
"""Makes a process that isn't launched."""


class Resident(NamedTuple):
    """The memory of a process.

    Attributes:
        all_bytes: What is resident.
        own_bytes: What of that no file backs.
    """

    all_bytes: int
    own_bytes: int


def resident(pid: int) -> Resident:
    """Return what the operating system says of a process's memory; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split() if pid else []
    except OSError:
        fields = []
    if not fields:
        return Resident(0, 0)
    page = resource.getpagesize()
    return Resident(int(fields[1]) * page, (int(fields[1]) - int(fields[2])) * page)


async def look(read: Callable[[], Seen]) -> tuple[Seen, float]:
    """Read what the operating system says, in a thread; for what is read repeatedly.

    Returns:
        What was read, and the seconds of processor time that it took. Time by the clock
        would count the wait for a thread too, and so put the next look off for longest
        on a busy machine, where it is needed most.
    """

    def measured() -> tuple[Seen, float]:
        began = time.thread_time()
        return read(), time.thread_time() - began

    return await asyncio.to_thread(measured)
