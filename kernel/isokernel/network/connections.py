"""Connections to the very address that was decided.

A name is looked up once for a request; its addresses are decided, and the connection is
made to one of them: nobody looks the name up again. TLS still asks for the name. A
connection is used again only for the same host at the same address, by one context.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.request import getproxies, proxy_bypass

import httpcore

from isokernel.errors import CapabilityError
from isokernel.timeouts import timeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isokernel.network.targets import Target

__all__ = [
    "Connections",
    "Resolver",
    "SystemResolver",
    "addresses_of",
    "proxy_for",
    "tls_context",
]

_IDLE_SECONDS: Final = 30.0
_IDLE_MAX: Final = 16
_POOLS_MAX: Final = 32
_ADDRESSES_MAX: Final = 8


class Resolver(Protocol):
    """Looks up names."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return a host's addresses, the best one first; none if it has none."""


class SystemResolver:
    """Looks up names as the system does."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return a host's addresses."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []
        # A scope, as in fe80::1%eth0, is none of a decision's business.
        return [str(place[4][0]).partition("%")[0] for place in found]


async def addresses_of(resolver: Resolver, target: Target, seconds: float) -> list[str]:
    """Return the addresses of a target.

    Raises:
        CapabilityError: It has none, or its name server doesn't answer.
    """
    if target.address is not None:
        return [target.address]
    try:
        looking = resolver.resolve(target.host, target.port)
        async with timeout(seconds):
            found = await looking
    except asyncio.TimeoutError:
        message = f"{target.host}: its address was not found within {seconds:g} s"
        raise CapabilityError(message, code="timeout") from None
    if not found:
        message = f"{target.host}: there is no address of this name"
        raise CapabilityError(message, code="host_not_found")
    return list(dict.fromkeys(found))[:_ADDRESSES_MAX]


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how servers are verified. Reads certificates: takes 20 ms, and blocks."""
    import certifi  # noqa: PLC0415 - for the first request with TLS

    context = ssl.create_default_context(cafile=ca_file or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_for(target: Target) -> str | None:
    """Return the proxy that the environment names for a target; None for none."""
    if proxy_bypass(target.authority):
        return None
    return getproxies().get(target.scheme)


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to one address, whatever name it is asked for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - its address is known
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._backend.connect_tcp(
            self._address,
            port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


_Place: TypeAlias = tuple[str, str, str]  # scheme, host, address


class Connections:
    """The connections of one context."""

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._pools: OrderedDict[_Place, httpcore.AsyncConnectionPool] = OrderedDict()

    def pool(
        self, target: Target, address: str, tls: ssl.SSLContext | None
    ) -> httpcore.AsyncConnectionPool:
        """Return the connections to a target at one of its addresses.

        Args:
            target: Where requests go.
            address: What was decided.
            tls: How the server is verified; None for a target without TLS.
        """
        key = target.scheme, target.host, address
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=None,
                max_keepalive_connections=_IDLE_MAX,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=_Pinned(address),
            )
        self._pools[key] = pool
        return pool

    def proxied(self, proxy: str, tls: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
        """Return the connections by way of a proxy, which looks up names itself."""
        key = "proxy", proxy, ""
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = httpcore.AsyncHTTPProxy(
                proxy,
                ssl_context=tls,
                max_connections=None,
                max_keepalive_connections=_IDLE_MAX,
                keepalive_expiry=_IDLE_SECONDS,
            )
        self._pools[key] = pool
        return pool

    async def trim(self) -> None:
        """Close idle connections to hosts that were not asked for long."""
        excess = max(len(self._pools) - _POOLS_MAX, 0)
        oldest = list(self._pools.items())[:excess]
        idle = [
            (key, pool)
            for key, pool in oldest
            if all(one.is_idle() for one in pool.connections)
        ]
        # All are taken out at once: others come and go while they are closed.
        for key, _ in idle:
            del self._pools[key]
        for _, pool in idle:
            await pool.aclose()

    async def close(self) -> None:
        """Close all connections."""
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.aclose()
