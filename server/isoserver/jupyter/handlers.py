"""Jupyter Server's routes on the contexts, and the websocket of their messages."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from isoserver.contexts.context import State
from isoserver.contexts.records import ContextRecord
from isoserver.contexts.service import HOME
from isoserver.errors import (
    ContextMissingError,
    DatabaseError,
    ForeignContextError,
    InvalidRequestError,
    RateLimitError,
    RouteMissingError,
    ServerError,
    SessionGoneError,
    SessionMissingError,
)
from isoserver.http.handlers import Handler
from isoserver.jupyter.frames import V1, decode, encode
from isoserver.jupyter.models import (
    KernelName,
    MessagesQuery,
    PatchSession,
    StartKernel,
    StartSession,
    front_answer,
    jupyter_time,
    kernel_answer,
    kernelspec_name,
    kernelspecs_answer,
    message_answer,
    messages_answer,
    session_answer,
)
from isoserver.jupyter.readers import cursor_of, read_cursor
from isoserver.jupyter.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from isoserver.contexts.context import Context, Key
    from isoserver.contexts.kernelspecs import InstalledKernelspec
    from isoserver.contexts.languages import Language
    from isoserver.contexts.transcript import Entry
    from isoserver.jupyter.frames import FrontMessage
    from isoserver.jupyter.fronts import Front
    from isoserver.jupyter.readers import Place, Reader

__all__ = [
    "ApiHandler",
    "ChannelsHandler",
    "FrontsHandler",
    "InterruptKernelHandler",
    "KernelHandler",
    "KernelsHandler",
    "KernelspecHandler",
    "KernelspecsHandler",
    "LogoHandler",
    "MeHandler",
    "MessagesHandler",
    "RestartKernelHandler",
    "SessionHandler",
    "SessionsHandler",
    "StatusHandler",
    "TreeHandler",
]

VERSION: Final = "2.0.0"
"""Of Jupyter Server's API that is spoken here."""
_PING_SECONDS: Final = 30.0
_BAD_MESSAGE: Final = 1007
"""The close code for what is no message."""
_EVENTS: Final = "text/event-stream"
_AT_ONCE: Final = 100
"""Messages of a stream that are looked up at once."""
_REASON_MAX: Final = 120
"""Bytes of a close frame's reason: it has 125 in all, with the code."""


class _JupyterHandler(Handler):
    """Root of the handlers here: finds contexts, answers errors as Jupyter does."""

    key_in_query = True

    def _error_content(self, error: ServerError) -> dict[str, Any]:
        return {"message": error.in_words(), "reason": error.http_status.phrase}

    def language_of(self, name: str | None) -> Language:
        """Find a language by the name of its kernelspec, or any of its own."""
        languages = self.parts.contexts.languages
        for language in languages.served.values():
            if name == kernelspec_name(language):
                return language
        return languages.find(name) if name else languages.suggested

    def kernel(
        self, context: Context | ContextRecord, connections: int = 0
    ) -> dict[str, Any]:
        """Return the model of a context.

        Args:
            context: The context, or what another server says of it.
            connections: How many fronts are connected to it there.
        """
        served = self.parts.contexts.languages.served
        if isinstance(context, ContextRecord):
            return kernel_answer(context, served[context.language], connections)
        connections = self.parts.fronts.connections(context)
        return kernel_answer(context, context.language, connections)

    async def kernels(self) -> dict[Key, dict[str, Any]]:
        """Return the models of all contexts of the workspace, oldest first."""
        workspace, others = self.principal.workspace, self.parts.fronts.elsewhere
        contexts = self.parts.contexts.everywhere(workspace)
        if others is None:
            return {one.key: self.kernel(one) for one in await contexts}
        found, connections = await asyncio.gather(contexts, others(workspace))
        return {one.key: self.kernel(one, connections.get(one.id, 0)) for one in found}

    async def make(self, name: str | None) -> Context:
        """Make a context for a front."""
        self.check_open()
        context = await self.parts.contexts.create(
            self.principal.workspace, self.language_of(name), HOME
        )
        try:
            await self.parts.sessions.note_made(context.key)
        except BaseException:
            await self.parts.contexts.delete(context.workspace, context.id)
            raise
        return context

    async def end(self, context: Context) -> None:
        """Delete a context that a front has made; another one only loses the front.

        A front that is closed ends all kernels that it is attached to, and would end
        the work of an agent.
        """
        if self.parts.sessions.made(context.key):
            await self.parts.contexts.delete(context.workspace, context.id)

    def end_with(self, status: HTTPStatus) -> None:
        """Answer without a body."""
        self.clear_header("Content-Type")
        self.set_status(status)
        self.finish()


