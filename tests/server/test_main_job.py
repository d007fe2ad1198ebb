"""The job that people come for, by each of the ways in; see `tests.support.main_job`.

A CSV beside the code, three libraries from npm, JSON from an address, a table and a
figure, under a policy that allows just that; saved, and gone on with in another process
without a registry or the address. JupyterLab has it in tests/e2e.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests.support.agents import connect_agent, run_js
from tests.support.client import connect
from tests.support.main_job import (
    COUNT,
    CSV,
    FIGURE,
    GONE_ON,
    LATER,
    SEEN,
    TOLD,
    TOLD_LATER,
    Place,
    environment,
    flags,
    open_place,
)
from tests.support.server import JAVASCRIPT_FLAGS, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SECONDS = 100
OTHERS = (
    ("await import('npm:d3-array@3')", "--modules npm:d3-array"),
    ("await fetch('http://127.0.0.1:8009/')", "--net 127.0.0.1"),
    ("await fetch('https://example.com/')", "--net example.com"),
    ("require('fs').readFileSync('/etc/passwd')", "ENOENT"),
)
"""What the policy doesn't allow, and what the message says."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "web"
    folder.mkdir()
    with open_place(folder) as place:
        yield place


def results(folder: Path, *cells: str) -> list[Any]:
    """What some cells show, in a kernel of their own that stands in a folder."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "v8-javascript", "display_name": ""}
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in cells]
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=SECONDS, resources=resources)
    asyncio.run(client.async_execute())
    return [cell.outputs[-1].data if cell.outputs else None for cell in notebook.cells]


def test_by_nbclient(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "penguins.csv").write_bytes(CSV.read_bytes())
    for name, value in environment(place, tmp_path / "heaps").items():
        monkeypatch.setenv(name, value)
    denied = [
        f"try {{ {code} }} catch (error) {{ `${{error}}` }}" for code, _ in OTHERS
    ]
    *_, drawn, seen, _saved, other, _local, _public, _file = results(
        tmp_path,
        *(place.load, COUNT, FIGURE + "figure", SEEN),
        "await Jupyter.checkpoint('job'); 0",
        *denied,
    )
    assert "<svg" in drawn["text/html"]
    assert drawn["text/html"].count("<circle") == 342
    assert seen["text/plain"] == f"'{TOLD}'"
    assert "npm:d3-array" in other["text/plain"]
    asked = len(place.asked)
    assert asked == 1
    # Next week: another process, and there is no such file either.
    (tmp_path / "penguins.csv").unlink()
    *_, later = results(tmp_path, "Jupyter.restore('job')", GONE_ON, LATER)
    assert later["text/plain"] == f"'{TOLD_LATER}'"
    assert len(place.asked) == asked


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts a server, on what the one before has left."""
    made: list[Server] = []

    def stop() -> None:
        while made:
            server = made.pop()
            server.stop()
            assert not server.wrong()

    def start() -> Server:
        stop()
        made.append(Server(*JAVASCRIPT_FLAGS, *flags(place, tmp_path / "data")))
        return made[-1]

    yield start
    stop()


def curl(*arguments: str) -> Any:
    """What a request by curl is answered."""
    done = subprocess.run(
        ["curl", "-sS", *arguments],  # noqa: S607 -- the one on the path
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    return json.loads(done.stdout or b"null")


def post(url: str, body: dict[str, Any]) -> Any:
    return curl("-H", "Content-Type: application/json", "-d", json.dumps(body), url)


def test_by_curl(place: Place, start: Callable[[], Server]) -> None:
    server = start()
    url = server.url
    context = post(f"{url}/contexts", {"language": "javascript"})["id"]
    files = f"{url}/contexts/{context}/files"
    curl("-f", "-T", str(CSV), f"{files}/penguins.csv")

    def run(code: str) -> dict[str, Any]:
        body = {"code": code, "context_id": context, "timeout_ms": SECONDS * 1000}
        answer: dict[str, Any] = post(f"{server.url}/execute", body)
        return answer

    answer = run(f"{place.load}{COUNT}{FIGURE}figure")
    assert answer["error"] is None, answer["error"]
    assert answer["items"][-1]["html"].count("<circle") == 342
    assert run(SEEN)["items"][-1]["text"] == f"'{TOLD}'"
    for code, message in OTHERS:
        assert message in run(code)["error"]["value"], code
    heap = post(f"{url}/contexts/{context}/checkpoint", {})["heap"]
    # Next week: another server.
    server = start()
    asked = len(place.asked)
    context = post(f"{server.url}/contexts", {"heap": heap})["id"]
    assert run(GONE_ON + LATER)["items"][-1]["text"] == f"'{TOLD_LATER}'"
    assert run("require('fs').readdirSync('/')")["items"][-1]["json"] == [
        "penguins.csv"
    ]
    assert len(place.asked) == asked


def test_by_an_agent(place: Place, start: Callable[[], Server]) -> None:
    """With the SDK's client, in a session."""
    session = {"X-MCP-Session-Id": "penguins"}

    async def first(server: Server) -> None:
        async with connect_agent(server.url, headers=session) as agent:
            assert (await run_js(agent, "1"))["status"] == "completed"
            with connect(server) as client:
                path = "/contexts/penguins/files/penguins.csv"
                assert client.put(path, content=CSV.read_bytes()).status_code == 201
            code = f"{place.load}{COUNT}{FIGURE}{SEEN}"
            info = await run_js(agent, code, execution_timeout_secs=SECONDS)
            assert info["status"] == "completed", info
            assert json.loads(info["result"]) == TOLD
            for code, message in OTHERS:
                info = await run_js(agent, code)
                assert info["status"] == "failed"
                assert message in str(info["error"]), code

    async def then(server: Server) -> None:
        async with connect_agent(server.url, headers=session) as agent:
            info = await run_js(agent, GONE_ON + LATER)
            assert json.loads(info["result"]) == TOLD_LATER, info

    asyncio.run(first(start()))
    asked = len(place.asked)
    asyncio.run(then(start()))
    assert len(place.asked) == asked
