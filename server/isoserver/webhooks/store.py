"""The table of webhooks: each has a row from its order until it is delivered.

Times are as time.time() gives them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError
from isoserver.storage.database import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.storage.database import Database

__all__ = ["WEBHOOKS", "PendingWebhook", "WebhookStore"]

WEBHOOKS: Final = Table(
    "webhooks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("workspace", String, nullable=False),
    # What it is about: the kind of run, and its id.
    Column("kind", String(16), nullable=False),
    Column("subject", String, nullable=False),
    Column("client", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("output", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Neither is there until the run has ended.
    Column("body", Text),
    Column("next_at", Double),
    Index("webhooks_due", "next_at"),
)


_OURS: Final = text(
    """EXISTS (
        SELECT 1 FROM cluster_owners WHERE kind = 'webhook' AND id = webhooks.id
        AND server = current_setting('isokernel.server')
    )"""
)
_TAKE: Final = text(
    """
    UPDATE cluster_owners AS mine SET server = current_setting('isokernel.server'),
        generation = nextval('cluster_generations')
    FROM webhooks WHERE mine.kind = 'webhook' AND mine.id = webhooks.id
    AND (mine.server = ANY(:gone) AND NOT EXISTS (
        SELECT 1 FROM runs WHERE runs.id = webhooks.subject AND ended_at IS NULL
    ) OR mine.server = current_setting('isokernel.server')
        AND webhooks.id = ANY(:tried)
    )
    RETURNING webhooks.id, webhooks.workspace
    """
)
"""What a server that is gone has left, in one step, so that one server sends it; and
what this server has taken if the answer to that was lost."""


class PendingWebhook(NamedTuple):
    """A row: the columns are the attributes.

    Attributes:
        id: Its id, the same in each attempt.
        workspace: Who has ordered it.
        kind: What it is about: `script`, `task` or `cell`.
        subject: The id of that.
        client: Who has ordered it, within the workspace.
        url: Where it is sent.
        output: Whether result and output are wanted.
        attempts: How often it was sent.
        body: What is sent, as JSON; None until the run has ended.
        next_at: When it is sent next; None until the run has ended.
    """

    id: str
    workspace: str
    kind: str
    subject: str
    client: str
    url: str
    output: bool
    attempts: int = 0
    body: str | None = None
    next_at: float | None = None


class WebhookStore:
    """The rows of webhooks that aren't delivered yet."""

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        """Use a database.

        Args:
            database: Where the rows are.
            shared: Whether those of other servers are there, too.
        """
        self._database = database
        self._ours = (_OURS,) if shared else ()
        self._tried: list[str] = []

    async def add(self, row: PendingWebhook) -> None:
        """Write a new row.

        Raises:
            DatabaseError: It can't be written.
        """
        await self._write(insert(WEBHOOKS).values(**row._asdict()))

    async def change(self, row: PendingWebhook) -> None:
        """Write a row anew; nothing happens if it was deleted.

        Raises:
            DatabaseError: It can't be written.
        """
        same = WEBHOOKS.c.id == row.id
        await self._write(update(WEBHOOKS).where(same).values(**row._asdict()))

    async def remove(self, ids: Iterable[str]) -> None:
        """Delete rows.

        Raises:
            DatabaseError: They can't be deleted.
        """
        await self._write(delete(WEBHOOKS).where(WEBHOOKS.c.id.in_(list(ids))))

    async def waiting(self) -> list[PendingWebhook]:
        """Return those whose run has not ended, or was lost."""
        query = select(WEBHOOKS).where(WEBHOOKS.c.next_at.is_(None), *self._ours)
        return await self._read(query)

    async def take(self) -> tuple[list[PendingWebhook], dict[str, int]]:
        """Have those be this server's whose servers are gone, and whose runs ended.

        Returns:
            Those that nothing is known of yet, the others are due; and how many there
            are of each workspace in all.

        Raises:
            DatabaseError: The database can't be used.
        """
        tried, self._tried = self._tried, []
        taken: dict[str, str] = {}
        try:
            async with self._database.begin() as connection:
                taken = await _take(connection, tried)
                query = select(WEBHOOKS).where(
                    WEBHOOKS.c.id.in_(taken), WEBHOOKS.c.next_at.is_(None)
                )
                # Else they would be this server's without its knowing of them.
                rows = (await connection.execute(query)).all() if taken else []
        except BaseException:
            self._tried += [*tried, *taken]
            raise
        return [PendingWebhook(*row) for row in rows], Counter(taken.values())

    async def due(
        self, until: float, count_max: int, workspaces: list[str], ids: list[str]
    ) -> list[PendingWebhook]:
        """Return those that are to be sent, the longest overdue first.

        Args:
            until: By when they are due.
            count_max: How many at most.
            workspaces: Whose are left out.
            ids: Which are left out.
        """
        query = select(WEBHOOKS).where(
            WEBHOOKS.c.next_at <= until,
            WEBHOOKS.c.workspace.not_in(workspaces),
            WEBHOOKS.c.id.not_in(ids),
            *self._ours,
        )
        return await self._read(query.order_by(WEBHOOKS.c.next_at).limit(count_max))

    async def next_at(self, after: float) -> float | None:
        """Return when the next one after a moment is to be sent."""
        query = select(func.min(WEBHOOKS.c.next_at)).where(
            WEBHOOKS.c.next_at > after, *self._ours
        )
        async with self._database.connect() as connection:
            found: float | None = await connection.scalar(query)
        return found

    async def counts(self) -> dict[str, int]:
        """Count the rows of each workspace."""
        columns = WEBHOOKS.c.workspace, func.count()
        query = select(*columns).where(*self._ours).group_by(WEBHOOKS.c.workspace)
        async with self._database.connect() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def _read(self, query: Any) -> list[PendingWebhook]:
        async with self._database.connect() as connection:
            rows = await connection.execute(query)
            return [PendingWebhook(*row) for row in rows]

    async def _write(self, statement: Executable) -> None:
        try:
            async with self._database.begin() as connection:
                await connection.execute(statement)
        except (SQLAlchemyError, OSError) as error:
            message = f"the database can't be written to: {type(error).__name__}"
            raise DatabaseError(message) from error


async def _take(connection: AsyncConnection, tried: list[str]) -> dict[str, str]:
    """Take what is left, and what may have been; return ids and their workspaces."""
    from isoserver.cluster.kinds import WEBHOOK  # noqa: PLC0415 - where others are
    from isoserver.cluster.tables import gone  # noqa: PLC0415

    named = {"gone": await gone(connection, WEBHOOK), "tried": tried}
    rows = await connection.execute(_TAKE, named)
    return {row.id: row.workspace for row in rows}
