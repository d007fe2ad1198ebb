"""What handlers do besides on a server that has others: requests go to their owner.

`passing_routes` gives each handler that may be asked for what is another server's a
subclass, so that a server without others has nothing of this. The class is between
the handler and `Handler`: `prepare` finds out who asks, as ever, or reads it from the
mark of the server that passes the request on. Then what the request names is looked
for. If that is elsewhere, the answer comes from there, and the handler does nothing.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
from tornado.httputil import HTTPHeaders, parse_response_start_line
from tornado.iostream import StreamClosedError
from tornado.web import Finish

from isoserver.cluster.balance import Load
from isoserver.cluster.kinds import CONTEXT, RUN
from isoserver.contexts.context import id_made_for
from isoserver.contexts.records import ContextRecord
from isoserver.errors import (
    ContextError,
    ContextMissingError,
    ElsewhereError,
    ExecutionError,
    LeaseError,
    MovingError,
    PeerLostError,
    PeerUnreachableError,
    RouteMissingError,
    TaskError,
    UnmovableError,
)
from isoserver.http.handlers import Handler, request_id
from isoserver.http.routes import Operation, Route
from isoserver.http.whole import WholeRequest
from isoserver.mcp.owned import read_owned
from isoserver.passing.marks import MARK
from isoserver.passing.service import (
    NO_BODY,
    OWNER,
    PEER_ROOM,
    WAKING,
    Owner,
    PeerRequest,
    Room,
)
from isoserver.principal import Principal
from isoserver.runs.records import Kind, RunRecord

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator

    from tornado.httputil import ResponseStartLine
    from tornado.iostream import IOStream

    from isoserver.cluster.balance import Shift
    from isoserver.cluster.service import Cluster, Peer
    from isoserver.contexts.context import Key
    from isoserver.passing.service import Exchange, Passing
    from isoserver.storage.database import Held

__all__ = [
    "PEER_ROUTES",
    "PassingHandler",
    "contexts_elsewhere",
    "fronts_elsewhere",
    "hand_over",
    "loads_elsewhere",
    "move_elsewhere",
    "pass_session",
    "passing_routes",
    "runs_elsewhere",
    "server_to_wake_on",
]

Said = TypeVar("Said")

PEER_CONTEXTS: Final = "/cluster/contexts"
PEER_FRONTS: Final = "/cluster/fronts"
PEER_LOAD: Final = "/cluster/load"
PEER_MOVES: Final = "/cluster/moves"
PEER_RUNS: Final = "/cluster/runs"
PEER_SESSIONS: Final = "/cluster/sessions"
_ATTEMPTS: Final = 3
"""Times that an owner is looked for, while what is asked for moves."""
_PLACES_MAX: Final = 8
"""Servers that are asked to make something, as long as none has room for it."""


_OF_WHAT_WAS_HERE: Final = (ContextError, ExecutionError, TaskError)
"""Errors about what this server had, or would have if it could serve."""


class Target(NamedTuple):
    """What a request is about.

    Attributes:
        kind: What it is, as the cluster calls it; empty if it is to be made.
        id: Its id in the workspace; empty if it has none yet.
        made: Whether it is made if it isn't there, by any server that has room.
        run: Of which kind, if it is a run that is to be made and there is no room here.
    """

    kind: str
    id: str
    made: bool = False
    run: Kind | None = None


SERVER: Final = "server"
"""The kind of what is in the memory of one server, whose id is known."""
FRONT: Final = "front"
"""That of the sessions of Jupyter's fronts."""
DOCUMENT: Final = "document"
"""That of the documents of those, each of which has one session."""
_OF_CONTEXTS: Final = frozenset({CONTEXT, FRONT, DOCUMENT})
_ANYWHERE: Final = Target("", "")
_HERE: Final = Target(SERVER, "")
"""Of what begins on the server that was asked, which its answer names as the owner."""
_OF_MCP: Final = frozenset({"/mcp", "/sse"})
_WAKING: Final = frozenset(
    {
        *("/api/exec", "/execute", "/execute/async", "/mcp", "/tasks"),
        *("/jupyter/api/kernels", "/jupyter/api/sessions"),
        "/jupyter/api/kernels/{context_id}/restart",
        *(
            f"/contexts/{{context_id}}/{verb}"
            for verb in ("complete", "fork", "forks", "inspect", "notebook", "restart")
        ),
    }
)
"""Routes of what needs a live context, or makes a front that will."""
_ACTIONS: Final = "/ui/contexts/{context_id}/{action}"
_WAKING_ACTIONS: Final = frozenset({"fork", "restart", "run"})


