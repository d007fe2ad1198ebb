"""One execution of a context: its state from the first line to the last event."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isokernel.events import ExecutionDone
    from isokernel.v8.values import Value


class ExecutionOptions(NamedTuple):
    """What an execution may be asked for beyond a notebook's cell.

    Attributes:
        result_json: Give its value as JSON too (`ResultJson`). The value of a promise
            is awaited for it.
        levels: Print `[INFO] `, `[WARN] ` and `[ERROR] ` before what console.info, warn
            and error say, its timers included.
        drain: Go on after the last line until no timer of the context waits.
    """

    result_json: bool = False
    levels: bool = False
    drain: bool = False


class Stop(Enum):
    """Why JavaScript was stopped from outside; the value is the error's name."""

    INTERRUPT = "KeyboardInterrupt"
    DEADLINE = "TimeoutError"
    MEMORY = "OutOfMemoryError"


class Execution:
    """What is known of the execution that a context is busy with.

    Attributes:
        id: The front's name for it; owner of all that it prints.
        count: Its number, N of `In [N]`.
        script: Name of its script in V8.
        silent: No result is shown.
        store: Its result goes into `Out`.
        deadline: On the monotonic clock, or None.
        seconds: What the deadline was, for the message.
        promise: What it waits for: its own end, or its result's text.
        presenting: The cell has ended; its result is being rendered.
        options: What else it was asked for.
        done: How it ended, while it waits for timers.
    """

    __slots__ = (
        "count",
        "deadline",
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
        self.deadline = deadline
        self.seconds = seconds
        self.promise: Value | None = None
        self.presenting = False
        self.options = options
        self.done: ExecutionDone | None = None
