"""Asking the person behind an MCP client for the approvals that a run waits for.

There are three ways to ask: a request of ours, while the client's is open or after it
(protocols with a handshake); an answer that wants input before the work goes on
(2026-07-28); or none, if the client can't.
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
    """The approvals that one run waits for; the `Asker` that it is given.

    Attributes:
        pending: The questions without an answer, by the approval's id.
        changed: Set when there is a new question; cleared by the reader.
        direct: Whether the client is asked at once, by a request of ours.
    """

    def __init__(
        self, context: ServerRequestContext[Any, Any], *, decides: bool
    ) -> None:
        """Note whom to ask.

        Args:
            context: The request that started the run.
            decides: Whether the client may approve.
        """
        self.pending: dict[str, Question] = {}
        self.changed = asyncio.Event()
        self._session = context.session
        self._related = context.request_id
        self.can_ask = can_ask(context)
        self.direct = decides and self.can_ask and not is_modern(context)

    def over(self) -> None:
        """Note that the request is over: later questions don't belong to it."""
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
        """Return the questions as an answer that wants input has them."""
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
    """Tell whether the protocol has no requests from us to the client."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def read_answer(result: ElicitResult) -> Decision | None:
    """Return what the user decided; None if nothing."""
    content = result.content or {}
    reason = str(content.get("reason") or "")[:_REASON_MAX]
    if result.action == "cancel":
        return None
    if result.action == "decline":
        return Decision(approved=False, reason=reason or "the client's user declined")
    return Decision(approved=content.get("decision") == _APPROVE, reason=reason)


def _message(question: Question) -> str:
    # The name of a tool has that of its source in front.
    what = question.path
    parts = [
        f"Code wants to call {what}."
        if "." in what
        else f"Code wants what is beyond its context ({what}). An approval holds for "
        "this as long as the context lives."
    ]
    if question.description:
        parts.append(question.description)
    parts.append(f"With: {question.shown}")
    return "\n\n".join(parts)