class PassingHandler(Handler):
    """Passes requests on that are another server's.

    Attributes:
        exchange: The request that is passed on, while it is.
    """

    exchange: Exchange | None = None
    _places: Iterator[Peer | None] | None = None
    _target: Target | None = None
    _owner = ""
    _passed_to = ""

    @property
    def passing(self) -> Passing:
        """What passes requests on."""
        assert self.parts.passing is not None  # noqa: S101 - else this isn't used
        return self.parts.passing

    async def prepare(self) -> None:
        """Find out who asks, and answer from elsewhere what is elsewhere."""
        mark = self.request.headers.get(MARK)
        try:
            if mark is None:
                await super().prepare()
            else:
                await self._prepare_marked(mark)
        except ElsewhereError as error:
            if mark is not None:
                raise
            await self._answer_from(Owner(error.server_id, error.url))
        if self._target is not None or mark is not None:
            self._owner = self.passing.url
            self.set_header(OWNER, self._owner)

    async def _prepare_marked(self, mark: str) -> None:
        """Do what `Handler.prepare` does, of what another server hasn't done yet."""
        _enter_marked(self, self.passing, mark)
        self._allow_origin()
        await self.locate(self.passing.cluster)

    async def locate(self, cluster: Cluster) -> None:
        """Have what is asked for be here; called by `Handler.prepare`.

        Raises:
            ElsewhereError: It is another server's.
            LeaseError: This server may not serve now.
        """
        cluster.check()
        self._target = target = _target(self)
        if target is None:
            return
        if MARK in self.request.headers:
            # Else whoever makes it looks, who can't say no to the server amid MCP.
            looks = not target.made or self.route in _OF_MCP
            here = self.parts.contexts.has(self.principal.workspace, target.id)
            if target.kind and (looks or here):
                await self._look_for(target)
            makes = target.made or not target.kind
            if makes and not await self._may_be_made(target):
                raise ElsewhereError(cluster.server_id, self.passing.url)
            return
        if not self._comes_in_parts:  # else nothing can be sent twice
            key = self.principal.workspace, target.id
            known = self.passing.hint(target.kind, key)
            if known is not None:
                raise ElsewhereError(*known)
        if target.kind:
            await self._look_for(target)
        if not target.kind or (target.made and not await self._is_here(target)):
            await self._place(target)

    async def _may_be_made(self, target: Target) -> bool:
        """Whether what another server wants to have made here is here, or has room."""
        return self._has_room() or (target.made and await self._is_here(target))

    def _has_room(self) -> bool:
        """Whether the workspace may have what is asked for, here."""
        assert self._target is not None  # noqa: S101 - that is what is asked for
        workspace, kind = self.principal.workspace, self._target.run
        if kind is not None:
            return self.parts.runs.has_room(kind, workspace)
        return self.parts.contexts.has_room(workspace)

    async def _is_here(self, target: Target) -> bool:
        name = await self._context_of(target)
        try:
            return name is not None and self.find_context(name) is not None
        except ContextMissingError:
            return False

    async def _context_of(self, target: Target) -> str | None:
        """Return the id of the context that a request is about; None if none is."""
        workspace, sessions = self.principal.workspace, self.parts.sessions
        if target.kind == FRONT:
            # Or the one that a context has by itself, whose id is that of its kernel.
            return await sessions.context_of(workspace, target.id) or target.id
        if target.kind == DOCUMENT:
            row = await sessions.of_path(workspace, target.id)
            return None if row is None else row.key[1]
        return target.id

    @property
    def _comes_in_parts(self) -> bool:
        return self.streams_body and self.request.method == "PUT"

    @property
    def _wakes(self) -> bool:
        """Whether a context is to be where it can wake, as it will do that.

        Servers ask others what is MCP's without looking anew for who has it.
        """
        if self.route in _OF_MCP and MARK in self.request.headers:
            return False
        if self.route == _ACTIONS:
            return self.path_kwargs["action"] in _WAKING_ACTIONS
        return self.route in _WAKING and self.request.method == "POST"

    async def _look_for(self, target: Target) -> None:
        workspace = self.principal.workspace
        if target.kind in _OF_CONTEXTS:
            name = await self._context_of(target)
            if name is not None:
                await self.parts.contexts.adopt(workspace, name, wakes=self._wakes)
            return
        if target.kind == RUN:
            if not self.parts.runs.has(target.id):
                owner = await self.passing.cluster.owner_of(RUN, (workspace, target.id))
                if owner is not None:
                    raise ElsewhereError(owner.id, owner.url)
            return
        for peer in self.passing.cluster.peers():
            if peer.id == target.id:
                raise ElsewhereError(peer.id, peer.url)

    async def _place(self, target: Target) -> None:
        """Have something made where there is room for it."""
        cluster = self.passing.cluster
        peers = [one for one in cluster.peers() if not one.draining]
        own_place = [] if cluster.draining and peers else [None]
        places: list[Peer | None] = [*own_place, *peers]
        if target.id:
            # The same, asked of any servers at once, is made by one of them.
            text, own = f"{self.principal.workspace}\0{target.id}", cluster.server_id
            places.sort(key=lambda one: _weight(text, one, own), reverse=True)
        else:
            first = None if target.run is not None else await cluster.place()
            places.sort(key=lambda one: (one != first, cluster.fullness(one)))
        self._places = iter(places[:_PLACES_MAX])
        owner = self._next_place()
        if owner is not None:
            raise ElsewhereError(owner.id, owner.url)

    def _next_place(self) -> Owner | None:
        """Return the next server to be asked to make something; None for this one.

        If none has room for it, this one says so.
        """
        assert self._places is not None  # noqa: S101 - it is to be made
        for peer in self._places:
            if peer is not None:
                return Owner(peer.id, peer.url)
            if self._has_room():
                break
        return None

    # -- passing on --------------------------------------------------------------------

    async def _answer_from(self, owner: Owner) -> None:
        """Answer from another server; return only if what is asked for is here by now.

        Raises:
            Finish: It is answered.
            MovingError: No server has it now.
        """
        self.request.headers["X-Request-Id"] = request_id(self.request)
        target = self._target
        assert target is not None  # noqa: S101 - something is elsewhere
        key = self.principal.workspace, target.id
        for _ in range(_ATTEMPTS + (0 if self._places is None else _PLACES_MAX)):
            unreachable = None
            try:
                if await self._pass_on(owner):
                    self.parts.metrics.passed_on("answered")
                    if target.kind:
                        self.passing.learn(target.kind, key, owner)
                    raise Finish
            except PeerLostError:
                self.parts.metrics.passed_on("lost")
                raise
            except PeerUnreachableError as error:
                self.parts.metrics.passed_on("unreachable")
                unreachable = error
            following = await self._following(target, owner, unreachable)
            if following is None:
                return
            owner = following
        raise MovingError

    async def _following(
        self, target: Target, owner: Owner, unreachable: PeerUnreachableError | None
    ) -> Owner | None:
        """Return which server to ask after one that didn't answer; None for this one.

        Raises:
            PeerUnreachableError: There is no other, as that one has it.
        """
        if target.kind:
            self.passing.learn(target.kind, (self.principal.workspace, target.id), None)
            try:
                await self._look_for(target)
            except ElsewhereError as error:
                if unreachable is not None and error.server_id == owner.id:
                    raise unreachable from None
                return Owner(error.server_id, error.url)
        if self._places is None or (target.kind and await self._is_here(target)):
            return None
        # It couldn't be made there: this server is as good a place, or another.
        return self._next_place()

    async def _pass_on(self, owner: Owner) -> bool:
        """Have another server answer; False if it says that it isn't the owner."""
        self._passed_to = owner.url
        for new in (False, True):
            arguments = owner, self.request, self.principal, self
            exchange = await self.passing.open(*arguments, new=new)
            self.exchange = exchange
            if self.gone:
                exchange.close()
                raise Finish
            try:
                if self._comes_in_parts:
                    await self._pass_parts(exchange)
                    if exchange.misdirected:
                        raise MovingError
                else:
                    await exchange.run(self.request.body)
            except PeerLostError:
                if new or not exchange.repeatable:
                    raise
                continue
            break
        self.exchange = None
        if self.get_status() == HTTPStatus.SWITCHING_PROTOCOLS:
            self.on_finish()  # Tornado believes that somebody else does that
        return not exchange.misdirected

    async def _pass_parts(self, exchange: Exchange) -> None:
        """Pass on a request whose body Tornado gives while it comes."""
        exchange.begin()
        self.data_received = exchange.send  # type: ignore[method-assign]
        prepared: Any = self._prepared_future
        prepared.set_result(None)  # it begins to give
        try:
            await self.request._body_future  # noqa: SLF001 - as Tornado does
        except StreamClosedError:
            exchange.close()
            raise Finish from None
        await exchange.end_body()

    # -- the answer --------------------------------------------------------------------

    def answer_whole(self, code: int, answer: bytes) -> None:
        """Send another server's answer as it is."""
        connection = self.request.connection
        if not isinstance(connection, WholeRequest) or self.parts.ending:
            head, _, body = answer.partition(b"\r\n\r\n")
            line, _, fields = head.decode("latin-1").partition("\r\n")
            self.begin_answer(
                parse_response_start_line(line), HTTPHeaders.parse(fields)
            )
            self.end_answer(body)
            return
        self.set_status(code)
        self._sent_bytes = len(answer)
        # What Tornado does at the end of an answer.
        connection.set_close_callback(None)
        self._finished = True
        connection.write_whole(answer)
        self.on_finish()
        self._break_cycles()

    def begin_answer(self, line: ResponseStartLine, headers: HTTPHeaders) -> None:
        """Take over the head of another server's answer."""
        self.set_status(line.code, line.reason)
        self._headers = headers
        if OWNER not in headers:
            headers[OWNER] = self._passed_to

    def send_part(self, data: bytes) -> asyncio.Future[None]:
        """Send a part of it."""
        self.write(data)
        return self.flush()

    def end_answer(self, data: bytes) -> None:
        """Send the last part of it."""
        if self.get_status() in NO_BODY:
            self.finish()
        else:
            self.finish(data)

    def cut_answer(self) -> None:
        """Close the connection, as the rest of the answer will never come."""
        if not self.gone:
            self.parts.log.warning("an answer was cut", route=self.route)
            self.on_connection_close()
            self.detach().close()

    def give_stream(self) -> IOStream:
        """Give the connection up: what comes is passed on unread."""
        self.set_status(HTTPStatus.SWITCHING_PROTOCOLS)
        return self.detach()

    def on_connection_close(self) -> None:
        """End what is passed on, as nobody waits for its answer."""
        super().on_connection_close()
        if self.exchange is not None:
            self.exchange.close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say who owns it in errors, too."""
        if self._owner:
            self.set_header(OWNER, self._owner)
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, ElsewhereError) and MARK not in self.request.headers:
            # It went there while it was asked for: a client can only try again.
            kwargs["exc_info"] = (MovingError, MovingError(), None)
        elif isinstance(error, _OF_WHAT_WAS_HERE):
            try:
                self.passing.cluster.check()
            except LeaseError as over:
                # It goes on elsewhere, whatever became of it here.
                kwargs["exc_info"] = (LeaseError, over, None)
        super().write_error(status_code, **kwargs)


def _enter_marked(handler: Handler, passing: Passing, mark: str) -> None:
    """Begin with a request of another server, which says who asks.

    Raises:
        PeerMarkError: That isn't a server of this cluster, or of this request.
        PeerUnreachableError: It means another server than this one.
    """
    handler.parts.enter(handler)
    request = handler.request
    method, url = request.method or "", request.uri or ""
    handler.principal = passing.marks.read(mark, method, url)


class _PeerHandler(Handler):
    """Root of what only other servers ask for; for all else there is no such path."""

    async def prepare(self) -> None:
        """Read who asks from the mark."""
        mark = self.request.headers.get(MARK)
        if mark is None or self.parts.passing is None:
            await super().prepare()
            raise RouteMissingError
        _enter_marked(self, self.parts.passing, mark)


class PeerContextsHandler(_PeerHandler):
    """The contexts of a workspace that are here."""

    def get(self) -> None:
        """List them as they are now."""
        found = self.parts.contexts.in_workspace(self.principal.workspace)
        self.answer(
            [
                one
                if isinstance(one, ContextRecord)
                else ContextRecord.of(one, one.state.value, one.reason)
                for one in found
            ]
        )

    async def post(self) -> None:
        """Take a context that another server gives away."""
        given, name, wake = msgspec.json.decode(
            self.request.body, type=tuple[int, str, bool]
        )
        ownership = self.parts.contexts.ownership
        assert ownership is not None  # noqa: S101 - where servers pass on
        refused = ""
        try:
            await ownership.take((self.principal.workspace, name), given, wake=wake)
        except (ElsewhereError, UnmovableError) as error:
            refused = str(error)
        self.answer({"refused": refused})


class PeerLoadHandler(_PeerHandler):
    """How much this server has."""

    def get(self) -> None:
        """Say it as it is now."""
        cluster = self.parts.cluster
        assert cluster is not None  # noqa: S101 - where servers pass on
        self.answer(cluster.load_now())


class PeerRoomHandler(_PeerHandler):
    """What else a workspace may have here."""

    def get(self) -> None:
        """Say it as it is now."""
        workspace, parts = self.principal.workspace, self.parts
        assert parts.cluster is not None  # noqa: S101 - where servers pass on
        things = [kind for kind in Kind if parts.runs.has_room(kind, workspace)]
        contexts = [CONTEXT] if parts.contexts.has_room(workspace) else []
        waking = [WAKING] if parts.contexts.can_wake(workspace) else []
        self.answer(Room(parts.cluster.server_id, [*things, *contexts, *waking]))


class PeerMovesHandler(_PeerHandler):
    """Contexts of this server's that are to be another one's."""

    async def post(self) -> None:
        """Move some, and say which."""
        receiver, number = msgspec.json.decode(self.request.body, type=tuple[str, int])
        cluster, ownership = self.parts.cluster, self.parts.contexts.ownership
        assert cluster is not None  # noqa: S101 - where servers pass on
        assert ownership is not None  # noqa: S101 - likewise
        self.answer(await ownership.give(cluster.find(receiver), number))


class PeerFrontsHandler(_PeerHandler):
    """How many fronts are connected here to contexts of a workspace."""

    def get(self) -> None:
        """Count them, by context."""
        self.answer(self.parts.fronts.in_workspace(self.principal.workspace))


class PeerRunsHandler(_PeerHandler):
    """The runs of a workspace that go on here."""

    def get(self) -> None:
        """List them as they are now."""
        self.answer(self.parts.runs.unended(self.principal.workspace))


class PeerSessionsHandler(_PeerHandler):
    """The sessions of fronts with contexts that are here."""

    async def post(self) -> None:
        """Drop what another server has by now, and end what that has left behind."""
        path, session_id, left = msgspec.json.decode(
            self.request.body, type=tuple[str, str, str]
        )
        workspace, sessions = self.principal.workspace, self.parts.sessions
        sessions.drop_passed(workspace, path, session_id)
        await sessions.written()  # for servers that look there
        if left and sessions.made((workspace, left)):
            await self.parts.contexts.delete(workspace, left)
        self.answer({})


async def pass_session(
    passing: Passing, workspace: str, path: str, session_id: str, left: str
) -> None:
    """Tell other servers whose document has a session here.

    Args:
        passing: Asks them.
        workspace: Whose it is.
        path: The document, of which they drop all others.
        session_id: The session, which isn't theirs any more.
        left: The context that it has used, and that ends if a front has made it; or
            empty.
    """
    body = msgspec.json.encode((path, session_id, left))
    await passing.ask_all(PEER_SESSIONS, Principal(workspace, admin=False), body)


async def contexts_elsewhere(passing: Passing, workspace: str) -> list[ContextRecord]:
    """Return a workspace's contexts on other servers, as they are now."""
    answers = await passing.ask_all(PEER_CONTEXTS, Principal(workspace, admin=False))
    return [one for data in answers for one in _CONTEXTS.decode(data)]


