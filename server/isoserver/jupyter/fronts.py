"""Fronts: clients that are attached to a context, and hear all that it says.

A front is a session of a client, not its socket: it is kept when the socket is lost,
and gets what it missed when the client comes back with the same session id. What it
asks goes through the context's queue as everything else does.

What was sent has not arrived: whatever lay in buffers when a connection broke is lost.
So the websocket's pings carry numbers, which any client's pongs bring back, and what
comes after the last one that came back is sent again. A message has the same `msg_id`
then, by which a client knows that it has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from isokernel.protocol.information import PROTOCOL_VERSION, kernel_information
from isokernel.protocol.messages import error_reply_content
from isokernel.v8.library import V8_VERSION
from isoserver.contexts.jobs import Failure
from isoserver.contexts.kernel_ids import kernel_id
from isoserver.contexts.messages import Message
from isoserver.errors import (
    CellAbortedError,
    ContextFrontLimitError,
    FieldProblem,
    FrontLimitError,
    InvalidRequestError,
    ServerError,
)
from isoserver.jupyter.frames import FrontMessage
from isoserver.jupyter.readers import Reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from isoserver.contexts.context import Context
    from isoserver.contexts.history import History
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.transcript import Entry
    from isoserver.settings.server import ServerSettings

__all__ = ["Front", "Fronts", "Socket"]

ANEW: Final = 1000
"""Close codes of websockets: the session has another one now."""
GONE: Final = 1001
"""The context is deleted. Fronts give up at these two, and try again at others."""
AGAIN: Final = 1012
"""The server ends, and perhaps another one begins; or the context is another one's."""
CELL_SECONDS: Final = 24 * 3600.0
"""How long a cell of a front may run: people interrupt what takes too long."""
SESSION_CHARACTERS_MAX: Final = 200
"""Of the id of a front's session."""
_AWAY_MAX: Final = 100
"""Fronts of one context that are away; the longest goes."""
_AWAY_IN_ALL_MAX: Final = 10_000
"""Those that are remembered with the replies to their questions."""
_REPLIES_MAX: Final = 1000
"""Replies that may not have arrived; the oldest go."""
_AT_ONCE: Final = 100
"""Messages that are looked up at once for a front that is behind."""
_QUESTIONS: Final = {
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "comm_info_request",
}
_ADDRESSED: Final = {"execute_reply": "shell", "input_request": "stdin"}
"""What is for the session alone that has asked, and on which channel."""
_NOT_PASSED_ON: Final = {"supported_features", "debugger"}
"""What kernels say that they can do beyond cells: debug, and cells beside cells."""
_COMMS: Final = {"comm_open", "comm_msg", "comm_close"}
_MISSED: Final = (
    "{} messages were dropped before they could be sent (transcript_bytes_max)\n"
)


