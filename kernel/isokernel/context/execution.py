"""One execution of a context: its state from the first line to the last event."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.events import ExecutionDone
    from isokernel.v8.values import Value


class ToolLimits(NamedTuple):
    """What an execution may ask of tools.

    Attributes:
        calls_max: Calls that wait for their answers at a time.
        input_max: Bytes of one call's input, as JSON.
    """

    calls_max: int = 256
    input_max: int = 1 << 20


class ExecutionOptions(NamedTuple):
    """What an execution may be asked for beyond a notebook's cell.

    Attributes:
        result_json: Give its value as JSON too (`ResultJson`). The value of a promise
            is awaited for it.
        levels: Print `[INFO] `, `[WARN] ` and `[ERROR] ` before what console.info, warn
            and error say, its timers included.
        drain: Go on after the last line until no timer of the context waits.
        body: The code is a function's body: what it returns is the value.
        tools: It has the global `tools`, within these limits.
    """

    result_json: bool = False
    levels: bool = False
    drain: bool = False
    body: bool = False
    tools: ToolLimits | None = None


class Stop(Enum):
    """Why JavaScript was stopped from outside; the value is the error's name."""

    INTERRUPT = "KeyboardInterrupt"
    DEADLINE = "TimeoutError"
    MEMORY = "OutOfMemoryError"


class Pause:
    """A time in which only running JavaScript counts."""

    __slots__ = ("_began", "_ran")

    def __init__(self, ran: Callable[[], float]) -> None:
        """Begin; `ran` tells for how many seconds JavaScript has run in all."""
        self._ran = ran
        self._began = time.monotonic() - ran()

    def idle(self) -> float:
        """Seconds since its beginning in which no JavaScript ran."""
        return time.monotonic() - self._ran() - self._began


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
        options: What else it was asked for.
        done: How it ended, while it waits for timers.
    """

    __slots__ = (
        "_deadline",
        "_pause",
        "count",
        "done",
        "id",
        "options",
        "presenting",
        "promise",
        "script",
        "seconds",
        "silent",
        "store",
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
        options: ExecutionOptions,
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
        self.options = options
        self.done: ExecutionDone | None = None

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

    def pause(self, ran: Callable[[], float], *, paused: bool) -> None:
        """Begin or end a pause, see `Pause`; nothing happens when it is so already."""
        if paused == (self._pause is not None):
            return
        self._deadline = self.deadline
        self._pause = Pause(ran) if paused else None
