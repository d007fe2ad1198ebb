"""All that a context has said, in one sequence: what every front is told.

A message is added once, when the process has sent it or the context itself says it, and
has a number in the context. Fronts that are attached hear of each as it is added; one
that was away asks for what came after the last that it has.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Entry", "Transcript"]

_ENTRY_BYTES: Final = 200
"""What an entry takes beside its texts, roughly."""


class Entry(NamedTuple):
    """One message.

    Attributes:
        number: Its place in the sequence, from 1.
        at: When it was added, as time.time() gives it.
        kind: Jupyter's type of the message.
        content: Its content.
        metadata: Jupyter's metadata.
        parent: The header of the request that caused it; empty if none did.
        buffers: Binary attachments.
    """

    number: int
    at: float
    kind: str
    content: Mapping[str, Any]
    metadata: Mapping[str, Any]
    parent: Mapping[str, Any]
    buffers: tuple[bytes, ...]


class Transcript:
    """The last messages of one context. Used from the event loop.

    Attributes:
        last: The number of the last message; 0 if there is none.
        listeners: Called with each message as it is added.
        ends: Called with the reason when the context is deleted.
    """

    def __init__(self, bytes_max: int) -> None:
        """Begin with nothing.

        Args:
            bytes_max: What is kept for those that are away; the oldest go.
        """
        self.last = 0
        self.listeners: list[Callable[[Entry], None]] = []
        self.ends: list[Callable[[str], None]] = []
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: deque[tuple[int, Entry]] = deque()

    def add(
        self,
        kind: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """Add a message, and tell who listens; see `Entry`."""
        self.last += 1
        entry = Entry(
            self.last, time.time(), kind, content, metadata or {}, parent, buffers
        )
        size = _size(entry)
        self._kept.append((size, entry))
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._bytes -= self._kept.popleft()[0]
        if self.listeners:
            for listener in tuple(self.listeners):
                listener(entry)

    def end(self, reason: str) -> None:
        """Tell who listens that the context is deleted."""
        ends, self.ends = self.ends, []
        for call in ends:
            call(reason)

    def after(self, number: int, count_max: int) -> list[Entry]:
        """Return messages after one, oldest first.

        The first has a higher number than the next if those between are gone.
        """
        first = self.last - len(self._kept) + 1
        start = max(0, number + 1 - first)
        found = islice(self._kept, start, start + count_max)
        return [entry for _, entry in found]


def _size(entry: Entry) -> int:
    """Estimate the memory that an entry keeps, without looking deep into it."""
    if entry.kind == "status":  # half of all
        return _ENTRY_BYTES
    size = _ENTRY_BYTES + sum(map(len, entry.buffers))
    content = entry.content
    for value in (*content.values(), *(content.get("data") or {}).values()):
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, list):
            size += sum(len(each) for each in value if isinstance(each, str))
        elif isinstance(value, dict):
            size += _ENTRY_BYTES
    return size
