"""What is known of a task, and what it can be at."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple

__all__ = [
    "RUNTIMES",
    "RUNTIME_DEFAULT",
    "Diagnostic",
    "Ending",
    "Status",
    "Task",
    "TaskFailure",
    "TaskOrder",
]

RUNTIMES: Final = ("isokernel-v8",)
"""What can run a task; the first one unless the order says otherwise."""
RUNTIME_DEFAULT: Final = RUNTIMES[0]
SECONDS_DEFAULT: Final = 300.0
SECONDS_MAX: Final = 600.0


class Status(str, Enum):
    """What a task is at. All but the first three are for ever."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting_for_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DENIED = "denied"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it stays."""
        return self in EXIT_CODES


EXIT_CODES: Final[dict[Status, int]] = {
    Status.COMPLETED: 0,
    Status.FAILED: 1,
    # What shells and timeout(1) say.
    Status.TIMED_OUT: 124,
    Status.DENIED: 126,
    Status.CANCELLED: 130,
}


class TaskOrder(NamedTuple):
    """What a task shall do.

    Attributes:
        workspace: Whose it is.
        code: TypeScript, the body of a function.
        client: Who asks, within the workspace.
        session: A context that persists; None for one that goes with the task.
        seconds: How long the code may run; waiting for approvals doesn't count.
        runtime_id: What runs it.
        metadata: Kept with it, plain data.
        typecheck: Whether types are checked first; None for what the server is set to.
        admin: Whether who asks may decide about approvals; not kept.
    """

    workspace: str
    code: str
    client: str = ""
    session: str | None = None
    seconds: float = SECONDS_DEFAULT
    runtime_id: str = RUNTIME_DEFAULT
    metadata: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    typecheck: bool | None = None
    admin: bool = False


class TaskFailure(NamedTuple):
    """How a task failed.

    Attributes:
        name: The error's name.
        message: Its message.
        stack: Where it happened, for people.
    """

    name: str
    message: str
    stack: str = ""


class Diagnostic(NamedTuple):
    """What the type checker has against the code.

    Attributes:
        line: From 1.
        column: From 1, in UTF-16 units.
        code: TypeScript's number for it, such as 2322.
        message: In TypeScript's words.
    """

    line: int
    column: int
    code: int
    message: str


class Ending(NamedTuple):
    """How a task ended.

    Attributes:
        status: A status that stays.
        error: What went wrong, when something did.
        result: The value of the code as JSON text; None for undefined.
        result_cut: `result` only says that the value was too long.
        logs: What was printed, by stream, a line an entry.
        displays: What was shown: `data` by MIME type, and `metadata`.
        diagnostics: Why the code did not run.
    """

    status: Status
    error: TaskFailure | None = None
    result: str | None = None
    result_cut: bool = False
    logs: dict[str, list[str]] = {}  # noqa: RUF012 - as above
    displays: list[dict[str, Any]] = []  # noqa: RUF012
    diagnostics: list[Diagnostic] = []  # noqa: RUF012


class Task(NamedTuple):
    """A task, as it can be looked up.

    Attributes:
        id: Its name, unguessable and unique on the server.
        order: What was asked for.
        status: What it is at.
        created_at: When it was ordered, in seconds since 1970, as the next two.
        started_at: When its code began; None if it hasn't.
        ended_at: When it ended; None if it hasn't.
        ending: How it ended; None while it hasn't, and in lists.
    """

    id: str
    order: TaskOrder
    status: Status
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None

    @property
    def exit_code(self) -> int | None:
        """0 when it completed, else another number; None while it hasn't ended."""
        return EXIT_CODES.get(self.status)
