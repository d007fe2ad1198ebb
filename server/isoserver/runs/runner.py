"""What a kind of order differs in from the other; all else is one for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.errors import LimitError, ServerError
    from isoserver.runs.records import Ending
    from isoserver.runs.run import Run

__all__ = ["Limits", "Runner"]


class Limits(NamedTuple):
    """How many runs of one kind there may be, those of all workspaces together.

    Attributes:
        running: How many run at a time.
        unended: How many there may be that haven't ended.
        told: The value of the setting that limits those, for the error.
        kept_seconds: How long a run is kept after its end.
        kept_number: How many are kept.
        kept_bytes: How much those may take.
    """

    running: int
    unended: int
    told: int
    kept_seconds: float
    kept_number: int
    kept_bytes: int


class Runner(Protocol):
    """Runs orders of one kind. `Runs` holds one and calls it, in the event loop.

    Attributes:
        limits: How many there may be.
        patience: How many seconds one waits until its code begins, and how it ends when
            they are over; None if it waits for ever.
        cancelled: How a run ends that its client cancels.
        stopped: How one ends that the server's end does not wait for.
        lost: How one has ended that ran when the last server died.
        missing: Made with an id that the workspace has no run of.
        over: Made with the id and the status of a run that can't be cancelled.
        too_many: Raised for an order when there are as many as may be.
    """

    limits: Limits
    patience: tuple[float, Ending] | None
    cancelled: Ending
    stopped: Ending
    lost: Ending
    missing: Callable[[str], ServerError]
    over: Callable[[str, str], ServerError]
    too_many: type[LimitError]

    def new_id(self) -> str:
        """Make an id."""

    async def check(self, order: Any) -> None:
        """Check what an order names, before it is taken.

        Raises:
            ServerError: It can't be run.
        """

    def prepare(self, run: Run[Any]) -> None:
        """Add what the kind of run needs before the run is stored. Called once."""

    async def run(self, run: Run[Any]) -> None:
        """Run the code and decide how it ended. Called once, when the run has a place.

        While the code can be stopped, `run.stop` is set to what does it. `run.context`
        is set as soon as there is one; `Runs` deletes it afterwards, unless it is a
        session's. A `ServerError` that is raised, or anything else, is how it ends.
        """
