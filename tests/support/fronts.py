"""A front of Jupyter's: a client on the websocket of a context."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from isoserver.jupyter.frames import V1, FrontMessage, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.support.server import Server
    from tornado.websocket import WebSocketClientConnection

SECONDS = 20.0


class Front:
    """One session; `connect` may be called again after `close` and `cut`.

    Attributes:
        heard: All messages that came, in order; one that came twice counts once.
    """

    def __init__(
        self,
        url: str,
        session: str = "",
        *,
        v1: bool = True,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> None:
        self.session = session or uuid.uuid4().hex
        self.heard: list[FrontMessage] = []
        self._ids: set[str] = set()
        self.socket: WebSocketClientConnection | None = None
        self._v1 = v1
        self._url = url
        self._query = f"?session_id={self.session}{query}"
        self._headers = dict(headers or {})

    def forget_session(self) -> None:
        """Name no session, as some clients do."""
        self._query = ""

    async def connect(self, url: str = "") -> Front:
        """Connect; with a URL, to another server than before."""
        self._url = url or self._url
        request = HTTPRequest(self._url + self._query, headers=self._headers)
        offered = [V1] if self._v1 else None
        self.socket = await websocket_connect(request, subprotocols=offered)
        assert self.socket.selected_subprotocol == (V1 if self._v1 else None)
        return self

    async def close(self) -> None:
        """Close, and wait until that is done."""
        assert self.socket is not None
        self.socket.close()
        while await self.hear() is not None:
            pass
        self.socket = None

    async def cut(self) -> None:
        """Break the connection, and lose what is on its way.

        What has arrived is read: the pongs for it may have gone out.
        """
        assert self.socket is not None
        protocol: Any = self.socket.protocol
        protocol.stream.close()
        while await self.hear() is not None:
            pass
        self.socket = None

    async def ask(
        self,
        kind: str,
        content: Mapping[str, Any],
        channel: str = "shell",
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Send a request; its id."""
        assert self.socket is not None
        number = uuid.uuid4().hex
        header = {
            "msg_id": number,
            "msg_type": kind,
            "session": self.session,
            "username": "someone",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.3",
        }
        message = FrontMessage(channel, header, {}, dict(metadata or {}), dict(content))
        data = encode(message, v1=self._v1)
        await self.socket.write_message(data, binary=isinstance(data, bytes))
        return number

    async def hear(self) -> FrontMessage | None:
        """Wait for the next message; None at the end."""
        assert self.socket is not None
        data = await asyncio.wait_for(self.socket.read_message(), SECONDS)
        if data is None:
            self.socket.close()
            return None
        message = decode(data, v1=self._v1)
        if message.header["msg_id"] not in self._ids:
            self._ids.add(message.header["msg_id"])
            self.heard.append(message)
        return message

    async def hear_until(self, is_last: Callable[[FrontMessage], bool]) -> FrontMessage:
        while True:
            message = await self.hear()
            assert message is not None, "the websocket was closed"
            if is_last(message):
                return message

    async def reply(
        self, kind: str, content: Mapping[str, Any], channel: str = "shell"
    ) -> dict[str, Any]:
        """Send a request; the content of its reply, once all of its answer has come."""
        number = await self.ask(kind, content, channel)
        return await self.reply_to(number)

    async def reply_to(self, number: str) -> dict[str, Any]:
        def answers() -> dict[str, FrontMessage]:
            return {
                message.kind if message.channel != "iopub" else "idle": message
                for message in self.heard
                if message.parent_header.get("msg_id") == number
                and message.channel != "stdin"
                and (message.channel != "iopub" or is_idle(message))
            }

        while len(found := answers()) < len(("reply", "idle")):
            assert await self.hear() is not None, "the websocket was closed"
        (reply,) = [each for name, each in found.items() if name != "idle"]
        return reply.content

    async def run(self, code: str, **content: Any) -> dict[str, Any]:
        """Run a cell; the content of its reply."""
        return await self.reply("execute_request", {"code": code, **content})

    def texts(self, *, parent: str | None = None) -> str:
        """What was printed."""
        return "".join(
            message.content["text"]
            for message in self.heard
            if message.kind == "stream"
            and parent in {None, message.parent_header.get("msg_id")}
        )


def is_idle(message: FrontMessage) -> bool:
    state = message.content.get("execution_state")
    return message.kind == "status" and state == "idle"


def channels(server: Server, context: str) -> str:
    """The address of a context's websocket."""
    base = server.url.replace("http", "ws", 1)
    return f"{base}/jupyter/api/kernels/{context}/channels"


def attached(
    server: Server, context: str, work: Callable[[Front], Awaitable[None]], **how: Any
) -> None:
    """Run a test with one front."""

    async def run() -> None:
        front = await Front(channels(server, context), **how).connect()
        await work(front)
        if front.socket is not None:
            await front.close()

    asyncio.run(run())


def as_json(data: Any) -> Any:
    """What a client gets of data."""
    return json.loads(json.dumps(data))
