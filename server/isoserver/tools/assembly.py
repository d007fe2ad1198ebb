"""The parts of `tools`, made of plain settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from isoserver.tools.approvals import Approvals
from isoserver.tools.audit import Audit
from isoserver.tools.configuration import Limits, read
from isoserver.tools.policies import Policies, read_rule
from isoserver.tools.service import Tools
from isoserver.tools.slots import Bounds
from isoserver.tools.sources.service import Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.changes import Changes
    from isoserver.storage.database import Database
    from isoserver.tools.approvals import Elicitation
    from isoserver.tools.rules import Rule

__all__ = ["Plan", "assemble"]


class Plan(NamedTuple):
    """What `tools` shall be.

    Attributes:
        sources: The sources of the configuration file, as plain data.
        policies: Its rules, as plain data, each with its workspace.
        limits: Bounds of each source.
        bounds: Bounds of calls.
        sources_local: Whether sources added over REST may use the server's host.
        sources_private: Whether they may be at addresses that aren't public.
        sources_max: Sources of one workspace.
        policies_max: Rules that may be added in one workspace.
        approval_deadline: Seconds that an approval is waited for.
        approvals_max: Approvals that may be pending in one workspace.
        approval_elicitation: Whose clients are asked about their own calls.
        audit_retention: Seconds that entries of the audit are kept.
    """

    sources: Sequence[dict[str, Any]] = ()
    policies: Sequence[dict[str, Any]] = ()
    limits: Limits = Limits()
    bounds: Bounds = Bounds()
    sources_local: bool = False
    sources_private: bool = False
    sources_max: int = 100
    policies_max: int = 1000
    approval_deadline: float = 600.0
    approvals_max: int = 1000
    approval_elicitation: Elicitation = "admin"
    audit_retention: float = 30 * 86400.0


def assemble(
    database: Database, changes: Changes, log: FilteringBoundLogger, plan: Plan
) -> Tools:
    """Make `tools`; `Tools.start` starts it.

    Raises:
        SourceError: A source or a rule can't be understood.
    """
    audit = Audit(database, log, plan.audit_retention)
    sources = Sources(
        database,
        changes,
        audit,
        log,
        [read(source) for source in plan.sources],
        plan.limits,
        sources_max=plan.sources_max,
        local=plan.sources_local,
        private=plan.sources_private,
    )
    policies = Policies(
        database, changes, audit, _rules(plan.policies), plan.policies_max
    )
    approvals = Approvals(
        database,
        changes,
        audit,
        log,
        seconds=plan.approval_deadline,
        limit=plan.approvals_max,
        elicitation=plan.approval_elicitation,
    )
    return Tools(sources, policies, approvals, audit, log, plan.bounds)


def _rules(given: Sequence[dict[str, Any]]) -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for number, fields in enumerate(given, 1):
        own = {name: value for name, value in fields.items() if name != "workspace"}
        rule = read_rule({**own, "id": f"config-{number}"})
        rules.setdefault(fields["workspace"], []).append(rule)
    return rules
