"""One execution of a context: its state from the first line to the last event."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isokernel.v8.values import Value


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
    """

    __slots__ = (
        "count",
        "deadline",
        "id",
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