class ApiHandler(_JupyterHandler):
    """GET /api: which version this is."""

    public = True

    def get(self) -> None:
        """Answer the version."""
        self.answer({"version": VERSION})


class TreeHandler(_JupyterHandler):
    """GET /tree: where Jupyter Server has a page for those who need no password.

    VS Code asks for a password of Jupyter's if it gets anything but 200 here.
    """

    def get(self) -> None:
        """Answer that there is nothing to log in to."""
        self.answer({})


class MeHandler(_JupyterHandler):
    """GET /api/me: who the caller is."""

    def get(self) -> None:
        """Answer the caller's identity."""
        name = self.principal.client or self.principal.workspace
        identity = {
            "username": name,
            "name": name,
            "display_name": name,
            "initials": name[:1],
            "avatar_url": None,
            "color": None,
        }
        self.answer({"identity": identity, "permissions": {}})


class StatusHandler(_JupyterHandler):
    """GET /api/status: what is there; some clients wait until it answers."""

    started = jupyter_time(datetime.now(timezone.utc))

    async def get(self) -> None:
        """Count the contexts of the workspace, and their fronts."""
        kernels = list((await self.kernels()).values())
        used = max((one["last_activity"] for one in kernels), default=self.started)
        self.answer(
            {
                "started": self.started,
                "last_activity": used,
                "kernels": len(kernels),
                "connections": sum(one["connections"] for one in kernels),
            }
        )


class KernelspecsHandler(_JupyterHandler):
    """GET /api/kernelspecs: what contexts can be made."""

    async def get(self) -> None:
        """List the languages."""
        self.answer(await self.specs())

    async def specs(self) -> dict[str, Any]:
        """Return all kernelspecs."""
        languages = self.parts.contexts.languages
        served = list(languages.served.values())
        return kernelspecs_answer(
            served, languages.suggested, await self.installed(served)
        )

    async def installed(
        self, languages: Iterable[Language]
    ) -> dict[str, InstalledKernelspec]:
        """Return the kernelspecs of languages, of those that are installed here."""
        names = [kernelspec_name(language) for language in languages]
        return await self.parts.contexts.engines.kernelspecs(names)


class KernelspecHandler(KernelspecsHandler):
    """GET /api/kernelspecs/{name}."""

    async def get(self, name: str) -> None:  # type: ignore[override]
        """Answer one of them."""
        spec = (await self.specs())["kernelspecs"].get(name)
        if spec is None:
            raise RouteMissingError
        self.answer(spec)


class LogoHandler(KernelspecsHandler):
    """GET /kernelspecs/{name}/{file}: a picture that launchers show."""

    async def get(self, name: str, file: str) -> None:  # type: ignore[override]
        """Answer it."""
        served = self.parts.contexts.languages.served.values()
        installed = (await self.installed(served)).get(name)
        logo = None if installed is None else installed.logos.get(file)
        if logo is None:
            raise RouteMissingError
        self.set_header("Content-Type", logo.media_type)
        self.finish(await asyncio.to_thread(logo.file.read_bytes))


class KernelsHandler(_JupyterHandler):
    """The contexts of the workspace, as kernels."""

    async def get(self) -> None:
        """List them."""
        self.answer(list((await self.kernels()).values()))

    async def post(self) -> None:
        """Make one, or answer the one that is named."""
        asked = self.parse_json(StartKernel) if self.request.body else StartKernel()
        if asked.kernel_id is not None:
            context = self.find_context(asked.kernel_id)
        else:
            context = await self.make(asked.name)
        kernel = self.kernel(context)
        self.set_header("Location", f"{self.request.path}/{kernel['id']}")
        self.answer(kernel, HTTPStatus.CREATED)


class KernelHandler(_JupyterHandler):
    """One context, as a kernel."""

    def get(self, context_id: str) -> None:
        """Answer its model."""
        self.answer(self.kernel(self.find_context(context_id)))

    async def delete(self, context_id: str) -> None:
        """End it if a front has made it."""
        await self.end(self.find_context(context_id))
        self.end_with(HTTPStatus.NO_CONTENT)


