"""The parts of `tools`, made of the server's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    from isoserver.settings.agents import AgentSettings
    from isoserver.storage.changes import Changes
    from isoserver.storage.database import Database
    from isoserver.tools.rules import Rule

__all__ = ["assemble", "limits_of"]


def assemble(
    settings: AgentSettings,
    database: Database,
    changes: Changes,
    log: FilteringBoundLogger,
) -> Tools:
    """Make `tools`; `Tools.start` starts it.

    Raises:
        SourceError: A source or a rule of the settings can't be understood.
    """
    audit = Audit(database, log, settings.audit_ttl_seconds)
    sources = Sources(
        database,
        changes,
        audit,
        log,
        [read(source.as_data()) for source in settings.sources],
        limits_of(settings),
        sources_max=settings.workspace_sources_max,
        local=settings.sources_local,
        private=settings.sources_private,
    )
    policies = Policies(
        database,
        changes,
        audit,
        _rules([policy.as_data() for policy in settings.policies]),
        settings.workspace_policies_max,
    )
    approvals = Approvals(
        database,
        changes,
        audit,
        log,
        seconds=settings.approval_timeout_seconds,
        limit=settings.workspace_approvals_max,
        elicitation=settings.approval_elicitation,
    )
    bounds = Bounds(
        input_max=settings.tool_input_bytes_max,
        parallel=settings.task_calls_running_max,
        waiting=settings.task_calls_unfinished_max,
        shown_max=settings.approval_input_characters_max,
    )
    return Tools(sources, policies, approvals, audit, log, bounds)


def limits_of(settings: AgentSettings) -> Limits:
    """Return the limits of a source that has none of its own."""
    return Limits(
        start_deadline=settings.source_start_timeout_seconds,
        call_deadline=settings.tool_call_timeout_seconds,
        response_max=settings.tool_response_bytes_max,
        document_max=settings.source_document_bytes_max,
        concurrency=settings.source_calls_running_max,
        tools_max=settings.source_tools_max,
    )


def _rules(given: Sequence[dict[str, Any]]) -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for number, fields in enumerate(given, 1):
        own = {name: value for name, value in fields.items() if name != "workspace"}
        rule = read_rule({**own, "id": f"config-{number}"})
        rules.setdefault(fields["workspace"], []).append(rule)
    return rules
