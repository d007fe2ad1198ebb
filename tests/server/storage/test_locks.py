"""One server at a time on one data folder and one database; who comes later is told."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from tests.support.client import connect
from tests.support.server import JAVASCRIPT_FLAGS, Server
from tests.support.starts import start_isokernel

from isoserver.errors import TakenError
from isoserver.settings.logs import make_log
from isoserver.storage import locks
from isoserver.storage.database import Database, url_of
from isoserver.storage.locks import ServerLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of one kind or the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.sqlite'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.database()


def _refused(*flags: str, command: str = "serve") -> str:
    """Start a server that can't start; what it says."""
    line = [command, *JAVASCRIPT_FLAGS, *flags, "--lock-timeout-seconds", "0.2"]
    if command == "serve":
        line += ["--port", "0"]
    with start_isokernel(*line) as process:
        # It ends by itself, not because its client is gone.
        assert process.wait(30) == 1
        assert process.stdout.read() == ""
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Traceback" not in said
    return said


def test_the_second_server_on_a_database_is_refused(
    servers: Callable[..., Server], shared: str, tmp_path: Path
) -> None:
    flags = ("--database-url", shared)
    first = servers(*JAVASCRIPT_FLAGS, *flags, "--data-dir", str(tmp_path / "one"))
    with connect(first) as client:
        code = "console.log('on'); await new Promise(() => {})"
        answer = client.post("/api/exec", json={"code": code})
        running = answer.json()["execution_id"]
        said = _refused(*flags, "--data-dir", str(tmp_path / "two"))
        assert said.startswith("isokernel: the database ")
        assert " is in use by another isokernel server" in said
        assert said.endswith(", which must end first\n")
        # What it runs isn't taken for what a crash has left.
        info = client.get(f"/api/executions/{running}").json()
        assert info["status"] == "running"
        assert client.post(f"/api/executions/{running}/cancel").json() == {"ok": True}
    first.stop(signal.SIGKILL)
    again = servers(*JAVASCRIPT_FLAGS, *flags, "--data-dir", str(tmp_path / "two"))
    with connect(again) as client:
        info = client.get(f"/api/executions/{running}").json()
        assert info["status"] == "cancelled"


def test_the_second_server_on_a_folder_is_refused(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    folder = ("--data-dir", str(tmp_path))
    first = servers(*JAVASCRIPT_FLAGS, *folder)
    elsewhere = ("--database-url", f"sqlite:///{tmp_path / 'other.sqlite'}")
    said = _refused(*folder, *elsewhere)
    assert f"the folder {tmp_path} is in use by another isokernel server" in said
    # Only in the same folder is a client passed on to the server that has it.
    place = f"sqlite:///{tmp_path / 'isokernel.sqlite'}"
    other = ("--data-dir", str(tmp_path / "other"), "--database-url", place)
    assert "is in use by another" in _refused(*other, command="mcp")
    assert first.stop() == 0
    assert servers(*JAVASCRIPT_FLAGS, *folder).stop() == 0


@pytest.fixture
def owners(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Database, ServerLock]]:
    """Those who want one database; they check often and do not wait long."""
    monkeypatch.setattr(locks, "_CHECK_SECONDS", 0.02)
    url = url_of(postgresql.database(), tmp_path)
    numbers = iter(range(9))

    def make() -> tuple[Database, ServerLock]:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        database = Database(url)
        log = make_log("info", io.StringIO())
        return database, ServerLock(database, folder, log, 0.1)

    return make


async def _lose(database: Database) -> None:
    """End all other connections to a database, as a restart of PostgreSQL does."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with database.connect() as connection:
        await connection.execute(text(query))


async def _until(true: Callable[[], Any]) -> None:
    async def look() -> None:
        while not true():  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), 20)


def test_the_lock_is_taken_again_when_the_database_is_back(
    owners: Callable[[], tuple[Database, ServerLock]],
) -> None:
    async def test() -> None:
        (database, mine), (_, other) = owners(), owners()
        await mine.acquire()
        before = mine._connection
        await _lose(database)
        await _until(lambda: mine._connection not in {None, before})
        with pytest.raises(TakenError):
            await other.acquire()
        await other.release()
        assert not mine.lost.is_set()
        await mine.release()
        await other.acquire()
        await other.release()
        await database.close()

    asyncio.run(test())


def test_who_has_lost_the_lock_to_another_learns_of_it(
    owners: Callable[[], tuple[Database, ServerLock]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        (database, mine), (_, other) = owners(), owners()
        monkeypatch.setattr(locks, "_CHECK_SECONDS", 0.5)
        await mine.acquire()
        await _lose(database)
        await other.acquire()
        await asyncio.wait_for(mine.lost.wait(), 20)
        for one in (mine, other):
            await one.release()
        await database.close()

    asyncio.run(test())


def test_the_lock_of_a_folder_is_not_inherited(tmp_path: Path) -> None:
    async def test() -> None:
        database = Database(url_of(None, tmp_path))
        mine = ServerLock(database, tmp_path, make_log("info", io.StringIO()), 0)
        await mine.acquire()
        assert mine._files is not None
        assert mine._files._files
        assert all(not os.get_inheritable(file) for file in mine._files._files)
        await mine.release()
        await database.close()

    asyncio.run(test())
