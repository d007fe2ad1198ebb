"""For administrators: approvals to decide, sources, policies, and the audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.errors import (
    ExecutionMissingError,
    FieldProblem,
    InvalidRequestError,
    RouteMissingError,
    SourceError,
    TaskMissingError,
)
from isoserver.http.models import cut_page
from isoserver.runs.records import Kind
from isoserver.tools.approvals import APPROVED, DENIED, PENDING
from isoserver.tools.audit import Filter
from isoserver.tools.calls import Decision
from isoserver.tools.models import CreatePolicyRequest, CreateSourceRequest
from isoserver.tools.redaction import clean
from isoserver.ui.outputs import code_view, json_view
from isoserver.ui.pages import Page

if TYPE_CHECKING:
    from markupsafe import Markup

    from isoserver.tools.approvals import Approval
    from isoserver.tools.rules import Condition
    from isoserver.tools.service import Tools

__all__ = [
    "ApprovalPage",
    "ApprovalsPage",
    "AuditPage",
    "PoliciesPage",
    "PolicyActionPage",
    "SourceActionPage",
    "SourcePage",
    "SourcesPage",
]

APPROVALS_SHOWN: Final = 20
TOOLS_SHOWN: Final = 200
ENTRIES_SHOWN: Final = 100
_SOURCE_EXAMPLE: Final = """{
  "type": "openapi",
  "name": "pets",
  "document": "https://petstore3.swagger.io/api/v3/openapi.json",
  "auth": { "type": "bearer", "token": { "env": "PETS_TOKEN" } }
}"""
_RULE_FIELDS: Final = ("source", "session", "client")


class _AdminPage(Page):
    """Root of the pages that only administrators see."""

    for_admins = True

    @property
    def tools(self) -> Tools:
        """The tools of all workspaces."""
        return self.parts.tools

    @property
    def who(self) -> str:
        """Who makes the request, for the audit."""
        return self.principal.client or "admin"


# -- approvals -------------------------------------------------------------------------


class ApprovalsPage(_AdminPage):
    """The calls that wait for a decision, oldest first."""

    area = "approvals"

    async def get(self) -> None:
        """Show each with all that is asked."""
        paging = self.paging(APPROVALS_SHOWN)
        offset = paging["offset"]
        found, total = await self.tools.approvals.pending(
            self.principal.workspace, APPROVALS_SHOWN, offset
        )
        if offset + APPROVALS_SHOWN < total:
            paging["following"] = offset + APPROVALS_SHOWN
        shown = [(one, json_view(one.input, None)) for one in found]
        await self.show("approvals.html", approvals=shown, total=total, **paging)


class ApprovalPage(_AdminPage):
    """One approval, pending or decided."""

    area = "approvals"

    async def get(self, approval_id: str) -> None:
        """Show what is asked, by which code, and the rule that has it asked."""
        workspace = self.principal.workspace
        found = await self.tools.approvals.get(workspace, approval_id)
        rules = await self.tools.policies.list(workspace)
        rule = next((one.rule for one in rules if one.rule.id == found.rule), None)
        kind, code = await self._code(found)
        await self.show(
            "approval.html",
            live=found.state == PENDING,
            approval=found,
            input=json_view(found.input, None),
            rule=None if rule is None else _as_json(msgspec.to_builtins(rule)),
            kind=kind,
            code=code,
        )

    async def _code(self, approval: Approval) -> tuple[str | None, Markup | None]:
        """Return the code that asks, if it is that of a run, and the run's kind."""
        for kind in Kind:
            try:
                code = await self.parts.runs.code(
                    kind, approval.workspace, approval.task_id
                )
            except (ExecutionMissingError, TaskMissingError):
                continue
            return kind.value, code_view(code, None)
        return None, None

    async def post(self, approval_id: str) -> None:
        """Decide it; the same decision again changes nothing."""
        decision = self.field("decision")
        if decision not in {APPROVED, DENIED}:
            problem = f"must be {APPROVED} or {DENIED}"
            raise InvalidRequestError(FieldProblem("decision", problem))
        await self.tools.approvals.decide(
            self.principal.workspace,
            approval_id,
            Decision(decision == APPROVED, self.field("reason")),
            self.who,
        )
        if self.field("back") == "list":
            self.go("approvals")
        else:
            self.go("approvals", approval_id)


# -- sources ---------------------------------------------------------------------------


