"""Contexts go on elsewhere as they were: moved, or their server drained or stopped."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from operator import lt
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.cluster.conftest import LONG_LEASE_SECONDS, found
from tests.support.agents import HANDSHAKE, NETWORK, Way, connect_agent, said
from tests.support.fronts import Front, channels
from tests.support.waiting import wait_for

from isoserver.cli.cluster import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import mcp
    from tests.server.cluster.conftest import Nodes
    from tests.support.client import Client

OWNER = "X-Isokernel-Owner"


@pytest.fixture(autouse=True)
def _nobody_is_lost(nodes: Nodes) -> None:
    nodes.lease_seconds = LONG_LEASE_SECONDS


def _move(client: Client, context_id: str, server: str | None = None) -> Any:
    answer = client.post(f"/contexts/{context_id}/move", json={"server": server})
    assert answer.status_code == 200, answer.text
    assert answer.headers[OWNER] == answer.json()["url"]
    return answer.json()


def _refused(client: Client, context_id: str, server: str | None = None) -> str:
    """Why a context isn't moved."""
    answer = client.post(f"/contexts/{context_id}/move", json={"server": server})
    assert answer.status_code in {404, 409, 503}, answer.text
    return f"{answer.headers['X-Error-Code']}: {answer.json()['message']}"


