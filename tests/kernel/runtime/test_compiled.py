"""What V8 has made of the runtime's modules is kept, and taken by other contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.local_contexts import LocalContext
from tests.support.waiting import wait_for

from isokernel.context.warmup import compile_all
from isokernel.forkserver import ForkServer
from isokernel.runtime import compiled, scripts
from isokernel.v8 import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USE = "const { Transform } = require('stream'); typeof Transform"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the file is to be, in a cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.forget()
    yield tmp_path / "isokernel" / "runtime"
    compiled.forget()


@pytest.fixture
def kept(folder: Path) -> Path:
    """The file, made."""
    compile_all()
    compiled.forget()
    (file,) = folder.iterdir()
    return file


@pytest.mark.usefixtures("kept")
def test_contexts_take_code(sessions: Callable[..., LocalContext]) -> None:
    one = sessions()
    assert one.value(USE) == "'function'"
    isolate = one.context.bridge.isolate
    assert {"vendor/node/core", "node/stream", "web/url"} <= set(compiled.known())
    # What each context begins with is the most of all.
    assert {"main", "output", "console", "vendor/inspect"} <= set(compiled.known())
    assert isolate.code_taken > 0
    assert isolate.code_refused == 0


@pytest.mark.usefixtures("kept")
def test_heaps_go_on_with_what_was_made_of_code(
    sessions: Callable[..., LocalContext],
) -> None:
    one = sessions()
    one.run(
        "const { Transform } = require('stream'); const t = new Transform({"
        " transform(chunk, _, done) { done(null, `${chunk}`.toUpperCase()) } });"
        " const out = []; t.on('data', (chunk) => out.push(`${chunk}`)); t.write('a')"
    )
    assert one.context.bridge.isolate.code_taken > 0
    again = LocalContext(snapshot=writer.save(one.context.bridge.isolate))
    try:
        again.run("t.write('b')")
        assert again.value("out.join()") == "'A,B'"
    finally:
        again.context.close()


@pytest.mark.parametrize("change", ["cut", "turned"])
def test_a_damaged_file_is_not_read(
    kept: Path, change: str, sessions: Callable[..., LocalContext]
) -> None:
    data = kept.read_bytes()
    last = b"" if change == "cut" else bytes([data[-1] ^ 1])
    kept.write_bytes(data[:-1] + last)
    assert compiled.known() == {}
    one = sessions()
    assert one.value(USE) == "'function'"
    assert one.context.bridge.isolate.code_taken == 0


@pytest.mark.usefixtures("kept")
def test_another_runtime_has_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.known()
    monkeypatch.setattr(scripts, "identity", lambda: "another")
    compiled.forget()
    assert compiled.known() == {}


def test_nothing_is_made_where_it_could_not_be_kept(folder: Path) -> None:
    assert compiled.is_lacking()
    folder.rmdir()
    folder.touch()
    assert not compiled.is_lacking()


def test_a_fork_server_makes_it_once(folder: Path) -> None:
    made = []
    for _ in range(2):
        server = ForkServer(sandbox=None)
        server.start()
        try:
            found = wait_for(lambda: list(folder.glob("[!.]*")))
            made += [file.stat().st_ino for file in found]
        finally:
            server.close()
    assert len(made) == 2
    assert made[0] == made[1]
