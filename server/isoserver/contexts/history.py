"""What a context has run, for its notebook: in memory, and as it is stored."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from isoserver.contexts.jobs import TIMEOUT, Execution, Failure

if TYPE_CHECKING:
    from isoserver.contexts.languages import Language

__all__ = ["Cell", "History", "cell_content"]


def cell_content(execution: Execution) -> dict[str, Any]:
    """Return an execution that is over as plain data.

    That is its code, count, id and status, its outputs (nbformat's, streams as one
    text), and where in the transcript its messages are.
    """
    return {
        "code": execution.code,
        "count": execution.count,
        "outputs": execution.outputs.plain(),
        "id": execution.execution_id,
        "status": execution.status,
        "messages": [execution.first, execution.last],
    }


class _Named(msgspec.Struct):
    """What of a cell says which one it is."""

    id: str = ""


class Cell(NamedTuple):
    """One execution as it is stored.

    Attributes:
        number: The execution's.
        size: Characters of code and outputs.
        data: The rest of it, as JSON.
    """

    number: int
    size: int
    data: bytes

    @classmethod
    def of(cls, execution: Execution) -> Cell:
        """Make the cell of an execution that is over."""
        data = msgspec.json.encode(cell_content(execution))
        return cls(execution.number, execution.size, data)

    def content(self) -> dict[str, Any]:
        """Return what `cell_content` returned."""
        content: dict[str, Any] = msgspec.json.decode(self.data)
        return content

    @property
    def execution_id(self) -> str:
        """What the execution is called."""
        named = msgspec.json.decode(self.data, type=_Named)
        return named.id or str(self.number)

    def execution(self, language: Language) -> Execution:
        """Return the execution, as far as it is stored: over, without its process.

        Args:
            language: The context's.
        """
        content = self.content()
        execution = Execution(
            content["code"],
            language,
            0.0,
            env=None,
            options=None,
            output_bytes_max=0,
            execution_id=self.execution_id,
        )
        execution.number, execution.count = self.number, content["count"]
        execution.first, execution.last = content.get("messages", (0, 0))
        execution.began, execution.size = 0.0, self.size
        for output in content["outputs"]:
            if output["output_type"] == "stream":
                execution.outputs.stream(output["name"], output["text"])
                continue
            execution.outputs.items.append(output)
            if output["output_type"] == "error":
                lines = "\n".join(output["traceback"])
                failure = Failure(output["ename"], output["evalue"], f"{lines}\n")
                execution.failure = failure
        status = content.get("status")
        execution.cancelled = status == "cancelled"
        failed = execution.failure
        execution.overdue = failed is not None and failed.name == TIMEOUT
        execution.done.set_result({})
        return execution


class History:
    """The last executions of one context, and how many of them are stored.

    Attributes:
        executions: Those in memory, oldest first.
        stored: Whether the database has any cells of the context.
        stored_ids: Those of the executions that it has, if they have been read.
    """

    def __init__(self, count_max: int, size_max: int) -> None:
        """Begin with nothing.

        Args:
            count_max: Executions that are remembered.
            size_max: Characters of code and outputs that are remembered.
        """
        self.executions: deque[Execution] = deque()
        self.stored = False
        self.stored_ids: frozenset[str] | None = None
        self._stored_to = 0
        self._count_max = count_max
        self._size_max = size_max
        self._size = 0

    def add(self, execution: Execution) -> None:
        """Remember an execution that is over, and forget old ones over the limits."""
        self.executions.append(execution)
        self._size += execution.size
        while self.executions and (
            len(self.executions) > self._count_max or self._size > self._size_max
        ):
            self._size -= self.executions.popleft().size

    def find(self, job_id: int) -> Execution | None:
        """Find the execution that a message from the process is about."""
        for execution in reversed(self.executions):
            if execution.id == job_id:
                return execution
        return None

    def clear(self) -> None:
        """Forget what is in memory; what is stored stays."""
        self.executions.clear()
        self._size = 0

    def copy_from(self, other: History) -> None:
        """Remember what the context that this one was forked from remembers."""
        self.executions.extend(other.executions)
        self._size = other._size

    def unstored(self, last_count: int | None, *, again: bool) -> list[Cell]:
        """Return the cells to store.

        Args:
            last_count: The count of the last one to be stored; None for all.
            again: Whether those that are stored are included, since their timers may
                have printed something meanwhile.
        """
        return [
            Cell.of(done)
            for done in self.executions
            if (again or done.number > self._stored_to)
            and (last_count is None or done.count <= last_count)
        ]

    def note_stored(self, cells: list[Cell]) -> None:
        """Note that these cells, oldest first, are in the database."""
        if cells:
            self.stored = True
            self.stored_ids = None
            self._stored_to = cells[-1].number
