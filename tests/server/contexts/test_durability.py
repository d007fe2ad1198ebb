"""Contexts that are saved while they are used, and what a crash takes with it."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.contexts.test_hibernation import UNSAVABLE
from tests.support.client import connect
from tests.support.server import JAVASCRIPT_FLAGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.server import Server


def _make(client: Client, durability: Any, **fields: Any) -> str:
    body = {"language": "javascript", "durability": durability, **fields}
    answer = client.post("/contexts", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["durability"] == durability
    made: str = answer.json()["id"]
    return made


def _heaps(client: Client) -> int:
    return len(client.get("/api/heaps").json()["heaps"])


def test_what_was_answered_outlives_a_crash(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    server = servers(*flags)
    with connect(server) as client:
        plain = client.create()
        client.run("globalThis.n = 1", context_id=plain)
        here = _make(client, "execution")
        for number in range(3):
            client.run(f"globalThis.n = {number}", context_id=here)
        assert client.run("throw n", context_id=here)["error"]["name"]
        fork = client.post(f"/contexts/{here}/fork").json()
        assert fork["durability"] == "execution"
        client.run("n = 10", context_id=fork["id"])
        server.stop(signal.SIGKILL)
    with connect(servers(*flags)) as client:
        shown = client.show(here)
        assert (shown["state"], shown["durability"]) == ("hibernated", "execution")
        assert client.text("n", context_id=here) == "2"
        assert client.text("n", context_id=fork["id"]) == "10"
        assert client.show(plain)["state"] == "dead"
        cells = client.get(f"/contexts/{here}/notebook").json()["cells"]
        sources = ["".join(cell["source"]) for cell in cells]
        assert sources[-2:] == ["throw n", "n"]
        assert len(sources) == 5
        listed = {item["id"]: item for item in client.get("/contexts").json()["items"]}
        assert listed[here]["durability"] == "execution"
        assert "durability" not in listed[plain]


def test_an_execution_is_known_with_what_came_of_it_or_not_at_all(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    """Sent again after a crash, it is answered by its cell, and the state is there."""
    flags = (*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    server = servers(*flags)
    again = {"code": "globalThis.n = (globalThis.n ?? 0) + 1", "execution_id": "two"}
    with connect(server) as client:
        here = again["context_id"] = _make(client, "execution")
        client.run("globalThis.n = 1", context_id=here)
        with closing(sqlite3.connect(tmp_path / "isokernel.sqlite")) as database:
            database.execute(
                "CREATE TRIGGER full BEFORE INSERT ON contexts WHEN NEW.heap_count > 1 "
                "BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            unsaved = client.post("/execute", json=again).json()
            assert unsaved["error"]["name"] == "ContextUnsavedError"
            server.stop(signal.SIGKILL)
            database.execute("DROP TRIGGER full")
    with connect(servers(*flags)) as client:
        counted = client.post("/execute", json=again).json()
        assert counted["items"][-1]["text"] == "2"
        assert client.text("n", context_id=here) == "2"


def test_what_was_begun_outlives_a_crash(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    server = servers(*flags)
    with connect(server) as client:
        here, new = _make(client, "execution"), _make(client, "execution")
        client.run("globalThis.n = 1", context_id=here)
        forked = client.post(f"/contexts/{here}/forks", json={"count": 2}).json()
        forks = [each["id"] for each in forked["items"]]
        assert client.post(f"/contexts/{here}/restart").status_code == 200
        server.stop(signal.SIGKILL)
    with connect(servers(*flags)) as client:
        assert client.text("typeof n", context_id=here) == "'undefined'"
        assert client.text("typeof n", context_id=new) == "'undefined'"
        for fork in forks:
            assert client.text("n", context_id=fork) == "1"


def test_what_can_not_be_saved_is_not_begun(client: Client) -> None:
    here = _make(client, "execution")
    client.run(UNSAVABLE, context_id=here)
    before = len(client.get("/contexts").json()["items"])
    refused = client.post(f"/contexts/{here}/fork")
    assert refused.headers["X-Error-Code"] == "heap_unsavable"
    assert len(client.get("/contexts").json()["items"]) == before


def test_it_is_saved_in_time(servers: Callable[..., Server], tmp_path: Path) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    server = servers(*flags)
    with connect(server) as client:
        here = _make(client, 1)
        client.run("globalThis.n = 1", context_id=here)
        first = wait_for(lambda: client.show(here).get("heap"))
        client.run("n = 2", context_id=here)
        wait_for(lambda: client.show(here)["heap"] != first)
        # What it is saved to replaces what it was saved to before.
        wait_for(lambda: _heaps(client) == 1)
        server.stop(signal.SIGKILL)
    with connect(servers(*flags)) as client:
        assert client.text("n", context_id=here) == "2"


def test_changed_files_are_saved_as_executions_are(client: Client) -> None:
    here, soon, later = _make(client, "execution"), _make(client, 1), client.create()
    before = client.show(here)["heap"]
    for each in (here, soon, later):
        put = client.put(f"/contexts/{each}/files/a", content=b"data")
        assert put.status_code == 201
    assert client.show(here)["heap"] != before
    heap = wait_for(lambda: client.show(soon).get("heap"))
    assert "heap" not in client.show(later)
    made = client.post("/contexts", json={"heap": heap}).json()["id"]
    assert client.get(f"/contexts/{made}/files/a").content == b"data"
    # What can't be saved isn't acknowledged.
    client.run(UNSAVABLE, context_id=here)
    refused = client.put(f"/contexts/{here}/files/b", content=b"data")
    assert refused.headers["X-Error-Code"] == "heap_unsavable"


def test_cells_that_wait_begin_after_the_save(client: Client) -> None:
    here = _make(client, "execution")
    stream = [
        client.build_request(
            "POST", "/execute", json={"code": code, "context_id": here}
        )
        for code in ("globalThis.n = 0; 1", "n += 1; 2")
    ]
    for request in stream:
        assert client.send(request).json()["error"] is None
    shown = client.show(here)
    assert shown["execution_count"] == 2
    # Its heap is that of the last one.
    answer = client.post("/contexts", json={"heap": shown["heap"]})
    assert client.text("n", context_id=answer.json()["id"]) == "1"


def test_an_execution_whose_state_can_not_be_saved_fails(client: Client) -> None:
    here = _make(client, "execution")
    client.run("let n = 1", context_id=here)
    answer = client.run(UNSAVABLE, context_id=here)
    assert answer["error"]["name"] == "ContextUnsavedError"
    assert "can't be saved" in answer["error"]["value"]
    assert client.run("n", context_id=here)["error"]["name"] == "ContextUnsavedError"
    client.run("delete globalThis.fmt; n = 2", context_id=here)


@pytest.mark.parametrize("durability", ["never", 0, 1e9, None, True])
def test_odd_durabilities_are_refused(client: Client, durability: Any) -> None:
    body = {"language": "javascript", "durability": durability}
    answer = client.post("/contexts", json=body)
    assert answer.status_code == (201 if durability is None else 400), answer.text


def test_kernels_can_not_be_saved(client: Client) -> None:
    body = {"language": "python", "durability": "execution"}
    answer = client.post("/contexts", json=body)
    assert answer.status_code == 400
    assert "can't be saved" in answer.text