async def fronts_elsewhere(passing: Passing, workspace: str) -> dict[str, int]:
    """Count the fronts that are connected on other servers, by context."""
    answers = await passing.ask_all(PEER_FRONTS, Principal(workspace, admin=False))
    return {
        name: number
        for data in answers
        for name, number in _NUMBERS.decode(data).items()
    }


async def runs_elsewhere(passing: Passing, workspace: str) -> list[RunRecord]:
    """Return a workspace's runs that go on on other servers."""
    answers = await passing.ask_all(PEER_RUNS, Principal(workspace, admin=False))
    return [one for data in answers for one in _RUNS.decode(data)]


async def hand_over(passing: Passing, peer: Peer, held: Held, wake: bool) -> None:  # noqa: FBT001 - of one form with others
    """Have another server take a context that this one has put down.

    Args:
        passing: Asks it.
        peer: The other server.
        held: The context, as this server has it.
        wake: Whether it is to be live there.

    Raises:
        PeerUnreachableError: The server can't be reached.
        PeerLostError: It doesn't say that it has it.
        UnmovableError: It doesn't take it.
    """
    workspace, name, generation = held
    body = msgspec.json.encode((generation, name, wake))
    principal = Principal(workspace, admin=False)
    owner = Owner(peer.id, peer.url)
    request = PeerRequest(owner, "POST", PEER_CONTEXTS, principal, body)
    said = await passing.ask(request)
    refused = _read(said, dict[str, str]).get("refused")
    if refused is None:
        raise PeerLostError
    if refused:
        raise UnmovableError(refused)