class Socket(Protocol):
    """What a front is connected by.

    Attributes:
        has_room: Whether the client reads: little of what was sent waits for it. When
            it has read enough again, the socket calls `resume`.
    """

    @property
    def has_room(self) -> bool:
        """See the class."""

    def deliver(self, message: FrontMessage) -> None:
        """Send a message of the context."""

    def probe(self, mark: bytes) -> None:
        """Send what the client brings back once it has all that was sent before."""

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close it."""


class Front:
    """One session of a client in one context. Used from the event loop.

    Attributes:
        context: The context.
        session: The client's id of the session.
        socket: What it is connected by; None while it is away.
        since: When it came first, as time.time() gives it.
        client: Who it is, as access knows it.
    """

    def __init__(self, context: Context, session: str) -> None:
        """Be attached from now on, or from where the session was left."""
        self.context = context
        self.session = session
        self.socket: Socket | None = None
        self.since = time.time()
        self.client = ""
        transcript = context.transcript
        self._told = self._arrived = transcript.places.get(session, transcript.last)
        # Those that may not have arrived, by their number.
        self._replies: deque[tuple[int, FrontMessage]] = deque(maxlen=_REPLIES_MAX)
        self._mark = b""  # of the probe that is on its way
        self._cells: set[Execution] = set()  # that aren't answered
        self._asking: set[asyncio.Task[None]] = set()
        self._sent = 0

    @property
    def number(self) -> int:
        """The last message that it was sent, or has if it is away."""
        return self._arrived if self.socket is None else self._told

    @property
    def waiting(self) -> int:
        """How many of its cells wait or run."""
        return len(self._cells)

    # -- the socket --------------------------------------------------------------------

    def connect(self, socket: Socket) -> None:
        """Be connected by a socket, which gets what was missed first."""
        if self.socket is not None:
            self.socket.close(ANEW, "the session has connected anew")
        else:
            self.context.transcript.note_place(self.session, self._arrived)
            self.context.transcript.listen(self._tell)
        self.socket, self._mark = socket, b""
        for _, message in list(self._replies):
            socket.deliver(message)
        self._told = self._arrived
        self.resume()
        self._probe()

    def resume(self) -> None:
        """Send what the context has said since, as long as the client reads."""
        socket = self.socket
        while socket is not None and socket.has_room:
            entries = self.context.transcript.after(self._told, _AT_ONCE)
            if not entries:
                return
            for entry in entries:
                self._send_entry(socket, entry)
                if self.socket is not socket or not socket.has_room:
                    return

    def disconnect(self, socket: Socket) -> None:
        """Note that a socket is closed; what is said from now on is kept."""
        if self.socket is socket:
            self.socket = None
            self._mark = b""
            self.context.transcript.listeners.remove(self._tell)

    def arrived(self, mark: bytes) -> None:
        """Note that all has arrived that was sent before a probe.

        Pongs that answer none are the client's own, and mean nothing here.
        """
        if not mark or mark != self._mark:
            return
        self._mark = b""
        told, sent = map(int, mark.split(b"-"))
        if told > self._arrived:
            self._arrived = told
            self.context.transcript.note_place(self.session, told)
        while self._replies and self._replies[0][0] <= sent:
            self._replies.popleft()
        if self._told > told or self._sent > sent:
            self._probe()

    def _probe(self) -> None:
        """Find out what has arrived, unless that is being found out."""
        if self.socket is not None and not self._mark:
            self._mark = b"%d-%d" % (self._told, self._sent)
            self.socket.probe(self._mark)

    def _tell(self, entry: Entry) -> None:
        """Send what the context says just now, unless older messages wait."""
        if self.socket is None or not self.socket.has_room:
            return
        if entry.number == self._told + 1:
            self._send_entry(self.socket, entry)
        else:
            self.resume()

    def _send_entry(self, socket: Socket, entry: Entry) -> None:
        gone = entry.number - self._told - 1
        if gone:
            content = {"name": "stderr", "text": _MISSED.format(gone)}
            socket.deliver(self._message("iopub", "stream", content, {}))
        self._told = entry.number
        channel = _ADDRESSED.get(entry.kind, "iopub")
        if channel != "iopub" and entry.front != self.session:
            return
        socket.deliver(
            FrontMessage(
                channel,
                self._header(entry.kind, str(entry.number), entry.at),
                self._parent(entry),
                dict(entry.metadata),
                dict(entry.content),
                entry.buffers,
            )
        )
        self._probe()

    def _parent(self, entry: Entry) -> dict[str, Any]:
        """Return the header of what caused a message, complete."""
        parent = dict(entry.parent)
        if not parent or "session" in parent:
            return parent
        # Asked over HTTP or MCP: another session's, for consoles that show those too.
        kind, number = parent["msg_type"], parent["msg_id"]
        return {**self._header(kind, number, entry.at), "session": "isokernel"}

    def _header(
        self, kind: str, number: str, at: float | None = None
    ) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        moment = now if at is None else datetime.fromtimestamp(at, timezone.utc)
        kernel = kernel_id(self.context.key)
        return {
            # What an earlier context of the id has said, or this one on another
            # server, were other messages.
            "msg_id": f"{kernel}_{self.context.transcript.epoch}_{number}",
            "msg_type": kind,
            "session": kernel,
            "username": "isokernel",
            "date": moment.isoformat().replace("+00:00", "Z"),
            "version": PROTOCOL_VERSION,
        }

    def _message(
        self,
        channel: str,
        kind: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any],
    ) -> FrontMessage:
        self._sent += 1
        header = self._header(kind, f"{self.session}_{self._sent}")
        return FrontMessage(channel, header, dict(parent), {}, dict(content))

    def _reply(self, request: FrontMessage, content: Mapping[str, Any]) -> None:
        """Answer a request, now or when the client is back."""
        kind = f"{request.kind.removesuffix('_request')}_reply"
        self._send(self._message(request.channel, kind, content, request.header))
        self._state("idle", request)

    def _state(self, state: str, request: FrontMessage) -> None:
        """Say to this front alone what the context does for its question."""
        content = {"execution_state": state}
        self._send(self._message("iopub", "status", content, request.header))

    def _send(self, message: FrontMessage) -> None:
        self._replies.append((self._sent, message))
        if self.socket is not None:
            self.socket.deliver(message)
            self._probe()

    # -- what it asks ------------------------------------------------------------------

    def receive(
        self,
        request: FrontMessage,
        restart: Callable[[], Awaitable[None]],
    ) -> None:
        """Handle a message of the client's.

        Args:
            request: The message.
            restart: Begins the context anew, or refuses to.
        """
        kind = request.kind
        if kind == "execute_request":
            self._execute(request)
        elif kind == "input_reply":
            answer = request.content.get("value")
            if isinstance(answer, str):
                self.context.answer_user(self.session, answer)
        elif kind in _COMMS:
            message = Message(kind, request.content, request.metadata, request.buffers)
            self.context.tell_comm(message, request.header)
        elif kind.endswith("_request"):
            task = asyncio.ensure_future(self._answer(request, restart))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def _execute(self, request: FrontMessage) -> None:
        content = request.content
        code = content.get("code")
        try:
            if not isinstance(code, str):
                raise InvalidRequestError(FieldProblem("code", "must be text"))
            options = {
                "announce": False,
                "silent": bool(content.get("silent")),
                "allow_stdin": bool(content.get("allow_stdin")),
                "store_history": bool(content.get("store_history", True)),
                "user_expressions": content.get("user_expressions") or {},
            }
            cell = self.context.execute(
                code,
                CELL_SECONDS,
                options=options,
                header=request.header,
                front=self.session,
            )
        except ServerError as error:
            self.refuse(request, error)
            return
        cell.stops = bool(content.get("stop_on_error", True))
        self._cells.add(cell)
        cell.done.add_done_callback(lambda _: self._over(cell, request))

    def refuse(self, request: FrontMessage, error: BaseException) -> None:
        """Answer a cell that can't be run, as one that failed."""
        text = error.in_words() if isinstance(error, ServerError) else str(error)
        told = Failure.without_traceback(type(error).__name__, text).content()
        self._state("busy", request)
        self._send(self._message("iopub", "error", told, request.header))
        self._reply(request, {"status": "error", "execution_count": None, **told})

    def _over(self, cell: Execution, request: FrontMessage) -> None:
        """Answer a cell that never ran; of one that ran, the context tells."""
        self._cells.remove(cell)
        error = None if cell.done.cancelled() else cell.done.exception()
        if isinstance(error, CellAbortedError):
            self._state("busy", request)
            self._reply(request, {"status": "aborted"})
        elif error is not None:
            self.refuse(request, error)

    async def _answer(
        self, request: FrontMessage, restart: Callable[[], Awaitable[None]]
    ) -> None:
        self._state("busy", request)
        try:
            content = await self._content(request, restart)
        except ServerError as error:
            content = error_reply_content(type(error).__name__, str(error))
        self._reply(request, content)

    async def _content(
        self, request: FrontMessage, restart: Callable[[], Awaitable[None]]
    ) -> Mapping[str, Any]:
        kind, context = request.kind, self.context
        if kind == "kernel_info_request":
            return await _information(context)
        if kind == "history_request":
            return {"status": "ok", "history": _history(context.history, request)}
        if kind == "interrupt_request":
            context.interrupt()
            return {"status": "ok"}
        if kind == "shutdown_request":
            again = bool(request.content.get("restart"))
            if again:
                await restart()
            return {"status": "ok", "restart": again}
        if kind in _QUESTIONS:
            return await context.ask(kind, request.content)
        text = f"{kind} isn't known here"
        return error_reply_content("MessageError", text)