class InterruptKernelHandler(_JupyterHandler):
    """Stops what runs."""

    def post(self, context_id: str) -> None:
        """Interrupt the context."""
        self.find_context(context_id).interrupt()
        self.end_with(HTTPStatus.NO_CONTENT)


class RestartKernelHandler(_JupyterHandler):
    """Has a context begin anew that a front has made."""

    async def post(self, context_id: str) -> None:
        """Restart it."""
        self.check_open()
        context = self.find_context(context_id)
        await restart(self, context)
        self.answer(self.kernel(context))


async def restart(handler: Handler, context: Context) -> None:
    """Restart a context for a front.

    Raises:
        ForeignContextError: No front has made it: all state of somebody's would go.
    """
    if not handler.parts.sessions.made(context.key):
        raise ForeignContextError(context.id)
    await handler.parts.contexts.restart(context)


class SessionsHandler(_JupyterHandler):
    """The sessions of the workspace: at least one for each context."""

    async def get(self) -> None:
        """List them."""
        kernels = await self.kernels()
        workspace, sessions = self.principal.workspace, self.parts.sessions
        rows = await sessions.everywhere(workspace, kernels)
        self.answer([session_answer(row, kernels[row.key]) for row in rows])

    async def post(self) -> None:
        """Answer the document's, or make one, with a new context or one there is."""
        asked = self.parse_json(StartSession)
        workspace, sessions = self.principal.workspace, self.parts.sessions
        async with sessions.opening(workspace, asked.path):
            row = await sessions.of_path(workspace, asked.path)
            context = None if row is None else await self._kept(row, asked.kernel)
            if row is None or context is None:
                context = await self.context_of(asked.kernel)
                row = Session(asked.path, asked.name, asked.type, context.key)
                await sessions.put(row)
        self.answer(session_answer(row, self.kernel(context)), HTTPStatus.CREATED)

    async def _kept(self, row: Session, asked: KernelName) -> Context | None:
        """Return the context that a document goes on with, as with Jupyter Server.

        None if it is dead, or if another one is asked for by its id: there, kernels end
        with their sessions, and here a document may be of a context of last week's.
        """
        if asked.id is not None:
            context = self.find_context(asked.id)
            return context if context.key == row.key else None
        await self.parts.contexts.adopt(*row.key)
        try:
            context = self.find_context(row.key[1])
        except ContextMissingError:
            return None
        return None if context.state is State.DEAD else context

    async def context_of(self, asked: KernelName) -> Context:
        """Find the context that a session names, or make it."""
        if asked.id is not None:
            return self.find_context(asked.id)
        return await self.make(asked.name)


class SessionHandler(SessionsHandler):
    """One session."""

    def row(self, session_id: str) -> Session:
        """Find it among those of the workspace that are here.

        Raises:
            SessionMissingError: There is none of that id.
        """
        contexts = self.parts.contexts.in_workspace(self.principal.workspace)
        rows = self.parts.sessions.list([one.key for one in contexts])
        return _of_id(session_id, rows)

    async def row_anywhere(self, session_id: str) -> Session:
        """Find it also if its context is another server's.

        Raises:
            SessionMissingError: There is none of that id.
        """
        workspace, sessions = self.principal.workspace, self.parts.sessions
        contexts = await self.parts.contexts.everywhere(workspace)
        keys = [one.key for one in contexts]
        return _of_id(session_id, await sessions.everywhere(workspace, keys))

    async def get(self, session_id: str) -> None:  # type: ignore[override]
        """Answer its model."""
        row = self.row(session_id)
        self.answer(session_answer(row, self.kernel(self.find_context(row.key[1]))))

    async def patch(self, session_id: str) -> None:
        """Change its document, or have it use another context."""
        asked = self.parse_json(PatchSession)
        if asked.kernel is not None and (asked.kernel.id or asked.kernel.name):
            row = await self.row_anywhere(session_id)
            context = await self.context_of(asked.kernel)
        else:
            row = self.row(session_id)
            context = self.find_context(row.key[1])
        before = row.key
        row = Session(
            row.path if asked.path is None else asked.path,
            row.name if asked.name is None else asked.name,
            row.kind if asked.type is None else asked.type,
            context.key,
            row.id,
        )
        has_left = before != context.key
        await self.parts.sessions.put(row, before[1] if has_left else "")
        if has_left:
            await self._end_here(before)
        self.answer(session_answer(row, self.kernel(context)))

    async def _end_here(self, key: Key) -> None:
        """End a context that its session has left, unless another server has it."""
        # That has been told. What nobody has is ours. If it can't be ended now, it can
        # be deleted later: it is in the list of contexts.
        with suppress(ServerError):
            await self.parts.contexts.adopt(*key)
            await self.end(self.find_context(key[1]))

    async def delete(self, session_id: str) -> None:
        """Drop it, and end its context if a front has made that."""
        try:
            row = self.row(session_id)
        except SessionMissingError:
            workspace = self.principal.workspace
            if self.parts.sessions.drop_orphan(workspace, session_id):
                raise SessionGoneError(session_id) from None
            raise
        await self.parts.sessions.drop_now(row.id)
        await self.end(self.find_context(row.key[1]))
        self.end_with(HTTPStatus.NO_CONTENT)