class SourcesPage(_AdminPage):
    """The sources of the workspace."""

    area = "sources"

    async def get(self) -> None:
        """List them."""
        found = await self.tools.sources.list(self.principal.workspace)
        await self.show(
            "sources.html",
            live=any(source.state == "starting" for source in found),
            sources=[(one, self.tools.sources.is_fixed(one)) for one in found],
            example=_SOURCE_EXAMPLE,
        )

    async def post(self) -> None:
        """Add one, and wait for its first attempt to connect."""
        self.check_open()
        asked = self.parse_json(CreateSourceRequest, self.field("source"))
        try:
            source = await self.tools.sources.add(
                asked.of(self.principal.workspace), self.who
            )
        except SourceError as error:
            raise InvalidRequestError(FieldProblem("source", str(error))) from error
        self.go("sources", source.name)


class SourcePage(_AdminPage):
    """One source, with its tools."""

    area = "sources"

    async def get(self, name: str) -> None:
        """Show them, page by page."""
        source = await self.tools.sources.get(self.principal.workspace, name)
        paging = self.paging(TOOLS_SHOWN)
        offset = paging["offset"]
        tools, paging["following"] = cut_page(
            source.tools[offset : offset + TOOLS_SHOWN + 1], TOOLS_SHOWN, offset
        )
        await self.show(
            "source.html",
            live=source.state == "starting",
            source=source,
            fixed=self.tools.sources.is_fixed(source),
            tools=tools,
            **paging,
        )


class SourceActionPage(_AdminPage):
    """What can be done with a source."""

    async def post(self, name: str, action: str) -> None:
        """List its tools anew, or delete it."""
        workspace = self.principal.workspace
        if action == "refresh":
            source = await self.tools.sources.get(workspace, name)
            await self.tools.sources.refresh(source)
            self.go("sources", name)
        elif action == "delete":
            await self.tools.sources.delete(workspace, name, self.who)
            self.go("sources")
        else:
            raise RouteMissingError


# -- policies --------------------------------------------------------------------------


class PoliciesPage(_AdminPage):
    """The rules about tools, and the policy about what code may do by itself."""

    area = "policies"

    async def get(self) -> None:
        """Show both."""
        workspace = self.principal.workspace
        capabilities = self.parts.capabilities
        narrowed = await capabilities.narrowed(workspace, unheard=True)
        found = await self.tools.policies.list(workspace)
        await self.show(
            "policies.html",
            rules=[
                (one, [_in_words(each) for each in one.rule.conditions])
                for one in found
            ],
            narrowed=narrowed,
            narrowed_json=_as_json(narrowed.given) if narrowed.given else None,
            server=_as_json(capabilities.workspace_answer(workspace)),
            mode=self.parts.settings.capability_mode,
        )

    async def post(self) -> None:
        """Add a rule about tools."""
        self.check_open()
        given: dict[str, Any] = {
            "effect": self.field("effect"),
            "tool": self.field("tool").strip() or "**",
        }
        for name in _RULE_FIELDS:
            if self.field(name).strip():
                given[name] = self.field(name).strip()
        if self.field("conditions").strip():
            try:
                given["conditions"] = json.loads(self.field("conditions"))
            except (ValueError, RecursionError):
                problem = "must be a JSON array"
                raise InvalidRequestError(FieldProblem("conditions", problem)) from None
        asked = self.parse_json(CreatePolicyRequest, json.dumps(given))
        try:
            await self.tools.policies.add(self.principal.workspace, asked, self.who)
        except SourceError as error:
            raise InvalidRequestError(FieldProblem("rule", str(error))) from error
        self.go("policies")


class PolicyActionPage(_AdminPage):
    """Deletes a rule."""

    async def post(self, policy_id: str) -> None:
        """Delete it; those of the configuration file stay."""
        workspace = self.principal.workspace
        await self.tools.policies.delete(workspace, policy_id, self.who)
        self.go("policies")


# -- the audit -------------------------------------------------------------------------


class AuditPage(_AdminPage):
    """What was asked, decided and called, newest first."""

    area = "audit"

    async def get(self) -> None:
        """Show a page of the entries that are asked for."""
        asked = {name: self.get_query_argument(name, "") for name in Filter._fields}
        wanted = Filter(**{n: clean(text) for n, text in asked.items() if text})
        paging = self.paging(ENTRIES_SHOWN)
        offset = paging["offset"]
        found, total = await self.tools.audit.page(
            self.principal.workspace, wanted, ENTRIES_SHOWN, offset
        )
        if offset + ENTRIES_SHOWN < total:
            paging["following"] = offset + ENTRIES_SHOWN
        entries = [
            (row, json_view(row["input"]) if row["input"] else None) for row in found
        ]
        await self.show(
            "audit.html", entries=entries, total=total, asked=asked, **paging
        )


def _in_words(condition: Condition) -> str:
    operator = condition.operator.replace("_", " ")
    return f"{condition.key} {operator} {json.dumps(condition.value)}"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
