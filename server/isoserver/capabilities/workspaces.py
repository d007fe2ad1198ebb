"""What narrows the policies of workspaces: set by their administrators, over REST.

The settings say what a workspace may have at most. Within that, its administrator
chooses while the server runs; every server on the database follows at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Column, Float, String, Table, Text, select

from isokernel.capabilities import read_policy
from isoserver.errors import DatabaseError
from isoserver.storage.database import METADATA
from isoserver.tools.audit import Entry

if TYPE_CHECKING:
    from isokernel.capabilities import Policy
    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit

__all__ = ["Narrowed", "WorkspacePolicies"]

NARROWED: Final = Table(
    "workspace_capabilities",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("changed_by", String, nullable=False),
)

_SETTING: Final = "{capability} {pattern} in the capabilities of the workspace"
_ROW: Final = "policy"


class Narrowed(NamedTuple):
    """What narrows a workspace.

    Attributes:
        given: As it was given; empty if nothing does.
        policy: The same, to decide by; None if nothing does.
        changed_at: When it was given, in seconds since 1970; None if it never was.
        changed_by: By whom.
    """

    given: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    policy: Policy | None = None
    changed_at: float | None = None
    changed_by: str = ""


_NOTHING: Final = Narrowed()


class WorkspacePolicies:
    """What narrows all workspaces; used from the event loop only."""

    def __init__(
        self, database: Database, changes: Changes, audit: Audit | None
    ) -> None:
        """Know of nothing yet.

        Args:
            database: Holds them.
            changes: Tells when one is changed.
            audit: Notes who changed what.
        """
        self._database = database
        self._changes = changes
        self._audit = audit
        self._known: dict[str, Narrowed] = {}
        self._stale: set[str | None] = set()
        self._seen = 0
        self._reading: set[asyncio.Future[Any]] = set()
        changes.subscribe(NARROWED.name, self._changed)

    async def start(self) -> None:
        """Read all."""
        self._known = await self._read(None)

    async def close(self) -> None:
        """Wait until nothing is read any more."""
        await asyncio.gather(*self._reading, return_exceptions=True)

    def known(self, workspace: str) -> Narrowed:
        """Return what is known now: what was changed a moment ago may be missing."""
        return self._known.get(workspace, _NOTHING)

    async def current(self, workspace: str, *, unheard: bool = False) -> Narrowed:
        """Return what counts now.

        Args:
            workspace: The workspace.
            unheard: Also if it was set through another server that hasn't told yet.

        Raises:
            DatabaseError: It can't be read.
        """
        stale = bool(self._stale & {workspace, None}) or not self._changes.connected
        stale = stale or (unheard and self._changes.shared)
        return await self._refresh(workspace) if stale else self.known(workspace)

    async def set(self, workspace: str, given: dict[str, Any], by: str) -> Narrowed:
        """Narrow a workspace, whose contexts have no more from now on.

        Args:
            workspace: The workspace.
            given: As `read_policy` takes it; empty takes back what there was.
            by: Who wants that.

        Raises:
            SettingsError: It can't be understood.
            DatabaseError: It can't be kept.
        """
        made = _narrowed(given, time.time(), by)
        fields = {
            "policy": json.dumps(given),
            "changed_at": made.changed_at,
            "changed_by": by,
        }
        async with self._changes.begin(NARROWED.name, workspace, _ROW) as connection:
            await connection.execute(
                self._database.insert(NARROWED)
                .values(workspace=workspace, **fields)
                .on_conflict_do_update(index_elements=["workspace"], set_=fields)
            )
        if self._audit is not None:
            text = json.dumps(given)
            entry = Entry(workspace, "capabilities.changed", by, _ROW, input=text)
            await self._audit.add(entry)
        return made

    def _changed(self, change: Change | None) -> None:
        self._seen += 1
        workspace = None if change is None else change.workspace
        self._stale.add(workspace)
        # Variables are looked up without a wait, so it doesn't stay out of date.
        reading = asyncio.ensure_future(self._follow(workspace))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _follow(self, workspace: str | None) -> None:
        with suppress(DatabaseError):  # whoever asks next tries again, and is told
            if workspace is not None:
                await self._refresh(workspace)
                return
            seen = -1
            while seen != self._seen:
                seen = self._seen
                known = await self._read(None)
            self._known = known
            self._stale.clear()

    async def _refresh(self, workspace: str) -> Narrowed:
        seen = self._seen
        found = (await self._read(workspace)).get(workspace, _NOTHING)
        # What is changed meanwhile counts at once, though this look missed it.
        if seen == self._seen:
            self._known[workspace] = found
            self._stale.discard(workspace)
        return found

    async def _read(self, workspace: str | None) -> dict[str, Narrowed]:
        """Read what narrows a workspace, or all of them."""
        wanted = select(NARROWED)
        if workspace is not None:
            wanted = wanted.where(NARROWED.c.workspace == workspace)
        async with self._database.connect() as connection:
            return {
                row.workspace: _narrowed(
                    json.loads(row.policy), row.changed_at, row.changed_by
                )
                for row in await connection.execute(wanted)
            }


def _narrowed(given: dict[str, Any], at: float, by: str) -> Narrowed:
    policy = read_policy(given, setting=_SETTING) if given else None
    return Narrowed(given, policy, at, by)
