"""The files of contexts over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.client import connect
from tests.support.server import JAVASCRIPT_FLAGS, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client import Client

LIMITS = (
    *("--files-bytes-max", "4000000", "--files-max", "20"),
    *("--file-bytes-max", "3000000", "--request-body-bytes-max", "10000"),
)


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with narrow limits, and its data folder."""
    folder = tmp_path_factory.mktemp("data")
    with run_server(*JAVASCRIPT_FLAGS, *LIMITS, "--data-dir", str(folder)) as server:
        yield server, folder


@pytest.fixture
def client(bounded: tuple[Server, Path]) -> Iterator[Client]:
    """A client of the server with narrow limits."""
    with connect(bounded[0]) as made:
        yield made


@pytest.fixture
def place(client: Client) -> Iterator[str]:
    """Where the files of a new context are."""
    context = client.create()
    yield f"/contexts/{context}/files"
    client.delete(f"/contexts/{context}")


def paths(client: Client, place: str, **asked: Any) -> list[str]:
    listed = client.get(place, params={"recursive": True, **asked})
    assert listed.status_code == 200, listed.text
    return [each["path"] for each in listed.json()["files"]]


def test_a_file_is_put_read_and_deleted(client: Client, place: str) -> None:
    made = client.put(f"{place}/data/söme%20file.csv", content=b"a,b\n1,2\n")
    assert made.status_code == 201, made.text
    assert made.json()["path"] == "data/söme file.csv"
    assert made.json()["size"] == 8
    read = client.get(f"{place}/data/söme file.csv")
    assert read.content == b"a,b\n1,2\n"
    assert read.headers["Content-Type"] == "text/csv"
    assert read.headers["ETag"] == made.headers["ETag"] == made.json()["etag"]
    assert read.headers["Content-Disposition"].startswith("attachment; ")
    assert client.put(f"{place}/data/söme file.csv", content=b"").status_code == 200
    assert paths(client, place) == ["data", "data/söme file.csv"]
    assert paths(client, f"{place}/data") == ["data/söme file.csv"]
    assert client.delete(f"{place}/data").status_code == 409
    assert client.delete(f"{place}/data?recursive=true").status_code == 204
    assert paths(client, place) == []
    assert client.get(f"{place}/data/söme file.csv").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-4", 206, b"6789", "bytes 6-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
    ],
)
def test_parts_of_a_file(  # noqa: PLR0913, PLR0917
    client: Client,
    place: str,
    asked: str,
    status: int,
    content: bytes | None,
    said: str | None,
) -> None:
    client.put(f"{place}/x", content=b"0123456789")
    answer = client.get(f"{place}/x", headers={"Range": asked})
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == said
    if content is not None:
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))


def test_a_state_of_a_file_can_be_named(client: Client, place: str) -> None:
    url = f"{place}/x"
    first = client.put(url, content=b"1", headers={"If-None-Match": "*"})
    assert first.status_code == 201
    tag = first.headers["ETag"]
    assert client.put(url, headers={"If-None-Match": "*"}).status_code == 412
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert client.put(url, content=b"2", headers={"If-Match": tag}).status_code == 200
    assert client.put(url, content=b"3", headers={"If-Match": tag}).status_code == 412
    assert client.get(url, headers={"If-None-Match": tag}).content == b"2"
    stale = {"Range": "bytes=0-0", "If-Range": tag}
    assert client.get(url, headers=stale).status_code == 200
    assert client.put(f"{place}/y", headers={"If-Match": "*"}).status_code == 412
    assert paths(client, place) == ["x"]


def test_files_are_moved_and_copied_and_folders_made(
    client: Client, place: str
) -> None:
    client.put(f"{place}/a", content=b"a")
    for action, path, to in (
        ("make_folder", "d/e", None),
        ("move", "a", "d/b"),
        ("copy", "/d/b", "/c"),
    ):
        answer = client.post(place, json={"action": action, "path": path, "to": to})
        assert answer.status_code == 200, answer.text
    assert paths(client, place) == ["c", "d", "d/b", "d/e"]
    taken = {"action": "move", "path": "c", "to": "d/b"}
    assert client.post(place, json=taken).json()["code"] == "EEXIST"
    assert client.post(place, json={**taken, "overwrite": True}).status_code == 200
    assert client.post(place, json={**taken, "to": None}).status_code == 400
    missing = client.post(place, json={**taken, "path": "nothing"})
    assert missing.status_code == 404
    assert missing.json()["code"] == "ENOENT"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("%2e%2e/secret", 400),
        ("a/%2e%2e/%2e%2e/secret", 400),
        ("%00", 400),
        ("%ff", 400),
        ("n" * 300, 400),
        ("d/" * 101 + "x", 400),
        ("x/y", 409),
        ("x/", 409),
        ("missing", 404),
    ],
)
def test_odd_paths(client: Client, place: str, path: str, status: int) -> None:
    client.put(f"{place}/x", content=b"")
    url = f"{str(client.base_url).rstrip('/')}{place}/{path}"
    for method in ("GET", "PUT", "DELETE"):
        expected = 201 if method == "PUT" and status == 404 else status
        expected = 204 if method == "DELETE" and status == 404 else expected
        answer = client.request(method, httpx.URL(url))
        assert answer.status_code == expected, (method, answer.text)


