"""Contexts' processes: real, confined, asked over their sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.workers import WorkerClient

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
def spawn(server: ForkServer) -> Iterator[Callable[..., WorkerClient]]:
    made: list[WorkerClient] = []

    def start(saved: bytes | None = None, **settings: object) -> WorkerClient:
        spawned = server.spawn(ContextSettings(**settings), snapshot=saved)  # type: ignore[arg-type]
        made.append(WorkerClient(*spawned))
        return made[-1]

    yield start
    for client in made:
        client.close()


@pytest.fixture
def client(spawn: Callable[..., WorkerClient]) -> WorkerClient:
    return spawn()
