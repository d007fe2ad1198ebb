"""Contexts and their checkpoints as plain data. Times are as time.time() gives them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from isoserver.contexts.context import State
from isoserver.errors import HeapError, HeapStoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isokernel.forkserver import MemoryFile
    from isoserver.contexts.context import Context, Key
    from isoserver.files.manifest import Manifest

__all__ = [
    "LIVE",
    "Checkpoint",
    "ContextRecord",
    "HeapStorage",
    "LoadedHeap",
    "why_dead",
]

LIVE = "live"
"""The state, in the table, of a context that has a process."""


def why_dead(error: BaseException | None) -> str:
    """Return why a context is dead that can't be woken; empty if it may be later."""
    lost = isinstance(error, HeapError) and not isinstance(error, HeapStoreError)
    return f"it can't be woken: {error}" if lost else ""


class Checkpoint(NamedTuple):
    """A heap that a context can go back to.

    Attributes:
        key: The heap key.
        execution_count: Number of the last execution in it.
        at: When it was saved.
    """

    key: str
    execution_count: int
    at: float


class LoadedHeap(NamedTuple):
    """A heap for a context to go on from.

    Attributes:
        checkpoint: What it is to that context.
        language: The name of the language of the context that was saved.
        file: What V8 wrote; checked.
        files: The files that it has; None if there are none.
        lock: Which versions of packages it has; empty if it has none.
    """

    checkpoint: Checkpoint
    language: str
    file: MemoryFile
    files: Manifest | None = None
    lock: Mapping[str, Any] = {}

    def close(self) -> None:
        """Let go of what V8 wrote; whoever has opened it calls this."""
        self.file.close()


class HeapStorage(Protocol):
    """Where the heaps of contexts are; `isoserver.heaps.service.Heaps` implements it.

    Its methods raise a `HeapError`, and a `HeapLimitError` when it is full.
    """

    async def keep(self, context: Context, *, automatic: bool = False) -> str:
        """Save a context as a heap, tell it so by `Context.saved`; return the key.

        Args:
            context: A context whose process can be saved.
            automatic: Whether nobody asked for it: `release` may delete it.
        """

    async def hold(self, workspace: str, key: str) -> bool:
        """Have a heap stay that was kept automatically; False if it isn't there."""

    async def release(self, workspace: str, key: str) -> None:
        """Delete a heap that was kept automatically, unless something needs it.

        Nothing is raised where that fails: what nobody needs is collected later.
        """

    async def open(self, workspace: str, key: str) -> LoadedHeap:
        """Load a heap with what belongs to it, checked: whole, of this engine."""

    async def has_files(self, workspace: str, key: str) -> bool:
        """Tell whether a heap has files, without reading it."""

    async def restore_files(self, heap: LoadedHeap, key: Key) -> None:
        """Have a context's folder be as it was when a heap was saved."""


class ContextRecord(NamedTuple):
    """A row of the table of contexts: the columns are the attributes.

    Attributes:
        workspace: Who owns it.
        id: Its name.
        language: Its language's name.
        cwd: Its working folder.
        state: `live`, `hibernated` or `dead`.
        reason: Why it is dead, or what of it was lost.
        created_at: When it was made.
        last_used: When something was asked of it last.
        execution_count: Number of its last execution.
        heap_memory_max: Bytes of V8 heap that it may have.
        heap: The key of its last checkpoint.
        heap_count: Number of the last execution in that.
        heap_at: When that was saved.
    """

    workspace: str
    id: str
    language: str
    cwd: str
    state: str
    reason: str
    created_at: float
    last_used: float
    execution_count: int
    heap_memory_max: int | None
    heap: str | None
    heap_count: int
    heap_at: float | None

    @classmethod
    def of(cls, context: Context, state: str, reason: str) -> ContextRecord:
        """Record a context as being in a state."""
        checkpoint = context.checkpoint
        return cls(
            context.workspace,
            context.id,
            context.language.name,
            context.identity.cwd,
            state,
            reason,
            context.created_at,
            context.last_used,
            context.execution_count,
            context.identity.heap_memory_max_bytes,
            None if checkpoint is None else checkpoint.key,
            0 if checkpoint is None else checkpoint.execution_count,
            None if checkpoint is None else checkpoint.at,
        )

    @classmethod
    def now(cls, context: Context) -> ContextRecord:
        """Record a context of this server as it is."""
        dead = context.state is State.DEAD
        return cls.of(context, State.DEAD.value if dead else LIVE, context.reason)

    def as_found(self) -> ContextRecord:
        """Return what becomes of a row that an earlier server has left."""
        if self.state != LIVE:
            return self
        return self.without_process("the server ended and had not saved it")

    def without_process(self, why: str) -> ContextRecord:
        """Go back to the last checkpoint; without one, the context is dead."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            return self._replace(state=State.DEAD.value, reason=f"lost: {why}")
        at = datetime.fromtimestamp(checkpoint.at, timezone.utc)
        moment = at.isoformat(timespec="seconds")
        return self._replace(
            state=State.HIBERNATED.value,
            reason=f"what ran after its checkpoint of {moment} is lost: {why}",
            execution_count=checkpoint.execution_count,
        )

    @property
    def key(self) -> Key:
        """What identifies the context on this server."""
        return self.workspace, self.id

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Its last checkpoint."""
        if self.heap is None:
            return None
        return Checkpoint(self.heap, self.heap_count, self.heap_at or 0.0)
