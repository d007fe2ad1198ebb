"""Saving a context, and going on from what was saved.

Everything is in the heap: what Python knows of the context is put there, as text, just
before it is written, in the forked child that writes.
"""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from isokernel.compiler.cells import Move
from isokernel.context.tracebacks import CellSource
from isokernel.errors import ScriptError, SnapshotFailedError
from isokernel.v8 import writer
from isokernel.v8.children import Children
from isokernel.v8.isolate import Isolate
from isokernel.v8.live_objects import unsavable_objects
from isokernel.v8.snapshot import Snapshot, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from isokernel.context.bridge import Bridge
    from isokernel.context.events import Event
    from isokernel.context.hosting import ContextHost
    from isokernel.context.turns import Turns
    from isokernel.settings import ContextSettings
    from isokernel.v8.children import Child, Outcome
    from isokernel.v8.values import Value

_UNSEEN: Final = ("Atomics.waitAsync", "WebAssembly.Module")
"""What leaves traces that can't be saved and that no object is, when it was used."""
_SOUGHT_MAX: Final = 10_000


class ContextCheckpoints(ABC):
    """The part of a context that concerns its saved heaps. On the V8 thread.

    Attributes:
        settings: Of the context.
        bridge: The runtime.
        turns: Who runs when.
        execution_count: Number of the last cell that was counted.
    """

    settings: ContextSettings
    bridge: Bridge
    turns: Turns
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
    def after_turn(self) -> None:
        """See `Context`."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """See `Context`."""

    def keep_heaps(self, heaps: Callable[[str, str], str]) -> None:
        """Offer `Jupyter.checkpoint` and its kin.

        Args:
            heaps: Takes what shall be done (`checkpoint`, `restore`, `list`) and the
                heap's name, amid running JavaScript; the list is its result, as JSON.
                May raise HeapFileError.
        """
        self._host.heaps = heaps

    def tell_saved(self, said: str) -> None:
        """Tell the user's JavaScript how a `checkpoint` went, as JSON."""
        with self.turns.turn():
            self.bridge.call("heapSettled", said)
            self.bridge.isolate.run_microtasks()
        self.after_turn()

    def save(self) -> Snapshot:
        """Save the context, which goes on unharmed; as `write`."""
        storage = os.memfd_create("isokernel-heap")
        try:
            self.write(storage)
            return writer.read(storage)
        finally:
            os.close(storage)

    def write(
        self,
        file: int,
        *,
        seconds: float = writer.DEADLINE_SECONDS,
        children: Children | None = None,
    ) -> str:
        """Save the context into a file, and try in another process what it is worth.

        No JavaScript may run. An execution that awaits is not there any more in what
        is saved.

        Args:
            file: A descriptor; gets what `Snapshot.to_bytes` gives.
            seconds: That each step may take.
            children: What forks the processes that do it; by default they are gone
                when this returns.

        Returns:
            The heap's key.

        Raises:
            SnapshotFailedError: Something on the heap can't be saved, or what was
                written can't be read back.
        """
        if children is None:
            with Children(self.bridge.isolate) as own:
                return self.write(file, seconds=seconds, children=own)
        try:
            return self._write(children, file, seconds)
        except SnapshotFailedError as error:
            kind, path = self._search(children, seconds)
            raise SnapshotFailedError(error.reason, kind, path) from error

    def _write(self, children: Children, file: int, seconds: float) -> str:
        isolate = self.bridge.isolate
        # Few heaps have errors with stacks that nobody has read, and to look for them
        # takes as long as all the rest; those that have show it when they are tried.
        said = ""
        for stacks in (False, True):
            with Trial(children, lambda: self._try_out(file)) as trial:
                writer.write(
                    children,
                    isolate,
                    file,
                    Suspension(self),
                    stacks=stacks,
                    seconds=seconds,
                    beside=trial.prepare,
                )
                trial.begin()
                key = seal(file)
                ended = trial.outcome(seconds)
            if not ended.status:
                return key
            said = ended.reason
        message = f"what was written can't be read back: {said}"
        raise SnapshotFailedError(message)

    def _try_out(self, file: int) -> None:
        """Go on from a saved heap. In a forked child only, of which nothing is left."""
        heap = Snapshot.from_file(file, check=False)
        context = type(self)(self.settings, lambda _event: None, snapshot=heap)
        context.turns.go_unwatched()
        value = context.evaluate("6 * 7")
        if not isinstance(value, tuple) or value[0].get("text/plain") != "42":
            message = f"6 * 7 is {value}"
            raise SnapshotFailedError(message)

    def _search(
        self, children: Children, seconds: float
    ) -> tuple[str | None, str | None]:
        """Kind of an object that can't be saved, and an expression that leads to it."""
        isolate = self.bridge.isolate
        ended = children.run(self._tell_unsavable, seconds)
        if ended.status == 0 and ended.output:
            kind, path = json.loads(ended.output)
            return kind, path
        for kind in _UNSEEN:
            if kind in isolate.features:
                return kind, None
        return None, None

    def _tell_unsavable(self) -> None:
        """Search the heap. In a forked child only, which says what it has found."""
        self.mute()
        found = unsavable_objects(self.bridge.isolate)
        if not found:
            return
        kind, path = found[0][0], None
        values = [value for _, value in found[:_SOUGHT_MAX]]
        with contextlib.suppress(ScriptError):  # the kind alone is better than nothing
            answer = json.loads(self.bridge.call("findUnsavable", values))
            if answer:
                index, path = answer
                kind = found[index][0]
        os.write(2, json.dumps([kind, path]).encode())

    def mute(self) -> None:
        """In a forked child: say nothing, neither to the front nor to its user."""
        self._host.sink = lambda _event: None
        self._host.read_input = None

    def suspend(self, shared: list[Value]) -> None:
        """Put what Python knows into the heap, and stop its clocks."""
        state = json.dumps(self._state(), separators=(",", ":"))
        self.bridge.call("suspend", state, shared)

    def _state(self) -> dict[str, Any]:
        host = self._host
        return {
            "executionCount": self.execution_count,
            "unstored": self._unstored,
            "owners": host.newest_owner,
            "features": sorted(self.bridge.isolate.features),
            "constants": sorted(host.sources.constants),
            "sources": [
                [script, cell.code, cell.source_map, cell.moves]
                for script, cell in host.sources.items()
            ],
        }

    def _resume(self, saved: str) -> None:
        """Take in again what `suspend` has put into the heap."""
        if not saved:
            return  # the heap of a bare isolate
        state = json.loads(saved)
        host = self._host
        self.execution_count = state["executionCount"]
        self._unstored = state["unstored"]
        host.newest_owner = host.owners_before = state["owners"]
        self.bridge.isolate.features.update(state["features"])
        host.sources.constants.update(state["constants"])
        for script, code, source_map, moves in state["sources"]:
            cell = CellSource(code)
            cell.source_map = source_map
            cell.moves = tuple(Move(*move) for move in moves)
            host.sources.add(script, cell)