def _of_id(session_id: str, rows: Iterable[Session]) -> Session:
    """Return the session of an id.

    A session that fronts know by its context's id may use another one by now: that row
    holds, not the one which the first context has by itself again.

    Raises:
        SessionMissingError: There is none.
    """
    found = [row for row in rows if row.id == session_id]
    if not found:
        raise SessionMissingError(session_id)
    return max(found, key=lambda row: row != Session.of_context(row.key))


class ChannelsHandler(WebSocketHandler, _JupyterHandler):
    """The websocket of a front: all channels of one context."""

    front: Front | None = None

    _unsent = 0

    @property
    def ping_interval(self) -> float:
        """Seconds between pings: proxies close what is silent."""
        return _PING_SECONDS

    @property
    def max_message_size(self) -> int:
        """Bytes of one message."""
        return self.parts.settings.request_body_bytes_max

    def check_origin(self, origin: str) -> bool:
        """Tell that the origin was looked at before, in `prepare`."""
        del origin
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Choose the newer form of messages where the client has it."""
        return V1 if V1 in subprotocols else None

    async def get(self, context_id: str) -> None:
        """Find the context, then open the websocket."""
        self._context = self.find_context(context_id)
        self._session = self.get_query_argument("session_id", "") or uuid4().hex
        self.parts.fronts.check(self._context, self._session)
        await WebSocketHandler.get(self, context_id)

    def open(self, *_args: str, **_named: str) -> None:
        """Attach; called by Tornado when the websocket is there."""
        client = self.principal.client
        self.front = self.parts.fronts.attach(self._context, self._session, client)
        self.front.connect(self)

    @property
    def has_room(self) -> bool:
        """Whether little waits for the client to read it."""
        return self._unsent < self.parts.settings.stream_buffer_characters_max

    def deliver(self, message: FrontMessage) -> None:
        """Send a message of the context."""
        data = encode(message, v1=self.selected_subprotocol == V1)
        self._unsent += len(data)
        try:
            sent = self.write_message(data, binary=isinstance(data, bytes))
        except WebSocketClosedError:
            self._leave()
            return
        IOLoop.current().add_future(sent, lambda done: self._sent(done, len(data)))

    def probe(self, mark: bytes) -> None:
        """Send a ping with a mark."""
        with suppress(WebSocketClosedError):
            self.ping(mark)
            self._acknowledge_soon()

    def _acknowledge_soon(self) -> None:
        """Have the system acknowledge at once what comes next: the pong.

        Clients that use Nagle's algorithm (jupyter_server) send nothing after it
        until it is acknowledged: each cell would wait 40 ms for that.
        """
        stream = None if self.ws_connection is None else self.ws_connection.stream
        if stream is not None and not stream.closed():
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def on_pong(self, data: bytes) -> None:
        """Note that a ping has come back; called by Tornado, of its own too."""
        if self.front is not None:
            self.front.arrived(data)

    def _sent(self, done: asyncio.Future[None], size: int) -> None:
        had_room = self.has_room
        self._unsent -= size
        if done.exception() is not None:
            self._leave()
        elif self.front is not None and self.has_room and not had_room:
            self.front.resume()

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Handle what the client sends; called by Tornado, which waits for it."""
        if self.front is None:
            return None
        try:
            request = decode(message, v1=self.selected_subprotocol == V1)
        except InvalidRequestError as error:
            self._drop(_BAD_MESSAGE, error.in_words())
            return None
        rates = self.parts.rates
        try:
            if request.kind == "execute_request":
                if rates.shared and "execute" in rates.limited:
                    return self._receive_counted(request)
                rates.check(self.principal, "request")
        except RateLimitError as error:
            self.front.refuse(request, error)
        else:
            self.front.receive(request, lambda: restart(self, self._context))
        return None

    async def _receive_counted(self, request: FrontMessage) -> None:
        """Handle a cell that counts for the rate of several servers."""
        refusal = None
        try:
            await self.parts.rates.take(self.principal, "request")
        except (RateLimitError, DatabaseError) as error:
            refusal = error
        if self.front is None:
            return
        if refusal is not None:
            self.front.refuse(request, refusal)
        else:
            self.front.receive(request, lambda: restart(self, self._context))

    def _drop(self, code: int, reason: str) -> None:
        self._leave()
        self.close(code, reason.encode()[:_REASON_MAX].decode("utf-8", "ignore"))

    def _leave(self) -> None:
        front, self.front = self.front, None
        if front is not None:
            front.disconnect(self)

    def on_close(self) -> None:
        """Detach; called by Tornado."""
        self._leave()
        self.gone = True
        self.parts.leave(self)

    def on_connection_close(self) -> None:
        """Note that the client is gone; called by Tornado."""
        WebSocketHandler.on_connection_close(self)
        self.parts.leave(self)


