"""Contexts that outlive their process and the server's: checkpoints, sleep, ends."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.client import connect
from tests.support.server import AT_REST
from tests.support.waiting import wait_for

from isoserver.heaps.content import examine, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client
    from tests.support.postgresql import PostgreSQL
    from tests.support.server import Server

V8 = ("--languages", "javascript,typescript", "--default-language", "javascript")
UNSAVABLE = "globalThis.fmt = new Intl.Segmenter().segment('a'); 1"


def _checkpoint(client: Client, here: str) -> str:
    answer = client.post(f"/contexts/{here}/checkpoint")
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"heap"}
    key: str = answer.json()["heap"]
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    return key


def _reopen(client: Client, here: str) -> httpx.Response:
    return client.post(f"/contexts/{here}/restart", json={"from": "checkpoint"})


def _listed(client: Client) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in client.get("/contexts").json()["items"]}


def _starts(client: Client) -> int:
    text = client.get("/metrics").text
    found = re.findall(
        r"^isokernel_start_seconds_count.*? (\d+)\.0$", text, re.MULTILINE
    )
    return sum(map(int, found))


# -- checkpoints -----------------------------------------------------------------------


def test_a_context_goes_on_from_a_heap(client: Client) -> None:
    here = client.create("typescript")
    client.run("let a: number = 1; const next = () => ++a", context_id=here)
    key = _checkpoint(client, here)
    assert client.text("next()", context_id=here) == "2"
    answer = client.post("/contexts", json={"heap": key, "cwd": "/home/me"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["id"] != here
    assert (made["heap"], made["execution_count"]) == (key, 1)
    assert (made["language_name"], made["cwd"]) == ("typescript", "/home/me")
    done = client.run("next()", context_id=made["id"])
    assert (done["items"][0]["text"], done["execution_count"]) == ("2", 2)
    assert client.text("a", context_id=here) == "2"


def test_a_checkpoint_comes_in_its_turn(client: Client) -> None:
    here = client.create()
    with ThreadPoolExecutor() as pool:
        code = "let a = 0; await new Promise((r) => setTimeout(r, 200)); a = 42"
        running = pool.submit(client.run, code, context_id=here)
        client.wait_state(here, "busy")
        key = _checkpoint(client, here)
        assert running.result()["error"] is None
    other = client.post("/contexts", json={"heap": key}).json()["id"]
    assert client.text("a", context_id=other) == "42"


def test_what_cannot_be_saved_says_why(client: Client) -> None:
    here = client.create()
    client.run(UNSAVABLE, context_id=here)
    answer = client.post(f"/contexts/{here}/checkpoint")
    assert answer.status_code == 409
    said = answer.json()
    assert set(said) == {"message", "reason", "kind", "path", "holder"}
    assert said["reason"] in said["message"]
    assert (said["kind"], said["path"]) == ("Intl.Segments", "globalThis.fmt")
    assert client.text("[...fmt].length", context_id=here) == "1"
    python = client.create("python")
    answer = client.post(f"/contexts/{python}/checkpoint")
    assert answer.status_code == 409
    assert "python" in answer.json()["message"]


def test_only_v8_begins_from_a_heap(client: Client) -> None:
    key = _checkpoint(client, client.create())
    answer = client.post("/contexts", json={"heap": key, "language": "python"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "heap")
    answer = client.post("/contexts", json={"heap": "0" * 64})
    assert (answer.status_code, list(answer.json())) == (404, ["message"])
    assert client.post("/contexts", json={"heap": "x"}).status_code == 400


def test_a_crashed_context_is_reopened(client: Client, server: Server) -> None:
    here = client.create()
    assert _reopen(client, here).status_code == 409
    client.run("let a = 1; console.log('kept')", context_id=here)
    _checkpoint(client, here)
    client.run("a = 2; console.log('lost')", context_id=here)
    with ThreadPoolExecutor() as pool:
        pool.submit(client.run, "while (true) {}", context_id=here)
        os.kill(server.busy_process(), signal.SIGKILL)
    assert client.show(here)["state"] == "dead"
    answer = _reopen(client, here)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["execution_count"]) == ("idle", 1)
    done = client.run("a", context_id=here)
    assert (done["items"][0]["text"], done["execution_count"]) == ("1", 2)
    cells = client.get(f"/contexts/{here}/notebook").json()["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2]
    assert cells[0]["outputs"][0]["text"] in ("kept\n", ["kept\n"])


def test_a_restart_takes_no_other_word(client: Client) -> None:
    here = client.create()
    path = f"/contexts/{here}/restart"
    assert client.post(path, json={"from": "nothing"}).status_code == 200
    wrong: tuple[Any, ...] = ({"from": "elsewhere"}, {"form": "checkpoint"}, [])
    for body in wrong:
        assert client.post(path, json=body).status_code == 400


# -- sleep -----------------------------------------------------------------------------


@pytest.fixture
def sleepy(servers: Callable[..., Server], tmp_path: Path) -> Server:
    """A server whose contexts sleep soon."""
    flags = ("--hibernate-after-seconds", "0.4", "--data-dir", str(tmp_path))
    return servers(*V8, *flags)


def _asleep(client: Client, *codes: str) -> str:
    here = client.create()
    for code in codes:
        client.run(code, context_id=here)
    shown = client.wait_state(here, "hibernated")
    assert "reason" not in shown
    return here


def test_whatever_is_asked_wakes(sleepy: Server) -> None:
    with connect(sleepy) as client:
        here = _asleep(client, "let a = 1; const next = () => ++a")
        wait_for(lambda: len(sleepy.children()) <= AT_REST)
        created = client.show(here)["created_at"]
        assert client.text("next()", context_id=here) == "2"
        client.wait_state(here, "hibernated")
        stream = client.post(
            "/execute/async", json={"code": "console.log(next())", "context_id": here}
        )
        assert '"data":"3"' in stream.text.replace(" ", "")
        questions: tuple[tuple[str, dict[str, str], str], ...] = (
            ("complete", {"code": "nex"}, "next"),
            ("inspect", {"code": "next"}, "text/plain"),
            ("fork", {}, "id"),  # it may be on its way to sleep already
        )
        for path, body, expected in questions:
            client.wait_state(here, "hibernated")
            answer = client.post(f"/contexts/{here}/{path}", json=body)
            assert answer.status_code < 300, answer.text
            assert expected in answer.text
        fork = answer.json()["id"]
        assert client.text("a", context_id=fork) == "3"
        cells = client.get(f"/contexts/{fork}/notebook").json()["cells"]
        assert len(cells) == 4
        client.wait_state(here, "hibernated")
        notebook = client.get(f"/contexts/{here}/notebook").json()
        assert client.show(here)["state"] == "hibernated"  # that is only looked up
        assert [cell["execution_count"] for cell in notebook["cells"]] == [1, 2, 3]
        notebook["cells"] = notebook["cells"][1:2]
        done = client.post(f"/contexts/{here}/notebook", json=notebook).json()
        assert done["cells"][0]["outputs"][0]["data"]["text/plain"] == "4"
        assert client.show(here)["execution_count"] == 4
        assert client.show(here)["created_at"] == created


def test_many_requests_wake_it_once(sleepy: Server) -> None:
    with connect(sleepy) as client:
        here = _asleep(client, "let a = 0")
        before = _starts(client)
        with ThreadPoolExecutor(16) as pool:
            runs = [pool.submit(client.text, "++a", context_id=here) for _ in range(16)]
            numbers = sorted(int(run.result()) for run in runs)
        assert numbers == list(range(1, 17))
        assert _starts(client) == before + 1


def test_a_sleeping_context_is_deleted_and_restarted(sleepy: Server) -> None:
    with connect(sleepy) as client:
        here, other = _asleep(client, "let a = 1"), _asleep(client, "let a = 1")
        key = client.show(here)["heap"]
        assert client.delete(f"/contexts/{here}").status_code == 204
        assert client.get(f"/contexts/{here}").status_code == 404
        # The heap was made for its sleep alone.
        assert client.get(f"/api/heaps/{key}").status_code == 404
        assert client.post(f"/contexts/{other}/restart").json()["state"] == "idle"
        assert client.run("a", context_id=other)["error"]["name"] == "ReferenceError"
        assert list(_listed(client)) == [other]


def test_a_checkpoint_of_a_sleeping_context_is_the_heap_that_it_has(
    sleepy: Server,
) -> None:
    with connect(sleepy) as client:
        here = _asleep(client, "let a = 1")
        key = _checkpoint(client, here)
        assert key == client.show(here)["heap"]
        assert client.show(here)["state"] == "hibernated"
        # It stays, as others do that somebody asked for.
        client.run("a = 2", context_id=here)
        client.wait_state(here, "hibernated")
        assert client.show(here)["heap"] != key
        client.delete(f"/contexts/{here}")
        made = client.post("/contexts", json={"heap": key})
        assert made.status_code == 201, made.text
        assert client.text("a", context_id=made.json()["id"]) == "1"


def test_sleep_leaves_no_trace_in_a_session(sleepy: Server) -> None:
    with connect(sleepy) as client:
        heaps = [client.done("var a = 1", session="s")["heap"]]
        client.wait_state("s", "hibernated")
        assert client.show("s")["heap"] not in heaps
        heaps.append(client.done("a += 1", session="s")["heap"])
        client.post("/contexts/s/restart")
        heaps.append(client.done("var a = 3", session="s")["heap"])
        entries = client.get("/api/sessions/s/snapshots").json()["entries"]
        assert [entry["output_heap"] for entry in entries] == heaps
        assert [entry["input_heap"] for entry in entries] == [None, heaps[0], None]


def test_what_cannot_be_saved_stays_awake(sleepy: Server) -> None:
    with connect(sleepy) as client:
        here = client.create()
        client.run(UNSAVABLE, context_id=here)
        for _ in range(2):
            _asleep(client)
        assert client.show(here)["state"] == "idle"
        client.run("delete globalThis.fmt", context_id=here)
        client.wait_state(here, "hibernated")
        assert client.text("typeof fmt", context_id=here) == "'undefined'"


def test_a_damaged_heap_is_a_clear_error(sleepy: Server, tmp_path: Path) -> None:
    with connect(sleepy) as client:
        ids = [_asleep(client, f"let a = {number}") for number in range(3)]
        files = [
            tmp_path / "heaps" / f"{client.show(here)['heap']}.heap" for here in ids
        ]
        damaged = bytearray(files[0].read_bytes())
        damaged[len(damaged) // 2] ^= 1
        files[0].write_bytes(damaged)
        heap = unpack(files[1].read_bytes(), 1 << 26)
        engine = examine(heap).engine
        foreign = engine.replace("14.", "13.")
        files[1].write_bytes(pack(heap.replace(engine.encode(), foreign.encode()), 3))
        for here, words in zip(ids, (["damaged"], [engine, foreign]), strict=False):
            body = {"code": "a", "context_id": here}
            for _ in range(2):
                answer = client.post("/execute", json=body)
                assert answer.status_code == 409
                assert all(word in answer.json()["message"] for word in words)
            shown = _listed(client)[here]
            assert shown["state"] == "dead"
            assert all(word in shown["reason"] for word in words)
        assert client.text("a", context_id=ids[2]) == "2"


def _left_asleep(server: Server, number: int) -> list[str]:
    """Contexts that a server has saved as it ended."""
    with connect(server) as client:
        ids = [client.create() for _ in range(number)]
        for here in ids:
            client.run("let n = 41", context_id=here)
    assert server.stop() == 0
    return ids


def test_who_wakes_gets_the_place_of_the_one_that_can_be_saved(
    kept: tuple[str, ...], servers: Callable[..., Server]
) -> None:
    """If not of the one that was idle for longest, then of the next one."""
    ids = _left_asleep(servers(*kept), 3)
    with connect(servers(*kept, "--contexts-max", "2")) as client:
        client.run(UNSAVABLE, context_id=ids[0])
        client.run("1", context_id=ids[1])
        assert client.text("n + 1", context_id=ids[2]) == "42"
        listed = _listed(client)
        assert [listed[here]["state"] for here in ids] == ["idle", "hibernated", "idle"]


def test_who_wakes_does_not_hear_of_files_of_others(
    kept: tuple[str, ...], servers: Callable[..., Server]
) -> None:
    """A file that can't be read keeps its own context awake, and no other asleep."""
    ids = _left_asleep(servers(*kept), 3)
    # Not even root reads them then.
    lacking = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    with connect(servers(*kept, "--contexts-max", "2", before=lacking)) as client:
        unreadable = "require('node:fs').writeFileSync('secret', '', { mode: 0 })"
        client.run(unreadable, context_id=ids[0])
        client.run("1", context_id=ids[1])
        assert client.text("n + 1", context_id=ids[2]) == "42"
        listed = _listed(client)
        assert [listed[here]["state"] for here in ids] == ["idle", "hibernated", "idle"]


