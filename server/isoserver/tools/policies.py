"""The rules of a workspace: of the configuration file, and added over REST."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import (
    Column,
    Float,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)

from isoserver.errors import PolicyMissingError, SourceError
from isoserver.storage.database import METADATA
from isoserver.tools.audit import Entry
from isoserver.tools.rules import Rule, read_rule

if TYPE_CHECKING:
    from isoserver.settings.agents import AgentSettings
    from isoserver.settings.tools import RuleModel
    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit

__all__ = ["Policies", "StoredRule"]

POLICIES: Final = Table(
    "tool_policies",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

_ID_BYTES: Final = 9


class StoredRule(NamedTuple):
    """A rule, and where it is from.

    Attributes:
        rule: The rule.
        created_at: When it was added; None for the configuration file's.
        created_by: By whom.
    """

    rule: Rule
    created_at: float | None
    created_by: str


class Policies:
    """The rules of all workspaces; used from the event loop only."""

    def __init__(
        self,
        settings: AgentSettings,
        database: Database,
        changes: Changes,
        audit: Audit,
    ) -> None:
        """Read the rules of the configuration file.

        Args:
            settings: Those rules, and how many a workspace may add.
            database: Holds the rules that were added.
            changes: Tells when one is added or deleted.
            audit: Notes who changed what.

        Raises:
            SourceError: One of the file's rules can't be understood.
        """
        self._limit = settings.workspace_policies_max
        self._fixed: dict[str, list[Rule]] = {}
        for number, given in enumerate(settings.policies, 1):
            rule = read_rule(given, f"config-{number}")
            self._fixed.setdefault(given.workspace, []).append(rule)
        self._database = database
        self._changes = changes
        self._audit = audit
        self._known: dict[str, list[Rule]] = {}
        self._looking = asyncio.Lock()
        self._seen = 0
        changes.subscribe(POLICIES.name, self._changed)

    async def rules(self, workspace: str) -> list[Rule]:
        """Return the rules that count now."""
        known = self._current(workspace)
        if known is not None:
            return known
        # One looks for all that are called at the same time.
        async with self._looking:
            known = self._current(workspace)
            if known is not None:
                return known
            seen = self._seen
            rules = [item.rule for item in await self.list(workspace)]
            # What is changed meanwhile counts at once, though this look missed it.
            if seen == self._seen:
                self._known[workspace] = rules
            return rules

    def _current(self, workspace: str) -> list[Rule] | None:
        return self._known.get(workspace) if self._changes.connected else None

    def _changed(self, change: Change | None) -> None:
        self._seen += 1
        if change is None:
            self._known.clear()
        else:
            self._known.pop(change.workspace, None)

    async def list(self, workspace: str) -> list[StoredRule]:
        """Return all rules: the configuration file's, then the others, oldest first."""
        fixed = [StoredRule(rule, None, "") for rule in self._fixed.get(workspace, ())]
        async with self._database.connect() as connection:
            rows = await connection.execute(
                select(POLICIES)
                .where(POLICIES.c.workspace == workspace)
                .order_by(POLICIES.c.created_at, POLICIES.c.id)
            )
            return fixed + [
                StoredRule(
                    msgspec.json.decode(row.rule, type=Rule),
                    row.created_at,
                    row.created_by,
                )
                for row in rows
            ]

    async def add(self, workspace: str, given: RuleModel, by: str) -> StoredRule:
        """Add a rule, which counts from now on.

        Raises:
            SourceError: It can't be understood, or the workspace has as many as it may.
        """
        made = read_rule(given, f"pol_{secrets.token_hex(_ID_BYTES)}")
        now = time.time()
        async with self._changes.begin(POLICIES.name, workspace, made.id) as connection:
            count = await connection.scalar(
                select(func.count())
                .select_from(POLICIES)
                .where(POLICIES.c.workspace == workspace)
            )
            if (count or 0) >= self._limit:
                message = (
                    f"the limit of {self._limit} rules is reached "
                    "(workspace_policies_max)"
                )
                raise SourceError(message)
            await connection.execute(
                insert(POLICIES).values(
                    workspace=workspace,
                    id=made.id,
                    rule=msgspec.json.encode(made).decode(),
                    created_at=now,
                    created_by=by,
                )
            )
        await self._note(workspace, "policy.added", by, made)
        return StoredRule(made, now, by)

    async def delete(self, workspace: str, policy_id: str, by: str) -> None:
        """Delete a rule that was added.

        Raises:
            PolicyMissingError: The workspace has none of that id in the database.
        """
        found = [r for r in await self.list(workspace) if r.rule.id == policy_id]
        if not found:
            raise PolicyMissingError(policy_id)
        async with self._changes.begin(
            POLICIES.name, workspace, policy_id
        ) as connection:
            gone = await connection.execute(
                delete(POLICIES).where(
                    POLICIES.c.workspace == workspace, POLICIES.c.id == policy_id
                )
            )
        if gone.rowcount == 0:
            raise PolicyMissingError(policy_id)
        await self._note(workspace, "policy.deleted", by, found[0].rule)

    async def _note(self, workspace: str, kind: str, by: str, rule: Rule) -> None:
        text = msgspec.json.encode(rule).decode()
        entry = Entry(workspace, kind, by, rule.tool, input=text, rule=rule.id)
        await self._audit.add(entry._replace(decision=rule.effect))
