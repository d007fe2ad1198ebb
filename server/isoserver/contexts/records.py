"""What is left of a context without its process. Times as time.time() gives them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from isoserver.contexts.identity import State

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.identity import Key
    from isoserver.contexts.javascript import JavaScriptContext
    from isoserver.contexts.jobs import Execution

__all__ = ["LIVE", "Cell", "Checkpoint", "Record", "Vault"]

LIVE = "live"
"""The state, in the table, of a context that has a process."""


class Checkpoint(NamedTuple):
    """A heap that a context can go on from.

    Attributes:
        key: The heap's.
        execution_count: Number of the last execution in it.
        at: When it was made.
    """

    key: str
    execution_count: int
    at: float


class Record(NamedTuple):
    """A context as the table has it: the columns are the attributes.

    Attributes:
        workspace: Whose it is.
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
        heap_at: When that was made.
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
    def of(cls, context: Context, state: str, reason: str) -> Record:
        """Write a context down."""
        made = context.checkpoint
        return cls(
            context.workspace,
            context.id,
            context.language.name,
            context.cwd,
            state,
            reason,
            context.created_at.timestamp(),
            context.last_used.timestamp(),
            context.execution_count,
            context.heap_memory_max,
            None if made is None else made.key,
            0 if made is None else made.execution_count,
            None if made is None else made.at,
        )

    def recall(self, context: Context) -> None:
        """Let a context without a process be what was written down."""
        context.state = State(self.state)
        context.reason = self.reason
        context.execution_count = self.execution_count
        context.created_at = datetime.fromtimestamp(self.created_at, timezone.utc)
        context.last_used = datetime.fromtimestamp(self.last_used, timezone.utc)
        context.checkpoint = self.checkpoint
        context.origin = self.heap
        context.archived = True

    def found(self) -> Record:
        """What becomes of a row that an earlier server has left."""
        if self.state != LIVE:
            return self
        return self.without_process("the server ended and had not saved it")

    def without_process(self, why: str) -> Record:
        """Go back to the last checkpoint; without one, all is lost."""
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
        """By what a server knows it."""
        return self.workspace, self.id

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Its last checkpoint."""
        if self.heap is None:
            return None
        return Checkpoint(self.heap, self.heap_count, self.heap_at or 0.0)


class Cell(NamedTuple):
    """What a context has run, for its notebook.

    Attributes:
        number: The execution's.
        size: Characters of code and outputs.
        data: The rest of it, as `of` packs it.
    """

    number: int
    size: int
    data: bytes

    @classmethod
    def of(cls, execution: Execution) -> Cell:
        """Keep an execution that is over."""
        content = {
            "code": execution.request.code,
            "count": execution.count,
            "outputs": execution.outputs.plain(),
        }
        return cls(execution.number, execution.size, msgspec.json.encode(content))

    def content(self) -> dict[str, Any]:
        """Give code, count and outputs (nbformat's, streams as one text)."""
        content: dict[str, Any] = msgspec.json.decode(self.data)
        return content


class Vault(Protocol):
    """Where heaps are kept."""

    async def keep(self, context: JavaScriptContext, *, automatic: bool = False) -> str:
        """Save what a context holds, set its checkpoint, and give the heap's key."""

    async def release(self, workspace: str, key: str) -> None:
        """Delete a heap that was kept automatically, unless anything needs it."""

    async def load(self, workspace: str, key: str) -> bytes:
        """Read a heap."""