async def _information(context: Context) -> Mapping[str, Any]:
    """Return the content of `kernel_info_reply`, also while a cell runs.

    Fronts show nothing before they have it.
    """
    language = context.language
    if language.engine == "v8":
        return kernel_information(
            "typescript" if language.name == "typescript" else "javascript", V8_VERSION
        )
    content = context.process.information
    if not content:
        content = await context.ask("kernel_info_request", {})
    return {name: content[name] for name in content if name not in _NOT_PASSED_ON}


def _history(history: History, request: FrontMessage) -> list[tuple[int, int, Any]]:
    asked = request.content
    cells = [(0, cell.count, cell.code) for cell in history.executions]
    if asked.get("hist_access_type") == "range":
        start, stop = asked.get("start") or 0, asked.get("stop")
        cells = cells[start if isinstance(start, int) else 0 : stop or None]
    count = asked.get("n")
    found = cells[-count:] if isinstance(count, int) and count > 0 else cells
    if asked.get("output"):
        return [(session, line, (code, None)) for session, line, code in found]
    return list(found)


class _Attached:
    """Who is attached to one context.

    Attributes:
        fronts: By their sessions, those that are away included; the last to come last.
        readers: Who reads its messages over HTTP.
        end: What its transcript calls when it is gone.
    """

    def __init__(self, end: Callable[[str, bool], None]) -> None:
        self.fronts: OrderedDict[str, Front] = OrderedDict()
        self.readers: list[Reader] = []
        self.end = end


