"""Relative URLs: files of the context's folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.networks import NetContext, Rules

from isokernel.files.folder import Folder
from isokernel.files.provider import FileCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.networks import LoopThread

    Fetch = Callable[[str], Any]

LARGE = 9 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.csv").write_text("name,value\nh\u00e9,1\n")
    (tmp_path / "sub folder").mkdir()
    (tmp_path / "sub folder" / "100%.json").write_text('{"a": [1]}')
    (tmp_path / "large.bin").write_bytes(bytes(range(256)) * (LARGE // 256))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "out").symlink_to("/etc/passwd")
    return tmp_path


@pytest.fixture
def fetch(thread: LoopThread, folder: Path) -> Iterator[Fetch]:
    """Run the body of an async function; what it returns, by way of JSON."""
    rules = Rules(lambda asked: asked.target != "/secret.txt")
    files = FileCalls(lambda _grant: Folder(folder))
    context = NetContext(thread, {"files": lambda: files}, decide=rules)

    def run(body: str) -> Any:
        outcome = context.run(
            "const caught = (work) => work.then(String, (e) => e.name + e.message);"
            f"console.log(JSON.stringify(await (async () => {{{body}}})()))"
        )
        assert outcome.error is None, outcome.error
        return json.loads(outcome.stdout)

    yield run
    context.close()


def test_a_file_is_a_response(fetch: Fetch) -> None:
    assert fetch("""
        const response = await fetch("data.csv");
        const json = await fetch("sub folder/100%25.json?x#y");
        const empty = await fetch("./a/../empty");
        return [response.url, response.status, [...response.headers],
          await response.text(), json.headers.get("content-type"), await json.json(),
          await empty.text(), empty.headers.get("content-type"),
          await (await fetch("file:///data.csv", { method: "HEAD" })).text()];
    """) == [
        "file:///data.csv",
        200,
        [["content-length", "17"], ["content-type", "text/csv"]],
        "name,value\nh\u00e9,1\n",
        "application/json",
        {"a": [1]},
        "",
        None,
        "",
    ]


def test_large_files_come_in_pieces(fetch: Fetch) -> None:
    assert fetch("""
        const response = await fetch("large.bin");
        let size = 0, pieces = 0;
        for await (const piece of response.body) { size += piece.length; pieces += 1 }
        const some = await (await fetch("large.bin")).body.getReader().read();
        const bytes = await (await fetch("large.bin")).bytes();
        return [size, pieces > 1, some.value.length > 0, bytes.length, bytes[259]];
    """) == [LARGE, True, True, LARGE, 3]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("none.csv", "TypeError"),
        ("../../etc/passwd", "TypeError"),
        ("%2e%2e/etc/passwd", "TypeError"),
        ("..%2F..%2Fetc/passwd", "TypeError"),
        ("out", "TypeError"),
        ("sub folder", "TypeError"),
        ("file://host/data.csv", "TypeErrorfetch: 'file://host/data.csv' is a file of"),
        ("secret.txt", "CapabilityDeniedError"),
    ],
)
def test_what_is_no_file_is_an_error(fetch: Fetch, url: str, error: str) -> None:
    found = fetch(f"return caught(fetch({url!r}))")
    assert found.startswith(error), found


def test_files_are_only_read(fetch: Fetch) -> None:
    found = fetch("return caught(fetch('data.csv', { method: 'PUT', body: 'x' }))")
    assert found == "TypeErrorfetch: a file can't be asked with PUT"
