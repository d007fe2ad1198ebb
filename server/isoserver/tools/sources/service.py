"""The sources of all workspaces: started, added, deleted; their tools, together."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from isoserver.errors import SourceError, SourceExistsError, SourceMissingError
from isoserver.tools.audit import Entry
from isoserver.tools.catalog import Catalog
from isoserver.tools.configuration import (
    GraphqlSource,
    McpSource,
    SourceConfiguration,
    is_local,
)
from isoserver.tools.tables import SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit
    from isoserver.tools.configuration import Limits
    from isoserver.tools.sources.base import Source

__all__ = ["Sources"]


class Sources:
    """The sources; used from the event loop only.

    Those of the configuration file can't be changed while the server runs. Those of the
    database are the same for every process on it: what is added and deleted, here or
    elsewhere, is taken over when the sources are asked for next.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it is what holds them together
        self,
        database: Database,
        changes: Changes,
        audit: Audit,
        log: FilteringBoundLogger,
        fixed: Sequence[SourceConfiguration],
        limits: Limits,
        *,
        sources_max: int,
        local: bool,
        private: bool,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            database: Where those are that were added.
            changes: Tells of those that are added and deleted.
            audit: Where it is noted who changed what.
            log: Where what happens to sources is logged.
            fixed: Those of the configuration file.
            limits: Bounds of each.
            sources_max: How many one workspace may have.
            local: Whether those that were added may use the server's host.
            private: Whether they may be at addresses that aren't public.
        """
        self._database = database
        self._changes = changes
        self._audit = audit
        self._log = log
        self._fixed = {(source.workspace, source.name) for source in fixed}
        self._configured = list(fixed)
        self._limits = limits
        self._max = sources_max
        self._local = local
        self._private = private or local
        self._sources: dict[tuple[str, str], Source] = {}
        self._revisions: dict[tuple[str, str], str] = {}
        self._catalogs: dict[str, Catalog] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._is_current = False
        self._looking = asyncio.Lock()
        changes.subscribe(SOURCES.name, self._changed)

    async def start(self) -> None:
        """Start all sources; that they can't be reached is no reason to wait.

        Raises:
            SourceError: One of the configuration file can't be set up at all.
        """
        made: dict[tuple[str, str], Source] = {}
        for configuration in self._configured:
            place = (configuration.workspace, configuration.name)
            if place in made:
                message = f"there are two sources {configuration.name}"
                raise SourceError(message)
            try:
                made[place] = self._make(configuration)
            except SourceError as error:
                message = f"source {configuration.name}: {error}"
                raise SourceError(message) from error
        # None before all are known to be good.
        self._sources.update(made)
        for source in made.values():
            source.start()
        await self._look()

    async def close(self) -> None:
        """End all sources."""
        sources, self._sources = self._sources, {}
        for source in sources.values():
            self._end(source)
        await self._ended()

    # -- for administrators ------------------------------------------------------------

    async def list(self, workspace: str) -> list[Source]:
        """Give a workspace's sources, by name."""
        await self._look()
        found = [s for (owner, _), s in self._sources.items() if owner == workspace]
        return sorted(found, key=lambda source: source.name)

    async def get(self, workspace: str, name: str) -> Source:
        """Give one source.

        Raises:
            SourceMissingError: The workspace has none of that name.
        """
        await self._look()
        found = self._sources.get((workspace, name))
        if found is None:
            raise SourceMissingError(name)
        return found

    def is_fixed(self, source: Source) -> bool:
        """Tell whether a source is of the configuration file."""
        return (source.configuration.workspace, source.name) in self._fixed

    async def add(self, configuration: SourceConfiguration, by: str) -> Source:
        """Add a source and connect to it, waiting for the first attempt.

        Raises:
            SourceExistsError: The name is taken.
            SourceError: It can't be set up, or the workspace has as many as it may.
        """
        workspace, name = configuration.workspace, configuration.name
        if not self._local and is_local(configuration):
            message = (
                "sources that run commands or read files or variables of the host "
                "belong in the configuration file (or --sources-local)"
            )
            raise SourceError(message)
        if len(await self.list(workspace)) >= self._max:
            message = f"there are {self._max} sources, which is all that may be"
            raise SourceError(message)
        if (workspace, name) in self._sources:
            message = f"there is a source {name} already"
            raise SourceExistsError(message)
        self._make(configuration)  # before one is stored that can't be set up
        try:
            async with self._changes.begin(SOURCES.name, workspace, name) as connection:
                await connection.execute(
                    insert(SOURCES).values(
                        workspace=workspace,
                        name=name,
                        revision=secrets.token_hex(8),
                        configuration=msgspec.json.encode(configuration).decode(),
                        created_at=time.time(),
                        created_by=by,
                    )
                )
        except IntegrityError as error:
            message = f"there is a source {name} already"
            raise SourceExistsError(message) from error
        await self._audit.add(Entry(workspace, "source.added", by, name))
        source = await self.get(workspace, name)
        await source.settled()
        return source

    async def delete(self, workspace: str, name: str, by: str) -> None:
        """Delete a source that was added; calls of it end.

        Raises:
            SourceMissingError: The workspace has none of that name.
            SourceExistsError: It is of the configuration file.
        """
        if (workspace, name) in self._fixed:
            message = f"{name} belongs to the configuration file"
            raise SourceExistsError(message)
        await self.get(workspace, name)
        async with self._changes.begin(SOURCES.name, workspace, name) as connection:
            await connection.execute(
                delete(SOURCES).where(
                    SOURCES.c.workspace == workspace, SOURCES.c.name == name
                )
            )
        await self._look()
        await self._ended()
        await self._audit.add(Entry(workspace, "source.deleted", by, name))

    # -- for calls ---------------------------------------------------------------------

    async def catalog(self, workspace: str, only: str | None = None) -> Catalog:
        """Give a workspace's tools.

        Args:
            workspace: The workspace.
            only: Wait for the first attempt of this source only, if it has that name.
        """
        sources = await self.list(workspace)
        waited = [s for s in sources if only in (None, s.name) and not s.is_settled]
        if waited:
            await asyncio.gather(*(source.settled() for source in waited))
        version = ",".join(
            f"{s.name}:{self._revisions.get((workspace, s.name), '')}:{s.version}"
            for s in sources
        )
        known = self._catalogs.get(workspace)
        if known is None or known.version != version:
            tools = [tool for source in sources for tool in source.tools]
            known = self._catalogs[workspace] = Catalog(tools, version)
        return known

    def source(self, workspace: str, name: str) -> Source | None:
        """Give a source that is known, if there is one of that name."""
        return self._sources.get((workspace, name))

    # -- keeping up with the database --------------------------------------------------

    async def _look(self) -> None:
        """Take over what has changed in the database, here or in other processes."""
        if self._is_current and self._changes.connected:
            return
        async with self._looking:
            if self._is_current and self._changes.connected:
                return
            self._is_current = True  # unless something changes from here on
            try:
                async with self._database.connect() as connection:
                    rows = (await connection.execute(select(SOURCES))).all()
            except BaseException:
                self._is_current = False
                raise
            stored = {(row.workspace, row.name): row for row in rows}
            for place in set(self._revisions) - set(stored):
                self._drop(place)
            for place, row in stored.items():
                if self._revisions.get(place) != row.revision:
                    self._take(place, row.configuration, row.revision)

    def _changed(self, _change: Change | None) -> None:
        self._is_current = False

    def _take(self, place: tuple[str, str], text: str, revision: str) -> None:
        if place in self._fixed:
            return
        self._drop(place)
        self._revisions[place] = revision
        try:
            found = msgspec.json.decode(text, type=SourceConfiguration)
            source = self._make(found)
        except (msgspec.DecodeError, SourceError) as error:
            # Of another version, or a secret that this host doesn't have.
            self._log.warning("source left out", source=place[1], reason=str(error))
        else:
            self._sources[place] = source
            source.start()

    def _drop(self, place: tuple[str, str]) -> None:
        self._revisions.pop(place, None)
        source = self._sources.pop(place, None)
        if source is not None:
            self._end(source)

    def _end(self, source: Source) -> None:
        """End a source, whose process may take seconds for that, in the background."""
        ending = asyncio.create_task(source.close())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _ended(self) -> None:
        await asyncio.gather(*self._endings)

    def _make(self, configuration: SourceConfiguration) -> Source:
        """Make a source; its kind's libraries are loaded when there is one of it."""
        place = (configuration.workspace, configuration.name)
        private = self._private or place in self._fixed
        limits = self._limits.of(configuration)._replace(private=private)
        if isinstance(configuration, McpSource):
            from isoserver.tools.sources.mcp import McpServer  # noqa: PLC0415

            return McpServer(configuration, limits, self._log)
        if isinstance(configuration, GraphqlSource):
            from isoserver.tools.sources.graphql import Graphql  # noqa: PLC0415

            return Graphql(configuration, limits, self._log)
        from isoserver.tools.sources.openapi import Openapi  # noqa: PLC0415

        return Openapi(configuration, limits, self._log)