async def server_to_wake_on(passing: Passing, workspace: str) -> Peer | None:
    """Return the emptiest other server where a context of a workspace can wake."""
    return await passing.server_with_room(WAKING, Principal(workspace, admin=False))


async def loads_elsewhere(passing: Passing) -> list[Load]:
    """Return how full the other servers are that answer."""
    answers = await passing.ask_all(PEER_LOAD, Principal(admin=False))
    return [_read(said, Load) for said in answers]


async def move_elsewhere(passing: Passing, shift: Shift) -> list[Key]:
    """Have another server give contexts away; return those that it has moved.

    Raises:
        PeerUnreachableError: It can't be reached.
        PeerLostError: It doesn't say which.
    """
    for peer in passing.cluster.peers():
        if peer.id == shift.giver:
            body = msgspec.json.encode((shift.receiver, shift.number))
            principal = Principal(admin=False)
            owner = Owner(peer.id, peer.url)
            request = PeerRequest(owner, "POST", PEER_MOVES, principal, body)
            said = await passing.ask(request)
            return _read(said, list[tuple[str, str]])
    return []


def _read(said: bytes, form: type[Said]) -> Said:
    """Read what a server says; another form is an error of its."""
    try:
        return msgspec.json.decode(said, type=form)
    except msgspec.DecodeError:
        raise PeerLostError from None


