"""A server whose tasks have tools, and what tests do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.client import connect
from tests.support.tasks import Tasks, serve_tasks
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AT_REST = 4
"""Processes that a server without contexts has: the fork server, two spare ones, and
what type checks are forked from."""


@pytest.fixture(scope="session")
def shared_tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    folder = tmp_path_factory.mktemp("tools")
    server = serve_tasks(
        folder, "--interrupt-grace-seconds", "1", "--tool-response-bytes-max", "1000000"
    )
    try:
        with connect(server) as client:
            tasks = Tasks(server, client, folder)
            tasks.run("return 1", typecheck=True)
            server.files_at_rest = server.files()
            yield tasks
    finally:
        status = server.stop()
    assert status == 0


@pytest.fixture
def tasks(shared_tasks: Tasks) -> Iterator[Tasks]:
    """The shared server, which has no context left of the test afterwards."""
    yield shared_tasks
    for status in ("queued", "running", "waiting_for_approval"):
        for task in shared_tasks.client.get(f"/tasks?status={status}").json()["tasks"]:
            shared_tasks.cancel(task["taskId"])
    shared_tasks.client.clean()
    server = shared_tasks.server
    wait_for(lambda: len(server.children()) <= AT_REST)
    wait_for(lambda: server.files() <= server.files_at_rest)


@pytest.fixture
def start_tasks(
    tmp_path: Path,
) -> Iterator[Callable[..., Tasks]]:
    """Starts servers with flags of one's own; stops them at the end."""
    started: list[Tasks] = []

    def start(*flags: str) -> Tasks:
        server = serve_tasks(tmp_path, *flags)
        started.append(Tasks(server, connect(server), tmp_path))
        return started[-1]

    yield start
    for tasks in started:
        tasks.client.close()
        if not tasks.server.errors.closed:
            tasks.server.stop()
        assert not tasks.server.wrong()
