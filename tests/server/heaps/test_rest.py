"""Heaps and sessions over REST, in each kind of store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import CLIENT, Client, connect
from tests.support.heaps import checkpoint, restored
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.starts import run_isokernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


MISSING = "0" * 64


@pytest.fixture(scope="module")
def heap_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    folder = tmp_path_factory.mktemp("data")
    with run_server(*V8_FLAGS, "--data-dir", str(folder)) as server:
        yield server


@pytest.fixture
def api(heap_server: Server) -> Iterator[Client]:
    """A client of it."""
    with connect(heap_server) as client:
        yield client
        client.clean()


def test_a_heap_is_shown(api: Client) -> None:
    key = checkpoint(api, "let a = 41; a += 1")
    shown = api.get(f"/api/heaps/{key}").json()
    assert re.fullmatch(r"[0-9a-f]{64}", shown["heap"])
    assert shown["heap"] == key
    assert shown["tags"] == {}
    assert 0 < shown["compressed_size"] < shown["size"]
    assert (shown["language"], shown["execution_count"]) == ("javascript", 1)
    assert shown["created_at"].endswith("Z")
    assert shown["engine"]
    assert restored(api, key, "a") == "42"


def test_tags_over_rest(api: Client) -> None:
    first, second = (checkpoint(api, f"let a = {n}") for n in range(2))
    for key, tags in ((first, {"k": "1", "x:y": "z"}), (second, {"k": "1"})):
        answer = api.put(f"/api/heaps/{key}/tags", json={"tags": tags})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    def found(*pairs: str) -> list[str]:
        answer = api.get("/api/heaps", params={"tag": list(pairs)})
        assert answer.status_code == 200, answer.text
        return [heap["heap"] for heap in answer.json()["heaps"]]

    assert found("k:1") == [second, first]
    assert found("k:1", "k:1") == [second, first]
    assert found("k:1", "k:2") == []
    assert found("k:2") == []
    answer = api.delete(f"/api/heaps/{first}/tags", params={"keys": " k , nothing"})
    assert answer.json() == {"ok": True}
    assert api.get(f"/api/heaps/{first}").json()["tags"] == {"x:y": "z"}
    assert found("k:1") == [second]
    api.delete(f"/api/heaps/{second}/tags")
    assert found("k:1") == []
    assert api.delete(f"/api/heaps/{first}").json() == {"ok": True}
    assert api.get(f"/api/heaps/{first}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/heaps/{}", None),
        ("DELETE", "/api/heaps/{}", None),
        ("PUT", "/api/heaps/{}/tags", {"tags": {"a": "b"}}),
        ("DELETE", "/api/heaps/{}/tags", None),
        ("POST", "/contexts", {"heap": "{}"}),
        ("POST", "/api/exec", {"code": "1", "heap": "{}"}),
    ],
)
def test_what_is_no_heap(
    api: Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    for key, status in ((MISSING, 404), ("..%2F..%2Fetc", 400), ("A" * 64, 400)):
        filled = {
            name: value.format(key) if isinstance(value, str) else value
            for name, value in (body or {}).items()
        }
        answer = api.request(method, path.format(key), json=filled or None)
        assert answer.status_code == status, answer.text
        name = "error" if path.startswith("/api") else "message"
        assert answer.json()[name]


def test_wrong_arguments_are_named(api: Client) -> None:
    for path in (
        "/api/heaps?tag=nothing",
        "/api/heaps?tag=:nothing",
        "/api/heaps?limit=0",
        "/api/heaps?offset=-1",
        "/api/heaps?limit=99999999999999999999",
        "/api/sessions/s/snapshots?fields=index,wrong",
    ):
        answer = api.get(path)
        assert answer.status_code == 400, path
        assert list(answer.json()) == ["error"]


def test_a_session_has_a_history(api: Client) -> None:
    codes = ["let a: number = 1", "a++", "a"]
    runs = [api.done(code, session="story", tags={"step": code}) for code in codes]
    heaps = [run["heap"] for run in runs]
    assert all(heaps), runs
    assert "story" in api.get("/api/sessions").json()["sessions"]
    entries = api.get("/api/sessions/story/snapshots").json()["entries"]
    assert [entry["index"] for entry in entries] == [0, 1, 2]
    assert [entry["code"] for entry in entries] == codes
    assert [entry["output_heap"] for entry in entries] == heaps
    assert [entry["input_heap"] for entry in entries] == [None, *heaps[:-1]]
    some = api.get("/api/sessions/story/snapshots?fields=index, code").json()
    assert some["entries"][1] == {"index": 1, "code": "a++"}
    tagged = api.get("/api/heaps", params={"tag": "step:a++"}).json()["heaps"]
    assert [heap["heap"] for heap in tagged] == [heaps[1]]
    assert tagged[0]["execution_id"] == runs[1]["execution_id"]
    one = api.get("/api/heaps?limit=1&offset=1").json()
    assert [heap["heap"] for heap in one["heaps"]] == [heaps[1]]
    assert one["next_offset"] == 2
    tags = {"a:b": "c:d", "back\\slash": "1"}
    assert api.put(f"/api/heaps/{heaps[0]}/tags", json={"tags": tags}).is_success
    for tag in (r"a\:b:c:d", r"back\slash:1", r"back\\slash:1"):
        found = api.get("/api/heaps", params={"tag": tag}).json()["heaps"]
        assert [heap["heap"] for heap in found] == [heaps[0]], tag
    assert api.get("/api/heaps", params={"tag": "a:b:c:d"}).json()["heaps"] == []
    assert api.result("a", heap=heaps[0]) == "1"
    assert api.result("a", heap=heaps[2]) == "2"


def test_an_unknown_session_has_none(api: Client) -> None:
    assert api.get("/api/sessions/nobody/snapshots").json() == {"entries": []}
    assert "nobody" not in api.get("/api/sessions").json()["sessions"]


# -- other stores ----------------------------------------------------------------------


def test_heaps_in_s3(
    servers: Callable[..., Server], tmp_path: Path, bucket: tuple[str, dict[str, str]]
) -> None:
    url, env = bucket
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path), "--heap-store", url)
    first = servers(*flags, "--heap-grace-seconds", "0", env=env)
    with connect(first) as client:
        key = checkpoint(client, "let a = 42")
        other = checkpoint(client, "let b = 1")
        assert restored(client, key, "a") == "42"
        assert client.delete(f"/api/heaps/{other}").status_code == 200
    assert first.stop() == 0
    assert not (tmp_path / "heaps").exists()
    listed = CLIENT.get(f"{env['AWS_ENDPOINT_URL']}/heaps").text
    assert re.findall(r"<Key>(.*?)</Key>", listed) == [f"in/here/{key}.heap"]
    second = servers(*flags, env=env)
    with connect(second) as client:
        assert restored(client, key, "a") == "42"


def test_heaps_in_memory(servers: Callable[..., Server], tmp_path: Path) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path), "--heap-store", "memory://heaps")
    with connect(servers(*flags)) as client:
        key = checkpoint(client, "let a = 42")
        assert restored(client, key, "a") == "42"
    assert not (tmp_path / "heaps").exists()


def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    command = ("serve", "--port", "0", "--data-dir", str(tmp_path))
    done = run_isokernel(*command, "--heap-store", "nosuch://heaps")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nosuch" in done.stderr
