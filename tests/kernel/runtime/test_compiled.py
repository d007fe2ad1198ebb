"""What V8 has made of the runtime's modules is kept, and taken by other contexts."""

from __future__ import annotations

import os
import subprocess
import sys
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
PROGRAM = """
from isokernel.context import Context
from isokernel.settings import ContextSettings

for number in range(2):
    context = Context(ContextSettings(), lambda event: None)
    isolate = context.bridge.isolate
    print(isolate.code_taken, isolate.code_refused)
    context.evaluate("console.log(1)")
    context.close()
"""
"""A plain process with two contexts."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the files are to be, in a cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.forget()
    yield tmp_path / "isokernel" / "runtime"
    compiled.forget()


@pytest.fixture
def kept(folder: Path) -> dict[str, Path]:
    """The files, made."""
    compile_all()
    compiled.forget()
    found = {path.name.rpartition("-")[2]: path for path in folder.iterdir()}
    assert set(found) == {compiled.START, compiled.REST}
    return found


@pytest.mark.usefixtures("kept")
def test_contexts_take_code(sessions: Callable[..., LocalContext]) -> None:
    one = sessions()
    assert one.value(USE) == "'function'"
    isolate = one.context.bridge.isolate
    assert {"vendor/node/core", "node/stream", "web/url"} <= compiled.known()
    # What each context begins with is the most of all.
    assert {"main", "output", "console", "vendor/inspect"} <= compiled.known()
    assert isolate.code_taken > 0
    assert isolate.code_refused == 0


def test_what_contexts_begin_with_is_in_a_file_of_its_own(
    kept: dict[str, Path], sessions: Callable[..., LocalContext]
) -> None:
    kept[compiled.REST].unlink()
    one = sessions()
    assert one.value("1 + 1") == "2"
    loaded = one.context.bridge.isolate.code_taken
    assert loaded == len(compiled.known())
    assert "vendor/node/core" not in compiled.known()
    assert kept[compiled.START].stat().st_size < 300_000


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
        # What is loaded only now is made of kept code, too.
        isolate = again.context.bridge.isolate
        loaded = "[new URL('https://a/?b=1').search, { c: [1] }]"
        assert again.value(loaded) == "[ '?b=1', { c: [ 1 ] } ]"
        assert isolate.code_taken > 3
        assert isolate.code_refused == 0
    finally:
        again.context.close()


@pytest.mark.parametrize("part", [compiled.START, compiled.REST])
@pytest.mark.parametrize("change", ["cut", "turned"])
def test_a_damaged_file_is_not_read(
    kept: dict[str, Path], part: str, change: str, sessions: Callable[..., LocalContext]
) -> None:
    before = compiled.known()
    data = kept[part].read_bytes()
    last = b"" if change == "cut" else bytes([data[-1] ^ 1])
    kept[part].write_bytes(data[:-1] + last)
    compiled.forget()
    assert compiled.known() < before
    assert ("main" in compiled.known()) == (part == compiled.REST)
    one = sessions()
    assert one.value(USE) == "'function'"


@pytest.mark.usefixtures("kept")
def test_a_file_of_somebody_else_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.known()
    compiled.forget()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert not compiled.known()


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not_read(
    kept: dict[str, Path], mode: int
) -> None:
    assert {file.stat().st_mode & 0o777 for file in kept.values()} == {0o600}
    for file in kept.values():
        file.chmod(mode)
    compiled.forget()
    assert not compiled.known()


@pytest.mark.usefixtures("kept")
def test_code_is_of_one_text_only() -> None:
    text = scripts.wrapped("output")
    assert compiled.code("output", text)
    compiled.forget()
    # V8 itself would take it: it compares the length.
    assert compiled.code("output", text.replace("PIECE", "PEACE")) is None


@pytest.mark.usefixtures("kept")
def test_another_runtime_lacks_code() -> None:
    assert not scripts.lacks_code()
    assert compiled.is_lacking("another")


def test_nothing_is_made_where_it_could_not_be_kept(folder: Path) -> None:
    assert scripts.lacks_code()
    folder.rmdir()
    folder.touch()
    assert not scripts.lacks_code()


def test_the_first_context_of_a_process_keeps_what_it_began_with(folder: Path) -> None:
    taken = [_taken(folder) for _ in range(2)]
    # The second one finds what the first one has kept, and so does another process.
    assert taken[0][0] == "0 0"
    assert taken[0][1] == taken[1][0] == taken[1][1] != "0 0"
    (file,) = folder.iterdir()
    assert file.name.endswith(compiled.START)
    # A fork server still makes the rest.
    assert scripts.lacks_code()


def test_what_an_older_version_has_kept_is_replaced(folder: Path) -> None:
    _taken(folder)
    (file,) = folder.iterdir()
    data = file.read_bytes()
    compiled.put(compiled.START, {"main": b"code"}, {"main": "another text"})
    assert file.read_bytes() != data
    assert _taken(folder)[0] == "0 0"
    assert _taken(folder)[0] != "0 0"


def test_no_other_context_keeps_anything(
    folder: Path, sessions: Callable[..., LocalContext]
) -> None:
    sessions()
    for path in folder.glob("*"):  # of this process's first one, if it was that
        path.unlink()
    compiled.forget()
    assert sessions().value("1") == "1"
    assert not list(folder.glob("*"))


def _taken(folder: Path) -> list[str]:
    """How many modules each context of a process has taken the code of, and refused."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_fork_server_makes_it_once(folder: Path) -> None:
    made = []
    for _ in range(2):
        server = ForkServer(sandbox=None)
        server.start()
        try:
            wait_for(lambda: len(list(folder.glob("[!.]*"))) == 2)
            made.append({file.stat().st_ino for file in folder.glob("[!.]*")})
        finally:
            server.close()
    assert len(made[0]) == 2
    assert made[0] == made[1]
