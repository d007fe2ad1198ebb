"""One execution of a context: its state from the first line to the last event."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isokernel.turns import Turns
    from isokernel.v8.values import Value


class Stop(Enum):
    """Why JavaScript was stopped from outside; the value is the error's name."""

    INTERRUPT = "KeyboardInterrupt"
    DEADLINE = "TimeoutError"
    MEMORY = "OutOfMemoryError"


class Pause:
    """A time in which only running JavaScript counts."""

    __slots__ = ("_began", "_ran", "_turns")

    def __init__(self, turns: Turns) -> None:
        """Begin."""
        self._turns = turns
        self._began = time.monotonic()
        self._ran = turns.ran

    def idle(self) -> float:
        """Seconds since its beginning in which no JavaScript ran."""
        return time.monotonic() - self._began - (self._turns.ran - self._ran)


class Execution:
    """What is known of the execution that a context is busy with.

    Attributes:
        id: The front's name for it; owner of all that it prints.
        count: Its number, N of `In [N]`.
        script: Name of its script in V8.
        silent: No result is shown.
        store: Its result goes into `Out`.
        seconds: What the deadline was, for the message.
        promise: What it waits for: its own end, or its result's text.
        presenting: The cell has ended; its result is being rendered.
        tools: It has the global `tools`.
    """

    __slots__ = (
        "_deadline",
        "_pause",
        "count",
        "id",
        "presenting",
        "promise",
        "script",
        "seconds",
        "silent",
        "store",
        "tools",
    )

    def __init__(  # noqa: PLR0913 -- the fields of an execute request
        self,
        *,
        id: int,  # noqa: A002 -- the word that every front uses
        count: int,
        script: str,
        silent: bool,
        store: bool,
        deadline: float | None,
        seconds: float | None,
    ) -> None:
        """Begin: nothing is awaited yet."""
        self.id = id
        self.count = count
        self.script = script
        self.silent = silent
        self.store = store
        self._deadline = deadline
        self._pause: Pause | None = None
        self.seconds = seconds
        self.promise: Value | None = None
        self.presenting = False
        self.tools = False

    @property
    def deadline(self) -> float | None:
        """On the monotonic clock, or None; moves on during a pause."""
        if self._deadline is None or self._pause is None:
            return self._deadline
        return self._deadline + self._pause.idle()

    @property
    def due(self) -> float | None:
        """When the deadline passes if nothing happens until then; None for never."""
        return None if self._pause is not None else self._deadline

    def pause(self, turns: Turns, *, paused: bool) -> None:
        """Begin or end a pause; nothing happens when it is so already."""
        if paused == (self._pause is not None):
            return
        self._deadline = self.deadline
        self._pause = Pause(turns) if paused else None