def test_who_wakes_is_told_when_nothing_can_be_saved(
    kept: tuple[str, ...], servers: Callable[..., Server], tmp_path: Path
) -> None:
    heaps, away = tmp_path / "heaps", tmp_path / "away"
    flags = (*kept, "--heap-store", str(heaps))
    ids = _left_asleep(servers(*flags), 2)
    with connect(servers(*flags, "--contexts-max", "1")) as client:
        assert client.text("n", context_id=ids[0]) == "41"
        heaps.rename(away)
        heaps.write_text("not a folder", encoding="utf-8")
        # The same request, which has run nothing.
        named: Any = {"context_id": ids[1], "execution_id": "the-same"}
        for _ in range(2):
            told = client.run("n += 1", 503, **named)
            assert "the store of heaps can't be used" in told["message"]
        heaps.unlink()
        away.rename(heaps)
        for _ in range(2):
            assert client.text("n += 1", **named) == "42"
        assert client.post(f"/contexts/{ids[0]}/restart").status_code == 200
        assert client.text("typeof n", context_id=ids[0]) == "'undefined'"


def test_bounds_of_sleep(servers: Callable[..., Server]) -> None:
    flags = (
        "--hibernate-after-seconds",
        "0.3",
        "--hibernated-contexts-max",
        "3",
        "--contexts-max",
        "2",
    )
    with connect(servers(*V8, *flags)) as client:
        ids = [_asleep(client, f"let a = {number}") for number in range(3)]
        last = client.create()
        for _ in range(2):
            # One after the other wakes, though only two may live: others fall asleep.
            for number, here in enumerate(ids):
                assert client.text("a", context_id=here) == str(number)
        assert len(_listed(client)) == 4
        assert client.show(last)["id"] == last


