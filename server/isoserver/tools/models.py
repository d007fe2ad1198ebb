"""Sources, rules, approvals and the audit as HTTP has them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import Literal

from pydantic import ConfigDict, Field, RootModel

from isoserver.http.models import AnswerModel, RequestModel
from isoserver.settings.tools import (
    ConditionModel,
    Effect,
    RuleModel,
    SourceModel,
    SourceSettings,
    read_source,
)

__all__ = [
    "ApprovalModel",
    "ApprovalsModel",
    "AuditEntryModel",
    "AuditModel",
    "CreatePolicyRequest",
    "CreateSourceRequest",
    "DecideRequest",
    "PoliciesModel",
    "PolicyModel",
    "SourceShownModel",
    "SourcesModel",
]


class CreateSourceRequest(RootModel[SourceModel]):
    """A source to add to the workspace."""

    def of(self, workspace: str) -> SourceSettings:
        """Return the source as that of a workspace."""
        return read_source({**self.root.as_data(), "workspace": workspace})


class CreatePolicyRequest(RuleModel):
    """A rule to add to the workspace."""


class DecideRequest(RequestModel):
    """What is decided about a call that waits."""

    decision: Literal["approved", "denied"]
    reason: str = Field(
        "", max_length=2000, description="Why; the code is told if it is denied."
    )


class SourceShownModel(AnswerModel):
    """A source, without anything secret."""

    name: str = Field(description="The first segment of its tools' names.")
    type: Literal["mcp", "openapi", "graphql"]
    location: str = Field(description="Its program, or scheme, host and port.")
    origin: Literal["configuration", "rest"] = Field(description="Who added it.")
    auth: str = Field(description="The kind of its authentication.")
    reads: Effect
    writes: Effect
    state: Literal["starting", "ready", "failed"]
    reason: str = Field("", description="Why it failed.")
    tools: int = Field(description="How many tools it offers.")
    refreshed_at: datetime | None = Field(
        None, description="When its tools were last listed."
    )


class SourcesModel(AnswerModel):
    """The workspace's sources, by name."""

    items: list[SourceShownModel]


class PolicyModel(AnswerModel):
    """A rule, and where it is from."""

    id: str
    effect: Effect
    tool: str
    source: str | None = None
    session: str | None = None
    client: str | None = None
    conditions: list[ConditionModel]
    origin: Literal["configuration", "rest"]
    created_at: datetime | None = None
    created_by: str = ""


class PoliciesModel(AnswerModel):
    """The workspace's rules; the strictest that fits a call wins."""

    items: list[PolicyModel]


class ApprovalModel(AnswerModel):
    """A call that waits, or has waited, for a decision."""

    id: str
    task_id: str
    call_id: str
    session: str | None = None
    client: str
    path: str = Field(description="The tool.")
    description: str = Field(description="What the tool says that it does.")
    input: str = Field(description="The input as JSON, without secrets, cut.")
    rule: str = Field(description="The rule that asks for it; empty for the default.")
    state: Literal["pending", "approved", "denied", "expired", "withdrawn"]
    reason: str
    decided_by: str
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None


class _Page(AnswerModel):
    model_config = ConfigDict(extra="forbid")

    total: int = Field(description="The number of all items.")
    next_offset: int | None = Field(
        None, description="The offset of the next page; null on the last one."
    )


class ApprovalsModel(_Page):
    """Approvals that wait for a decision, oldest first."""

    items: list[ApprovalModel]


class AuditEntryModel(AnswerModel):
    """Something that was asked, decided or called."""

    id: str
    at: datetime
    kind: str = Field(
        description="call, approval.decided, source.added, source.deleted, "
        "policy.added or policy.deleted."
    )
    client: str = Field(description="Who.")
    session: str | None = None
    task_id: str | None = None
    call_id: str | None = None
    path: str = Field(description="The tool, or the name of what was changed.")
    input: str = Field(description="The input as JSON, without secrets, cut.")
    decision: str = Field(description="What the policy said, or the reviewer.")
    rule: str
    approval_id: str | None = None
    reason: str
    outcome: str = Field(description="running, completed, failed, denied or cancelled.")
    code: str | None = Field(None, description="The error's code.")
    ms: int | None = Field(None, description="How long the call took.")


class AuditModel(_Page):
    """Entries of the audit, newest first."""

    items: list[AuditEntryModel]
