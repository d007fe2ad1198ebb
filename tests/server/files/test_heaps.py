"""Saved heaps have the files of their context: one key for memory and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.client import connect
from tests.support.server import JAVASCRIPT_FLAGS, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client


@pytest.fixture(scope="module")
def saving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server that collects what it doesn't need at once, and its data folder."""
    folder = tmp_path_factory.mktemp("data")
    flags = ("--heap-grace-seconds", "0", "--heap-sweep-interval-seconds", "0.2")
    with run_server(*JAVASCRIPT_FLAGS, *flags, "--data-dir", str(folder)) as server:
        yield server, folder


@pytest.fixture
def client(saving: tuple[Server, Path]) -> Iterator[Client]:
    with connect(saving[0]) as made:
        yield made
        made.clean()


def put(client: Client, context: str, path: str, text: str) -> None:
    answer = client.put(f"/contexts/{context}/files/{path}", content=text.encode())
    assert answer.status_code in {200, 201}, answer.text


def files(client: Client, context: str) -> dict[str, str | None]:
    """All files of a context, with their content; None for folders."""
    place = f"/contexts/{context}/files"
    listed = client.get(place, params={"recursive": True}).json()["files"]
    return {
        each["path"]: client.get(f"{place}/{each['path']}").text
        if each["kind"] == "file"
        else None
        for each in listed
    }


def save(client: Client, context: str) -> str:
    answer = client.post(f"/contexts/{context}/checkpoint")
    assert answer.status_code == 200, answer.text
    key: str = answer.json()["heap"]
    return key


def test_a_heap_brings_its_files_back(client: Client) -> None:
    first = client.create()
    client.run("let n = 1", context_id=first)
    bare = save(client, first)
    put(client, first, "data/a.csv", "1")
    client.post(
        f"/contexts/{first}/files", json={"action": "make_folder", "path": "empty/b"}
    )
    then = {"data": None, "data/a.csv": "1", "empty": None, "empty/b": None}
    key = save(client, first)
    assert key != bare
    put(client, first, "data/a.csv", "2")
    put(client, first, "more", "3")
    changed = save(client, first)
    assert changed not in {key, bare}

    answer = client.post("/contexts", json={"heap": key})
    assert answer.status_code == 201, answer.text
    second = answer.json()["id"]
    assert client.text("n", context_id=second) == "1"
    assert files(client, second) == then
    assert save(client, second) != changed

    client.post(f"/contexts/{first}/restart", json={"from_checkpoint": True})
    assert files(client, first) == {**then, "data/a.csv": "2", "more": "3"}
    third = client.post("/contexts", json={"heap": bare}).json()["id"]
    assert files(client, third) == {}


def test_times_come_back(client: Client) -> None:
    first = client.create()
    put(client, first, "x", "same")
    key = save(client, first)
    second = client.post("/contexts", json={"heap": key}).json()["id"]
    times = [
        client.get(f"/contexts/{each}/files").json()["files"][0]["modified_at"]
        for each in (first, second)
    ]
    assert times[0] == times[1]


def test_contents_are_stored_once_and_deleted_with_the_last_heap(
    client: Client, saving: tuple[Server, Path]
) -> None:
    def contents() -> int:
        return len(list((saving[1] / "heaps").glob("*.content")))

    before = contents()
    keys = []
    for number in (1, 2):
        context = client.create()
        client.run(f"let only = {number}", context_id=context)
        put(client, context, "a", "of both")
        put(client, context, "b", "of both")
        keys.append(save(client, context))
        client.put(f"/api/heaps/{keys[-1]}/tags", json={"tags": {"keep": "1"}})
        client.delete(f"/contexts/{context}")
    assert contents() == before + 1
    assert client.delete(f"/api/heaps/{keys[0]}").status_code == 200
    again = client.post("/contexts", json={"heap": keys[1]}).json()["id"]
    assert files(client, again) == {"a": "of both", "b": "of both"}
    client.delete(f"/contexts/{again}")
    assert client.delete(f"/api/heaps/{keys[1]}").status_code == 200
    wait_for(lambda: contents() <= before)


def test_a_fork_has_a_copy(client: Client) -> None:
    first = client.create()
    put(client, first, "d/x", "1")
    answer = client.post(f"/contexts/{first}/fork")
    assert answer.status_code == 201, answer.text
    second = answer.json()["id"]
    put(client, second, "d/x", "2")
    assert files(client, first) == {"d": None, "d/x": "1"}
    assert files(client, second) == {"d": None, "d/x": "2"}


def test_a_restart_and_sleep_keep_files(tmp_path: Path) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    server = Server(*flags, "--hibernate-after-seconds", "0.2")
    with connect(server) as client:
        context = client.create()
        client.run("let n = 1", context_id=context)
        put(client, context, "x", "1")
        client.wait_state(context, "hibernated")
        put(client, context, "y", "2")  # doesn't wake it
        assert client.show(context)["state"] == "hibernated"
        assert client.text("n", context_id=context) == "1"
        assert files(client, context) == {"x": "1", "y": "2"}
        client.post(f"/contexts/{context}/restart")
        assert files(client, context) == {"x": "1", "y": "2"}
        gone = client.create()
        put(client, gone, "z", "3")
    server.stop()
    assert not server.wrong()
    with connect(server := Server(*flags)) as client:
        assert files(client, context) == {"x": "1", "y": "2"}
        assert files(client, gone) == {"z": "3"}
    server.stop()
    assert not server.wrong()


def test_the_folder_of_a_forgotten_context_is_deleted(tmp_path: Path) -> None:
    flags = ("--hibernate-after-seconds", "0.1", "--data-dir", str(tmp_path))
    ttl = ("--hibernated-context-ttl-seconds", "1")
    server = Server(*JAVASCRIPT_FLAGS, *flags, *ttl)
    with connect(server) as client:
        put(client, client.create(), "x", "1")
        assert len(list((tmp_path / "files").iterdir())) == 1
        wait_for(lambda: not list((tmp_path / "files").iterdir()))
    server.stop()
    assert not server.wrong()


@pytest.mark.slow
def test_an_exported_heap_has_its_files(tmp_path: Path) -> None:
    def heaps(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("isokernel"), "heaps", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    folders = [tmp_path / "one", tmp_path / "two"]
    server = Server(*JAVASCRIPT_FLAGS, "--data-dir", str(folders[0]))
    with connect(server) as client:
        context = client.create()
        put(client, context, "a", "content")
        put(client, context, "b", "another")
        key = save(client, context)
    server.stop()
    exported = str(tmp_path / "exported")
    heaps("export", key, exported, "--data-dir", str(folders[0]))
    folders[1].mkdir()
    assert heaps("import", exported, "--data-dir", str(folders[1])).strip() == key
    server = Server(*JAVASCRIPT_FLAGS, "--data-dir", str(folders[1]))
    with connect(server) as client:
        context = client.post("/contexts", json={"heap": key}).json()["id"]
        assert files(client, context) == {"a": "content", "b": "another"}
    server.stop()
    assert not server.wrong()
