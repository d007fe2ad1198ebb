"""What holds an object, where JavaScript can't see it: closures and private fields.

V8 describes its whole heap as a graph (a snapshot for debuggers, not one that is read
back). It is searched from the roots, breadth first. That takes a second for a heap of
10 MB and twice its memory, so it is done in forked children only, and within bounds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.v8.scopes import HandleScope
from isokernel.v8.values import to_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

__all__ = ["FUNCTION", "Way", "find_way"]

_SECONDS: Final = 10.0
_HEAP_BYTES_MAX: Final = 128 << 20
_STEPS_MAX: Final = 50
_CLOSURE, _SYNTHETIC = 5, 9  # v8::HeapGraphNode::Type
_VARIABLE, _ELEMENT, _PROPERTY, _INTERNAL, _WEAK = 0, 1, 2, 3, 6  # of HeapGraphEdge
_INTERNAL_SCRIPT: Final = "isokernel:"
_GLOBAL: Final = "Object (global"
_TOP_LEVEL: Final = "system / ScriptContextTable"
FUNCTION: Final = "a function"
"""What holds an object by a variable of its own, if no module does."""


class Way(NamedTuple):
    """How an object is held.

    Attributes:
        names: From a variable on, such as `cache.words` or `box.#words`; what has no
            name is `[…]`.
        holder: The URL of the nearest module whose functions or objects hold it, else
            `FUNCTION`; empty if it is held by what all code sees.
    """

    names: str
    holder: str


def find_way(isolate: Isolate, values: Sequence[Value]) -> Way | None:
    """Return how the first object that is found is held; None if none is, or in time.

    Args:
        isolate: Entered, in a process that ends afterwards.
        values: The objects.
    """
    if isolate.memory.statistics().heap_used_bytes > _HEAP_BYTES_MAX:
        return None
    return _Search(isolate, values).run()


class _Search:
    """One search. The nodes and edges are V8's, by address."""

    def __init__(self, isolate: Isolate, values: Sequence[Value]) -> None:
        self._isolate = isolate
        self._library = library = isolate.library
        profiler = library.heap_profiler(isolate.pointer)
        self._snapshot = library.heap_snapshot(profiler, None, None, False, False)  # noqa: FBT003 -- C's
        numbers = (library.object_id(profiler, value.slot) for value in values)
        self._targets = frozenset(
            library.snapshot_node(self._snapshot, number) for number in numbers
        )
        # Of each node that was seen, the edge that led to it, and from where.
        self._before: dict[int, tuple[int, int]] = {}

    def run(self) -> Way | None:
        found = self._search()
        if found is None:
            return None
        with HandleScope(self._isolate.scope_slots):
            edges = list(self._back(found))
            return Way(self._names(edges), self._holder(edges))

    def _search(self) -> int | None:
        library = self._library
        edge_type, edge_to = library.edge_type, library.edge_to
        root = library.snapshot_root(self._snapshot)
        before, targets = self._before, self._targets
        before[root] = (0, 0)
        todo, end = [root], time.monotonic() + _SECONDS
        for count, node in enumerate(todo):
            if not count % 1000 and time.monotonic() > end:
                return None
            is_root = library.node_type(node) == _SYNTHETIC
            for edge in self._edges(node):
                if edge_type(edge) == _WEAK:
                    continue
                to = edge_to(edge)
                if to in targets:
                    if is_root:  # the handles by which they were given
                        continue
                    before[to] = (edge, node)
                    return int(to)
                if to not in before:
                    before[to] = (edge, node)
                    todo.append(to)
        return None

    def _edges(self, node: int) -> Iterator[int]:
        child = self._library.node_child
        return (child(node, at) for at in range(self._library.node_children(node)))

    def _back(self, node: int) -> Iterator[tuple[int, int, int]]:
        """Yield edges from the one that leads to a node back to the root."""
        while True:
            edge, parent = self._before[node]
            if not edge:
                return
            yield parent, edge, node
            node = parent

    def _text(self, handle: int) -> str:
        return str(to_python(self._isolate, handle))

    def _names(self, edges: Sequence[tuple[int, int, int]]) -> str:
        steps: list[str] = []
        for parent, edge, _ in edges[:_STEPS_MAX]:
            kind = self._library.edge_type(edge)
            is_global = self._node_name(parent).startswith(_GLOBAL)
            if kind == _VARIABLE or (is_global and kind == _PROPERTY):
                steps.append(self._edge_name(edge))
                break
            if kind == _PROPERTY:
                steps.append(f".{self._edge_name(edge)}")
            elif kind == _ELEMENT:
                steps.append(f"[{self._edge_name(edge)}]")
            elif steps[-1:] != ["[…]"]:
                steps.append("[…]")
        return "".join(reversed(steps)).lstrip(".")

    def _edge_name(self, edge: int) -> str:
        return self._text(self._library.edge_name(edge))

    def _node_name(self, node: int) -> str:
        return self._text(self._library.node_name(node))

    def _holder(self, edges: Sequence[tuple[int, int, int]]) -> str:
        is_local = False
        for node, edge, _ in edges:
            found = self._script_of(node)
            if found and not found.startswith(_INTERNAL_SCRIPT):
                return found
            if self._library.edge_type(edge) == _VARIABLE:
                owner = self._before[node][1]
                is_local |= self._node_name(owner) != _TOP_LEVEL
        return FUNCTION if is_local else ""

    def _script_of(self, node: int) -> str:
        """Return the script of a function, or of what a function has made.

        Those of cells have no name here.
        """
        if self._library.node_type(node) != _CLOSURE:
            maker = self._to(node, _INTERNAL, "function")  # of a generator, a module
            if maker is None:
                prototype = self._to(node, _PROPERTY, "__proto__")
                maker = self._to(prototype, _PROPERTY, "constructor")
            if maker is None or self._library.node_type(maker) != _CLOSURE:
                return ""
            node = maker
        shared = self._to(node, _INTERNAL, "shared")
        script = self._to(shared, _INTERNAL, "script")
        return "" if script is None else self._node_name(script)

    def _to(self, node: int | None, kind: int, name: str) -> int | None:
        if node is None:
            return None
        for edge in self._edges(node):
            if self._library.edge_type(edge) == kind and self._edge_name(edge) == name:
                to: int = self._library.edge_to(edge)
                return to
        return None
