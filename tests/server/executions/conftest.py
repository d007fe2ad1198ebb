"""Servers over each database, and a client for what is under /api."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.server.conftest import AT_REST, DEADLINE, Client, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server.postgresql import PostgreSQL

FLAGS = ("--languages", "javascript,typescript", "--interrupt-grace-seconds", "1")


class Api(Client):
    """What is under /api, as tests use it."""

    def submit(self, code: str, **fields: Any) -> str:
        """POST /api/exec; the execution's id."""
        answer = self.post("/api/exec", json={"code": code, **fields})
        assert answer.status_code == 202, answer.text
        assert set(answer.json()) == {"execution_id"}
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    def info(self, execution_id: str) -> dict[str, Any]:
        """GET /api/executions/{id}."""
        answer = self.get(f"/api/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, execution_id: str) -> dict[str, Any]:
        """Wait for the end of an execution; what it is then."""

        def look() -> dict[str, Any] | None:
            info = self.info(execution_id)
            return None if info["status"] == "running" else info

        found: dict[str, Any] = wait_for(look)
        return found

    def done(self, code: str, **fields: Any) -> dict[str, Any]:
        """Run code to its end."""
        return self.ended(self.submit(code, **fields))

    def result(self, code: str, **fields: Any) -> Any:
        """The result of code, which must not fail."""
        info = self.done(code, **fields)
        assert info["status"] == "completed", info
        return info["result"]

    def output(self, execution_id: str, **asked: Any) -> dict[str, Any]:
        """GET /api/executions/{id}/output."""
        answer = self.get(f"/api/executions/{execution_id}/output", params=asked)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    def text(self, code: str, **fields: Any) -> Any:
        """All that code prints; the code may fail."""
        info = self.done(code, **fields)
        return self.output(info["execution_id"], byte_offset=0, byte_limit=1 << 20)[
            "data"
        ]

    def printed(self, execution_id: str, text: str) -> None:
        """Wait until a text is among what an execution has printed."""
        asked = {"byte_offset": 0, "byte_limit": 1 << 20}
        wait_for(lambda: text in self.output(execution_id, **asked)["data"])

    def cancel(self, execution_id: str, status: int = 200) -> dict[str, Any]:
        """POST /api/executions/{id}/cancel."""
        answer = self.post(f"/api/executions/{execution_id}/cancel")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


def reach(server: Server, **headers: str) -> Api:
    """A client for a server."""
    limits = httpx.Limits(max_connections=None)
    return Api(base_url=server.url, timeout=DEADLINE, headers=headers, limits=limits)


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
        server = Server(*FLAGS, "--data-dir", folder, *database_flags())
        try:
            with reach(server) as client:
                client.done("console.log(1)", session="warm")
                client.clean()
            yield server
        finally:
            status = server.stop()
        assert status == 0
        assert not server.wrong()


@pytest.fixture
def api(exec_server: Server) -> Iterator[Api]:
    """A client of the shared server, which has no process left of the test."""
    with reach(exec_server) as client:
        yield client
        client.clean()
    wait_for(lambda: len(exec_server.children()) <= AT_REST)


@pytest.fixture
def stateful(api: Api) -> Api:
    """The same, where executions yield heaps."""
    info = api.done("1")
    if info["heap"] is None and info["heap_error"] is None:
        pytest.fail("the server yields no heaps")
    return api
