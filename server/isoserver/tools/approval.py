"""One approval, and how it can stand."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from isoserver.tools.redaction import clean

if TYPE_CHECKING:
    from isoserver.tools.calls import Call
    from isoserver.tools.tool import Tool

__all__ = [
    "APPROVED",
    "DENIED",
    "EXPIRED",
    "PENDING",
    "WITHDRAWN",
    "Approval",
    "Decision",
    "Elicitation",
]

PENDING: Final = "pending"
APPROVED: Final = "approved"
DENIED: Final = "denied"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
Decision = Literal["approved", "denied"]
Elicitation = Literal["admin", "always", "never"]

_ID_BYTES: Final = 24
_DESCRIPTION_MAX: Final = 1000


class Approval(NamedTuple):
    """One approval, as the database has it.

    Attributes:
        id: Unguessable: who knows it may have it decided, with an administrator's key.
        workspace: The workspace.
        task_id: The task that waits.
        call_id: The call that waits.
        session: The context that persists, if there is one.
        client: Who started the task.
        path: The tool.
        description: What the tool says that it does.
        input: The input as text, redacted and cut.
        rule: The rule that asks for it; empty for the tool's default.
        state: pending, approved, denied, expired or withdrawn.
        reason: The reviewer's, or what happened.
        decided_by: Who decided.
        created_at: When it was asked for, in seconds since 1970.
        expires_at: When it won't be waited for any longer.
        decided_at: When that was decided.
    """

    id: str
    workspace: str
    task_id: str
    call_id: str
    session: str | None
    client: str
    path: str
    description: str
    input: str
    rule: str
    state: str
    reason: str
    decided_by: str
    created_at: float
    expires_at: float
    decided_at: float | None

    @classmethod
    def ask(
        cls, call: Call, tool: Tool, rule: str, shown: str, seconds: float
    ) -> Approval:
        """Make one for a call, which waits for so many seconds from now."""
        now = time.time()
        return cls(
            secrets.token_urlsafe(_ID_BYTES),
            call.workspace,
            call.task_id,
            call.call_id,
            call.session,
            call.client,
            tool.path,
            clean(tool.description[:_DESCRIPTION_MAX]),
            shown,
            rule,
            PENDING,
            "",
            "",
            now,
            now + seconds,
            None,
        )

    @classmethod
    def of(cls, row: Any) -> Approval:
        """Give it from its row."""
        return cls(*(row[name] for name in cls._fields))
