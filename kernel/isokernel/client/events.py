"""What happens while a cell runs, as `stream` gives it: one class for each kind."""

from __future__ import annotations

from typing import Literal

import msgspec

from isokernel.client.executions import (  # noqa: TC001 -- msgspec reads annotations
    Execution,
    Failure,
    Output,
)

__all__ = [
    "Cleared",
    "Displayed",
    "Ended",
    "Event",
    "Failed",
    "Printed",
    "Started",
    "Updated",
]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The cell has its turn.

    Attributes:
        id: What the server calls the execution.
        execution_count: Its number in the context.
    """

    id: str
    execution_count: int


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """Something was printed.

    Attributes:
        stream: Where to.
        text: What, with its newlines; lines may come in pieces.
        late: Whether an earlier execution of the context printed it.
    """

    stream: Literal["stdout", "stderr"]
    text: str
    late: bool = False


class Displayed(msgspec.Struct, frozen=True, kw_only=True):
    """Something was displayed; the value of the cell, too, with `output.is_result`.

    Attributes:
        output: What.
        late: Whether an earlier execution of the context displayed it.
    """

    output: Output
    late: bool = False


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """What was displayed under a `display_id` looks different now.

    Attributes:
        output: How it looks.
    """

    output: Output


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """What was put out so far is to be forgotten.

    Attributes:
        wait: Whether only when something else comes.
    """

    wait: bool = False


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The code failed; `Ended` follows.

    Attributes:
        error: How.
    """

    error: Failure


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The execution is over; the last event.

    Attributes:
        execution: All of it.
    """

    execution: Execution


Event = Started | Printed | Displayed | Updated | Cleared | Failed | Ended
