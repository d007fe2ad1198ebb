"""Clients over stdio on one data folder: a server that has it serves all of them."""

from __future__ import annotations

import signal
import socket
import stat
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import psutil
import pytest
from mcp import Client, StdioServerParameters
from tests.support.agents import DROP, StdioPeer, connect_agent, execute, said
from tests.support.client import connect
from tests.support.starts import (
    Started,
    isokernel_command,
    run_isokernel,
    start_isokernel,
)
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.server import Server

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def relayed(folder: Path, *flags: str, **options: Any) -> AsyncIterator[Client]:
    """The SDK's client over stdio, at `isokernel mcp` with a data folder."""
    program, *arguments = isokernel_command("mcp", "--data-dir", str(folder), *flags)
    parameters = StdioServerParameters(command=program, args=arguments)
    async with Client(parameters, read_timeout_seconds=DEADLINE, **options) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose path is longer than the name of a socket may be."""
    return tmp_path / ("long" * 30)


async def test_approvals_are_decided_from_another_process(
    servers: Callable[..., Server], config: Path, folder: Path
) -> None:
    server = servers("--config", str(config), "--data-dir", str(folder))
    decisions = {"approve": "completed", "deny": "denied"}
    async with connect_agent(server.url) as agent:
        waiting = [await execute(agent, DROP) for _ in decisions]
    for _ in range(2):  # the same again changes nothing
        async with relayed(folder) as other:
            for (decision, status), asked in zip(
                decisions.items(), waiting, strict=True
            ):
                (approval,) = asked["approvals"]
                given = {"approvalId": approval["approvalId"], "decision": decision}
                result = await other.call_tool("resume", given)
                task = result.structured_content["task"]
                assert task["taskId"] == asked["taskId"], said(result)
                assert task["status"] == status
            given["approvalId"] = "made-up-" + given["approvalId"]
            result = await other.call_tool("resume", given)
            assert result.is_error
            assert "get_task shows" in said(result)


async def test_all_share_what_there_is(folder: Path) -> None:
    async with relayed(folder, "--session-id", "first") as first:
        await execute(first, "globalThis.kept = 7; return 1", sessionId="both")
        async with (
            relayed(folder, "--session-id", "second") as second,
            relayed(folder) as third,
        ):
            code = "return kept"
            assert (await execute(second, code, sessionId="both"))["result"] == 7
            done = await execute(second, "return 1")
            assert done["sessionId"] == "second"
            # Who names none gets the session of the server.
            assert (await execute(third, "return 1"))["sessionId"] == "first"
            found = await first.call_tool("get_task", {"taskId": done["taskId"]})
            assert found.structured_content == done
            arguments = {"code": "for (;;);", "waitForResult": False}
            queued = await second.call_tool("execute", arguments)
            task = {"taskId": queued.structured_content["taskId"]}
        # It goes on without the client that began it.
        found = await first.call_tool("get_task", task)
        assert found.structured_content["status"] in {"queued", "running"}
        ended = await first.call_tool("cancel_task", task)
        assert ended.structured_content["status"] == "cancelled"
        assert (await execute(first, "return 2"))["result"] == 2


@pytest.mark.parametrize(
    "number",
    [pytest.param(None, id="closed", marks=pytest.mark.slow), signal.SIGKILL],
)
async def test_the_others_go_on_without_the_first(
    folder: Path, number: int | None
) -> None:
    with _mcp(folder) as first:
        peer = StdioPeer(first)
        peer.begin()
        async with relayed(folder) as second, relayed(folder) as third:
            await execute(second, "globalThis.kept = 7; return 1", sessionId="both")
            waiting = {"code": "await new Promise((r) => setTimeout(r, 300)); return 3"}
            queued = await third.call_tool(
                "execute", {**waiting, "waitForResult": False}
            )
            children = peer.children()
            assert not peer.run("1")["isError"]
            if number is None:
                peer.stdin.close()
            else:
                first.send_signal(number)
            assert first.wait(DEADLINE) == (0 if number is None else -number)
            assert first.stderr is not None
            first.stderr.read()  # whoever reads it sees its end
            for other in (second, third):
                done = await execute(other, "return kept", sessionId="both")
                assert done["result"] == 7
            task = {"taskId": queued.structured_content["taskId"]}
            found = await third.call_tool("get_task", {**task, "resultTimeoutMs": 9000})
            assert found.structured_content["result"] == 3, said(found)
    # The server ends with the last of them.
    assert not psutil.wait_procs(children, DEADLINE)[1]
    assert not (folder / "mcp.sock").exists()


def test_why_it_cannot_start_is_said(tmp_path: Path) -> None:
    line = ("mcp", "--data-dir", str(tmp_path))
    done = run_isokernel(*line, "--default-language", "cobol")
    assert done.returncode == 1
    assert "cobol" in done.stderr
    (tmp_path / "isokernel.sqlite").write_bytes(b"no database" * 1000)
    done = run_isokernel(*line)
    assert done.returncode == 1
    assert "isokernel: the database" in done.stderr


async def test_two_that_begin_at_once_find_each_other(folder: Path) -> None:
    results: list[Any] = []
    everybody = anyio.Event()

    async def run() -> None:
        async with relayed(folder) as agent:
            done = await execute(agent, "return 1", sessionId="both")
            results.append(done["status"])
            if len(results) == 2:
                everybody.set()
            # Whoever has the folder must not leave before.
            await everybody.wait()

    with anyio.fail_after(2 * DEADLINE):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(run)
    assert results == ["completed"] * 2


def _mcp(folder: Path) -> Started:
    return start_isokernel("mcp", "--data-dir", str(folder))


def test_they_end_with_the_server(servers: Callable[..., Server], folder: Path) -> None:
    place = folder / "mcp.sock"
    # What one that was killed has left is no hindrance to the next.
    for number in (signal.SIGKILL, signal.SIGTERM):
        server = servers("--data-dir", str(folder))
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with _mcp(folder) as left, _mcp(folder) as process:
            StdioPeer(left).begin()
            assert left.stdin is not None
            left.stdin.close()
            assert left.wait(DEADLINE) == 0
            StdioPeer(process).begin()
            server.stop(number)
            assert process.wait(DEADLINE) == 1
            assert process.stderr is not None
            assert "has ended" in process.stderr.read()
    assert not place.exists()


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A data folder that Python contexts can have theirs in, too."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def test_others_are_not_let_in(
    servers: Callable[..., Server], short_folder: str
) -> None:
    server = servers("--data-dir", short_folder)
    place = f"{short_folder}/mcp.sock"
    code = (
        "import socket\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect({place!r})\n"
        "s.sendall(b'{}\\n{}\\n')\n"
        "print('in' if s.recv(1) else 'out')"
    )
    with connect(server) as client:
        # What runs in a context of a server's owner: by its walls, or as it descends
        # from the server.
        result = client.run(code, language="python")
        out = result["error"] is not None or result["logs"]["stdout"] == ["out"]
        assert out, result
        client.clean()
        # A client that talks nonsense harms nobody.
        for words in (b"nonsense\n", b"[]\n", b"\n"):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.settimeout(DEADLINE)
                rude.connect(place)
                rude.sendall(words)
                assert rude.recv(1) == b""
        assert client.get("/healthz").status_code == 200
