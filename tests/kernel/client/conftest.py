"""A real server, and clients of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.server.conftest import (
    _reaps_no_orphans,
    _starts,
    server,
    servers,
    shared_server,
)

from isokernel.client import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.server import Server

__all__ = ["_reaps_no_orphans", "_starts", "server", "servers", "shared_server"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what the environment of the tests says."""
    for name in ("ISOKERNEL_URL", "ISOKERNEL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with Client(server.url) as made:
        yield made


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[AsyncClient]:
    """An asynchronous client of the shared server."""
    async with AsyncClient(server.url) as made:
        yield made


@pytest.fixture
def anyio_backend() -> str:
    """What asynchronous tests run on, unless they say otherwise."""
    return "asyncio"
