"""Saving a context, and going on from what was saved.

Everything is in the heap: what Python knows of the context is put there, as text, just
before it is written, in the forked child that writes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from isokernel.errors import SnapshotFailedError
from isokernel.moves import Move
from isokernel.tracebacks import CellSource
from isokernel.v8 import writing
from isokernel.v8.children import run_in_child
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.bridge import Bridge
    from isokernel.events import Event
    from isokernel.hosting import ContextHost
    from isokernel.settings import ContextSettings


class ContextCheckpoints(ABC):
    """The part of a context that concerns its saved heaps. On the V8 thread.

    Attributes:
        settings: Of the context.
        bridge: The runtime.
        execution_count: Number of the last cell that was counted.
    """

    settings: ContextSettings
    bridge: Bridge
    execution_count: int
    _host: ContextHost
    _unstored: int

    @abstractmethod
    def __init__(
        self,
        settings: ContextSettings,
        sink: Callable[[Event], None],
        *,
        snapshot: Snapshot | None = None,
    ) -> None:
        """See `Context`."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """See `Context`."""

    def save(self) -> Snapshot:
        """Save the context, which goes on unharmed. No execution may be pending.

        Raises:
            SnapshotFailedError: Something on the heap can't be saved.
        """
        return writing.save(self.bridge.isolate, self._suspend)

    def write(self, file: int, *, seconds: float = writing.DEADLINE) -> None:
        """Save the context into a file, and try in another process what it is worth.

        Args:
            file: A descriptor of an empty file; gets what `Snapshot.to_bytes` gives.
            seconds: For the writing, and again for trying it.

        Raises:
            SnapshotFailedError: Something on the heap can't be saved, or what was
                written can't be read back.
        """
        isolate = self.bridge.isolate
        writing.write(isolate, file, self._suspend, seconds=seconds)
        ended = run_in_child(isolate, lambda: self._try_out(file), seconds)
        if ended.status:
            message = f"what was written can't be read back: {ended.reason}"
            raise SnapshotFailedError(message)

    def _try_out(self, file: int) -> None:
        """Go on from a saved heap. In a forked child only, of which nothing is left."""
        heap = Snapshot.from_file(file)
        context = type(self)(self.settings, lambda _event: None, snapshot=heap)
        value = context.evaluate("6 * 7")
        if not isinstance(value, tuple) or value[0].get("text/plain") != "42":
            message = f"6 * 7 is {value}"
            raise SnapshotFailedError(message)
        context.bridge.isolate.collect_garbage()  # looks at every object

    def _suspend(self) -> None:
        """Put what Python knows into the heap, and stop its clocks."""
        self.bridge.call("suspend", json.dumps(self._state(), separators=(",", ":")))

    def _state(self) -> dict[str, Any]:
        host = self._host
        return {
            "executionCount": self.execution_count,
            "unstored": self._unstored,
            "owners": host.newest_owner,
            "constants": sorted(host.sources.constants),
            "sources": [
                [script, cell.code, cell.source_map, cell.moves]
                for script, cell in host.sources.items()
            ],
        }

    def _resume(self, saved: str) -> None:
        """Take in again what `_suspend` has put into the heap."""
        if not saved:
            return  # the heap of a bare isolate
        state = json.loads(saved)
        host = self._host
        self.execution_count = state["executionCount"]
        self._unstored = state["unstored"]
        host.newest_owner = host.owners_before = state["owners"]
        host.sources.constants.update(state["constants"])
        for script, code, source_map, moves in state["sources"]:
            cell = CellSource(code)
            cell.source_map = source_map
            cell.moves = tuple(Move(*move) for move in moves)
            host.sources.add(script, cell)
