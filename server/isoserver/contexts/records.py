"""What is left of a context without its process. Times as time.time() gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from isoserver.contexts.context import Key
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
        number: The execution's id; they ascend.
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
        return cls(execution.id, execution.size, msgspec.json.encode(content))

    def content(self) -> dict[str, Any]:
        """Give code, count and outputs (nbformat's, streams as one text)."""
        content: dict[str, Any] = msgspec.json.decode(self.data)
        return content


class Vault(Protocol):
    """Where heaps are kept."""

    async def keep(self, context: JavaScriptContext) -> str:
        """Save what a context holds, set its checkpoint, and give the heap's key."""

    async def load(self, workspace: str, key: str) -> bytes:
        """Read a heap."""
