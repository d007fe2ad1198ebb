"""Promises that were rejected and have no handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isokernel.v8.values import UNDEFINED

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

_MAX: Final = 1000
"""More unhandled rejections than this in one turn are dropped, and counted."""


class Rejections:
    """Rejected promises without handlers, with their reasons and owners.

    Filled by V8's callback during JavaScript; emptied by whoever reports them, after
    the microtasks have run.
    """

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._unhandled: list[tuple[Value, Value, int]] = []
        self.dropped = 0

    @property
    def pending(self) -> bool:
        """Whether there are any."""
        return bool(self._unhandled)

    def add(self, promise: int, reason: int | None) -> None:
        """Add a rejection; called by V8 with local handles."""
        if len(self._unhandled) >= _MAX:
            self.dropped += 1
            return
        isolate = self._isolate
        value = isolate.own(reason or isolate.constant(UNDEFINED))
        self._unhandled.append((isolate.own(promise), value, isolate.owner()))

    def discard(self, promise: int) -> None:
        """Remove a promise that has got a handler after all."""
        equals = self._isolate.library.strict_equals
        for index, (known, _, _) in enumerate(self._unhandled):
            if equals(known.slot, promise):
                del self._unhandled[index]
                return

    def take(self) -> list[tuple[Value, int]]:
        """Remove all that are still unhandled, and return (reason, owner) of each."""
        taken, self._unhandled = self._unhandled, []
        return [(reason, owner) for _, reason, owner in taken]

    def clear(self) -> None:
        """Remove all."""
        self._unhandled = []
