"""node:fs in a context: what Node.js 22 answers, in all three forms."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.files import ContextWithFiles

from isokernel.errors import CapabilityDeniedError
from isokernel.files.folder import FolderLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from isokernel.capabilities import Asked


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The context's folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def session(place: Path) -> Iterator[ContextWithFiles]:
    made = ContextWithFiles(place)
    yield made
    made.close()


def caught(session: ContextWithFiles, code: str) -> str:
    """Name and message of the error that code throws or rejects with."""
    outcome = session.run(
        f"error = undefined; try {{ await ({code}) }} catch (e) {{ error = e }}"
        "console.log(error.name, error.code, error.message)"
    )
    assert outcome.error is None, outcome.error
    return outcome.stdout


def json_of(session: ContextWithFiles, code: str) -> Any:
    """What code evaluates to, by way of JSON."""
    outcome = session.run(f"console.log(JSON.stringify({code}))")
    assert outcome.error is None, outcome.error
    return json.loads(outcome.stdout)


def test_text_and_bytes_go_out_and_in(session: ContextWithFiles, place: Path) -> None:
    session.run(
        """
        fs.writeFileSync("a.txt", "hé");
        await fsp.writeFile("/b.bin", new Uint8Array([0, 255, 7]));
        await new Promise((done) => fs.writeFile("c.txt", "1", done));
        fs.appendFileSync("c.txt", "2");
        await fsp.appendFile("c.txt", "3");
        """
    )
    assert (place / "a.txt").read_bytes() == "hé".encode()
    assert (place / "b.bin").read_bytes() == b"\x00\xff\x07"
    assert (place / "c.txt").read_text() == "123"
    assert json_of(
        session,
        """[fs.readFileSync("a.txt", "utf8"), fs.readFileSync("./a.txt").length,
        await fsp.readFile("b.bin", { encoding: "hex" }),
        fs.readFileSync(new URL("file:///c.txt"), "latin1"),
        await new Promise((done) => fs.readFile("c.txt", "utf8", (e, v) => done(v))),
        fs.readFileSync("b.bin").constructor.name]""",
    ) == ["hé", 3, "00ff07", "123", "123", "Buffer"]


_ERRORS = [
    # Code, and the code, message, number, call and paths of its error in Node.js 22.
    (
        'fs.readFileSync("no.txt")',
        "ENOENT: no such file or directory, open 'no.txt'",
        (-2, "open", "no.txt"),
    ),
    (
        'fsp.readdir("/no")',
        "ENOENT: no such file or directory, scandir '/no'",
        (-2, "scandir", "/no"),
    ),
    (
        'fsp.rename("no", "x")',
        "ENOENT: no such file or directory, rename 'no' -> 'x'",
        (-2, "rename", "no", "x"),
    ),
    (
        'fs.statSync("")',
        "ENOENT: no such file or directory, stat ''",
        (-2, "stat", ""),
    ),
    (
        'fs.mkdirSync("file")',
        "EEXIST: file already exists, mkdir 'file'",
        (-17, "mkdir", "file"),
    ),
    (
        'fs.rmdirSync("full")',
        "ENOTEMPTY: directory not empty, rmdir 'full'",
        (-39, "rmdir", "full"),
    ),
    (
        'fs.readFileSync("full")',
        "EISDIR: illegal operation on a directory, read",
        (-21, "read"),
    ),
    (
        "fs.readSync(99, new Uint8Array(1))",
        "EBADF: bad file descriptor, read",
        (-9, "read"),
    ),
    (
        'fs.writeFileSync("file", "", { flag: "wx" })',
        "EEXIST: file already exists, open 'file'",
        (-17, "open", "file"),
    ),
    (
        'fs.unlinkSync("full/x/y")',
        "ENOTDIR: not a directory, unlink 'full/x/y'",
        (-20, "unlink", "full/x/y"),
    ),
    (
        'fsp.access("../secret")',
        "EACCES: permission denied, access '../secret' (it leads out of the "
        "context's folder)",
        (-13, "access", "../secret"),
    ),
    (
        "fs.statSync(1.5)",
        "ERR_INVALID_ARG_TYPE: "
        'The "path" argument must be of type string or an instance of Buffer '
        "or URL. Received type number (1.5)",
        (),
    ),
    (
        r'fs.statSync("a\0b")',
        "ERR_INVALID_ARG_VALUE: The argument 'path' must be a string, Uint8Array, or "
        r"URL without null bytes. Received 'a\x00b'",
        (),
    ),
    (
        'fs.readFile("file")',
        "ERR_INVALID_ARG_TYPE: "
        'The "cb" argument must be of type function. Received undefined',
        (),
    ),
    (
        'fs.readFileSync("file", "utf-9")',
        "ERR_INVALID_ARG_VALUE: "
        "The argument 'encoding' is invalid encoding. Received 'utf-9'",
        (),
    ),
    (
        'fs.openSync("file", "rw")',
        "ERR_INVALID_ARG_VALUE: The argument 'flags' is invalid. Received 'rw'",
        (),
    ),
    (
        'fs.watch("file")',
        "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM: "
        "node:fs: watch is not available in a context",
        (),
    ),
]


@pytest.mark.parametrize(("code", "message", "more"), _ERRORS)
def test_errors_are_node_s(
    session: ContextWithFiles, place: Path, code: str, message: str, more: tuple[Any]
) -> None:
    (place / "file").touch()
    (place / "full").mkdir()
    (place / "full" / "x").touch()
    session.run(
        f"error = undefined; try {{ await ({code}) }} catch (e) {{ error = e }}"
    )
    name, _, words = message.partition(": ")
    wanted = {"code": name, "message": words if name.startswith("ERR_") else message}
    wanted.update(zip(("errno", "syscall", "path", "dest"), more, strict=False))
    names = json.dumps(["code", "message", "errno", "syscall", "path", "dest"])
    assert json_of(
        session, f"Object.fromEntries({names}.map((n) => [n, error[n]]))"
    ) == (wanted)


def test_folders_are_made_listed_and_deleted(session: ContextWithFiles) -> None:
    session.run(
        """
        made = fs.mkdirSync("a/b/c", { recursive: true });
        again = fs.mkdirSync("a/b/c", { recursive: true });
        fs.writeFileSync("a/b/x", "");
        fs.writeFileSync("a/y", "");
        """
    )
    assert json_of(session, "[made, again]") == ["a", None]
    listed = json_of(session, 'fs.readdirSync("a", { recursive: true })')
    assert listed == ["b", "b/c", "b/x", "y"]
    code = 'await fsp.readdir("/a", { withFileTypes: true, recursive: true })'
    shown = "(e) => [e.name, e.parentPath, e.isFile(), e.isDirectory()]"
    assert json_of(session, f"({code}).map({shown})") == [
        ["b", "/a", False, True],
        ["c", "/a/b", False, True],
        ["x", "/a/b", True, False],
        ["y", "/a", True, False],
    ]
    session.run(
        """
        fs.cpSync("a", "copy", { recursive: true });
        fs.rmSync("a/y");
        await fsp.rm("a", { recursive: true });
        fs.rmSync("no", { force: true });
        """
    )
    assert json_of(session, "fs.readdirSync('.')") == ["copy"]
    assert json_of(session, "fs.readdirSync('copy/b')") == ["c", "x"]
    assert json_of(session, "['copy/y', 'a'].map(fs.existsSync)") == [True, False]
    session.run('temporary = fs.mkdtempSync("/tmp-")')
    assert json_of(session, "/^.tmp-[A-Za-z0-9]{6}$/.test(temporary)")
    assert "ERR_FS_EISDIR" in caught(session, "fs.rmSync('copy')")
    inside = "fs.cpSync('copy', 'copy/b/copy', { recursive: true })"
    assert "ERR_FS_CP_EINVAL" in caught(session, inside)


def test_stats_are_node_s(session: ContextWithFiles, place: Path) -> None:
    (place / "x").write_bytes(b"12345")
    os.utime(place / "x", ns=(1_500_000_000_123_456_789,) * 2)
    session.run("s = fs.statSync('x'); b = await fsp.stat('x', { bigint: true })")
    shown = "[s.size, s.isFile(), s.isDirectory(), s.mtime.toISOString()]"
    assert json_of(session, shown) == [5, True, False, "2017-07-14T02:40:00.123Z"]
    assert session.value("[b.size, typeof b.mtimeNs, s instanceof fs.Stats]") == (
        "[ 5n, 'bigint', true ]"
    )
    assert json_of(session, "fs.statSync('no', { throwIfNoEntry: false }) ?? 0") == 0


def test_open_files_are_read_and_written_at_places(
    session: ContextWithFiles, place: Path
) -> None:
    session.run(
        """
        fd = fs.openSync("x", "w+");
        wrote = [fs.writeSync(fd, "hello"), fs.writeSync(fd, "J", 0)];
        buffer = new Uint8Array(8);
        read = [fs.readSync(fd, buffer, 1, 3, 1)];
        read.push(fs.readSync(fd, buffer, { position: 4 }));
        fs.ftruncateSync(fd, 4);
        size = fs.fstatSync(fd).size;
        fs.closeSync(fd);
        """
    )
    assert json_of(session, "[wrote, read, [...buffer], size]") == [
        [5, 1],
        [3, 1],
        [111, 101, 108, 108, 0, 0, 0, 0],
        4,
    ]
    assert (place / "x").read_bytes() == b"Jell"
    session.run(
        """
        handle = await fsp.open("x", "r+");
        first = (await handle.read({ buffer: new Uint8Array(2) })).bytesRead;
        rest = await handle.readFile("utf8");
        await handle.truncate(1);
        await handle.write("yz", 1);
        size = (await handle.stat()).size;
        await handle.close();
        """
    )
    assert json_of(session, "[first, rest, size]") == [2, "ll", 3]
    assert (place / "x").read_bytes() == b"Jyz"
    assert "EBADF" in caught(session, "handle.read()")


def test_large_files_go_in_pieces(session: ContextWithFiles, place: Path) -> None:
    (place / "big").write_bytes(bytes(range(256)) * 40_000)
    assert session.value("data = fs.readFileSync('big'); data.length") == "10240000"
    session.run("await fsp.writeFile('copy', data); fs.writeFileSync('copy2', data)")
    for name in ("copy", "copy2"):
        assert (place / name).read_bytes() == (place / "big").read_bytes()
    assert sorted(each.name for each in place.iterdir()) == ["big", "copy", "copy2"]


def test_streams_read_and_write(session: ContextWithFiles, place: Path) -> None:
    (place / "x").write_bytes(bytes(range(100)) * 2000)
    session.run(
        """
        await new Promise((done, failed) => fs.createReadStream("x")
          .on("error", failed).pipe(fs.createWriteStream("y")).on("finish", done)
          .on("error", failed));
        text = "";
        part = { start: 65, end: 70, encoding: "latin1" };
        for await (const each of fs.createReadStream("x", part)) text += each;
        stream = fs.createReadStream("no");
        error = await new Promise((done) => stream.on("error", done));
        """
    )
    assert json_of(session, "[text, error.code]") == ["ABCDEF", "ENOENT"]
    assert (place / "y").read_bytes() == (place / "x").read_bytes()


def test_limits_and_denials_reach_the_code(place: Path) -> None:
    def decide(asked: Asked) -> None:
        if asked.target.startswith("/private") or asked.facts["access"] == "write":
            raise CapabilityDeniedError(asked.capability, asked.target, "files.write")

    (place / "private").mkdir()
    (place / "private" / "x").write_text("secret")
    (place / "link").symlink_to("private/x")
    denied = ContextWithFiles(place, decide=decide)
    try:
        for code in ("fs.readFileSync('private/../private/x')", "fsp.readFile('link')"):
            seen = caught(denied, code)
            assert "CapabilityDeniedError" in seen
            assert "/private/x" in seen
        assert "files.write" in caught(denied, "fs.writeFileSync('y', '')")
    finally:
        denied.close()
    bounded = ContextWithFiles(place, FolderLimits(bytes_max=20, open_max=1))
    try:
        seen = caught(bounded, "fs.writeFileSync('y', 'x'.repeat(15))")
        assert "EDQUOT: disk quota exceeded, open 'y'" in seen
        assert "files_bytes_max" in seen
        bounded.run("fs.openSync('private/x')")
        assert "EMFILE" in caught(bounded, "fs.openSync('private/x')")
    finally:
        bounded.close()


def test_changed_built_ins_change_nothing(
    session: ContextWithFiles, place: Path
) -> None:
    (place / "x").write_text("text")
    session.run(
        """
        Object.prototype.path = "/y";
        JSON.stringify = null;
        Object.getPrototypeOf(function* () {}.prototype).next = null;
        """
    )
    assert session.value("fs.readFileSync('x', 'latin1')") == "'text'"
