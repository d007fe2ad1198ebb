"""What a kind of order differs in from the other; all else is one for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from isoserver.errors import LimitError, ServerError
    from isoserver.runs.records import Ending
    from isoserver.runs.retention import Kept
    from isoserver.runs.run import Run

__all__ = ["Limits", "Runner"]


class Limits(NamedTuple):
    """How many runs there may be of one kind.

    Attributes:
        parallel: How many run at a time.
        unended: How many may be there that haven't ended.
        kept: How much is kept of those that have ended.
    """

    parallel: int
    unended: int
    kept: Kept


class Runner(Protocol):
    """Runs orders of one kind. `Runs` holds one and calls it, in the event loop.

    Attributes:
        limits: How many there may be.
        cancelled: How a run ends that its client cancels.
        stopped: How one ends that the server's end does not wait for.
        lost: How one has ended that ran when the last server died.
        patience: How many seconds one waits until its code begins, and how it ends when
            they are over; None if it waits for ever.
    """

    limits: Limits
    cancelled: Ending
    stopped: Ending
    lost: Ending
    patience: tuple[float, Ending] | None

    def prepare(self, run: Run[Any]) -> None:
        """Give a run that is about to be kept what its kind needs. Called once."""

    async def check(self, order: Any) -> None:
        """Check what an order names, before it is taken.

        Raises:
            ServerError: It can't be run.
        """

    async def run(self, run: Run[Any]) -> None:
        """Run the code and decide how it ended. Called once, when the run has a place.

        While the code can be stopped, `run.stop` is set to what does it. `run.context`
        is set as soon as there is one; `Runs` deletes it afterwards, unless it is a
        session's. A `ServerError` that is raised, or anything else, is how it ends.
        """

    def new_id(self) -> str:
        """Make an id."""

    def missing(self, run_id: str) -> ServerError:
        """Return the error for an id that the workspace has no run of."""

    def ended(self, run_id: str, status: str) -> ServerError:
        """Return the error for cancelling a run that has ended."""

    def too_many(self, share: int | None) -> LimitError:
        """Return the error for an order over the limit of those that haven't ended.

        Args:
            share: The workspace's share of the limit, if it is that which is reached.
        """