def test_files_are_larger_than_other_bodies_and_bounded(
    client: Client, place: str
) -> None:
    large = bytes(2_500_000)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    assert client.put(f"{place}/one", content=large).status_code == 201
    full = client.put(f"{place}/two", content=pieces())
    assert full.status_code == 413
    assert re.search(r"4000000 \(files_bytes_max\)", full.json()["message"])
    assert client.put(f"{place}/three", content=bytes(3_000_001)).status_code == 413
    assert client.get(f"{place}/one").content == large
    assert paths(client, place) == ["one"]
    used = client.get(place).json()["usage"]
    assert used == {
        "bytes": 2_500_000,
        "bytes_max": 4_000_000,
        "files": 1,
        "files_max": 20,
    }
    other = {"action": "move", "path": "x" * 20_000}
    assert client.post(place, json=other).status_code == 413


def test_a_full_quota_leaves_what_was_there(client: Client, place: str) -> None:
    """Neither is the file lost that was to be replaced, nor is there half of one."""
    assert client.put(f"{place}/kept", content=b"as it was").status_code == 201
    assert client.put(f"{place}/most", content=bytes(2_900_000)).status_code == 201
    assert client.put(f"{place}/more", content=bytes(1_000_000)).status_code == 201
    refused = client.put(f"{place}/kept", content=bytes(200_000))
    assert refused.status_code == 413
    assert refused.json()["code"] == "EDQUOT"
    assert "4000000 (files_bytes_max)" in refused.json()["message"]
    assert client.get(f"{place}/kept").text == "as it was"
    action = {"action": "copy", "path": "most", "to": "other"}
    assert client.post(place, json=action).status_code == 413
    for number in range(17):
        assert client.put(f"{place}/{number}", content=b"").status_code == 201
    for refused in (
        client.put(f"{place}/one-more", content=b""),
        client.post(place, json={"action": "make_folder", "path": "folder"}),
        client.post(place, json={"action": "copy", "path": "kept", "to": "also"}),
        client.put(f"{place}/a/b", content=b""),
    ):
        assert refused.status_code == 413
        assert "the limit is 20 (files_max)" in refused.json()["message"]
    context = place.split("/")[2]
    code = "try { require('fs').writeFileSync('x', '') } catch (e) { e.message }"
    assert "the limit is 20 (files_max)" in client.text(code, context_id=context)
    assert len(paths(client, place)) == 20
    # What is there can be replaced, as far as it counts beside itself until then.
    assert client.delete(f"{place}/0").status_code == 204
    assert client.put(f"{place}/kept", content=b"anew").status_code == 200
    assert client.get(f"{place}/kept").text == "anew"


def test_a_listing_has_pages(client: Client, place: str) -> None:
    for number in range(5):
        client.put(f"{place}/{number}", content=b"")
    first = client.get(place, params={"limit": 3}).json()
    assert [each["path"] for each in first["files"]] == ["0", "1", "2"]
    assert first["next_offset"] == 3
    rest = client.get(place, params={"limit": 3, "offset": 3}).json()
    assert [each["path"] for each in rest["files"]] == ["3", "4"]
    assert rest["next_offset"] is None


def test_folders_end_with_their_context(
    client: Client, bounded: tuple[Server, Path]
) -> None:
    folder = bounded[1]
    context = client.create()
    assert paths(client, f"/contexts/{context}/files") == []
    before = set((folder / "files").glob("*"))
    client.put(f"/contexts/{context}/files/d/x", content=b"1")
    [made] = set((folder / "files").iterdir()) - before
    assert (made / "d" / "x").read_bytes() == b"1"
    client.delete(f"/contexts/{context}")
    assert not made.exists()
    assert client.get(f"/contexts/{context}/files").status_code == 404
