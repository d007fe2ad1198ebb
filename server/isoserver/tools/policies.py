"""The rules of a workspace: of the configuration file, and added over REST."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select

from isoserver.errors import PolicyMissingError, SourceError
from isoserver.tools.audit import Entry
from isoserver.tools.rules import Rule, pattern
from isoserver.tools.tables import POLICIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit

__all__ = ["Policies", "StoredRule", "read_rule"]

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


def read_rule(data: Any) -> Rule:
    """Read a rule from plain data.

    Raises:
        SourceError: It isn't one, or its pattern can't be compiled.
    """
    try:
        rule = msgspec.convert(data, Rule)
    except msgspec.ValidationError as error:
        raise SourceError(str(error)) from error
    for condition in rule.conditions:
        if condition.operator != "matches":
            continue
        try:
            pattern(str(condition.value))
        except ValueError as error:
            message = (
                f"the pattern for {condition.key} can't be compiled; look-around and "
                "back-references are not known"
            )
            raise SourceError(message) from error
    return rule


class Policies:
    """The rules of all workspaces; used from the event loop only."""

    def __init__(
        self,
        database: Database,
        changes: Changes,
        audit: Audit,
        fixed: Mapping[str, Sequence[Rule]],
        limit: int,
    ) -> None:
        """Prepare.

        Args:
            database: Where those are that were added.
            changes: Tells of those that are added and deleted.
            audit: Where it is noted who changed what.
            fixed: The rules of the configuration file, by workspace.
            limit: How many may be added in one workspace.
        """
        self._database = database
        self._changes = changes
        self._audit = audit
        self._fixed = fixed
        self._limit = limit
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
        """Give all rules: the configuration file's, then the others, oldest first."""
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

    async def add(self, workspace: str, rule: Rule, by: str) -> StoredRule:
        """Add a rule, which counts from now on.

        Raises:
            SourceError: The workspace has as many as it may.
        """
        made = msgspec.structs.replace(rule, id=f"pol_{secrets.token_hex(_ID_BYTES)}")
        now = time.time()
        async with self._changes.begin(POLICIES.name, workspace, made.id) as connection:
            count = await connection.scalar(
                select(func.count())
                .select_from(POLICIES)
                .where(POLICIES.c.workspace == workspace)
            )
            if (count or 0) >= self._limit:
                message = f"there are {count} rules, which is all that may be"
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
