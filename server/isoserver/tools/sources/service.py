"""The sources of all workspaces: started, added, deleted; their tools, together."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import (
    Column,
    Float,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from isoserver.errors import SourceError, SourceExistsError, SourceMissingError
from isoserver.settings.tools import GraphqlSettings, McpSettings, read_source
from isoserver.storage.database import METADATA
from isoserver.tools.audit import Entry
from isoserver.tools.catalog import Catalog
from isoserver.tools.sources.base import SourceLimits
from isoserver.tools.sources.credentials import is_local

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.agents import AgentSettings
    from isoserver.settings.tools import SourceSettings
    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit
    from isoserver.tools.sources.base import Source

__all__ = ["Sources"]

_REFRESHED: Final = "refreshed_sources"
"""A topic of changes: a source that lists its tools anew, on all servers."""
SOURCES: Final = Table(
    "tool_sources",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("revision", String, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

_Key = tuple[str, str]
"""Workspace and name."""


class Sources:
    """The sources; used from the event loop only.

    Those of the configuration file can't be changed while the server runs. Those of the
    database are the same for every process on it: what is added and deleted, here or
    elsewhere, is taken over when the sources are asked for next.
    """

    def __init__(
        self,
        settings: AgentSettings,
        database: Database,
        changes: Changes,
        audit: Audit,
        log: FilteringBoundLogger,
    ) -> None:
        """Keep what is needed; `start` starts the sources.

        Args:
            settings: The sources of the configuration file, and all limits.
            database: Holds the sources that were added.
            changes: Tells when one is added or deleted.
            audit: Notes who changed what.
            log: Told what happens to sources.
        """
        self._settings = settings
        self._database = database
        self._changes = changes
        self._audit = audit
        self._log = log
        self._fixed = {(source.workspace, source.name) for source in settings.sources}
        self._sources: dict[_Key, Source] = {}
        self._revisions: dict[_Key, str] = {}
        self._catalogs: dict[str, Catalog] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_current = False
        self._updating = asyncio.Lock()
        changes.subscribe(SOURCES.name, self._changed)
        changes.subscribe(_REFRESHED, self._refreshed)

    async def start(self) -> None:
        """Start all sources; none of them is waited for.

        Raises:
            SourceError: One of the configuration file can't be set up at all.
        """
        made: dict[_Key, Source] = {}
        for configuration in self._settings.sources:
            key = (configuration.workspace, configuration.name)
            if key in made:
                message = f"there are two sources {configuration.name}"
                raise SourceError(message)
            try:
                made[key] = self._make(configuration)
            except SourceError as error:
                message = f"source {configuration.name}: {error}"
                raise SourceError(message) from error
        # None before all are known to be good.
        self._sources.update(made)
        for source in made.values():
            source.start()
        await self._update()

    async def close(self) -> None:
        """End all sources, and wait until they have ended."""
        sources, self._sources = self._sources, {}
        for source in sources.values():
            self._close(source)
        await self._closed()

    # -- for administrators ------------------------------------------------------------

    async def list(self, workspace: str) -> list[Source]:
        """Return a workspace's sources, by name."""
        await self._update(unheard=True)
        return _of(workspace, self._sources)

    async def get(self, workspace: str, name: str) -> Source:
        """Return one source.

        Raises:
            SourceMissingError: The workspace has none of that name.
        """
        await self._update(unheard=True)
        found = self._sources.get((workspace, name))
        if found is None:
            raise SourceMissingError(name)
        return found

    def is_fixed(self, source: Source) -> bool:
        """Tell whether a source is of the configuration file."""
        return (source.configuration.workspace, source.name) in self._fixed

    async def add(self, configuration: SourceSettings, by: str) -> Source:
        """Add a source and connect to it, waiting for the first attempt.

        Raises:
            SourceExistsError: The name is taken.
            SourceError: It can't be set up, or the workspace has as many as it may.
        """
        workspace, name = configuration.workspace, configuration.name
        if not self._settings.sources_local and is_local(configuration):
            message = (
                "sources that run commands or read files or variables of the host "
                "belong in the configuration file (or sources_local)"
            )
            raise SourceError(message)
        limit = self._settings.workspace_sources_max
        if len(await self.list(workspace)) >= limit:
            message = f"the limit of {limit} sources is reached (workspace_sources_max)"
            raise SourceError(message)
        taken = f"there is a source {name} already"
        if (workspace, name) in self._sources:
            raise SourceExistsError(taken)
        self._make(configuration)  # so that none is stored that can't be set up
        try:
            async with self._changes.begin(SOURCES.name, workspace, name) as connection:
                await connection.execute(
                    insert(SOURCES).values(
                        workspace=workspace,
                        name=name,
                        revision=secrets.token_hex(8),
                        configuration=_encode(configuration),
                        created_at=time.time(),
                        created_by=by,
                    )
                )
        except IntegrityError as error:
            raise SourceExistsError(taken) from error
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
        await self._update()
        await self._closed()
        await self._audit.add(Entry(workspace, "source.deleted", by, name))

    async def refresh(self, source: Source) -> None:
        """List a source's tools anew, here and, without waiting, on other servers.

        Raises:
            DatabaseError: The others can't be told.
        """
        await source.refresh()
        workspace = source.configuration.workspace
        await self._changes.tell_others(_REFRESHED, workspace, source.name)

    # -- for calls ---------------------------------------------------------------------

    async def catalog(self, workspace: str, only: str | None = None) -> Catalog:
        """Return a workspace's tools.

        Args:
            workspace: The workspace.
            only: Wait for the first attempt of this source only, if it has that name.
        """
        unheard = only is not None and (workspace, only) not in self._sources
        await self._update(unheard=unheard)
        sources = _of(workspace, self._sources)
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

    def find(self, workspace: str, name: str) -> Source | None:
        """Return a source that is known here; None if there is none of that name."""
        return self._sources.get((workspace, name))

    # -- keeping up with the database --------------------------------------------------

    def _changed(self, _change: Change | None) -> None:
        self._is_current = False

    def _refreshed(self, change: Change | None) -> None:
        source = None if change is None else self.find(change.workspace, change.id)
        if source is not None:
            source.refresh_soon()

    def _is_known(self, *, unheard: bool) -> bool:
        told = self._is_current and self._changes.connected
        return told and not (unheard and self._changes.shared)

    async def _update(self, *, unheard: bool = False) -> None:
        """Load what has changed in the database, here or in other processes.

        Args:
            unheard: Also what others have changed that hasn't been told here yet: who
                adds a source through one server may ask the next one for it at once.
        """
        if self._is_known(unheard=unheard):
            return
        async with self._updating:
            if self._is_known(unheard=unheard):
                return
            self._is_current = True  # unless something changes from here on
            try:
                async with self._database.connect() as connection:
                    rows = (await connection.execute(select(SOURCES))).all()
            except BaseException:
                self._is_current = False
                raise
            stored = {(row.workspace, row.name): row for row in rows}
            for key in set(self._revisions) - set(stored):
                self._drop(key)
            for key, row in stored.items():
                if self._revisions.get(key) != row.revision and key not in self._fixed:
                    self._drop(key)
                    self._revisions[key] = row.revision
                    self._take(key, row.configuration)

    def _take(self, key: _Key, stored: str) -> None:
        try:
            source = self._make(read_source(msgspec.json.decode(stored)))
        except (ValueError, SourceError) as error:
            # Of another version, or a secret that this host doesn't have.
            reason = str(error) if isinstance(error, SourceError) else "invalid"
            self._log.warning("source left out", source=key[1], reason=reason)
        else:
            self._sources[key] = source
            source.start()

    def _drop(self, key: _Key) -> None:
        self._revisions.pop(key, None)
        source = self._sources.pop(key, None)
        if source is not None:
            self._close(source)

    def _close(self, source: Source) -> None:
        """Close a source in the background: its process may take seconds to end."""
        closing = asyncio.create_task(source.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _closed(self) -> None:
        await asyncio.gather(*self._closing)

    def _make(self, configuration: SourceSettings) -> Source:
        """Make a source; its kind's libraries are loaded when there is one of it."""
        settings = self._settings
        fixed = (configuration.workspace, configuration.name) in self._fixed
        private = fixed or settings.sources_local or settings.sources_private
        limits = SourceLimits.of(settings, configuration, private=private)
        if isinstance(configuration, McpSettings):
            from isoserver.tools.sources.mcp import McpServer  # noqa: PLC0415

            return McpServer(configuration, limits, self._log)
        if isinstance(configuration, GraphqlSettings):
            from isoserver.tools.sources.graphql import Graphql  # noqa: PLC0415

            return Graphql(configuration, limits, self._log)
        from isoserver.tools.sources.openapi import Openapi  # noqa: PLC0415

        return Openapi(configuration, limits, self._log)


def _of(workspace: str, sources: dict[_Key, Source]) -> list[Source]:
    found = [source for (owner, _), source in sources.items() if owner == workspace]
    return sorted(found, key=lambda source: source.name)


def _encode(configuration: SourceSettings) -> str:
    return msgspec.json.encode(configuration.as_data()).decode()