class FrontsHandler(Handler):
    """Who is attached to a context."""

    def get(self, context_id: str) -> None:
        """List them, those who may come back included."""
        context = self.find_context(context_id)
        fronts = self.parts.fronts
        there: list[Front | Reader] = [*fronts.of(context), *fronts.readers(context)]
        self.answer({"items": [front_answer(each) for each in there]})


class MessagesHandler(Handler):
    """What a context has said, for whoever can't speak Jupyter's protocol."""

    async def get(self, context_id: str) -> None:
        """Answer a page, or a stream that goes on."""
        context = self.find_context(context_id)
        asked = self.parse_query(MessagesQuery)
        after = self.request.headers.get("Last-Event-ID") or asked.after
        place = read_cursor(context.transcript, after)
        streams = _EVENTS in self.request.headers.get("Accept", "")
        if not streams and not asked.wait_seconds:
            found = context.transcript.after(place.number, asked.limit)
            self._answer(context, place, found)
            return
        fronts = self.parts.fronts
        reader = fronts.join(context, self.principal.client, place.number)
        try:
            if streams:
                events = _MessageEvents(reader, anew=place.anew)
                await self.send_events(events, events.first)
            else:
                found = await reader.read(asked.limit, asked.wait_seconds)
                self._answer(context, place, found)
        finally:
            fronts.leave(reader)

    def _answer(self, context: Context, place: Place, found: list[Entry]) -> None:
        self.answer(
            messages_answer(context.transcript, place.number, found, anew=place.anew)
        )


class _MessageEvents:
    """What a reader has of a context's messages, as events; an `EventSource`.

    Attributes:
        first: What tells a client that the context is another one; empty if it isn't.
    """

    def __init__(self, reader: Reader, *, anew: bool) -> None:
        self.ended = False
        self._reader = reader
        cursor = cursor_of(reader.context.transcript, 0)
        self.first = _event("anew", {}, cursor) if anew else ""

    async def get(self, seconds: float) -> str:
        """Return what comes next; see `EventSource`."""
        reader = self._reader
        found = await reader.read(_AT_ONCE, seconds)
        if not found and reader.end:
            self.ended = True
            return _event("end", {"reason": reader.end})
        return "".join(self._events(found))

    def _events(self, found: list[Entry]) -> Iterator[str]:
        reader, transcript = self._reader, self._reader.context.transcript
        for entry in found:
            missed = entry.number - reader.number - 1
            if missed:
                cursor = cursor_of(transcript, entry.number - 1)
                yield _event("missed", {"count": missed}, cursor)
            reader.number = entry.number
            cursor = cursor_of(transcript, entry.number)
            yield _event("message", message_answer(entry), cursor)


def _event(name: str, data: dict[str, Any], cursor: str = "") -> str:
    head = f"id: {cursor}\n" if cursor else ""
    text = msgspec.json.encode(data, enc_hook=str).decode()
    return f"{head}event: {name}\ndata: {text}\n\n"
