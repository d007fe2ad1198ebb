"""The database is away for a while: clear answers, and all is well when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import CLIENT, connect
from tests.support.outages import Lossy
from tests.support.server import JAVASCRIPT_FLAGS, Server
from tests.support.waiting import wait_for

# All tables of the server are known once it is imported.
from isoserver import app  # noqa: F401
from isoserver.errors import DatabaseError
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage import silence, writer
from isoserver.storage.database import Database, url_of
from isoserver.tools.audit import Audit, Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.outages import Away
    from tests.support.postgresql import PostgreSQL

PATIENCE_SECONDS = 25.0
"""Of two requests, one after the other; clients have half a minute for each."""


def _calls(client: Client, heap: str, here: str) -> dict[str, Any]:
    """What needs the database, by name; each gives an answer."""
    tags = f"/api/heaps/{heap}/tags"
    return {
        "one heap": client.get(f"/api/heaps/{heap}"),
        "all heaps": client.get("/api/heaps"),
        "tags": client.put(tags, json={"tags": {"a": "b"}}),
        "fewer tags": client.delete(tags),
        "deleting": client.delete(f"/api/heaps/{'1' * 64}"),
        "sessions": client.get("/api/sessions"),
        "steps": client.get("/api/sessions/s/snapshots"),
        "executions": client.get("/api/executions"),
        "order": client.post("/api/exec", json={"code": "1"}),
        "order from a heap": client.post("/api/exec", json={"code": "1", "heap": heap}),
        "checkpoint": client.post(f"/contexts/{here}/checkpoint"),
        "from a heap": client.post("/contexts", json={"heap": heap}),
    }


@pytest.mark.slow
def test_outages_are_told_as_such(
    servers: Callable[..., Server], tmp_path: Path, away: Away
) -> None:
    server = servers(
        *JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path), "--database-url", away.url
    )
    with connect(server) as client:
        here = client.create()
        client.run("let n = 41", context_id=here)
        heap = client.post(f"/contexts/{here}/checkpoint").json()["heap"]
        away.leave()
        for name, answer in _calls(client, heap, here).items():
            assert answer.status_code == 503, (name, answer.status_code, answer.text)
            (said,) = answer.json().values()
            assert "database" in said, name
            assert "SELECT" not in said, name
        # What needs no database goes on meanwhile.
        assert client.text("n + 1", context_id=here) == "42"
        away.come_back()

        def back() -> bool:
            return client.get("/api/heaps").status_code == 200

        wait_for(back)
        statuses = {
            name: answer.status_code
            for name, answer in _calls(client, heap, here).items()
        }
        assert statuses.pop("deleting") == 404
        assert set(statuses.values()) <= {200, 201, 202}, statuses
        assert client.post(f"/contexts/{here}/checkpoint").status_code == 200
        told = [json.loads(line) for line in server.log().splitlines()]
    reasons = [entry["reason"] for entry in told if "can't be used" in entry["event"]]
    assert reasons
    assert all(reasons)


def test_a_server_that_can_not_write_is_not_healthy(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    server = servers(*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "isokernel.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = wait_for(lambda: _unhealthy(server))
        assert answer["message"] == "the database can't be written within 5 s"
        other.rollback()
    wait_for(lambda: _unhealthy(server) is None)


def _unhealthy(server: Server) -> Any:
    answer = CLIENT.get(f"{server.url}/healthz")
    return None if answer.status_code == 200 else answer.json()


@pytest.mark.slow
def test_nobody_waits_for_long_for_a_silent_database(
    servers: Callable[..., Server], tmp_path: Path, postgresql: PostgreSQL, away: Away
) -> None:
    server = servers(
        *JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path), "--database-url", away.url
    )
    with connect(server) as client:
        client.timeout = 2 * PATIENCE_SECONDS
        assert client.get("/api/heaps").status_code == 200
        with postgresql.paused():
            began = time.monotonic()
            assert client.get("/api/heaps").status_code == 503
            assert client.get("/api/sessions").status_code == 503
            assert time.monotonic() - began < PATIENCE_SECONDS
        wait_for(lambda: client.get("/api/heaps").status_code == 200)


def test_what_was_refused_and_is_there_all_the_same_is_ended(
    servers: Callable[..., Server], tmp_path: Path, postgresql: PostgreSQL
) -> None:
    """Nobody knows whether a commit was made whose answer is lost with the database."""
    way = Lossy(postgresql.database(), tmp_path)
    with way.passing_beside():
        server = servers(*JAVASCRIPT_FLAGS, "--database-url", way.url)
        with connect(server) as client:
            assert client.get("/api/executions").json()["executions"] == []
            way.lost, way.away = b"'its code'", True
            order = {"code": "'its code'"}
            assert client.post("/api/exec", json=order).status_code == 503
            assert not way.lost
            way.away = False

            def ended() -> Any:
                listed = client.get("/api/executions?status=failed")
                return listed.status_code == 200 and listed.json()["executions"]

            (run,) = wait_for(ended)
            assert client.get("/api/executions").json()["executions"] == [run]
        server.stop()


def test_what_a_silent_database_has_not_taken_is_not_tried_again_and_again(
    tmp_path: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(writer, "_AGAIN_SECONDS", 0.4)
    way = Lossy(postgresql.database(), tmp_path)

    async def run() -> None:
        async with way.passing():
            database, said = Database(url_of(way.url, tmp_path)), StringIO()
            await database.start()
            audit = Audit(read_settings(), database, make_log("error", said))
            entry = Entry("default", "call", "", "")
            await audit.add(entry)
            way.silent = True
            with pytest.raises(DatabaseError):
                await audit.add(entry)
            assert said.getvalue().count("can't be written") == 1
            await database.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_cancellation_that_can_not_be_saved_is_told(
    servers: Callable[..., Server], tmp_path: Path, away: Away
) -> None:
    server = servers(
        *JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path), "--database-url", away.url
    )
    with connect(server) as client:
        order = {"code": "while (true) {}"}
        run = client.post("/api/exec", json=order).json()["execution_id"]
        path = f"/api/executions/{run}"
        wait_for(lambda: client.get(path).json()["status"] == "running")
        away.leave()
        began = time.monotonic()
        client.timeout = 2 * PATIENCE_SECONDS
        told = client.post(f"{path}/cancel")
        assert (told.status_code, told.headers["X-Error-Code"]) == (503, "database")
        assert time.monotonic() - began < PATIENCE_SECONDS
        away.come_back()

        def ended() -> bool:
            answer = client.get(path)
            return answer.status_code == 200 and answer.json()["status"] == "cancelled"

        wait_for(ended)
