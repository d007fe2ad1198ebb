"""Contexts' processes: real, confined, asked over their sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kernel.contexts import Client

from isokernel.forkserver import ForkServer
from isokernel.sandbox import SandboxSettings
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(sandbox=SandboxSettings())
    server.start()
    yield server
    server.close()


@pytest.fixture
def spawn(server: ForkServer) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def start(saved: bytes | None = None, **settings: object) -> Client:
        spawned = server.spawn(ContextSettings(**settings), snapshot=saved)  # type: ignore[arg-type]
        made.append(Client(*spawned))
        return made[-1]

    yield start
    for client in made:
        client.close()


@pytest.fixture
def client(spawn: Callable[..., Client]) -> Client:
    return spawn()