class Suspension(writer.Preparation):
    """What is done to a context in the process that writes it."""

    def __init__(self, context: ContextCheckpoints) -> None:
        """Prepare this context."""
        self._context = context

    def begin(self) -> None:
        """Say nothing any more: what the user's code prints from now on is nobody's."""
        self._context.mute()
        bridge = self._context.bridge
        bridge.call("beginSaving")
        if bridge.call("hasMemory"):
            bridge.isolate.features.add("WebAssembly.Memory")

    def finish(self, shared: list[Value]) -> None:
        """Put what Python knows into the heap."""
        self._context.suspend(shared)


class Trial:
    """A process that is forked while a heap is written, and tries it when it is."""

    def __init__(self, children: Children, work: Callable[[], None]) -> None:
        """Fork none yet.

        Args:
            children: Forks it.
            work: What it does.
        """
        self._children = children
        self._work = work
        self._child: Child | None = None
        self._ready, self._go = os.pipe()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """A process that still waits has nothing to do."""
        os.close(self._ready)
        os.close(self._go)

    def prepare(self) -> None:
        """Fork it."""
        self._child = self._children.fork(self._wait)

    def _wait(self) -> None:
        os.close(self._go)
        # What it touches first it gets pages of, for 2 ms; there is time for that now.
        Isolate()
        if os.read(self._ready, 1):
            self._work()

    def begin(self) -> None:
        """Let it do its work."""
        os.write(self._go, b"!")

    def outcome(self, seconds: float) -> Outcome:
        """How it went, once it has begun; at most so many seconds."""
        assert self._child is not None  # noqa: S101 -- by `prepare`
        return self._child.outcome(seconds)