def test_a_context_is_moved_as_it_is(nodes: Nodes) -> None:
    (first, one), (second, other) = nodes.start(), nodes.start()
    here = one.create()
    place = one.get(f"/contexts/{here}").headers[OWNER]
    if place != first.url:
        first, one, second, other = second, other, first, one
    one.run("let n = 41", context_id=here)
    put = one.put(f"/contexts/{here}/files/a.txt", content=b"kept")
    assert put.status_code == 201, put.text
    moved = _move(other, here)  # asked of any server
    assert (moved["id"], moved["url"]) == (here, second.url)
    shown = wait_for(lambda: _live(other, here))
    assert "reason" not in shown
    assert other.text("n + 1", context_id=here) == "42"
    assert one.get(f"/contexts/{here}/files/a.txt").content == b"kept"
    answer = one.get(f"/contexts/{here}/notebook")
    assert answer.headers[OWNER] == second.url
    cells = answer.json()["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["let n = 41", "n + 1"]
    assert _move(one, here, second.url)["url"] == second.url  # it is there
    # Back to where it was, and away again, by the id of its server.
    assert _move(one, here, f"{first.url}/")["url"] == first.url
    one.run("n++", context_id=here)
    assert _move(one, here, moved["server"]) == moved
    assert one.text("n", context_id=here) == "42"
    (kept, got) = other.get("/cluster/servers").json()["items"]
    assert {kept["url"]: kept["contexts"], got["url"]: got["contexts"]} == {
        first.url: 0,
        second.url: 1,
    }


def test_a_context_that_was_deleted_elsewhere_is_missing(nodes: Nodes) -> None:
    """Also for a server that has let go of it, which says `moving` for a while."""
    (first, one), (second, other) = nodes.start(), nodes.start()
    here = one.create()
    for server in (second, first, second):
        _move(one, here, server.url)
    assert other.delete(f"/contexts/{here}").status_code == 204
    body = {"code": "1", "context_id": here, "execution_id": "e"}
    for client in (one, other):
        assert client.get(f"/contexts/{here}").status_code == 404
        assert client.post("/execute", json=body).status_code == 404


def test_only_the_server_where_it_was_knows_why_a_context_is_gone(
    nodes: Nodes,
) -> None:
    flags = ("--context-ttl-seconds", "0.5")
    (first, one), (_, other) = nodes.start(*flags), nodes.start(*flags)
    made = one.post("/contexts", json={"language": "javascript"})
    clients = (one, other) if made.headers[OWNER] == first.url else (other, one)
    wait_for(lambda: not clients[0].get("/contexts").json()["items"])
    told = [client.get(f"/contexts/{made.json()['id']}") for client in clients]
    assert [answer.status_code for answer in told] == [404, 404]
    knows = ["context_ttl_seconds" in answer.text for answer in told]
    assert knows == [True, False]


def _live(client: Client, context_id: str) -> dict[str, Any] | None:
    shown = client.show(context_id)
    return shown if shown["state"] == "idle" else None


def test_an_upload_that_ends_when_it_has_moved_is_to_be_sent_again(
    nodes: Nodes,
) -> None:
    (first, one), (second, other) = nodes.start(), nodes.start()
    here = one.create()
    if one.get(f"/contexts/{here}").headers[OWNER] != first.url:
        first, one, second, other = second, other, first, one
    path, go_on = f"/contexts/{here}/files/a.txt", threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"a"
        go_on.wait()
        yield b"b"

    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(one.put, path, content=parts())
        wait_for(lambda: list(nodes.folder.glob("data*/files/*")))
        _move(other, here, second.url)
        go_on.set()
        refused = put.result()
    assert (refused.status_code, refused.headers["X-Error-Code"]) == (503, "moving")
    assert one.get(path).status_code == 404
    assert one.put(path, content=b"ab").status_code == 201


def test_one_that_sleeps_sleeps_on(nodes: Nodes) -> None:
    _, one = nodes.start("--hibernate-after-seconds", "0.2")
    _, other = nodes.start()
    (listed, joined) = one.get("/cluster/servers").json()["items"]
    here = one.create()
    if one.get(f"/contexts/{here}").headers[OWNER] != listed["url"]:
        _move(one, here, listed["id"])
    one.run("let n = 41", context_id=here)
    one.wait_state(here, "hibernated")
    _move(one, here, joined["id"])
    assert other.show(here)["state"] == "hibernated"
    assert other.text("n + 1", context_id=here) == "42"


def test_what_has_to_stay_says_why(nodes: Nodes) -> None:
    first, one = nodes.start()
    here = one.create()
    assert _refused(one, here).startswith("unmovable: the context can't be moved: no")
    _, other = nodes.start()
    assert _refused(one, here, "nobody") == "server_missing: there is no server nobody"
    assert _refused(one, "none").startswith("context_missing: ")
    (_, joined) = one.get("/cluster/servers").json()["items"]
    with ThreadPoolExecutor() as pool:
        code = "await new Promise((r) => setTimeout(r, 1e9))"
        running = pool.submit(one.run, code, context_id=here)
        wait_for(lambda: one.show(here)["state"] == "busy")
        assert "it is at work" in _refused(other, here, joined["url"])
        one.post(f"/contexts/{here}/interrupt")
        assert running.result()["error"] is not None
    assert one.get(f"/contexts/{here}").headers[OWNER] == first.url
    one.post(f"/cluster/servers/{joined['id']}/drain")
    wait_for(lambda: "is being drained" in _refused(one, here, joined["id"]))
    assert one.text("1 + 1", context_id=here) == "2"


def test_a_server_that_has_just_died_takes_nothing(nodes: Nodes) -> None:
    (_, one), (second, _) = nodes.start(), nodes.start()
    here = one.create()
    if one.get(f"/contexts/{here}").headers[OWNER] == second.url:
        _move(one, here)
    one.run("let n = 41", context_id=here)
    second.stop(signal.SIGKILL)
    assert _refused(one, here, second.url).startswith("peer_unreachable: ")
    assert one.text("n + 1", context_id=here) == "42"


def test_nothing_that_is_asked_for_meanwhile_fails(nodes: Nodes) -> None:
    """Requests wait for what is on its way, and are passed on then."""
    clients = [nodes.start()[1] for _ in range(2)]
    here = clients[0].create()
    clients[0].run("let n = 0", context_id=here)
    with ThreadPoolExecutor() as pool:

        def count(number: int) -> None:
            while not over:
                clients[number].run("n++", context_id=here)
                counts[number] += 1

        counts, over = [0, 0], False
        counting = [pool.submit(count, number) for number in range(2)]
        moved = 0
        while moved < 6:
            answer = clients[moved % 2].post(f"/contexts/{here}/move")
            assert answer.status_code in {200, 409}, answer.text  # it is at work
            moved += answer.status_code == 200
            before = list(counts)
            wait_for(lambda: all(map(lt, before, counts)) or _failed(counting))  # noqa: B023
        over = True
        for each in counting:
            each.result()
    assert clients[0].text("n", context_id=here) == str(sum(counts))


def _failed(futures: list[Future[None]]) -> bool:
    return any(each.done() for each in futures)


def test_fronts_of_what_has_moved_connect_anew(nodes: Nodes) -> None:
    (first, one), (second, _) = nodes.start(), nodes.start()
    here = one.create()

    async def work() -> None:
        fronts = []
        for server in (first, second):
            fronts.append(await Front(channels(server, here)).connect())
            assert (await fronts[-1].run("var n = 41"))["status"] == "ok"
        await asyncio.to_thread(_move, one, here)
        for front in fronts:
            assert front.socket is not None
            while await front.hear() is not None:
                pass
            # Which fronts take for a server that will be there again.
            assert front.socket.close_code == 1012
            assert "another server" in (front.socket.close_reason or "")
            await front.connect()
            code = "if (n !== 41) throw n"
            assert (await front.run(code))["status"] == "ok"
            await front.close()

    asyncio.run(work())


def test_connections_of_mcp_go_on(nodes: Nodes) -> None:
    (first, one), (second, _) = nodes.start(), nodes.start()

    async def count(agent: mcp.Client) -> None:
        code = "globalThis.n = (globalThis.n ?? 0) + 1"
        answer = await agent.call_tool("run_js", {"code": code})
        assert not answer.is_error, said(answer)
        execution_id = answer.structured_content["execution_id"]
        await asyncio.to_thread(one.ended, execution_id)

    async def work() -> None:
        headers = {"X-MCP-Session-Id": "agent"}
        way = Way("http", HANDSHAKE)
        async with (
            connect_agent(first.url, way, headers) as agent,
            connect_agent(second.url, NETWORK[0], headers) as other,
        ):
            for _ in range(4):
                await count(agent)
                await count(other)
                await asyncio.to_thread(_move, one, "agent")

    asyncio.run(work())
    assert one.text("n", context_id="agent") == "8"


def test_the_command_line_moves_and_evens_out(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, one = nodes.start()
    contexts = [one.create() for _ in range(5)]
    for number, context_id in enumerate(contexts):
        one.run(f"let n = {number}", context_id=context_id)
    assert run(["rebalance", "--url", first.url]) == 0
    assert capsys.readouterr().out == "0 contexts were moved\n"
    second, other = nodes.start()
    assert run(["move", contexts[0], second.url, "--url", second.url]) == 0
    assert second.url in capsys.readouterr().out
    assert run(["--url", "http://127.0.0.1:1", "rebalance", "--url", second.url]) == 0
    said = capsys.readouterr().out
    wait_for(lambda: _counts(one) == [3, 2])
    moved = said.splitlines()
    assert len(moved) == 2, said
    assert moved[0].startswith(f"default {contexts[1]} from ")  # idle for longest
    assert moved[1] == "1 contexts were moved"
    for number, context_id in enumerate(contexts):
        assert other.text("n", context_id=context_id) == str(number)
    assert run(["servers", "--url", second.url]) == 0
    assert run(["move", "none", "--url", second.url]) == 3


def _counts(client: Client) -> list[int]:
    items = client.get("/cluster/servers").json()["items"]
    return [item["contexts"] for item in items]


def _counted(client: Client) -> float:
    """How many contexts a server's figures have, in any state."""
    figures = client.get("/metrics").text
    counted = re.findall(r"^isokernel_contexts\{.* (\S+)$", figures, re.MULTILINE)
    return sum(map(float, counted))


def test_a_drained_server_gives_away_all_that_it_has(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, one = nodes.start()
    _, other = nodes.start()
    here, asleep = one.create(), one.create()
    one.run("let n = 41", context_id=here)
    one.run("let m = 1", context_id=asleep)
    put = one.put(f"/contexts/{here}/files/a.txt", content=b"kept")
    assert put.status_code == 201, put.text
    (listed, joined) = one.get("/cluster/servers").json()["items"]
    assert (listed["here"], listed["contexts"], listed["state"]) == (True, 2, "serving")
    assert run(["--url", str(other.base_url), "drain", first.url]) == 0
    assert "nothing is left there" in capsys.readouterr().out
    assert run(["--url", first.url, "servers"]) == 0
    assert "draining" in capsys.readouterr().out
    assert _counted(one) == _counted(other) == 0  # nobody owns them
    shown = found(other, here)
    assert shown["state"] == "hibernated"
    assert "reason" not in shown  # nothing was lost
    assert other.text("n + 1", context_id=here) == "42"
    assert other.get(f"/contexts/{here}/files/a.txt").content == b"kept"
    assert other.text("m", context_id=asleep) == "1"
    assert _counted(other) == 2
    cells = other.get(f"/contexts/{here}/notebook").json()["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["let n = 41", "n + 1"]
    # What it is asked for, it leaves to the others.
    refused = one.get(f"/contexts/{here}")
    assert refused.headers["X-Isokernel-Owner"] == joined["url"]


def test_what_was_put_into_a_sleeper_s_folder_moves_too(nodes: Nodes) -> None:
    first, one = nodes.start("--hibernate-after-seconds", "0.2")
    _, other = nodes.start()
    here = one.create()
    one.run("let n = 41", context_id=here)
    one.wait_state(here, "hibernated")
    put = one.put(f"/contexts/{here}/files/a.txt", content=b"late")
    assert put.status_code == 201, put.text
    assert first.stop() == 0
    found(other, here)
    assert other.get(f"/contexts/{here}/files/a.txt").content == b"late"
    assert other.text("n + 1", context_id=here) == "42"


def test_an_execution_goes_on_while_its_server_is_drained(nodes: Nodes) -> None:
    (_, one), (_, other) = nodes.start(), nodes.start()
    run_id = one.submit(
        "globalThis.n = 41; await new Promise((r) => setTimeout(r, 1500)); n",
        session="s",
    )
    (listed, _) = one.get("/cluster/servers").json()["items"]
    drained = other.post(f"/cluster/servers/{listed['id']}/drain")
    assert drained.status_code == 202
    assert one.ended(run_id)["result"] == "41"
    wait_for(lambda: other.get("/contexts/s").status_code == 200)
    assert other.result("n + 1", session="s") == "42"


def test_nobody_but_operators_may_know(nodes: Nodes) -> None:
    first, one = nodes.start("--api-key", "x" * 32)
    for path in ("/cluster/rebalance", "/contexts/c/move"):
        assert one.post(path).status_code == 401
    one.headers["X-API-Key"] = "x" * 32
    missing = one.post("/cluster/servers/nobody/drain")
    assert missing.status_code == 404
    assert missing.headers["X-Error-Code"] == "server_missing"
    assert first.stop() == 0


def test_what_could_not_be_made_is_owned_by_nobody(nodes: Nodes) -> None:
    _, one = nodes.start()
    kept = one.create()
    for _ in range(3):
        refused = one.post("/contexts", json={"packages": ["lodash-es"]})
        assert refused.status_code >= 400
    (server,) = one.get("/cluster/servers").json()["items"]
    assert server["contexts"] == 1
    assert one.text("1 + 1", context_id=kept) == "2"
