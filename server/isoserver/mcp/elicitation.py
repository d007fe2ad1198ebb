"""Approvals that calls of a task wait for, call of the person behind the client.

Clients are call in three ways: by a request of ours while theirs is open or after it
(protocols with a handshake), by an answer that wants input before the work goes on
(2026-07-28), or not at all, if they can't.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from isoserver.tools.calls import Decision

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from isoserver.tools.calls import Question

__all__ = ["Questions", "read_answer"]

_REASON_MAX: Final = 500
_APPROVE, _DENY = "approve", "deny"
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "decision": {
            "type": "string",
            "title": "Decision",
            "enum": [_APPROVE, _DENY],
        },
        "reason": {
            "type": "string",
            "title": "Reason",
            "description": "Told to the code when you deny.",
            "maxLength": _REASON_MAX,
        },
    },
    "required": ["decision"],
}


class Questions:
    """What a task's calls wait for; the task's asker.

    Attributes:
        pending: The questions that nobody has answered, by the approval's id.
        changed: Set when there is a new one; cleared by who looks.
        direct: Whether the client is call at once, by a request of ours.
    """

    def __init__(
        self, context: ServerRequestContext[Any, Any], *, decides: bool
    ) -> None:
        """Take whom to ask.

        Args:
            context: The request that started the task.
            decides: Whether the client may approve.
        """
        self.pending: dict[str, Question] = {}
        self.changed = asyncio.Event()
        self._session = context.session
        self._related = context.request_id
        self.can_ask = can_ask(context)
        self.direct = decides and self.can_ask and not is_modern(context)

    def over(self) -> None:
        """Note that the request is over: what is call now is call beside it."""
        self._related = None

    async def ask(self, question: Question) -> Decision | None:
        """Ask, or keep the question for whoever asks; cancelled when it is decided."""
        self.pending[question.approval_id] = question
        self.changed.set()
        try:
            if not self.direct:
                await asyncio.Event().wait()
            return read_answer(
                await self._session.elicit_form(
                    _message(question), _SCHEMA, self._related
                )
            )
        finally:
            del self.pending[question.approval_id]

    def requests(self) -> dict[str, ElicitRequest]:
        """Give the questions for an answer that wants input."""
        return {
            approval_id: ElicitRequest(
                params=ElicitRequestFormParams(
                    message=_message(question), requested_schema=_SCHEMA
                )
            )
            for approval_id, question in self.pending.items()
            if question.decides
        }


def can_ask(context: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether a client can ask its user."""
    capabilities = context.session.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def is_modern(context: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether each request is for itself, so that we can send none."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def read_answer(result: ElicitResult) -> Decision | None:
    """Give what the user decided; None if the user did not."""
    content = result.content or {}
    reason = str(content.get("reason") or "")[:_REASON_MAX]
    if result.action == "cancel":
        return None
    if result.action == "decline":
        return Decision(approved=False, reason=reason or "the client's user declined")
    return Decision(approved=content.get("decision") == _APPROVE, reason=reason)


def _message(question: Question) -> str:
    parts = [f"Code wants to call {question.path}."]
    if question.description:
        parts.append(question.description)
    parts.append(f"With: {question.shown}")
    return "\n\n".join(parts)