class Fronts:
    """The fronts of all contexts, and those who read their messages over HTTP.

    Attributes:
        elsewhere: Counts those on other servers that are connected to a workspace's
            contexts, by the context's id.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Begin with none.

        Args:
            settings: How many there may be.
        """
        self.elsewhere: Callable[[str], Awaitable[dict[str, int]]] | None = None
        self._settings = settings
        # A context is kept in memory by this, so it has those alone that have somebody.
        self._attached: dict[Context, _Attached] = {}
        self._recent: OrderedDict[Front, None] = OrderedDict()

    # -- coming ------------------------------------------------------------------------

    def check(self, context: Context, session: str) -> None:
        """Refuse who may not be attached.

        Args:
            context: The context.
            session: The client's id of the session.

        Raises:
            InvalidRequestError: The id is too long.
            FrontLimitError: There are too many fronts, here or in all.
        """
        if len(session) > SESSION_CHARACTERS_MAX:
            problem = f"must have at most {SESSION_CHARACTERS_MAX} characters"
            raise InvalidRequestError(FieldProblem("session_id", problem))
        attached = self._attached.get(context)
        front = None if attached is None else attached.fronts.get(session)
        if front is None or front.socket is None:
            self._check_room(context)

    def attach(self, context: Context, session: str, client: str) -> Front:
        """Return the front of a session, which is perhaps back.

        Args:
            context: The context.
            session: The client's id of the session, which was checked.
            client: Who it is, as access knows it.
        """
        fronts = self._know(context).fronts
        front = fronts.get(session)
        if front is None:
            front = fronts[session] = Front(context, session)
        front.client = client
        fronts.move_to_end(session)
        self._recent[front] = None
        self._recent.move_to_end(front)
        self._drop_away(context, front)
        return front

    def _know(self, context: Context) -> _Attached:
        """Return who is attached to a context; somebody is about to be."""
        attached = self._attached.get(context)
        if attached is None:
            attached = _Attached(partial(self._forget, context))
            self._attached[context] = attached
            context.transcript.ends.append(attached.end)
        return attached

    def _forget_unless_attached(self, context: Context) -> None:
        """Let go of a context if nobody is attached to it any more."""
        attached = self._attached.get(context)
        if attached is not None and not attached.fronts and not attached.readers:
            del self._attached[context]
            context.transcript.ends.remove(attached.end)

    def _check_room(self, context: Context) -> None:
        limit = self._settings.context_fronts_max
        if len(self._connected(context)) >= limit:
            raise ContextFrontLimitError(limit)
        limit = self._settings.fronts_max
        if sum(len(self._connected(one)) for one in self._attached) >= limit:
            raise FrontLimitError(limit)

    def _drop_away(self, context: Context, back: Front) -> None:
        """Drop those that are away for longest, where there are too many."""
        away = [each for each in self.of(context) if each.socket is None]
        for each in away[: max(0, len(away) - _AWAY_MAX)]:
            if each is not back:
                self._drop(each)
                context.transcript.forget_place(each.session)
        if len(self._recent) > self._settings.fronts_max + _AWAY_IN_ALL_MAX:
            # Its place is still known: it has only lost replies to its questions.
            idle = (one for one in self._recent if one.socket is None)
            self._drop(next(one for one in idle if one is not back))

    def _drop(self, front: Front) -> None:
        self._recent.pop(front, None)
        self._attached[front.context].fronts.pop(front.session, None)
        self._forget_unless_attached(front.context)

    def join(self, context: Context, client: str, number: int) -> Reader:
        """Return a new reader of messages after one; `leave` ends it.

        Raises:
            FrontLimitError: There are too many fronts, here or in all.
        """
        self._check_room(context)
        reader = Reader(context, client, number)
        self._know(context).readers.append(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        reader.leave()
        attached = self._attached.get(reader.context)
        if attached is not None and reader in attached.readers:
            attached.readers.remove(reader)
            self._forget_unless_attached(reader.context)

    # -- looking -----------------------------------------------------------------------

    def of(self, context: Context) -> list[Front]:
        """Return the fronts of a context, those that are away included."""
        attached = self._attached.get(context)
        return [] if attached is None else list(attached.fronts.values())

    def readers(self, context: Context) -> list[Reader]:
        """Return who reads a context's messages over HTTP."""
        attached = self._attached.get(context)
        return [] if attached is None else list(attached.readers)

    def connections(self, context: Context) -> int:
        """Count the fronts of a context that are connected."""
        return sum(front.socket is not None for front in self.of(context))

    def in_workspace(self, workspace: str) -> dict[str, int]:
        """Count those that are connected, by the id of their context."""
        counted = {
            context.id: self.connections(context)
            for context in self._attached
            if context.workspace == workspace
        }
        return {name: number for name, number in counted.items() if number}

    def _connected(self, context: Context) -> list[Front | Reader]:
        there = [front for front in self.of(context) if front.socket is not None]
        return [*there, *self.readers(context)]

    # -- going -------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Close all connections; clients may come back to the next server."""
        for context in list(self._attached):
            self._close(context, AGAIN, reason)

    def _forget(
        self,
        context: Context,
        reason: str,
        moved: bool,  # noqa: FBT001 - as the transcript tells it
    ) -> None:
        """Close all connections of a context that is gone; where to, if it moved."""
        self._close(context, AGAIN if moved else GONE, reason)
        for front in self.of(context):
            self._recent.pop(front, None)
        self._attached.pop(context, None)

    def _close(self, context: Context, code: int, reason: str) -> None:
        for front in self.of(context):
            if front.socket is not None:
                front.socket.close(code, reason)
        for reader in self.readers(context):
            reader.close(reason)
