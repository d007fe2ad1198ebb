"""Fronts that come back: after the server's end, a kill, a sleep of the context."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.fronts import Front, channels
from tests.support.server import V8_FLAGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.server import Server

PRINTS = "globalThis.go = (n) => { for (let i = 0; i < n; i++) console.log(i); }; 1"


def numbers(front: Front) -> list[int]:
    """Of the messages of the context that a front has."""
    ids = (message.header["msg_id"].rpartition("_") for message in front.heard)
    return [int(number) for of, _, number in ids if "-" in of]


async def run_for(client: Client, context: str, code: str) -> None:
    await asyncio.to_thread(client.run, code, context_id=context)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_front_comes_back_to_the_next_server(
    servers: Callable[..., Server], tmp_path: Path, end: signal.Signals
) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path / "data"))

    async def scenario() -> None:
        server = servers(*flags)
        with connect(server) as client:
            context = client.run(PRINTS, language="javascript")["context_id"]
            front = await Front(channels(server, context), "mine").connect()
            away = await Front(channels(server, context), "away").connect()
            await front.run("go(50)")
            await away.hear_until(lambda message: message.kind == "execute_input")
            await away.close()
            await run_for(client, context, "go(50)")
            client.post(f"/contexts/{context}/checkpoint")
            await front.run("'unsaved'")
        await asyncio.to_thread(server.stop, end)
        while await front.hear() is not None:
            pass
        assert front.socket is not None
        assert front.socket.close_code in {1012, None}
        server = servers(*flags)
        with connect(server) as client:
            await front.connect(channels(server, context))
            await away.connect(channels(server, context))
            await front.run("go(3)")
            await run_for(client, context, "go(2)")
            text = "".join(f"{i}\n" for i in range(50))
            late = "0\n1\n2\n0\n1\n"
            for each in (front, away):
                while not each.texts().endswith(late):
                    await each.hear()
                assert each.texts() == text + text + late
                got = numbers(each)
                # Nobody gets replies to others.
                assert sorted(got) == got
                await each.close()
            own = {number for number in numbers(front) if number not in numbers(away)}
            assert len(own) == 3

    asyncio.run(scenario())


def test_a_cell_that_the_server_did_not_survive(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path / "data"))

    async def scenario() -> None:
        server = servers(*flags)
        with connect(server) as client:
            context = client.run("1", language="javascript")["context_id"]
            client.post(f"/contexts/{context}/checkpoint")
            front = await Front(channels(server, context), "mine").connect()
            number = await front.ask("execute_request", {"code": "for (;;);"})
            await front.hear_until(lambda message: message.kind == "execute_input")
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        while await front.hear() is not None:
            pass
        server = servers(*flags)
        await front.connect(channels(server, context))
        reply = await front.reply_to(number)
        assert reply["ename"] == "ContextDiedError"
        assert "checkpoint" in reply["evalue"]
        assert (await front.run("1"))["status"] == "ok"
        await front.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("durable", [True, False])
def test_a_sequence_goes_on_after_a_sleep(
    servers: Callable[..., Server],
    tmp_path: Path,
    durable: bool,  # noqa: FBT001
) -> None:
    where = ("--data-dir", str(tmp_path / "data")) if durable else ()
    server = servers(*V8_FLAGS, "--hibernate-after-seconds", "0.2", *where)

    async def scenario() -> None:
        with connect(server) as client:
            context = client.run(PRINTS, language="javascript")["context_id"]
            front = await Front(channels(server, context), "mine").connect()
            for _ in range(3):
                await front.run("go(5)")
                await front.close()
                await run_for(client, context, "go(5)")
                await asyncio.to_thread(client.wait_state, context, "hibernated")
                await front.connect()
            await front.run("1")
            assert front.texts() == "0\n1\n2\n3\n4\n" * 6
            found = numbers(front)
            assert found == list(range(found[0], found[-1] + 1))
            await front.close()

    asyncio.run(scenario())


def test_what_can_not_wake_a_context_now_is_answered(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    folder = tmp_path / "heaps"
    server = servers(
        *V8_FLAGS, "--hibernate-after-seconds", "0.2", "--heap-store", str(folder)
    )

    async def scenario() -> None:
        with connect(server) as client:
            context = client.run(PRINTS, language="javascript")["context_id"]
            front = await Front(channels(server, context), "mine").connect()
            await asyncio.to_thread(client.wait_state, context, "hibernated")
            folder.rename(tmp_path / "away")
            folder.touch()
            asked = {"code": "go", "cursor_pos": 2}
            told = await front.reply("complete_request", asked)
            assert (told["status"], told["ename"]) == ("error", "HeapStoreError")
            folder.unlink()
            (tmp_path / "away").rename(folder)
            assert "go" in (await front.reply("complete_request", asked))["matches"]
            await front.close()

    asyncio.run(scenario())


def test_what_a_context_said_ends_with_it(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    server = servers(*V8_FLAGS, "--data-dir", str(data))
    with connect(server) as client:
        contexts = [client.create() for _ in range(3)]
        for context in contexts:
            client.post(f"/contexts/{context}/checkpoint")

        def written() -> list[str]:
            return [path.name for path in (data / "transcripts").glob("*/*")]

        wait_for(lambda: len(written()) == len(contexts))
        client.delete(f"/contexts/{contexts[0]}")
        assert len(written()) == 2
    server.stop(signal.SIGKILL)
    server = servers(*V8_FLAGS, "--data-dir", str(data))
    with connect(server) as client:
        assert len(written()) == 2
        client.clean()
        assert written() == []


@pytest.mark.parametrize(
    ("where", "end"),
    [
        ("sqlite", signal.SIGTERM),
        ("sqlite", signal.SIGKILL),
        ("postgresql", signal.SIGKILL),
    ],
)
def test_sessions_outlive_the_server(
    servers: Callable[..., Server],
    tmp_path: Path,
    where: str,
    end: signal.Signals,
    request: pytest.FixtureRequest,
) -> None:
    flags = [*V8_FLAGS, "--data-dir", str(tmp_path / "data")]
    if where == "postgresql":
        flags += ["--database-url", request.getfixturevalue("postgresql").database()]
    server = servers(*flags)

    def put(client: Client, path: str, **kernel: str) -> Any:
        body = {"path": path, "name": path, "type": "notebook", "kernel": kernel}
        answer = client.post("/jupyter/api/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def strip(rows: list[dict[str, Any]]) -> list[Any]:
        return sorted((one["id"], one["path"], one["kernel"]["id"]) for one in rows)

    with connect(server) as client:
        agents = client.create()
        rows = [
            put(client, "made.ipynb", name="v8-javascript"),
            put(client, "agents.ipynb", id=agents),
            put(client, "gone.ipynb", name="v8-javascript"),
            put(client, "dropped.ipynb", id=agents),
            put(client, "old.ipynb", id=agents),
        ]
        place = "/jupyter/api/sessions/{}".format
        assert client.delete(place(rows[3]["id"])).status_code == 204
        client.patch(place(rows[4]["id"]), json={"path": "new.ipynb"})
        client.delete(f"/contexts/{rows[2]['kernel']['context_id']}")
        made = rows[0]["kernel"]["context_id"]
        for context in (agents, made):
            client.post(f"/contexts/{context}/checkpoint")
        before = strip(client.get("/jupyter/api/sessions").json())
        assert [path for _, path, _ in before].count("new.ipynb") == 1
        assert len(before) == 3
    server.stop(end)
    server = servers(*flags)
    with connect(server) as client:
        assert strip(client.get("/jupyter/api/sessions").json()) == before
        # Fronts may end what fronts have made, and nothing else.
        for row in rows[:2]:
            client.delete(f"/jupyter/api/kernels/{row['kernel']['id']}")
        left = [one["id"] for one in client.get("/contexts").json()["items"]]
        assert left == [agents]


def test_late_output_belongs_to_its_cell_after_a_sleep(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path / "data"))

    async def scenario() -> None:
        server = servers(*flags)
        with connect(server) as client:
            context = client.create()
            front = await Front(channels(server, context), "mine").connect()
            # The clock of the timer stands while the context sleeps.
            code = "setTimeout(() => console.log('late'), 1500); 1"
            number = await front.ask("execute_request", {"code": code})
            await front.reply_to(number)
        await asyncio.to_thread(server.stop)
        while await front.hear() is not None:
            pass
        server = servers(*flags)
        with connect(server) as client:
            await front.connect(channels(server, context))
            await run_for(client, context, "'awake'")
            late = await front.hear_until(lambda message: message.kind == "stream")
            assert late.content["text"] == "late\n"
            assert late.parent_header["msg_id"] == number
            await front.close()

    asyncio.run(scenario())
