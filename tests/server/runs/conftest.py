"""Servers over each database, a client for what is under /api, and tasks with tools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.client import Client, connect
from tests.support.server import RUN_FLAGS, Server
from tests.support.tasks import Tasks, serve_tasks
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgresql import PostgreSQL


TASKS_AT_REST = 4
"""Processes that a server without contexts has: the fork server, two spare ones, and
what type checks are forked from."""


OF_CODE = {"test_orders", "test_cancel", "test_sessions"}
"""Modules whose tests are about what runs, on the same queries as the tests below."""
OF_ROWS = {
    "test_a_running_one_is_listed",
    "test_the_newest_come_first",
    "test_code_and_errors_may_hold_anything",
    "test_an_unknown_execution_is_missed",
    "test_an_end_stays",
    "test_what_waits_for_its_session_never_runs_when_cancelled",
    "test_names_are_any_text",
    "test_a_run_goes_on_from_a_heap",
    "test_a_heap_resets_a_session",
}
"""Those of them about what is kept; they run on PostgreSQL each time, too."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make tests slow that differ from another one in the database alone."""
    for item in items:
        function, _, variant = item.name.partition("[")
        if (
            variant.startswith("postgresql")
            and item.path.parent == Path(__file__).parent
            and item.path.stem in OF_CODE
            and function not in OF_ROWS
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_flags(request: pytest.FixtureRequest) -> Callable[[], tuple[str, ...]]:
    """Makes flags for a new database of one kind or the other."""
    if request.param == "sqlite":
        return lambda: ()
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return lambda: ("--database-url", server.database())


@pytest.fixture(scope="session")
def exec_server(
    database_flags: Callable[[], tuple[str, ...]],
) -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(*RUN_FLAGS, "--data-dir", folder, *database_flags())
        try:
            with connect(server) as client:
                client.done("console.log(1)", session="warm")
                client.clean()
            yield server
        finally:
            status = server.stop()
        assert status == 0
        assert not server.wrong()


@pytest.fixture
def api(exec_server: Server) -> Iterator[Client]:
    """A client of the shared server, which has no process left of the test."""
    with connect(exec_server) as client:
        yield client
        client.clean()
    wait_for(exec_server.is_at_rest)


@pytest.fixture
def stateful(api: Client) -> Client:
    """The same, where executions yield heaps."""
    info = api.done("1")
    if info["heap"] is None and info["heap_error"] is None:
        pytest.fail("the server yields no heaps")
    return api


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
    wait_for(lambda: server.is_at_rest(TASKS_AT_REST))


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
