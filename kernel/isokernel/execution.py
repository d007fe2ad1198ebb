"""One execution of a context: its state from the first line to the last event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isokernel.v8.values import Value


class Stop(Enum):
    """Why JavaScript was stopped from outside; the value is the error's name."""

    INTERRUPT = "KeyboardInterrupt"
    DEADLINE = "TimeoutError"
    MEMORY = "OutOfMemoryError"


@dataclass(slots=True)
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

    id: int
    count: int
    script: str
    silent: bool
    store: bool
    deadline: float | None
    seconds: float | None
    promise: Value | None = None
    presenting: bool = False
