"""Python contexts have their folder in their container, and share it with requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client import Client

MIB = 1 << 20
FLAGS = (
    *("--languages", "python", "--python-files-bytes-max", str(4 * MIB)),
    *("--files-max", "50", "--interrupt-grace-seconds", "1"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def python(folder: Path) -> Iterator[Server]:
    """A server whose Python contexts have room for 4 MiB."""
    with run_server(*FLAGS, "--data-dir", str(folder)) as server:
        yield server


@pytest.fixture
def client(python: Server) -> Iterator[Client]:
    with connect(python) as made:
        yield made
        made.clean()


def test_code_and_requests_see_the_same_files(client: Client, folder: Path) -> None:
    context = client.create("python")
    place = f"/contexts/{context}/files"
    code = "import os; os.makedirs('d'); open('d/x', 'w').write('1'); os.getcwd()"
    assert client.text(code, context_id=context) == "'/home/user'"
    assert client.get(f"{place}/d/x").text == "1"
    assert client.put(f"{place}/d/x", content=b"2").status_code == 200
    assert client.put(f"{place}/e/y.csv", content=b"a,b\n").status_code == 201
    code = "f = open('d/x', 'r+'); t = f.read(); f.write('3'); f.close()"
    assert client.text(f"{code}; t + open('e/y.csv').read()", context_id=context) == (
        "'2a,b\\n'"
    )
    # What code has left outlives a restart and, after a moment, the server.
    wait_for(
        lambda: [p for p in (folder / "files").glob("*/d/x") if p.read_text() == "23"]
    )
    client.run(
        "import os; os.rmdir('e') if not os.remove('e/y.csv') else 0",
        context_id=context,
    )
    assert client.post(f"/contexts/{context}/restart").status_code == 200
    assert client.text("open('d/x').read()", context_id=context) == "'23'"
    listed = client.get(place, params={"recursive": True}).json()["files"]
    assert [each["path"] for each in listed] == ["d", "d/x"]
    client.run("import os; os.kill(os.getpid(), 9)", context_id=context)
    client.wait_state(context, "dead")
    assert client.get(f"{place}/d/x").text == "23"


def test_nothing_of_the_server_is_reached_through_the_folder(client: Client) -> None:
    context = client.create("python")
    place = f"/contexts/{context}/files"
    client.run(
        "import os, socket\n"
        "os.symlink('/etc/passwd', 'file'); os.symlink('/', 'root')\n"
        "os.symlink('../../..', 'up'); os.symlink('/proc/self/root', 'magic')\n"
        "os.mkfifo('pipe'); socket.socket(socket.AF_UNIX).bind('socket')\n"
        "open('x', 'w').write('mine'); os.link('x', 'same'); os.symlink('x', 'ok')\n"
        "os.chmod('x', 0o4777)",
        context_id=context,
    )
    for path in ("file", "root/etc/passwd", "up/etc/passwd", "magic/etc/passwd"):
        answer = client.get(f"{place}/{path}")
        assert answer.status_code == 400, (path, answer.text)
        assert client.put(f"{place}/{path}", content=b"").status_code == 400
    for path in ("pipe", "socket"):
        assert client.get(f"{place}/{path}").status_code == 400
        assert client.put(f"{place}/{path}", content=b"").status_code == 400
        assert client.delete(f"{place}/{path}").status_code == 204
    assert client.get(f"{place}/ok").text == client.get(f"{place}/same").text == "mine"
    mounts = (
        "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"
        "[c.mount(b'/', b'/home/user/m', None, 4096, None), ctypes.get_errno() > 0,"
        " c.unshare(0x10000000)]"
    )
    assert client.text(f"os.mkdir('m')\n{mounts}", context_id=context) == (
        "[-1, True, -1]"
    )


def test_a_container_is_full_before_the_disk_is(client: Client) -> None:
    context = client.create("python")
    place = f"/contexts/{context}/files"
    code = "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()"
    failure = client.run(code, context_id=context)["error"]
    assert "No space left" in failure["value"] or "File too large" in failure["value"]
    assert "python_files_bytes_max" in failure["traceback"]
    refused = client.put(f"{place}/more", content=bytes(5 * MIB))
    assert refused.status_code == 409
    assert "python_files_bytes_max" in refused.json()["message"]
    code = "f.close(); os = __import__('os'); os.remove('big')\n"
    many = "for n in range(80): open(f'n{n}', 'w').close()"
    client.run(code + many, context_id=context)
    # The folder holds as many as it may; the rest ends with the container.
    client.post(f"/contexts/{context}/restart")
    names = client.text("len(__import__('os').listdir())", context_id=context)
    assert names == "50"


def test_files_that_are_too_many_to_be_kept_are_told(client: Client) -> None:
    context = client.create("python")
    place = f"/contexts/{context}/files"
    code = "for n in range(60): open(f'n{n:02}', 'w').close()"
    assert client.run(code, context_id=context)["error"] is None

    said = ""

    def told() -> str:
        answer = client.run("0", context_id=context)
        return "\n".join(answer["logs"]["stderr"])

    def all_told() -> bool:
        """Whether as many were told, at once or while the cell still made more."""
        nonlocal said
        said += told()
        more = re.findall(r"nor (\d+) more files", said)
        return said.count("not kept: EDQUOT") + sum(map(int, more)) == 10

    wait_for(all_told)
    assert "the limit is 50 (files_max)" in said
    assert "more files" in said
    assert told() == ""  # once
    refused = client.put(f"{place}/one-more", content=b"x")
    assert refused.status_code == 413
    assert "the limit is 50 (files_max)" in refused.json()["message"]
    # While the container lives nothing is lost, and there may be room before it ends.
    code = "import os; [os.remove(f'n{n:02}') for n in range(10)]; len(os.listdir())"
    assert client.text(code, context_id=context) == "50"
    assert client.post(f"/contexts/{context}/restart").status_code == 200
    names = client.text("sorted(__import__('os').listdir())[-1]", context_id=context)
    assert names == "'n59'"


def test_long_results_are_whole_in_a_file(client: Client) -> None:
    """Of cells, and of tasks in a session."""
    context = client.create("python")
    place = f"/contexts/{context}/files"
    cut: dict[str, Any] = {"context_id": context, "result_characters_max": 200}
    item = client.run("list(range(10_000))", **cut)["items"][-1]
    assert item["json"][:3] == [0, 1, 2]
    assert item["json"][-1] == 9999
    assert "whole in results/" in item["json_note"]
    path = item["json_note"].rpartition(" ")[2]
    assert client.get(f"{place}/{path}").json() == [*range(10_000)]
    code = f"import json; len(json.load(open({path!r})))"
    assert client.text(code, context_id=context) == "10000"
    item = client.run("{'a': [1, 'ä']}", context_id=context)["items"][-1]
    assert (item["json"], item.get("json_note")) == ({"a": [1, "ä"]}, None)
    assert "json" not in client.run("{1, 2}", context_id=context)["items"][-1]
    body = {
        "code": "'x' * 40_000",
        "runtimeId": "python",
        "sessionId": context,
        "waitForResult": True,
        "resultCharactersMax": 300,
    }
    task = client.post("/tasks", json=body).json()
    assert task["status"] == "completed", task
    note = task["resultNote"]
    assert note.endswith(f"40.0 kB, whole in results/{task['taskId']}.txt"), note
    whole = client.get(f"{place}/results/{task['taskId']}.txt").text
    assert whole == "x" * 40_000
    client.run("open('most', 'wb').write(bytes(4_100_000))", context_id=context)
    note = client.run("list(range(10_000))", **cut)["items"][-1]["json_note"]
    assert "not kept in a file: ENOSPC" in note
    assert "python_files_bytes_max" in note


@pytest.mark.parametrize(
    "code",
    [
        "[0] * 10**8",  # 300 MB as JSON, and a message may have 64 MiB
        "['\\x01' * 1000] * 20_000",
        # As the first one, but its parts are many: seconds of processor time.
        pytest.param("{n: 0.1 + n for n in range(3_000_000)}", marks=pytest.mark.slow),
        "a = []; a.append(a); a",
        "a = {}; a['b'] = [1, (a,)]; a",
        "class Endless(list):\n"
        "    def __iter__(self):\n"
        "        while True: yield 1\n"
        "Endless([1])",
        "[float('nan')]",
        "{1, 2}",
    ],
)
def test_a_value_that_can_be_no_json_is_text_alone(client: Client, code: str) -> None:
    context = client.create("python")
    answer = client.run(f"state = 1\n{code}", context_id=context)
    assert answer["error"] is None, answer["error"]
    assert client.text("state", context_id=context) == "1"
