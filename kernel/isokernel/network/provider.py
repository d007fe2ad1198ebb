"""Answers the calls of contexts for the network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from isokernel.capabilities import Answer, Asked
from isokernel.errors import CapabilityDeniedError, CapabilityError
from isokernel.network.addresses import network_of
from isokernel.network.connections import (
    Connections,
    SystemResolver,
    addresses_of,
    proxy_for,
    tls_context,
)
from isokernel.network.decoding import ACCEPTED
from isokernel.network.exchange import Exchange, Request
from isokernel.network.secrets import Redaction, with_secrets
from isokernel.network.settings import NetworkSettings
from isokernel.network.targets import read_headers, read_method, read_url
from isokernel.timeouts import timeout

if TYPE_CHECKING:
    import ssl

    import httpcore

    from isokernel.capabilities import Call, Grant
    from isokernel.network.connections import Resolver
    from isokernel.network.targets import Target

__all__ = ["Network"]

_HANDLES_FACTOR: Final = 4
"""Responses that have come but aren't read, for each request that may be under way."""
_CLOSED_MAX: Final = 1000
_USER_AGENT: Final = ("User-Agent", "isokernel")
_NOT_PACKED: Final = ("Accept-Encoding", "identity")
_ACCEPT_ENCODING: Final = ("Accept-Encoding", ACCEPTED)


class _Held:
    """What one context has open."""

    def __init__(self, requests_max: int) -> None:
        self.connections = Connections()
        self.exchanges: dict[int, Exchange] = {}
        self.closed: dict[int, None] = {}
        """Handles that were closed before they were opened."""
        self.turn = asyncio.Semaphore(requests_max)

    def refuse_closed(self, handle: int) -> None:
        """Raise if a handle was closed before it was opened."""
        if handle in self.closed:
            del self.closed[handle]
            raise _no_such(handle)


