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
def fork_server() -> Iterator[ForkServer]:
    made = ForkServer(sandbox=SandboxSettings())
    made.start()
    yield made
    made.close()


@pytest.fixture
def spawn(fork_server: ForkServer) -> Iterator[Callable[..., WorkerClient]]:
    made: list[WorkerClient] = []

    def start(snapshot: bytes | None = None, **settings: object) -> WorkerClient:
        spawned = fork_server.spawn(ContextSettings(**settings), snapshot=snapshot)  # type: ignore[arg-type]
        made.append(WorkerClient(*spawned))
        return made[-1]

    yield start
    for client in made:
        client.close()


@pytest.fixture
def client(spawn: Callable[..., WorkerClient]) -> WorkerClient:
    return spawn()
