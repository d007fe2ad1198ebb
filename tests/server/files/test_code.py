"""Code in contexts of the server reads and writes its folder, and nobody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import V8_FLAGS, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    """A server whose contexts may have 1 MB of files."""
    with run_server(
        *V8_FLAGS, "--files-bytes-max", "1000000", "--files-open-max", "4"
    ) as server:
        yield server


@pytest.fixture
def client(narrow: Server) -> Iterator[Client]:
    with connect(narrow) as made:
        yield made
        made.clean()


def put(client: Client, context: str, path: str, content: bytes) -> None:
    answer = client.put(f"/contexts/{context}/files/{path}", content=content)
    assert answer.status_code in {200, 201}, answer.text


def test_code_and_requests_share_the_folder(client: Client) -> None:
    context = client.create()
    put(client, context, "data/cities.csv", b"name,people\nBern,134\n")
    code = """
    import { readFile } from "node:fs/promises";
    const text = await readFile("data/cities.csv", "utf8");
    const [head, ...rows] = text.trim().split("\\n");
    const fs = require("fs");
    fs.mkdirSync("out/deep", { recursive: true });
    fs.writeFileSync("/out/deep/rows.json", JSON.stringify(rows));
    rows.length"""
    assert client.text(code, context_id=context) == "1"
    place = f"/contexts/{context}/files"
    assert client.get(f"{place}/out/deep/rows.json").json() == ["Bern,134"]
    other = client.create()
    assert client.text("require('fs').readdirSync('/')", context_id=other) == "[]"


def test_limits_hold_for_code(client: Client) -> None:
    context = client.create()
    code = """
    const fs = require("fs"); const errors = [];
    const attempt = (f) => { try { f() } catch (e) { errors.push(e.code, e.setting) } };
    attempt(() => fs.writeFileSync("a", Buffer.alloc(1000001)));
    const fd = fs.openSync("b", "w");
    for (let i = 0; i < 12; i++) attempt(() => fs.writeSync(fd, Buffer.alloc(100000)));
    for (let i = 0; i < 5; i++) attempt(() => fs.openSync("b"));
    errors.join()"""
    assert client.text(code, context_id=context) == (
        "'"
        + ",".join(["EDQUOT,files_bytes_max"] * 3 + ["EMFILE,files_open_max"] * 2)
        + "'"
    )
    used = client.get(f"/contexts/{context}/files").json()["usage"]
    assert used["bytes"] == 1_000_000


def test_nothing_is_lost_when_the_quota_is_full(client: Client) -> None:
    """The file that was to be replaced, what is beside it, the context's state."""
    context = client.create()
    code = """
    const fs = require("fs"); const {writeFile} = require("fs/promises");
    fs.writeFileSync("kept", "as it was");
    fs.writeFileSync("most", Buffer.alloc(990000));
    const said = [];
    const note = (e) => said.push([e.code, e.message]);
    try { fs.writeFileSync("kept", Buffer.alloc(20000)) } catch (e) { note(e) }
    await writeFile("kept", Buffer.alloc(20000)).catch(note);
    try { fs.appendFileSync("most", Buffer.alloc(20000)) } catch (e) { note(e) }
    try { fs.copyFileSync("most", "other") } catch (e) { note(e) }
    JSON.stringify(said)"""
    said = json.loads(client.text(code, context_id=context)[1:-1])
    assert [code for code, _ in said] == ["EDQUOT"] * 4
    assert all("(files_bytes_max)" in message for _, message in said)
    place = f"/contexts/{context}/files"
    assert client.get(f"{place}/kept").text == "as it was"
    listed = client.get(place).json()
    assert [(one["path"], one["size"]) for one in listed["files"]] == [
        ("kept", 9),
        ("most", 990_000),
    ]
    again = "fs.rmSync('most'); fs.writeFileSync('kept', 'anew'); said.length"
    assert client.text(again, context_id=context) == "4"
    assert client.get(f"{place}/kept").text == "anew"


def test_a_long_result_says_why_it_is_no_file(client: Client) -> None:
    context = client.create()
    put(client, context, "most", bytes(990_000))

    def note(code: str) -> str:
        fields: dict[str, Any] = {"context_id": context, "result_characters_max": 200}
        return str(client.run(code, **fields)["items"][-1]["json_note"])

    full = note("'x'.repeat(20_000)")
    assert full.startswith("cut to at most 200 characters; 20.0 kB, not kept in a file")
    assert "the limit is 1000000 (files_bytes_max)" in full
    listed = client.get(f"/contexts/{context}/files?recursive=true").json()
    assert [one["path"] for one in listed["files"] if one["kind"] == "file"] == ["most"]
    assert "whole in results/" in note("'y'.repeat(5_000)")


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/../../../etc/passwd",
        "/proc/self/environ",
        "file:///../../etc/passwd",
        "a/../../b",
        "\\u0000",
        "x" * 5000,
    ],
)
def test_nothing_else_is_reached(client: Client, path: str) -> None:
    context = client.create()
    text = f'path = "{path}"; path = path.startsWith("file:") ? new URL(path) : path;'
    code = f"""
    {text} fs = require("fs"); codes = new Set();
    for (const name of ["readFile", "stat", "lstat", "readdir", "unlink", "rmdir",
        "truncate", "realpath", "access", "copyFile", "rename", "open"]) {{
      try {{ fs[name + "Sync"](path, "y"); codes.add(name) }}
      catch (e) {{ codes.add(e.code) }}
    }}
    [...codes].filter((each) => !/^E/.test(each)).join()"""
    assert client.text(code, context_id=context) == "''"


def test_a_heap_saved_amid_writes_has_what_was_there(client: Client) -> None:
    context = client.create()
    client.run(
        """const fs = require("fs"); let n = 0;
        const write = () => { n += 1; fs.writeFileSync("n", String(n)); };
        write(); const timer = setInterval(write, 1);""",
        context_id=context,
    )
    for _ in range(5):
        saved = client.post(f"/contexts/{context}/checkpoint")
        assert saved.status_code == 200, saved.text
        second = client.post("/contexts", json={"heap": saved.json()["heap"]}).json()
        code = "clearInterval(timer); require('fs').readFileSync('n', 'utf8')"
        seen: Any = client.get(f"/contexts/{second['id']}/files/n").text
        assert seen.isdigit(), seen
        client.text(code, context_id=second["id"])
        client.delete(f"/contexts/{second['id']}")


def test_a_policy_of_a_request_narrows_what_code_may_do(client: Client) -> None:
    context = client.create()
    put(client, context, "x", b"1")
    code = "require('fs').writeFileSync('y', require('fs').readFileSync('x'))"
    result = client.run(code, context_id=context, capabilities={"files": "read"})
    assert result["error"]["name"] == "CapabilityDeniedError"
    assert client.run(code, context_id=context)["error"] is None