def test_those_that_slept_for_long_go(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (
        "--hibernate-after-seconds",
        "0.2",
        "--hibernated-context-ttl-seconds",
        "0.6",
    )
    with connect(servers(*V8, *flags, "--data-dir", str(tmp_path))) as client:
        here = _asleep(client)
        wait_for(lambda: not _listed(client))
        gone = client.get(f"/contexts/{here}")
        assert gone.status_code == 404
        assert "hibernated_context_ttl_seconds" in gone.text


# -- restarts of the server ------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Flags of a server that keeps things, in a database of one kind or the other."""
    # Sockets are in there, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ik-") as folder:
        flags: tuple[str, ...] = ("--data-dir", folder)
        if request.param == "postgresql":
            server: PostgreSQL = request.getfixturevalue("postgresql")
            flags = (*flags, "--database-url", server.database())
        yield flags


# The next test has both each time: what is kept is written and read in the same way.
@pytest.mark.parametrize(
    "kept",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
    indirect=True,
)
def test_contexts_outlive_the_server(
    kept: tuple[str, ...], servers: Callable[..., Server]
) -> None:
    first = servers(*kept)
    with connect(first) as client:
        saved = client.post("/contexts", json={"language": "ts", "cwd": "/a"}).json()
        client.run("let a: number = 41; console.log('x')", context_id=saved["id"])
        client.run("throw new Error('no')", context_id=saved["id"])
        lost, python, gone = client.create(), client.create("python"), client.create()
        client.run(UNSAVABLE, context_id=lost)
        client.run("print('mine')", context_id=python)
        client.delete(f"/contexts/{gone}")
        before = client.show(saved["id"])
        notebook = client.get(f"/contexts/{saved['id']}/notebook").json()
    assert first.stop() == 0
    second = servers(*kept)
    with connect(second) as client:
        listed = _listed(client)
        assert set(listed) == {saved["id"], lost, python}
        back = listed[saved["id"]]
        assert back["state"] == "hibernated"
        same = ("created_at", "cwd", "language", "language_name", "execution_count")
        assert [back[name] for name in same] == [before[name] for name in same]
        for here, why in ((lost, "can't be saved"), (python, "python")):
            assert listed[here]["state"] == "dead"
            assert listed[here]["reason"].startswith("lost: when the server stopped")
            assert why in listed[here]["reason"]
            body = {"code": "1", "context_id": here}
            answer = client.post("/execute", json=body)
            assert answer.status_code == 409
            assert why in answer.json()["message"]
        path = f"/contexts/{saved['id']}/notebook"
        assert client.get(path).json() == notebook
        done = client.run("a + 1", context_id=saved["id"])
        assert (done["items"][0]["text"], done["execution_count"]) == ("42", 3)
        assert client.post(f"/contexts/{python}/restart").json()["state"] == "idle"
        assert client.text("1 + 1", context_id=python) == "2"
        client.delete(f"/contexts/{lost}")
    assert second.stop() == 0
    third = servers(*kept)
    with connect(third) as client:
        assert set(_listed(client)) == {saved["id"], python}
        assert client.text("a", context_id=saved["id"]) == "41"


def test_after_kill_9_contexts_go_back_to_their_checkpoints(
    kept: tuple[str, ...], servers: Callable[..., Server]
) -> None:
    # Between its requests, no context may be idle for so long.
    first = servers(*V8, "--hibernate-after-seconds", "1.5", *kept)
    forever = "await new Promise(() => {})"  # what is busy doesn't hibernate
    with connect(first) as client, ThreadPoolExecutor() as pool:
        asleep = _asleep(client, "let a = 'asleep'")
        saved = client.create()
        client.run("let a = 'saved'", context_id=saved)
        _checkpoint(client, saved)
        pool.submit(client.run, f"a = 'later'; {forever}", context_id=saved)
        lost = client.create()
        pool.submit(client.run, f"let a = 'lost'; {forever}", context_id=lost)
        for here in (saved, lost):
            client.wait_state(here, "busy")
        wait_for(lambda: _rows(first, kept, lost))
        first.stop(signal.SIGKILL)
    with connect(servers(*V8, *kept)) as client:
        listed = _listed(client)
        assert listed[asleep]["state"] == "hibernated"
        assert "reason" not in listed[asleep]
        assert listed[saved]["state"] == "hibernated"
        assert "what ran after its checkpoint of 2" in listed[saved]["reason"]
        assert listed[lost]["state"] == "dead"
        assert listed[lost]["reason"].startswith("lost: the server ended")
        assert client.text("a", context_id=asleep) == "'asleep'"
        done = client.run("a", context_id=saved)
        assert (done["items"][0]["text"], done["execution_count"]) == ("'saved'", 2)
        assert "is lost" in client.show(saved)["reason"]


def _rows(_server: Server, kept: Any, context_id: str) -> bool:
    """Whether a context was written down; it is, within moments."""
    if "--database-url" in kept:
        import asyncio  # noqa: PLC0415 -- for one of two databases

        import asyncpg  # noqa: PLC0415

        async def ask() -> bool:
            connection = await asyncpg.connect(kept[-1])
            try:
                query = "SELECT id FROM contexts WHERE id = $1"
                return bool(await connection.fetch(query, context_id))
            finally:
                await connection.close()

        return asyncio.run(ask())
    import sqlite3  # noqa: PLC0415 -- as above

    connection = sqlite3.connect(Path(kept[1]) / "isokernel.sqlite")
    try:
        query = "SELECT id FROM contexts WHERE id = ?"
        return bool(connection.execute(query, (context_id,)).fetchall())
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.race
def test_kill_9_amid_checkpoints_loses_none_that_was_acknowledged(
    servers: Callable[..., Server], tmp_path: Path, times: int
) -> None:
    """Every key that a client was given can be restored, whole, after each kill."""
    acknowledged: dict[str, str] = {}

    def work(client: Client, stop: list[bool], name: int) -> None:
        with suppress(httpx.TransportError):
            here = client.create()
            number = 0
            while not stop:
                number += 1
                client.run(f"var v = '{name}-{number}'", context_id=here)
                key = client.post(f"/contexts/{here}/checkpoint").json()["heap"]
                acknowledged[key] = f"'{name}-{number}'"

    for turn in range(3 * times):
        server = servers(*V8, "--data-dir", str(tmp_path))
        stop: list[bool] = []
        with connect(server) as client, ThreadPoolExecutor(3) as pool:
            for worker in range(3):
                pool.submit(work, client, stop, turn * 10 + worker)
            enough = len(acknowledged) + 5
            while len(acknowledged) < enough:
                os.sched_yield()
            os.kill(server.process.pid, signal.SIGKILL)
            stop.append(True)
        server.stop(signal.SIGKILL)
    with connect(servers(*V8, "--data-dir", str(tmp_path))) as client:
        assert len(acknowledged) >= 15
        for key, value in list(acknowledged.items())[-25:]:
            here = client.post("/contexts", json={"heap": key}).json()["id"]
            assert client.text("v", context_id=here) == value
            client.delete(f"/contexts/{here}")
        for key in acknowledged:
            assert client.get(f"/api/heaps/{key}").status_code == 200
    for file in (tmp_path / "heaps").glob("*.heap"):
        assert examine(unpack(file.read_bytes(), 1 << 26)).key == file.stem
