"""The server: made of its parts here, which are started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from isokernel.timeouts import timeout
from isoserver.access.rates import RateLimits
from isoserver.access.service import Access
from isoserver.capabilities.providers import providers_of
from isoserver.capabilities.routes import CAPABILITY_ROUTES
from isoserver.capabilities.service import Capabilities
from isoserver.cluster.routes import CLUSTER_ROUTES
from isoserver.contexts.engines import Engines
from isoserver.contexts.routes import CONTEXT_ROUTES
from isoserver.contexts.service import Contexts
from isoserver.contexts.transcript_files import TranscriptFiles
from isoserver.errors import DatabaseError, HeapStoreError
from isoserver.files.routes import FILE_ROUTES
from isoserver.files.service import Files
from isoserver.files.whole import write_file
from isoserver.heaps.routes import HEAP_ROUTES
from isoserver.heaps.service import Heaps
from isoserver.http.application import make_http_server
from isoserver.http.claims import Claims
from isoserver.http.downloads import DOWNLOAD_ROUTES
from isoserver.http.guards import Guard
from isoserver.http.information import INFORMATION_ROUTES
from isoserver.http.metrics import Metrics
from isoserver.http.openapi import make_document
from isoserver.http.parts import ServerParts
from isoserver.http.routes import in_group
from isoserver.jupyter.fronts import Fronts
from isoserver.jupyter.routes import JUPYTER_ROUTES, MESSAGE_ROUTES
from isoserver.jupyter.sessions import Sessions
from isoserver.mcp.endpoint import MCP_ROUTES, McpEndpoint
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
from isoserver.storage.database import SERVER_VARIABLE, Database
from isoserver.storage.locks import ServerLock
from isoserver.storage.tasks import end_tasks
from isoserver.tools.routes import TOOL_ROUTES
from isoserver.tools.service import Tools
from isoserver.ui.routes import UI_ROUTES
from isoserver.webhooks.service import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import TextIO

    from structlog.typing import FilteringBoundLogger

    from isokernel.capabilities import Providers
    from isoserver.cluster.service import Cluster
    from isoserver.http.connections import BoundedServer
    from isoserver.http.routes import Route
    from isoserver.runs.calls import Toolbox
    from isoserver.runs.runner import Runner
    from isoserver.settings.server import ServerSettings
    from isoserver.tracing.service import Tracing

__all__ = ["ROUTES", "Server"]

_ANSWERS_WAIT: Final = 5.0
"""Seconds that the last answers have to get out, once all contexts are closed."""
_LAST_ANSWERS_WAIT: Final = 1.0
"""Seconds for those that say that another server gave none."""
_LAST_SECONDS: Final = 10.0
"""For what the database is told when a server stops, once its contexts are saved."""
_MEND_SECONDS: Final = 1.0
"""Between two attempts to end what a server has left that is gone."""
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_OF_OTHERS: Final = 0o077
_COLLECTED_AFTER: Final = (10_000, 20, 20)
"""Objects after which the collector looks at the youngest, and so on: a request keeps
some twenty, for a history, so that with 700 it looked each 35 requests."""

ROUTES: Final = (
    *in_group("Contexts", (*CONTEXT_ROUTES, *MESSAGE_ROUTES, *CAPABILITY_ROUTES)),
    *in_group("Files", FILE_ROUTES),
    *in_group("Executions", API_ROUTES),
    *in_group("Heaps and sessions", HEAP_ROUTES),
    *in_group("Tools", TOOL_ROUTES),
    *in_group("Tasks", TASK_ROUTES),
    *in_group("Server", (*INFORMATION_ROUTES, *DOWNLOAD_ROUTES, *CLUSTER_ROUTES)),
)
"""Every path of the API: what handles it, what it takes and answers."""


class Server:
    """One server: the composition root, which nothing but the command line imports.

    Attributes:
        settings: Its settings.
        folder: The data folder.
        database: The database.
        changes: The feed of changes in the database, by any server on it.
        lock: Keeps other servers off the folder and the database.
        heaps: The saved heaps.
        cluster: The servers that share the database, if there are others.
        capabilities: What code may do beyond its context.
        contexts: The contexts.
        tools: What code in contexts can call.
        checks: The type checker.
        webhooks: Tell others that runs have ended.
        runs: The runs.
        tracing: Sends traces of what the parts do, if that is wanted.
        parts: What the handlers of HTTP and the tools of MCP share.
        relay: Serves MCP clients of other processes; None in a temporary folder.
        url: Where it listens, once started.
        stopped: Set once SIGTERM or SIGINT has come; see `stop_on_signals`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        log_file: TextIO | None = None,
        *,
        toolbox: Toolbox | None = None,
        providers: Providers | None = None,
        claims: Claims | None = None,
    ) -> None:
        """Make a server that isn't started, inside a running event loop.

        Args:
            settings: Its settings.
            log_file: Where the log is written; stderr if None.
            toolbox: What the `tools` of tasks call, instead of the server's own.
            providers: What code can ask for beyond its context, beside the server's own
                or instead of it.
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
        self.tracing = self._trace() if settings.traces else None
        note = None if self.tracing is None else self.tracing.note
        log = make_log(settings.log_level, log_file, note)
        variables = self._variables() if settings.cluster else None
        self.database = Database(self._claims.database_url, variables)
        self.files = Files(settings, self.folder / "files", log)
        self.heaps = Heaps(settings, self.database, self.folder, self.files, log)
        self.changes = Changes(self.database, log)
        self.cluster = self._join(log) if settings.cluster else None
        self.tools = Tools(settings, self.database, self.changes, log)
        self.capabilities = Capabilities(
            settings,
            {**providers_of(settings, self.files), **(providers or {})},
            log,
            database=self.database,
            changes=self.changes,
            approvals=self.tools.approvals,
            audit=self.tools.audit,
            folder=self.files.folder_of,
            store=partial(write_file, self.files),
        )
        self.contexts = Contexts(
            settings,
            self.metrics,
            self.database,
            self.heaps,
            self.files,
            Engines(
                *(settings, self.files, self._data.contexts, self._claims.hidden),
                self._claims.fork_server,
                log,
            ),
            TranscriptFiles(
                self.folder / "transcripts",
                settings.transcript_bytes_max,
                log,
                durable=bool(settings.data_dir or settings.database_url),
            ),
            log,
            self.capabilities,
            self.cluster,
        )
        self.metrics.watch(self.contexts)
        if self.cluster is not None:
            self.metrics.watch_cluster(self.cluster)
        self.lock = ServerLock(
            self.database,
            self.folder,
            log,
            settings.lock_timeout_seconds,
            self._claims.files,
            shared=settings.cluster,
        )
        self.checks = TypeChecks(settings)
        store = Store(self.database, log)
        called = self.tools if toolbox is None else toolbox
        runners: dict[Kind, Runner] = {
            Kind.SCRIPT: ScriptRunner(
                settings, self.contexts, self.heaps, store, files=self.files
            ),
            Kind.TASK: TaskRunner(
                settings, self.contexts, called, self.checks, log, files=self.files
            ),
        }
        self.webhooks = Webhooks(
            settings, self.database, self.tools.audit, self.metrics, log
        )
        self.runs = Runs(
            *(settings, store, self.contexts, runners, self.webhooks, log),
            self.cluster,
        )
        shared = self.database if settings.cluster else None
        self.parts = ServerParts(
            settings,
            self.contexts,
            self.heaps,
            self.database,
            self.runs,
            self.metrics,
            log,
            Guard(settings),
            Access(settings, log, self.metrics.refused, shared=shared),
            RateLimits(settings, self.metrics.refused, shared=shared),
            cache(partial(make_document, ROUTES)),  # 0.1 s, and rarely asked for
            self.tools,
            self.files,
            self.capabilities,
            self.webhooks,
            Fronts(settings),
            Sessions(self.database, log, shared=settings.cluster),
            self.cluster,
        )
        self.contexts.gone.append(self.parts.sessions.drop_context)
        self.parts.mcp = McpEndpoint(self.parts)
        self.url = ""
        # Nobody else finds a temporary folder.
        self.relay = None if self._data.temporary else Relay(self.parts, self.folder)
        if self.cluster is not None and self.contexts.ownership is not None:
            self.cluster.load = self.contexts.count_live
            self.cluster.ended.append(self._lose)
            self.cluster.gone.append(self._mend_soon)
            ownership = self.contexts.ownership
            ownership.adopted += [self.capabilities.load, self.parts.sessions.adopt]
            ownership.left += [self.capabilities.drop, self.parts.sessions.let_go]
            ownership.wanted.append(self.runs.wants)
            self._pass_on(self.cluster, log)
        if self.tracing is not None:
            self.tracing.watch(self.parts, runners.values())
        self._mending: set[asyncio.Future[None]] = set()
        self.stopped, self._grace_ended = asyncio.Event(), asyncio.Event()
        self._claimed = False
        self._http: BoundedServer | None = None
        self._warming: asyncio.Future[None] | None = None

    def _trace(self) -> Tracing:
        from isoserver.tracing.service import Tracing  # noqa: PLC0415 - if so

        return Tracing()

    # -- several servers ---------------------------------------------------------------

    def _variables(self) -> dict[str, str]:
        """Return what the sessions with the database carry, by which it knows them."""
        from isoserver.cluster.service import new_server_id  # noqa: PLC0415 - if so
        from isoserver.cluster.tables import session_name  # noqa: PLC0415

        self._server_id = new_server_id()
        return {
            SERVER_VARIABLE: self._server_id,
            "application_name": session_name(self._server_id),
        }

    def _join(self, log: FilteringBoundLogger) -> Cluster:
        from isoserver.cluster.service import Cluster  # noqa: PLC0415 - as above

        return Cluster(self.settings, self._server_id, self.database, self.changes, log)

    def _pass_on(self, cluster: Cluster, log: FilteringBoundLogger) -> None:
        """Have requests go to the servers that own what they ask for."""
        from isoserver.passing.handlers import (  # noqa: PLC0415 - as above
            contexts_elsewhere,
            fronts_elsewhere,
            hand_over,
            pass_session,
            runs_elsewhere,
            server_to_wake_on,
        )
        from isoserver.passing.service import Passing  # noqa: PLC0415

        passing = Passing(self.settings, cluster, log)
        self.parts.passing = passing
        self.heaps.has_turn = cluster.has_turn
        self.contexts.elsewhere = partial(contexts_elsewhere, passing)
        if self.contexts.ownership is not None:
            self.contexts.ownership.hand_over = partial(hand_over, passing)
            self.contexts.ownership.find_room = partial(server_to_wake_on, passing)
        self.runs.elsewhere = partial(runs_elsewhere, passing)
        self.parts.fronts.elsewhere = partial(fronts_elsewhere, passing)
        self.parts.sessions.elsewhere = partial(pass_session, passing)

    def _routes(self) -> Iterable[Route]:
        routes: Iterable[Route]
        routes = (*ROUTES, *JUPYTER_ROUTES, *MCP_ROUTES, *UI_ROUTES)
        if self.cluster is not None:
            from isoserver.passing.handlers import (  # noqa: PLC0415 - as above
                PEER_ROUTES,
                passing_routes,
            )

            routes = (*passing_routes(routes), *PEER_ROUTES)
        return routes if self.tracing is None else self.tracing.routes(routes)

    def _lose(self, reason: str) -> None:
        """End at once whatever may be another server's by now."""
        self.contexts.lose(reason)
        self.runs.lose()
        self.parts.fronts.close(reason)
        # Whatever was asked for counts no more, nor need anybody wait for it.
        self.heaps.give_up()
        self.database.hang_up()

    def _mend_soon(self, _server_id: str) -> None:
        """End the runs of a server that is gone."""
        assert self.cluster is not None  # noqa: S101 - it calls this
        mending = asyncio.ensure_future(self._mend(self.cluster))
        self._mending.add(mending)
        mending.add_done_callback(self._mending.discard)

    async def _mend(self, cluster: Cluster) -> None:
        while not cluster.lost.is_set():
            with suppress(DatabaseError):
                await self.runs.take_over(cluster)
                return
            await asyncio.sleep(_MEND_SECONDS)  # nobody else may be left who would

    async def _leave(self, cluster: Cluster) -> None:
        """Leave the cluster, once nothing is left here that is owned."""
        await end_tasks(*self._mending)  # whoever begins next does it
        await self.webhooks.settle()  # of what was taken over meanwhile
        await cluster.close()

    # -- from start to end -------------------------------------------------------------

    async def start(self) -> None:
        """Open the server, then listen for HTTP.

        Raises:
            OSError: It can't listen there.
            ServerError: It can't `open`.
        """
        self._claims.bind()
        await self.open()
        self._http = make_http_server(self.parts, self._routes())
        self._http.add_sockets(self._claims.listen())
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
        """Start all parts, without listening for HTTP.

        Raises:
            TakenError: Another server has the data folder or the database.
            FolderError: The data folder can't be used.
            DatabaseError: The database can't be used.
            LanguageError: A language of the settings isn't available.
            SourceError: A source of the configuration file can't be set up.
        """
        if not self._claimed:
            await self.claim()
        await asyncio.to_thread(self._data.prepare)
        await self.database.start()
        # Some tenths of a second on a busy machine, in which no lease can be renewed.
        gc.collect()
        if self.cluster is not None:
            url = self.settings.cluster_url or self._claims.url
            if self.parts.passing is not None:
                self.parts.passing.url = url
            await self.cluster.start(url)
        await self.changes.start()
        # Before what asks the database in the background: a store that can't be used
        # ends the start, and SQLAlchemy logs each query that is cut off by that.
        await self.heaps.start()
        await self.tools.start()
        await self.capabilities.start()
        await self.contexts.start()
        if self.cluster is None:
            await self.parts.sessions.start(self.contexts.found)
        await self.runs.start()
        if self.relay is not None:
            await self.relay.open()
        # What is there now stays: the collector need not look at it again and again.
        gc.freeze()
        gc.set_threshold(*_COLLECTED_AFTER)
        gc.enable()
        self._warming = asyncio.ensure_future(asyncio.to_thread(self._warm_up))

    def _warm_up(self) -> None:
        """Say what is insecure, and load what first requests will need; in a thread."""
        if self.folder.stat().st_mode & _OF_OTHERS:
            # Somebody else made it, and may want it so.
            self.parts.log.warning("others may read", folder=str(self.folder))
        for wall in self.contexts.engines.prepare(lambda: self.contexts.stopping):
            self.parts.log.warning("not confined", reason=wall)
        if not self.contexts.stopping:
            import_module("structlog")

    async def _give_away(self, cluster: Cluster) -> None:
        """Have other servers take what this one has, which still answers meanwhile.

        So nobody who asks for a context that is idle has to wait until all others are.
        """
        if not cluster.serving:
            return
        with suppress(DatabaseError, asyncio.TimeoutError):
            await cluster.look()  # one may have begun just now
            if all(peer.draining for peer in cluster.peers()):
                return
            await cluster.leave()
            async with timeout(self.settings.shutdown_grace_seconds):
                ended = [self._grace_ended, cluster.lost]
                await _first(ended, asyncio.ensure_future(self._given_away()))

    async def _given_away(self) -> None:
        await self.runs.all_ended()
        await self.contexts.given_away()

    async def stop(self) -> None:
        """Stop listening, let running cells end in their grace period, end the rest.

        Whatever the database and the store of heaps do, it ends: what they are asked
        has a bound, and after a silence nothing more is.
        """
        self.parts.ending = True
        self.database.expect_end()
        loop = asyncio.get_running_loop()
        settings = self.settings
        saved = settings.shutdown_grace_seconds + settings.interrupt_grace_seconds
        saved += settings.shutdown_save_timeout_seconds
        last = [
            loop.call_later(saved, self.heaps.give_up),
            loop.call_later(saved + _LAST_SECONDS, self.database.give_up),
        ]
        try:
            await self._stop()
        finally:
            for each in last:
                each.cancel()

    async def _stop(self) -> None:
        end = time.monotonic() + self.settings.shutdown_grace_seconds
        if self.cluster is not None:
            await self._give_away(self.cluster)
        if self._http is not None:
            self._http.stop()
        self.contexts.stopping = True
        if self._warming is not None:
            await self._warming
        await self.runs.close(end - time.monotonic())
        await self.checks.close()
        await self.contexts.close(end - time.monotonic())
        self.heaps.give_up()  # what is still being saved comes too late
        await self.webhooks.close()  # told of the last ends by now
        self.parts.fronts.close("the server stopped")
        # After the contexts: who waits for one of their runs still gets its answer.
        await self.parts.mcp.close()
        if self.relay is not None:
            await self.relay.close()
        if self.parts.passing is not None:
            self.parts.passing.end_streams()
        await self._wait_quiet(_ANSWERS_WAIT)
        if self.parts.passing is not None:
            # Who still waits for another server's answer is told that none has come.
            self.parts.passing.close()
            await self._wait_quiet(_LAST_ANSWERS_WAIT)
        if self._http is not None:
            await self._http.close_all_connections()
        await self.parts.sessions.close()
        await self.capabilities.settle()
        await self.tools.close()
        await self.changes.close()
        await self.heaps.close()
        self.files.close()
        await self.parts.access.close()
        await asyncio.to_thread(self._data.clear)
        if self.cluster is not None:
            await self._leave(self.cluster)
        await self.lock.release()
        await self.database.close()
        self._data.close()
        if self.tracing is not None:
            await self.tracing.close()

    async def _wait_quiet(self, seconds: float) -> None:
        """Wait until no request is being answered, for so long at most."""
        with suppress(asyncio.TimeoutError):
            async with timeout(seconds):
                await self.parts.quiet.wait()

    def end_grace_period(self) -> None:
        """End the grace period of `stop`."""
        self._grace_ended.set()
        self.contexts.end_grace_period()
        self.runs.end_grace_period()

    def abandon(self) -> None:
        """Discard what a failed start has left; the rest ends with the process."""
        if self._http is not None:
            self._http.stop()  # before its sockets are closed
        self.contexts.engines.close()
        self._data.clear()
        self._claims.close()

    def stop_on_signals(self) -> asyncio.Event:
        """Return what SIGTERM and SIGINT set; a second one ends the grace period."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self.stopped.is_set():
                self.end_grace_period()
            self.stopped.set()

        for number in _ENDS:
            loop.add_signal_handler(number, stop)
        return self.stopped

    async def run(
        self,
        ready: Callable[[str], None] | None = None,
        *,
        before: Server | None = None,
    ) -> bool:
        """Serve until SIGTERM or SIGINT; a second one ends the grace period.

        Args:
            ready: Called with the URL once requests are answered, if given.
            before: The server of this process whose place this one takes, if it does.

        Returns:
            Whether another server is to take the place of this one, which had to end
            because it could not prove any more that it may serve.

        Raises:
            ServerError: It can't start.
        """
        if before is not None:
            self.stopped = before.stopped
        stopped = self.stop_on_signals()
        try:
            started = await self._start(stopped)
        except (DatabaseError, HeapStoreError):
            if before is None:
                self.abandon()
            else:
                await self.stop()
            raise
        except BaseException:
            self.abandon()
            raise
        if not started:
            await self.stop()
            return False
        try:
            again = await self._serve(stopped, ready)
        except DatabaseError:
            if not stopped.is_set():
                raise
            return False
        finally:
            await self.stop()
        return again and not stopped.is_set()  # nor while it stopped

    async def _start(self, stopped: asyncio.Event) -> bool:
        """Start, unless told to end meanwhile; whether it has.

        What raised an exception in the midst of it instead could be lost: there are
        places where all are caught, as where a session is given back to its pool.
        """
        starting = asyncio.ensure_future(self.start())
        await _first([stopped], starting)
        if stopped.is_set():
            self.database.expect_end()
        await asyncio.wait([starting])  # it was cancelled if it hadn't ended
        if starting.cancelled():
            return False
        starting.result()
        return True

    async def _serve(
        self, stopped: asyncio.Event, ready: Callable[[str], None] | None
    ) -> bool:
        """Serve until the end; whether another server is to take the place of this.

        Raises:
            DatabaseError: The others can't be told that it serves.
        """
        causes = [stopped, self.lock.lost]
        if self.cluster is not None:
            self._end_when_continued(self.cluster)
            causes.append(self.cluster.lost)
            opening = asyncio.ensure_future(self.cluster.open())
            await _first(causes, opening)
            if opening.done():
                opening.result()
        if stopped.is_set():
            return False
        if ready is not None:
            ready(self.url)
        await _first(causes)
        if stopped.is_set() or self.lock.lost.is_set():
            return False
        if self.cluster is not None:
            # Meanwhile requests are told why nothing is served.
            back = asyncio.ensure_future(self.cluster.give_up())
            await _first([stopped], back)
            await end_tasks(back)
        return not stopped.is_set()

    def _end_when_continued(self, cluster: Cluster) -> None:
        """Look at the lease first of all when the process goes on after a stop."""
        loop = asyncio.get_running_loop()

        def look(_number: int, _frame: FrameType | None) -> None:
            if not cluster.serving:
                self.contexts.kill("the lease of its server ran out")
                loop.call_soon_threadsafe(cluster.expire)

        with suppress(ValueError):  # not in the main thread: the next request looks
            signal.signal(signal.SIGCONT, look)


async def _first(events: list[asyncio.Event], *others: asyncio.Future[None]) -> None:
    """Wait until one of some events is set, or something else is done."""
    waits: list[asyncio.Future[Any]] = [*others]
    waits += [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
