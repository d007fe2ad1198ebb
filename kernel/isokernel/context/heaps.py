"""Saving a context, which goes on unharmed.

The heap holds everything: Python's state of the context is stored in it, as text, just
before it is written, in the forked child that writes it.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from isokernel.errors import ScriptError, SnapshotFailedError
from isokernel.v8 import writer
from isokernel.v8.children import Children
from isokernel.v8.live_objects import unsavable_objects
from isokernel.v8.recreation import Recipes
from isokernel.v8.retainers import FUNCTION, find_way
from isokernel.v8.snapshot import Snapshot, seal
from isokernel.v8.values import Value
from isokernel.v8.wasm_parts import KINDS, RefusedError, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.v8.recreation import Recipe
    from isokernel.v8.wasm_parts import Parts

_WITHOUT_OBJECT: Final = ("Atomics.waitAsync",)
"""Features whose use leaves state that can't be saved and that isn't an object."""
_SOUGHT_MAX: Final = 10_000
_PRODUCT: Final = 42


class ContextHeaps:
    """Saves one context. On the V8 thread; no JavaScript may run.

    The saved heap doesn't contain an execution that is still awaiting.
    """

    def __init__(self, context: Context) -> None:
        """Save this context."""
        self._context = context
        self._bridge = context.bridge
        self._isolate = context.bridge.isolate

    def serve(self, serve: Callable[[str, str], str]) -> None:
        """Offer `Jupyter.checkpoint`, `restore` and `checkpoints` to the user's code.

        Args:
            serve: Called amid running JavaScript with the action (`checkpoint`,
                `restore`, `list`) and the heap's name; returns the list as JSON. May
                raise HeapFileError.
        """
        self._bridge.host.serve_heaps = serve

    def report(self, outcome: str) -> None:
        """Settle a `checkpoint` in the user's code; the outcome is JSON."""
        self._context.deliver("heapSettled", outcome)

    def save(self) -> Snapshot:
        """Save the context into memory; see `write`."""
        file = os.memfd_create("isokernel-heap")
        try:
            self.write(file)
            return writer.read(file)
        finally:
            os.close(file)

    def write(
        self,
        file: int,
        *,
        seconds: float = writer.DEADLINE_SECONDS,
        children: Children | None = None,
    ) -> str:
        """Save the context into a file, and verify in another process that it restores.

        Args:
            file: A descriptor; gets what `Snapshot.to_bytes` returns.
            seconds: That each step may take.
            children: Forks the processes that do it; by default they have ended when
                this returns.

        Returns:
            The heap's key.

        Raises:
            SnapshotFailedError: Something on the heap can't be saved, or what was
                written can't be read back.
        """
        if children is None:
            with Children(self._isolate) as own:
                return self.write(file, seconds=seconds, children=own)
        try:
            return self._write(children, file, seconds)
        except SnapshotFailedError as error:
            found = self._find_unsavable(children, seconds)
            raise SnapshotFailedError(error.reason, *found) from error

    def _write(self, children: Children, file: int, seconds: float) -> str:
        # Few heaps have errors with stacks that nobody has read, and to look for them
        # takes as long as all the rest; those that have show it when they are tried.
        reason = ""
        for stacks in (False, True):
            reason = writer.write(
                children,
                self._isolate,
                file,
                _Suspension(self._context),
                stacks=stacks,
                seconds=seconds,
                attempt=lambda: self._try_out(file),
            )
            if not reason:
                return seal(file)
        message = f"what was written can't be read back: {reason}"
        raise SnapshotFailedError(message)

    def _try_out(self, file: int) -> None:
        """Restore the heap that was written, in the process that has written it."""
        heap = Snapshot.from_file(file, check=False)
        make = type(self._context)
        context = make(self._context.settings, lambda _event: None, snapshot=heap)
        context.turns.disable_watchdog()
        isolate = context.bridge.isolate
        with isolate.held():
            cell = isolate.evaluate("6 * 7", "trial")
            value = None
            if isinstance(cell, Value):
                isolate.run_microtasks()
                _, result = isolate.promise(cell)
                value = result and isolate.get(result, ".repl_result")
        if value != _PRODUCT:
            message = f"6 * 7 is {value}"
            raise SnapshotFailedError(message)

    def _find_unsavable(
        self, children: Children, seconds: float
    ) -> tuple[str | None, str | None, str | None]:
        """Return the kind of an object in the way, a path to it, and what holds it."""
        outcome = children.run(self._print_unsavable, seconds)
        if outcome.status == 0 and outcome.output:
            kind, path, index = json.loads(outcome.output)
            # A search of its own, as the whole heap may be too much for it.
            outcome = children.run(lambda: self._print_holder(kind, index), seconds)
            names, holder = None, None
            if outcome.status == 0 and outcome.output:
                names, holder = json.loads(outcome.output)
            if path is None:
                return kind, names, holder
            return kind, path, None if holder == FUNCTION else holder
        for kind in _WITHOUT_OBJECT:
            if kind in self._isolate.features:
                return kind, None, None
        return None, None, None

    def _unsavable(self) -> list[tuple[str, Value]]:
        """Return the objects in the way, each with its kind; entered, in a child."""
        isolate = self._isolate
        recipes = Recipes(isolate)
        objects = unsavable_objects(isolate)
        found = [
            (kind, value)
            for kind, value in objects
            if kind not in KINDS and recipes.of(kind, value) is None
        ]
        compiled = [item for item in objects if item[0] in KINDS]
        try:
            take_apart(isolate, self._bridge.web_assembly, compiled)
        except RefusedError as error:
            found.insert(0, (error.kind, error.value))
        return found

    def _print_unsavable(self) -> None:
        """Search the heap and print what was found, in a forked child."""
        self._bridge.host.mute()
        isolate = self._isolate
        with isolate.entered():
            found = self._unsavable()
        if not found:
            return
        at, path = None, None
        values = [value for _, value in found[:_SOUGHT_MAX]]
        with contextlib.suppress(ScriptError):  # the kind alone is better than nothing
            answer = json.loads(
                self._bridge.call("findUnsavable", values, isolate.modules.namespaces())
            )
            if answer:
                at, path = answer
        os.write(2, json.dumps([found[at or 0][0], path, at]).encode())

    def _print_holder(self, kind: str, index: int | None) -> None:
        """Search for what holds an object in the way, in a forked child.

        Args:
            kind: Of the object.
            index: Which one it is, if a way to it was found.
        """
        self._bridge.host.mute()
        isolate = self._isolate
        with isolate.entered():
            objects = self._unsavable()[:_SOUGHT_MAX]
            sought = [
                value
                for at, (one, value) in enumerate(objects)
                if (one == kind if index is None else at == index)
            ]
            way = find_way(isolate, sought)
        if way is not None:
            found = [way.names or None, way.holder or None]
            os.write(2, json.dumps(found).encode())


class _Suspension(writer.Preparation):
    """What is done to a context in the process that writes it."""

    recreates = True

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self) -> None:
        """Drop what the user's code prints from now on: it belongs to no execution."""
        bridge = self._context.bridge
        bridge.host.mute()
        bridge.calls.now = None
        bridge.call("beginSaving")
        if bridge.call("usesWebAssembly"):
            bridge.isolate.features.add("WebAssembly")

    def find_web_assembly(self, name: str) -> Value:
        """Return one of the runtime's functions about WebAssembly."""
        return self._context.bridge.web_assembly(name)

    def finish(
        self, shared: list[Value], recipes: list[Recipe], parts: Parts | None
    ) -> None:
        """Store Python's state in the heap."""
        self._context.suspend(shared, recipes, parts)