_CONTEXTS: Final = msgspec.json.Decoder(list[ContextRecord])
_NUMBERS: Final = msgspec.json.Decoder(dict[str, int])
_RUNS: Final = msgspec.json.Decoder(list[RunRecord])
PEER_ROUTES: Final = (
    Route(
        PEER_CONTEXTS,
        PeerContextsHandler,
        (Operation("GET", "", ()), Operation("POST", "", ())),
    ),
    Route(PEER_FRONTS, PeerFrontsHandler, (Operation("GET", "", ()),)),
    Route(PEER_LOAD, PeerLoadHandler, (Operation("GET", "", ()),)),
    Route(PEER_ROOM, PeerRoomHandler, (Operation("GET", "", ()),)),
    Route(PEER_MOVES, PeerMovesHandler, (Operation("POST", "", ()),)),
    Route(PEER_RUNS, PeerRunsHandler, (Operation("GET", "", ()),)),
    Route(PEER_SESSIONS, PeerSessionsHandler, (Operation("POST", "", ()),)),
)
"""What servers ask each other."""


def _weight(text: str, peer: Peer | None, own: str) -> bytes:
    """Return how much something draws to a server (rendezvous hashing)."""
    name = own if peer is None else peer.id
    return hashlib.blake2b(f"{name}\0{text}".encode(), digest_size=8).digest()


