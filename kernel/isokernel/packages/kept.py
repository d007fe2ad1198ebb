"""Graphs that were built before, for contexts that begin alike.

A graph depends on what was asked for, on the context's lock and on what registries
have said. Whoever gets one that was kept is asked for all the same decisions, in the
same order, and its lock is filled in the same way: these are the graph's steps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from isokernel.packages.answers import GraphAnswer

__all__ = [
    "Decision",
    "KeptGraph",
    "KeptGraphs",
    "LookUp",
    "Resolution",
    "Steps",
]


class Decision(NamedTuple):
    """A package was allowed.

    Attributes:
        package: Its name, or name@version.
        dependent: The package that brought it.
        facts: What else was decided about.
    """

    package: str
    dependent: str
    facts: Mapping[str, Any]


class Resolution(NamedTuple):
    """A line of the lock: the arguments of `Lock.add`."""

    line: tuple[str, ...]


class LookUp(NamedTuple):
    """A file of the context's folder was looked for.

    Attributes:
        path: The file's.
        found: The SHA-256 of its bytes, or `folder`; empty if there is nothing.
    """

    path: str
    found: str = ""


class Steps:
    """What was done for a graph.

    Attributes:
        done: In this order.
        end: When what registries have said for it must be asked again, in the loop's
            time.
        is_kept: Whether it depends on nothing else.
    """

    def __init__(self) -> None:
        """Begin."""
        self.done: list[Decision | LookUp | Resolution] = []
        self.end = math.inf
        self.is_kept = True


class KeptGraph(NamedTuple):
    """A graph.

    Attributes:
        answer: What contexts get.
        urls: Of its modules.
        steps: See the class.
    """

    answer: GraphAnswer
    urls: frozenset[str]
    steps: Steps


class KeptGraphs:
    """The graphs that were used last; used from one event loop."""

    def __init__(self, bytes_max: int) -> None:
        """Keep so many bytes at most."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._graphs: OrderedDict[Hashable, KeptGraph] = OrderedDict()

    @staticmethod
    def key(
        specifiers: Sequence[tuple[str, Mapping[str, str]]],
        referrer: str,
        kind: str,
        lock: Mapping[str, Any],
    ) -> Hashable:
        """Return what names a graph."""
        wanted = [[name, sorted(attributes.items())] for name, attributes in specifiers]
        text = json.dumps([wanted, referrer, kind, lock], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    def get(self, key: Hashable, now: float) -> KeptGraph | None:
        """Return a graph, unless registries must be asked again for it."""
        found = self._graphs.get(key)
        if found is None:
            return None
        if found.steps.end <= now:
            self._drop(key)
            return None
        self._graphs.move_to_end(key)
        return found

    def put(self, key: Hashable, graph: KeptGraph) -> None:
        """Keep a graph; the ones unused longest go."""
        self._drop(key)
        self._graphs[key] = graph
        self._bytes += _size(graph)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._graphs)))

    def _drop(self, key: Hashable) -> None:
        graph = self._graphs.pop(key, None)
        if graph is not None:
            self._bytes -= _size(graph)


def _size(graph: KeptGraph) -> int:
    return len(graph.answer.text) + len(graph.answer.data)
