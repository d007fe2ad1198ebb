"""The server: its parts put together, started, and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tornado.httpserver import HTTPServer
from tornado.routing import URLSpec
from tornado.web import Application

from isoserver.access.rates import RateLimits
from isoserver.access.service import Access
from isoserver.claims import Claims
from isoserver.contexts.routes import CONTEXT_ROUTES
from isoserver.contexts.service import Contexts
from isoserver.heaps.routes import HEAP_ROUTES
from isoserver.heaps.service import Heaps
from isoserver.http.bodies import (
    BoundedBody,
    LongHeadHandler,
    TooLargeHandler,
    declared_size,
    drop_the_rest,
    head_size,
    is_whole,
)
from isoserver.http.downloads import DOWNLOAD_ROUTES
from isoserver.http.guards import Guard
from isoserver.http.handlers import MissingHandler
from isoserver.http.information import INFORMATION_ROUTES
from isoserver.http.metrics import Metrics
from isoserver.http.openapi import make_document
from isoserver.http.parts import ServerParts
from isoserver.mcp.endpoint import McpEndpoint, McpHandler, mcp_paths
from isoserver.mcp.relay import Relay
from isoserver.runs.records import Kind
from isoserver.runs.routes import API_ROUTES, TASK_ROUTES
from isoserver.runs.scripts import ScriptRunner
from isoserver.runs.service import Runs
from isoserver.runs.store import Store
from isoserver.runs.tasks import TaskRunner
from isoserver.runs.typecheck import TypeChecks
from isoserver.settings.logs import make_log
from isoserver.storage.changes import Changes
from isoserver.storage.database import Database
from isoserver.storage.locks import ServerLock
from isoserver.tools.routes import TOOL_ROUTES
from isoserver.tools.service import Tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from tornado.httputil import HTTPServerRequest

    from isoserver.runs.calls import Toolbox
    from isoserver.runs.runner import Runner
    from isoserver.settings.server import ServerSettings

__all__ = ["ROUTES", "Server"]

_ANSWERS_WAIT: Final = 5.0
"""Seconds that the last answers have to get out, once all contexts are closed."""
_OF_OTHERS: Final = 0o077
_HEADS: Final = 4
"""How many times the bound headers are read before their sender is cut off."""
_BODY_SECONDS: Final = 120.0
_IDLE_SECONDS: Final = 3600.0


ROUTES: Final = (
    *CONTEXT_ROUTES,
    *API_ROUTES,
    *HEAP_ROUTES,
    *TOOL_ROUTES,
    *TASK_ROUTES,
    *INFORMATION_ROUTES,
    *DOWNLOAD_ROUTES,
)
"""Every path of the API: what handles it, what it takes and answers."""


class _Application(Application):
    """Tornado's, which looks at the size of a body before it is read."""

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts
        super().__init__(
            _url_specs(parts),
            default_handler_class=MissingHandler,
            default_handler_args={"parts": parts},
            log_function=lambda _handler: None,  # ours is in Handler.on_finish
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find what answers a request."""
        settings = self._parts.settings
        if head_size(request) > settings.request_header_bytes_max:
            return self._refusal(request, LongHeadHandler)
        size, size_max = declared_size(request.headers), settings.request_body_bytes_max
        if size is not None and size > size_max:
            return self._refusal(request)
        if not is_whole(request, size):
            connection: Any = request.connection
            connection.set_body_timeout(_BODY_SECONDS)
        served = super().find_handler(request, **kwargs)
        if size is not None:
            return served
        drop_the_rest(request)
        return BoundedBody(served, lambda: self._refusal(request), size_max)

    def _refusal(
        self,
        request: HTTPServerRequest,
        handler: type[TooLargeHandler] = TooLargeHandler,
    ) -> Any:
        return self.get_handler_delegate(request, handler, {"parts": self._parts})


class Server:
    """One server.

    Attributes:
        settings: Its settings.
        contexts: Its contexts.
        heaps: Its heaps.
        database: Its database.
        changes: Tells of what is written there, by any server on it.
        lock: Keeps other servers off its folder and database.
        tools: What code in its contexts can call.
        checks: Its type checker.
        runs: Its runs.
        folder: Where it keeps what outlives it.
        parts: What its handlers share.
        url: Where it listens, once started.
    """

    def __init__(
        self,
        settings: ServerSettings,
        log_file: TextIO | None = None,
        *,
        toolbox: Toolbox | None = None,
        claims: Claims | None = None,
    ) -> None:
        """Make a server that isn't started; inside of a running event loop.

        Args:
            settings: Its settings.
            log_file: Where the log goes; stderr if None.
            toolbox: What the `tools` of tasks calls, instead of the server's own.
            claims: What it has to itself; made of the settings if None.

        Raises:
            FolderError: The data folder can't be made.
            DatabaseError: The database's URL can't be read.
        """
        self.settings = settings
        self.metrics = Metrics()
        self._claims = claims or Claims(settings)
        self._data = self._claims.folder
        self.folder = self._data.path
        self.database = Database(self._claims.database_url)
        log = make_log(settings.log_level, log_file)
        self.heaps = Heaps(settings, self.database, self.folder, log)
        self.contexts = Contexts(
            settings,
            self.metrics,
            self.database,
            self.heaps,
            self._data.contexts,
            log,
            self._claims.fork_server,
        )
        self.metrics.watch(self.contexts)
        self.lock = ServerLock(self.database, self.folder, log, self._claims.files)
        self.changes = Changes(self.database, log)
        self.tools = Tools(settings, self.database, self.changes, log)
        self.checks = TypeChecks(settings)
        store = Store(self.database, log)
        called = self.tools if toolbox is None else toolbox
        runners: dict[Kind, Runner] = {
            Kind.SCRIPT: ScriptRunner(settings, self.contexts, self.heaps, store),
            Kind.TASK: TaskRunner(settings, self.contexts, called, self.checks, log),
        }
        self.runs = Runs(settings, store, self.contexts, runners, log)
        self.parts = ServerParts(
            settings,
            self.contexts,
            self.heaps,
            self.database,
            self.runs,
            self.metrics,
            log,
            Guard(settings),
            Access(settings, log, self.metrics.refused),
            RateLimits(settings, self.metrics.refused),
            cache(partial(make_document, ROUTES)),
            self.tools,
        )
        self.parts.mcp = McpEndpoint(self.parts)
        self.url = ""
        # Nobody else finds a temporary folder.
        self._relay = None if self._data.temporary else Relay(self.parts, self.folder)
        self._claimed = False
        self._http: HTTPServer | None = None
        self._warming: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start what contexts come from, then listen.

        Raises:
            OSError: It can't listen there.
            ServerError: It can't `open`.
        """
        sockets = self._claims.listen()
        await self.open()
        self._http = HTTPServer(
            _Application(self.parts),
            max_body_size=self.settings.request_body_bytes_max,
            max_header_size=_HEADS * self.settings.request_header_bytes_max,
            idle_connection_timeout=_IDLE_SECONDS,
        )
        self._http.add_sockets(sockets)
        self.url = self._claims.url

    async def claim(self) -> None:
        """Keep other servers off the data folder and the database.

        Raises:
            TakenError: Another server has one of them.
            DatabaseError: It can't be used.
        """
        try:
            await self.lock.acquire()
        except BaseException:
            await self.lock.release()
            await self.database.close()
            raise
        self._claimed = True

    async def open(self) -> None:
        """Start what contexts come from, without listening for HTTP.

        Raises:
            TakenError: Another server has the data folder or the database.
            FolderError: The data folder can't be used.
            DatabaseError: The database can't be used.
            LanguageError: A language of the settings isn't there.
            SourceError: A source of the configuration file can't be set up.
        """
        if not self._claimed:
            await self.claim()
        await asyncio.to_thread(self._data.prepare)
        await self.database.start()
        await self.changes.start()
        await self.tools.start()
        await self.heaps.start()
        await self.contexts.start()
        await self.runs.start()
        if self._relay is not None:
            await self._relay.open()
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.enable()
        self._warming = asyncio.ensure_future(asyncio.to_thread(self._warm_up))

    def _warm_up(self) -> None:
        """Say what is insecure, and load what first requests will need; in a thread."""
        for wall in self.contexts.missing_walls:
            self.parts.log.warning("not confined", reason=wall)
        if self.folder.stat().st_mode & _OF_OTHERS:
            # Somebody else has made it, and may want it so.
            self.parts.log.warning("others may read", folder=str(self.folder))
        for name in ("structlog", *self.contexts.modules_used_later):
            if not self.contexts.stopping:
                import_module(name)

    async def stop(self) -> None:
        """Stop listening, let running cells end in their grace period, end the rest."""
        if self._http is not None:
            self._http.stop()
        self.contexts.stopping = True
        if self._warming is not None:
            await self._warming
        await self.runs.close()
        await self.checks.close()
        await self.contexts.close()
        # After the contexts: who waits for one of their runs still gets its answer.
        await self.parts.mcp.close()
        if self._relay is not None:
            await self._relay.close()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.parts.quiet.wait(), _ANSWERS_WAIT)
        if self._http is not None:
            await self._http.close_all_connections()
        await self.tools.close()
        await self.changes.close()
        await self.heaps.close()
        await self.parts.access.close()
        await asyncio.to_thread(self._data.clear)
        await self.lock.release()
        await self.database.close()
        self._data.close()

    def end_grace_period(self) -> None:
        """End the grace period of `stop`."""
        self.contexts.end_grace_period()
        self.runs.end_grace_period()

    def abandon(self) -> None:
        """Give up what a start that failed has left; the rest ends with the process."""
        self.contexts.abandon()
        self._data.clear()
        self._claims.close()

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the grace period.

        Args:
            ready: Called with the URL once requests are answered, if given.
        """
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def stop() -> None:
            if stopped.is_set():
                self.end_grace_period()
            stopped.set()

        try:
            await self.start()
        except BaseException:
            self.abandon()
            raise
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if ready is not None:
            ready(self.url)
        causes = (stopped, self.lock.lost)
        ends = [asyncio.ensure_future(cause.wait()) for cause in causes]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await self.stop()


def _url_specs(parts: ServerParts) -> list[URLSpec]:
    """Return the handlers of all routes, as Tornado takes them."""
    specs = []
    for route in ROUTES:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
        methods = tuple(operation.method for operation in route.operations)
        arguments = {"parts": parts, "route": route.path, "methods": methods}
        specs.append(URLSpec(pattern, route.handler, arguments))
    # Not in the table, which is the OpenAPI document: this is another protocol's.
    for path, methods in mcp_paths().items():
        arguments = {"parts": parts, "route": path, "methods": methods}
        specs.append(URLSpec(path, McpHandler, arguments))
    return specs