# -- which part of a request names what it is about ------------------------------------


class _Kernel(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Document(msgspec.Struct):
    path: str | None = None


class _Body(msgspec.Struct):
    """The fields of bodies that name something."""

    context_id: str | None = None
    execution_id: str | None = None
    session: str | None = None
    session_id: str | None = msgspec.field(name="sessionId", default=None)
    kernel_id: str | None = None
    kernel: _Kernel | None = None
    path: str | None = None
    notebook: _Document | None = None


_READER: Final = msgspec.json.Decoder(_Body)
_NOTHING: Final = _Body()


def _body(handler: Handler) -> _Body:
    """Return what a body names; nothing, if it isn't as it must be."""
    try:
        return _READER.decode(handler.request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NOTHING


def _context(name: str | None) -> Target:
    return Target(CONTEXT, name) if name else _ANYWHERE


def _of_execute(handler: Handler) -> Target:
    body = _body(handler)
    if not body.context_id and body.execution_id:
        # The one that it is sent for again, wherever that was made.
        return Target(CONTEXT, id_made_for(body.execution_id), made=True)
    return _context(body.context_id)


def _of_exec(handler: Handler) -> Target:
    session = handler.get_query_argument("session", None) or _body(handler).session
    if session:
        return Target(CONTEXT, session, made=True)
    return _of_run(handler, Kind.SCRIPT)


def _of_tasks(handler: Handler) -> Target | None:
    if handler.request.method != "POST":
        return None
    session = _body(handler).session_id
    if session:
        return Target(CONTEXT, session, made=True)
    return _of_run(handler, Kind.TASK)


def _of_run(handler: Handler, kind: Kind) -> Target:
    """Have a run without a session be where it came in, unless there is no room.

    Whoever spreads requests has chosen that.
    """
    has_room = handler.parts.runs.has_room(kind, handler.principal.workspace)
    if has_room and not _is_draining(handler):
        return _HERE
    return Target("", "", run=kind)


def _of_new(handler: Handler) -> Target:
    """Have something begin where it came in, as runs do."""
    return _ANYWHERE if _is_draining(handler) else _HERE


def _is_draining(handler: Handler) -> bool:
    """Return whether the server is to become empty."""
    cluster = handler.parts.cluster
    return cluster is not None and cluster.draining


def _of_kernels(handler: Handler) -> Target | None:
    if handler.request.method != "POST":
        return None
    return _context(_body(handler).kernel_id)


def _of_sessions(handler: Handler) -> Target | None:
    if handler.request.method != "POST":
        return None
    body = _body(handler)
    if body.kernel is not None and body.kernel.id:
        return _context(body.kernel.id)
    path = body.path or (body.notebook and body.notebook.path)
    # So that it gets one kernel, whichever servers are asked, and however often.
    return Target(DOCUMENT, path, made=True) if path else _ANYWHERE


def _of_session(handler: Handler) -> Target:
    kernel = _body(handler).kernel if handler.request.method == "PATCH" else None
    if kernel is not None and (kernel.id or kernel.name):
        # Where the context is that it is to use, as its row goes with that.
        return _context(kernel.id)
    return Target(FRONT, handler.path_kwargs["session_id"])


def _of_contexts(handler: Handler) -> Target | None:
    return _ANYWHERE if handler.request.method == "POST" else None


def _of_heap_action(handler: Handler) -> Target | None:
    return _ANYWHERE if handler.path_kwargs["action"] == "begin" else None


def _of_mcp(handler: Handler) -> Target:
    headers = handler.request.headers
    owner, _ = read_owned(headers.get("Mcp-Session-Id", ""))
    if owner:
        return Target(SERVER, owner)
    named = headers.get("X-MCP-Session-Id")
    if not named:
        return _of_new(handler)
    # The context that its tools will use, if they are asked for nothing else.
    return Target(CONTEXT, _decoded(named), made=True)


def _of_messages(handler: Handler) -> Target:
    return Target(SERVER, handler.path_kwargs["server_id"])


def _decoded(header: str) -> str:
    """Return the name of a session, which headers have as UTF-8, or encoded."""
    return unquote(header.encode("latin-1", "replace").decode("utf-8", "replace"))


_BY_PATH: Final[dict[str, Callable[[Handler], Target | None]]] = {
    "/execute": _of_execute,
    "/execute/async": _of_execute,
    "/contexts": _of_contexts,
    "/ui/contexts": _of_contexts,
    "/ui/heaps/{key}/{action}": _of_heap_action,
    "/api/exec": _of_exec,
    "/tasks": _of_tasks,
    "/jupyter/api/kernels": _of_kernels,
    "/jupyter/api/sessions": _of_sessions,
    "/jupyter/api/sessions/{session_id}": _of_session,
    "/mcp": _of_mcp,
    "/sse": _of_mcp,
    "/messages/{server_id}/": _of_messages,
}
_BY_ARGUMENT: Final = {
    "context_id": CONTEXT,
    "task_id": RUN,
    "run_id": RUN,
}


def _target(handler: Handler) -> Target | None:
    """Return what a request is about; None if any server can answer it."""
    find = _BY_PATH.get(handler.route)
    if find is not None:
        return find(handler)
    for name, value in handler.path_kwargs.items():
        kind = _BY_ARGUMENT.get(name)
        if kind is None and handler.route.startswith("/api/executions/"):
            kind = RUN
        if kind is not None:
            return Target(kind, value)
    return None


def _passing(handler: type[Handler]) -> type[Handler]:
    return type(handler.__name__, (handler, PassingHandler), {})


def passing_routes(routes: Iterable[Route]) -> Iterator[Route]:
    """Yield routes whose handlers pass on what is another server's."""
    for route in routes:
        named = "{context_id}" in route.path or route.path in _BY_PATH
        named = named or any(f"{{{name}}}" in route.path for name in _BY_ARGUMENT)
        named = named or route.path.startswith("/api/executions/")
        if named:
            yield route._replace(handler=_passing(route.handler))
        else:
            yield route