class Network:
    """The provider of `net.…`."""

    def __init__(
        self,
        settings: NetworkSettings = NetworkSettings(),  # noqa: B008 -- immutable
        resolver: Resolver | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: Limits.
            resolver: Looks up names; the system does, otherwise.
        """
        self._settings = settings
        self._resolver = resolver or SystemResolver()
        self._held: dict[str, _Held] = {}
        self._total = asyncio.Semaphore(settings.requests_total_max)
        self._tls: ssl.SSLContext | None = None

    async def call(self, call: Call) -> Answer:
        """Do what a context asks for.

        Raises:
            CapabilityError: It failed, or was denied.
        """
        action = {
            "net.open": self._open,
            "net.head": self._head,
            "net.write": self._write,
            "net.read": self._read,
            "net.close": self._close,
        }.get(call.name)
        if action is None:
            message = f"there is no {call.name}"
            raise CapabilityError(message, code="no_such_call")
        return await action(call)

    async def close(self, context_id: str) -> None:
        """End what a context has open."""
        held = self._held.pop(context_id, None)
        if held is not None:
            for exchange in list(held.exchanges.values()):
                await exchange.close()
            await held.connections.close()

    # -- the calls -------------------------------------------------------------------

    async def _open(self, call: Call) -> Answer:
        """Begin a request: {handle, method, url, headers, streaming, size}.

        Returns:
            As `net.head` does; nothing yet where the body is to come by `net.write`.
        """
        held = self._held_for(call.grant)
        handle = _handle(call)
        request = self._request(call)
        held.refuse_closed(handle)
        if handle in held.exchanges:
            message = f"the handle {handle} is in use"
            raise CapabilityError(message, code="invalid_arguments")
        proxy = proxy_for(request.target) if self._settings.proxies else None
        addresses: list[str] = []
        if proxy is None:
            addresses = await self._decided(call.grant, request)
        else:
            # Nobody here learns the address: a policy has the name alone to go by.
            await call.grant.decide(_asked(request, request.target.address or ""))
        exchange = await self._begin(call.grant, handle, request, addresses, proxy)
        if request.streaming:
            return Answer()
        return await self._begun(held, handle, exchange)

    async def _head(self, call: Call) -> Answer:
        """Wait for a response: {status, statusText, headers, done}, with first data."""
        held = self._held_for(call.grant)
        handle = _handle(call)
        return await self._begun(held, handle, self._exchange(held, handle))

    async def _begun(self, held: _Held, handle: int, exchange: Exchange) -> Answer:
        try:
            head = await exchange.head()
        except CapabilityError:
            held.exchanges.pop(handle, None)
            raise
        except asyncio.CancelledError:
            await self._give_up(held, handle, exchange)
            raise
        try:
            data, done = await exchange.read(wait=False)
        except CapabilityError:  # the body has failed, but there is a response
            data, done = b"", False
        if done:
            held.exchanges.pop(handle, None)
        value = {
            "status": head.status,
            "statusText": head.reason,
            "headers": head.headers,
            "done": done,
        }
        return Answer(value, data)

    @staticmethod
    async def _give_up(held: _Held, handle: int, exchange: Exchange) -> None:
        """End a request whose execution was stopped amid a call: nobody goes on."""
        held.exchanges.pop(handle, None)
        await exchange.close()

    async def _write(self, call: Call) -> Answer:
        """Send a piece of the body: {handle, last}, with data."""
        held = self._held_for(call.grant)
        handle = _handle(call)
        exchange = self._exchange(held, handle)
        last = call.arguments.get("last") is True
        try:
            await exchange.write(call.data or b"", last=last)
        except asyncio.CancelledError:
            await self._give_up(held, handle, exchange)
            raise
        return Answer()

    async def _read(self, call: Call) -> Answer:
        """Return the next piece of the response: {done}, with data."""
        held = self._held_for(call.grant)
        handle = _handle(call)
        exchange = self._exchange(held, handle)
        try:
            data, done = await exchange.read()
        except CapabilityError:
            held.exchanges.pop(handle, None)
            raise
        except asyncio.CancelledError:
            await self._give_up(held, handle, exchange)
            raise
        if done:
            held.exchanges.pop(handle, None)
        return Answer({"done": done}, data)

    async def _close(self, call: Call) -> Answer:
        """End a request: {handle}."""
        held = self._held_for(call.grant)
        handle = _handle(call)
        exchange = held.exchanges.pop(handle, None)
        if exchange is not None:
            await exchange.close()
        else:
            held.closed[handle] = None
            for old in list(held.closed)[:-_CLOSED_MAX]:
                del held.closed[old]
        return Answer()

    # -- one request -----------------------------------------------------------------

    def _request(self, call: Call) -> Request:
        given, settings = call.arguments, self._settings
        target = read_url(given.get("url"))
        headers = read_headers(given.get("headers"), settings.head_bytes_max)
        if len(target.path) > settings.head_bytes_max:
            message = f"the URL has {len(target.path)} characters, net_head_bytes_max"
            raise CapabilityError(message, code="invalid_url")
        names = {name.lower() for name, _ in headers}
        # A part of what is packed can't be unpacked.
        packed = _NOT_PACKED if "range" in names else _ACCEPT_ENCODING
        for default in (_USER_AGENT, packed):
            if default[0].lower() not in names:
                headers.append(default)
        body_bytes, bytes_max = len(call.data or b""), settings.request_bytes_max
        if body_bytes > bytes_max:
            message = (
                f"the body has {body_bytes} bytes, {bytes_max} are allowed: "
                "net_request_bytes_max"
            )
            raise CapabilityError(message, code="too_large")
        size = given.get("size")
        return Request(
            target,
            read_method(given.get("method", "GET")),
            headers,
            call.data,
            given.get("streaming") is True,
            size if isinstance(size, int) and size >= 0 else None,
        )

    async def _decided(self, grant: Grant, request: Request) -> list[str]:
        """Return the addresses that a request may go to.

        A name is decided before it is looked up, as looking it up tells somebody; and
        once more with each of its addresses.

        Raises:
            CapabilityDeniedError: It may go to none.
        """
        target = request.target
        if target.address is None:
            await grant.decide(_asked(request, None))
        seconds = self._settings.connect_timeout_seconds
        allowed: list[str] = []
        denied: CapabilityDeniedError | None = None
        for address in await addresses_of(self._resolver, target, seconds):
            try:
                await grant.decide(_asked(request, address))
            except CapabilityDeniedError as error:  # noqa: PERF203 -- few
                denied = denied or error
            else:
                allowed.append(address)
        if denied is not None and not allowed:
            raise denied
        return allowed

    async def _begin(
        self,
        grant: Grant,
        handle: int,
        request: Request,
        addresses: list[str],
        proxy: str | None,
    ) -> Exchange:
        held = self._held_for(grant)
        await self._wait_for_turn(held)

        def end() -> None:
            held.turn.release()
            self._total.release()

        try:
            pools = await self._pools(held, request.target, addresses, proxy)
            await held.connections.trim()
            held.refuse_closed(handle)  # it may have been while it was decided
        except BaseException:
            end()
            raise
        # Of the host's own: another request may have brought them there.
        secrets = grant.secrets(_asked(request, None))
        exchange = Exchange(
            with_secrets(request, secrets),
            self._settings,
            end,
            Redaction(secrets.values()) if secrets else None,
        )
        held.exchanges[handle] = exchange
        exchange.start(pools)
        handles_max = self._settings.requests_max * _HANDLES_FACTOR
        if len(held.exchanges) > handles_max:
            ended = [key for key, one in held.exchanges.items() if one.ended]
            for old in ended[: len(held.exchanges) - handles_max]:
                del held.exchanges[old]
        return exchange

    async def _wait_for_turn(self, held: _Held) -> None:
        """Wait until one more request may be under way.

        Raises:
            CapabilityError: None of the others has ended meanwhile.
        """
        taken: list[asyncio.Semaphore] = []
        seconds = self._settings.idle_timeout_seconds
        try:
            for turn in (held.turn, self._total):
                async with timeout(seconds):
                    await turn.acquire()
                taken.append(turn)
        except BaseException as error:
            for turn in taken:
                turn.release()
            if not isinstance(error, asyncio.TimeoutError):
                raise
            message = (
                f"{self._settings.requests_max} requests are under way, whose "
                "responses aren't read to their end: net_requests_max"
            )
            raise CapabilityError(message, code="too_many_requests") from None

    async def _pools(
        self, held: _Held, target: Target, addresses: list[str], proxy: str | None
    ) -> list[httpcore.AsyncConnectionPool]:
        made = held.connections
        if proxy is not None:
            return [made.proxied(proxy, await self._tls_context())]
        tls = None if target.scheme == "http" else await self._tls_context()
        return [made.pool(target, address, tls) for address in addresses]

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = await asyncio.to_thread(tls_context, self._settings.ca_file)
            except OSError as error:
                message = f"net_ca_file can't be used: {error.strerror or error}"
                raise CapabilityError(message, code="tls_unavailable") from error
        return self._tls

    # -- what is open ----------------------------------------------------------------

    def _held_for(self, grant: Grant) -> _Held:
        held = self._held.get(grant.context_id)
        if held is None:
            held = _Held(self._settings.requests_max)
            self._held[grant.context_id] = held
        return held

    def _exchange(self, held: _Held, handle: int) -> Exchange:
        exchange = held.exchanges.get(handle)
        if exchange is None:
            raise _no_such(handle)
        return exchange


def _handle(call: Call) -> int:
    handle = call.arguments.get("handle")
    if not isinstance(handle, int) or handle < 1:
        message = f"{call.name}: a handle is a positive number"
        raise CapabilityError(message, code="invalid_arguments")
    return handle


def _no_such(handle: int) -> CapabilityError:
    message = f"the request {handle} is over: it was closed, or its context began anew"
    return CapabilityError(message, code="closed")


def _asked(request: Request, address: str | None) -> Asked:
    target = request.target
    facts: dict[str, Any] = {
        "method": request.method,
        "scheme": target.scheme,
        "host": target.host,
        "port": target.port,
    }
    if address is not None:
        network = network_of(address) if address else "public"
        facts |= {"address": address, "network": network}
    return Asked("net", target.url, facts)
