"""The routes for administrators of tools: sources, rules, approvals, the audit."""

from __future__ import annotations

from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.errors import FieldProblem, InvalidRequestError, SourceError
from isoserver.http.handlers import Handler
from isoserver.tools.approvals import APPROVED
from isoserver.tools.audit import Filter
from isoserver.tools.calls import Decision
from isoserver.tools.models import (
    CreatePolicyRequest,
    CreateSourceRequest,
    DecideRequest,
)
from isoserver.tools.redaction import clean

if TYPE_CHECKING:
    from isoserver.tools.approvals import Approval
    from isoserver.tools.policies import StoredRule
    from isoserver.tools.service import Tools
    from isoserver.tools.sources.base import Source

__all__ = [
    "ApprovalHandler",
    "ApprovalsHandler",
    "AuditHandler",
    "PoliciesHandler",
    "PolicyHandler",
    "RefreshHandler",
    "SourceHandler",
    "SourcesHandler",
]

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
OFFSET_MAX: Final = 1_000_000_000


class _ToolsHandler(Handler):
    """A route that only administrators may use."""

    @property
    def tools(self) -> Tools:
        """The tools of all workspaces."""
        return self.parts.tools

    @property
    def who(self) -> str:
        """Who makes the request, for the audit."""
        return self.principal.client or "admin"

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Read a number of the query.

        Raises:
            InvalidRequestError: It is none, or out of bounds.
        """
        text = self.get_query_argument(name, str(default))
        if text.isascii() and text.isdecimal() and least <= int(text[:12]) <= most:
            return int(text)
        problem = f"must be a number from {least} to {most}"
        raise InvalidRequestError(FieldProblem(name, problem))

    def page(self) -> tuple[int, int]:
        """Read limit and offset of the query."""
        limit = self.number("limit", LIMIT, 1, LIMIT_MAX)
        return limit, self.number("offset", 0, 0, OFFSET_MAX)

    def shown(self, source: Source) -> dict[str, Any]:
        """Describe a source, without anything secret."""
        configuration = source.configuration
        fixed = self.tools.sources.is_fixed(source)
        return {
            "name": source.name,
            "type": configuration.type,
            "location": source.location,
            "origin": "configuration" if fixed else "rest",
            "auth": configuration.auth.type,
            "reads": configuration.reads,
            "writes": configuration.writes,
            "state": source.state,
            "reason": source.reason,
            "tools": len(source.tools),
            "refreshed_at": _moment(source.changed_at) if source.version else None,
        }

    def answer_page(self, items: list[Any], total: int, end: int) -> None:
        """Send one page."""
        following = end if end < total else None
        self.answer({"items": items, "total": total, "next_offset": following})


class SourcesHandler(_ToolsHandler):
    """All sources of the workspace."""

    async def get(self) -> None:
        """List the sources."""
        self.require_admin()
        found = await self.tools.sources.list(self.principal.workspace)
        self.answer({"items": [self.shown(source) for source in found]})

    async def post(self) -> None:
        """Add a source, and wait for its first attempt to connect."""
        self.require_admin()
        self.check_open()
        given = self.parse(CreateSourceRequest).of(self.principal.workspace)
        try:
            source = await self.tools.sources.add(given, self.who)
        except SourceError as error:
            raise InvalidRequestError(FieldProblem("body", str(error))) from error
        self.answer(self.shown(source), HTTPStatus.CREATED)


class SourceHandler(_ToolsHandler):
    """One source."""

    async def get(self, name: str) -> None:
        """Show a source."""
        self.require_admin()
        source = await self.tools.sources.get(self.principal.workspace, name)
        self.answer(self.shown(source))

    async def delete(self, name: str) -> None:
        """Delete a source; its tools are gone at once."""
        self.require_admin()
        await self.tools.sources.delete(self.principal.workspace, name, self.who)
        self.set_status(HTTPStatus.NO_CONTENT)


class RefreshHandler(_ToolsHandler):
    """The tools of one source."""

    async def post(self, name: str) -> None:
        """List the source's tools anew."""
        self.require_admin()
        source = await self.tools.sources.get(self.principal.workspace, name)
        await self.tools.sources.refresh(source)
        self.answer(self.shown(source))


class PoliciesHandler(_ToolsHandler):
    """All rules of the workspace."""

    async def get(self) -> None:
        """List the items."""
        self.require_admin()
        found = await self.tools.policies.list(self.principal.workspace)
        self.answer({"items": [_rule(item) for item in found]})

    async def post(self) -> None:
        """Add a rule."""
        self.require_admin()
        self.check_open()
        given = self.parse(CreatePolicyRequest)
        workspace = self.principal.workspace
        try:
            made = await self.tools.policies.add(workspace, given, self.who)
        except SourceError as error:
            raise InvalidRequestError(FieldProblem("body", str(error))) from error
        self.answer(_rule(made), HTTPStatus.CREATED)


class PolicyHandler(_ToolsHandler):
    """One rule."""

    async def delete(self, policy_id: str) -> None:
        """Delete a rule that was added."""
        self.require_admin()
        workspace = self.principal.workspace
        await self.tools.policies.delete(workspace, policy_id, self.who)
        self.set_status(HTTPStatus.NO_CONTENT)


class ApprovalsHandler(_ToolsHandler):
    """Approvals that wait for a decision."""

    async def get(self) -> None:
        """List the items."""
        self.require_admin()
        limit, offset = self.page()
        found, total = await self.tools.approvals.pending(
            self.principal.workspace, limit, offset
        )
        items = [_approval(item) for item in found]
        self.answer_page(items, total, offset + limit)


class ApprovalHandler(_ToolsHandler):
    """One approval."""

    async def get(self, approval_id: str) -> None:
        """Show an approval."""
        self.require_admin()
        workspace = self.principal.workspace
        self.answer(_approval(await self.tools.approvals.get(workspace, approval_id)))

    async def post(self, approval_id: str) -> None:
        """Decide an approval; the same decision again gives the same answer."""
        self.require_admin()
        given = self.parse(DecideRequest)
        decision = Decision(given.decision == APPROVED, given.reason)
        found = await self.tools.approvals.decide(
            self.principal.workspace, approval_id, decision, self.who
        )
        self.answer(_approval(found))


class AuditHandler(_ToolsHandler):
    """The audit."""

    async def get(self) -> None:
        """List entries, the newest first."""
        self.require_admin()
        limit, offset = self.page()
        names = Filter._fields
        values = [self.get_query_argument(name, None) for name in names]
        wanted = Filter(*(value and clean(value) for value in values))
        found, total = await self.tools.audit.page(
            self.principal.workspace, wanted, limit, offset
        )
        items = [_entry(row) for row in found]
        self.answer_page(items, total, offset + limit)


def _rule(item: StoredRule) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(item.rule)
    return {
        **fields,
        "origin": "configuration" if item.created_at is None else "rest",
        "created_at": _moment(item.created_at),
        "created_by": item.created_by,
    }


def _approval(item: Approval) -> dict[str, Any]:
    fields = item._asdict()
    del fields["workspace"]
    for name in ("created_at", "expires_at", "decided_at"):
        fields[name] = _moment(fields[name])
    return fields


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in row.items() if name != "workspace"}
    return {**fields, "at": _moment(row["at"])}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
