"""Files of contexts, as the client reads and writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.client import (
    AsyncClient,
    Client,
    ClientError,
    ClientSettingsError,
    ConflictError,
    Context,
    NotFoundError,
    calls,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def context(client: Client) -> Iterator[Context]:
    with client.contexts.create() as made:
        yield made


def test_written_and_read(context: Context) -> None:
    info = context.files.write("data/ä #?%41.txt", "hållo")
    assert (info.path, info.size, info.kind) == ("data/ä #?%41.txt", 6, "file")
    assert context.files.read_text("/data/ä #?%41.txt") == "hållo"
    code = "require('node:fs').readFileSync('data/ä #?%41.txt', 'utf8')"
    assert context.run(code).value == "hållo"


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (0, 3), (2, None), (2, 4), (9, 99), (4, 2), (10, None), (50, 60)],
)
def test_parts_are_as_of_slices(context: Context, start: int, end: int | None) -> None:
    content = b"0123456789"
    context.files.write("digits", content)
    assert context.files.read("digits", start, end) == content[start:end]


@pytest.mark.parametrize(
    "path", ["", "/", ".", "..", "../..", "a/../..", "../a", "\ud800"]
)
def test_a_path_that_leads_out_reaches_nothing_else(
    context: Context, path: str
) -> None:
    """Taken as a part of a URL, `..` would be the context itself."""
    for call in (context.files.read, context.files.delete):
        with pytest.raises(ClientSettingsError):
            call(path)
    with pytest.raises(ClientSettingsError):
        context.files.write(path, "1")
    assert context.info().state == "idle"


def test_a_path_may_have_dots(context: Context) -> None:
    context.files.write("a/./b/../..c", "1")
    assert [file.path for file in context.files.list(recursive=True)] == ["a", "a/..c"]
    assert context.files.read("//a//..c") == b"1"


def test_an_empty_file(context: Context) -> None:
    context.files.write("empty", b"")
    assert context.files.read("empty") == context.files.read("empty", 3) == b""


def test_only_what_is_as_it_was_read(context: Context) -> None:
    first = context.files.write("a", "1", new=True)
    with pytest.raises(ConflictError) as raised:
        context.files.write("a", "2", new=True)
    assert (raised.value.status, raised.value.code) == (412, "context_file_changed")
    second = context.files.write("a", "22", if_match=first.etag)
    assert second.etag != first.etag
    with pytest.raises(ConflictError):
        context.files.write("a", "3", if_match=first.etag)
    assert context.files.read("a") == b"22"


def test_moved_copied_deleted(context: Context) -> None:
    files = context.files
    files.write("a", "1")
    files.copy("a", "b")
    assert files.make_folder("folder").kind == "folder"
    assert files.move("a", "folder/c").size == 1
    assert [file.path for file in files.list()] == ["b", "folder"]
    with pytest.raises(ConflictError):
        files.copy("b", "folder/c")
    files.copy("b", "folder/c", overwrite=True)
    with pytest.raises(ConflictError) as raised:
        files.delete("folder")
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["code"] == "ENOTEMPTY"
    files.delete("folder", recursive=True)
    assert [file.path for file in files.list(recursive=True)] == ["b"]
    with pytest.raises(NotFoundError):
        files.read("a")


def test_lists_have_as_many_as_are_wanted(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAGE", 10)
    context.run(
        "const fs = require('node:fs');"
        "for (let n = 10; n < 43; n++) fs.writeFileSync(`f${n}`, '')"
    )
    for limit, many in ((None, 33), (100, 33), (31, 31), (10, 10), (7, 7)):
        found = [file.path for file in context.files.list(limit=limit)]
        assert found == [f"f{n}" for n in range(10, 10 + many)]


def test_large_files_pass_in_pieces(context: Context, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 12
    (tmp_path / "large.bin").write_bytes(content)
    assert context.files.upload(tmp_path / "large.bin").size == len(content)
    assert context.files.read("large.bin", 12 * MIB - 2) == content[-2:]
    there = context.files.download("large.bin", tmp_path / "again.bin")
    assert there.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.bin",
        "large.bin",
    ]


def test_a_download_that_fails_leaves_what_was_there(
    context: Context, tmp_path: Path
) -> None:
    target = tmp_path / "kept"
    target.write_text("old")
    with pytest.raises(NotFoundError):
        context.files.download("nothing", target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(FileNotFoundError):
        context.files.upload(tmp_path / "absent")


def test_answers_in_memory_have_a_limit(client: Client, server_url: str) -> None:
    with (
        client.contexts.create() as c,
        Client(server_url, answer_bytes_max=MIB) as small,
    ):
        c.files.write("large", b"x" * (MIB + 1))
        with pytest.raises(ClientError, match="answer_bytes_max"):
            small.contexts.connect(c.id).files.read("large")
        assert len(small.contexts.connect(c.id).files.read("large", 1)) == MIB


@pytest.fixture
def server_url(client: Client) -> str:
    return client.executor.settings.url


@pytest.mark.anyio
async def test_awaited(async_client: AsyncClient, tmp_path: Path) -> None:
    content = b"0123456789" * MIB
    (tmp_path / "large").write_bytes(content)
    async with await async_client.contexts.create() as c:
        assert (await c.files.upload(tmp_path / "large", "b/large")).size == len(
            content
        )
        await c.files.download("b/large", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == content
        assert await c.files.read("b/large", 3, 5) == b"34"
        await c.files.write("a", "text", new=True)
        assert await c.files.read_text("a") == "text"
        await c.files.move("a", "c")
        await c.files.copy("c", "d")
        await c.files.make_folder("e")
        await c.files.delete("b", recursive=True)
        assert [file.path for file in await c.files.list()] == ["c", "d", "e"]
