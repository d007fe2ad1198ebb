"""A call of a tool, and the question that a person may have to decide first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Asker", "Call", "Decision", "Question", "Requester"]


class Call(NamedTuple):
    """A call that code makes.

    Attributes:
        workspace: The workspace; only its sources, rules and approvals count.
        session: The context that persists, if the code runs in one.
        client: Who started the task.
        task_id: The task.
        call_id: The call within the task.
        path: `source.tool` in any spelling, or one of the paths of discovery.
        input: What the code gave, plain data.
        admin: Whether whoever started the task may decide about approvals.
    """

    workspace: str
    session: str | None = None
    client: str = ""
    task_id: str = ""
    call_id: str = ""
    path: str = ""
    input: Any = None
    admin: bool = False


class Question(NamedTuple):
    """What a person is asked.

    Attributes:
        approval_id: The approval, by which it can be decided elsewhere as well.
        path: The tool.
        description: What the tool says that it does.
        shown: The input as JSON text, without secrets, cut.
        seconds: How long the answer is waited for.
        decides: Whether the answer may approve; else asking is of no use, and the
            client is only to know what is waited for.
    """

    approval_id: str
    path: str
    description: str
    shown: str
    seconds: float
    decides: bool = True


class Decision(NamedTuple):
    """What a person decides about a call.

    Attributes:
        approved: Whether the call may be made.
        reason: Why, for whoever reads the audit, and for the code if it is denied.
    """

    approved: bool
    reason: str = ""


class Asker(Protocol):
    """Asks the person behind a client; MCP's elicitation implements it."""

    async def ask(self, question: Question) -> Decision | None:
        """Ask; cancelled when somebody else has decided.

        Returns:
            The decision; None if the client can't be asked or gives none, in which case
            the other ways to decide remain.
        """


class Requester(NamedTuple):
    """Who has ordered the code that runs in a context, while its run goes on.

    Attributes:
        run_id: The run.
        client: Who ordered it, within the workspace.
        admin: Whether that client may decide about approvals.
        asker: Asks the client for approvals; None if it can't be asked.
        waiting: Told when the wait for an approval begins, and when it ends.
    """

    run_id: str
    client: str
    admin: bool
    asker: Asker | None
    waiting: Callable[[bool], None]
