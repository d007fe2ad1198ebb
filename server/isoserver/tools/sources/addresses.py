"""Sources that were added over REST may be at public addresses only.

An address is looked at when it is connected to, so that a name can't mean one thing
when it is looked up and another one when it is used.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from isokernel.network.addresses import is_public
from isokernel.timeouts import timeout
from isoserver.errors import ToolFailedError

__all__ = ["PublicOnly", "keep_public"]


class PublicOnly:
    """A network backend for a connection pool: it connects to public addresses only."""

    def __init__(self, backend: Any) -> None:
        """Wrap the pool's own backend.

        Args:
            backend: An AsyncNetworkBackend, of httpcore or of httpcore2.
        """
        self._backend = backend

    async def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        """Connect to the first address of a host that answers; to no other ones.

        Raises:
            ToolFailedError: The host has no address, or one that isn't public.
        """
        failed: Exception | None = None
        for address in await self._public(host, port, options.get("timeout")):
            try:
                return await self._backend.connect_tcp(address, port, **options)
            except Exception as error:  # noqa: BLE001, PERF203 - of either library
                failed = failed or error
        assert failed is not None  # noqa: S101 - there is an address
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts; the pool calls it."""
        await self._backend.sleep(seconds)

    async def _public(self, host: str, port: int, seconds: float | None) -> list[str]:
        loop = asyncio.get_running_loop()
        found: list[Any] = []
        with suppress(OSError, UnicodeError, asyncio.TimeoutError):
            looking = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            async with timeout(seconds):
                found = await looking
        addresses = list(dict.fromkeys(place[4][0] for place in found))
        if not addresses:
            message = f"{host} has no address that can be found"
            raise ToolFailedError(message, code="source_unavailable", retryable=True)
        if not all(map(is_public, addresses)):
            message = (
                f"{host} is not at a public address: such sources belong in the "
                "configuration file (or sources_private)"
            )
            raise ToolFailedError(message, code="address_refused")
        return addresses


def keep_public(transport: Any) -> None:
    """Have a transport, of httpx or httpx2, connect to public addresses only."""
    # Both pass nothing on for it, though their pools take a backend; a test looks
    # whether this still is where they keep it.
    pool = transport._pool  # noqa: SLF001
    pool._network_backend = PublicOnly(pool._network_backend)  # noqa: SLF001
