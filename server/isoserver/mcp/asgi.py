"""A Tornado handler that drives an ASGI application, as the SDK's transports are."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from tornado.iostream import StreamClosedError

from isokernel.timeouts import timeout
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.http.parts import AsgiApplication, ServerParts
    from isoserver.principal import Principal

__all__ = ["CALLER", "AsgiHandler", "Caller"]

CALLER: Final = "isokernel.caller"
"""The key by which a scope has the `Caller`."""
_OWN_HEADERS: Final = {"connection", "transfer-encoding", "server"}
"""Headers that Tornado decides, or that every response has."""


class Caller(NamedTuple):
    """Who a request comes from, as its scope has it.

    Attributes:
        principal: The caller.
        gone: Set once the client is gone, or has its answer; setting it makes the
            application believe that the client is gone.
    """

    principal: Principal
    gone: asyncio.Event


class AsgiHandler(Handler):
    """Passes a request to an ASGI application, and what that sends to the client.

    Host, origin, key, size of the body and access log are those of every handler. What
    the client doesn't read makes `send` wait, and cuts the connection when it has
    waited for `stream_stall_timeout_seconds`. A client that is gone is
    `http.disconnect`; what is sent to it then is dropped, as by other servers.
    """

    def initialize(
        self, parts: ServerParts, route: str = "", methods: tuple[str, ...] = ()
    ) -> None:
        """Note what the route table says; called by Tornado for each request."""
        super().initialize(parts, route, methods)
        self._over = asyncio.Event()
        self._body: bytes | None = None
        self._started = False

    @abstractmethod
    async def asgi_application(self) -> AsgiApplication:
        """Return the application that answers."""

    async def get(self, **_path: str) -> None:
        """Pass the request on."""
        await self._drive()

    post = delete = get

    def options(self, **path: str) -> None:
        """Allow pages that may call to send any header, as MCP has many."""
        super().options(**path)
        call = self.request.headers.get("Access-Control-Request-Headers")
        if call:
            self.set_header("Access-Control-Allow-Headers", call)

    def on_connection_close(self) -> None:
        """Note that the client is gone; called by Tornado."""
        super().on_connection_close()
        self._over.set()

    async def _drive(self) -> None:
        application = await self.asgi_application()
        self._body = self.request.body or b""
        caller = Caller(self.principal, self._over)
        try:
            await application(self._scope(caller), self._receive, self._send)
        except Exception:
            if not self._started:
                raise
            # Half an answer can't be taken back: let the client see that it is broken.
            self.parts.log.exception("failed", route=self.route)
            self._cut()
        finally:
            self._over.set()
        if not self.gone and not self._finished:
            await self.finish()

    def _scope(self, caller: Caller) -> dict[str, Any]:
        request = self.request
        path, _, query = (request.uri or "").partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version.removeprefix("HTTP/"),
            "method": request.method,
            "scheme": request.protocol,
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in request.headers.get_all()
            ],
            "client": (request.remote_ip or "", 0),
            "server": (request.host_name, None),
            "state": {},
            CALLER: caller,
        }

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self.gone or self._finished:
            return
        if message["type"] == "http.response.start":
            self._start(message)
            if "Content-Length" not in self._headers:
                await self._flush()  # a stream: its client waits for the headers
            return
        self.write(message.get("body", b""))
        if message.get("more_body", False):
            await self._flush()
        else:
            self._over.set()
            await self._bounded(asyncio.shield(self.finish()))

    def _start(self, message: dict[str, Any]) -> None:
        self._started = True
        self.set_status(HTTPStatus(message["status"]))
        self.clear_header("Content-Type")
        seen: set[str] = set()
        for raw_name, raw_value in message.get("headers", ()):
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in _OWN_HEADERS:
                continue
            put: Callable[[str, str], None]
            put = self.add_header if name in seen else self.set_header
            put(name, value)
            seen.add(name)

    async def _flush(self) -> None:
        await self._bounded(self.flush())

    async def _bounded(self, written: Awaitable[None]) -> None:
        try:
            async with timeout(self.parts.settings.stream_stall_timeout_seconds):
                await written
        except asyncio.TimeoutError:
            self.parts.log.warning("stalled", route=self.route)
            self._cut()
        except StreamClosedError:
            self.on_connection_close()

    def _cut(self) -> None:
        if self.gone:
            return
        self.on_connection_close()
        self.detach().close()

    def _allow_origin(self) -> None:
        super()._allow_origin()
        exposed = self._headers.get("Access-Control-Expose-Headers")
        if exposed is not None:
            exposed = f"{exposed}, Mcp-Session-Id, Mcp-Protocol-Version"
            self.set_header("Access-Control-Expose-Headers", exposed)
