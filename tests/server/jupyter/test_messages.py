"""What a context has said, over plain HTTP; who is attached, and how many may be."""

from __future__ import annotations

import asyncio
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.fronts import Front, attached, channels
from tests.support.server import V8_FLAGS
from tests.support.waiting import wait_for
from tornado.httpclient import HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.server import Server

CELL = ["status", "execute_input", "stream", "execute_result", "status"]


def page(client: Client, context: str, **asked: Any) -> dict[str, Any]:
    answer = client.get(f"/contexts/{context}/messages", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(
    client: Client, context: str, after: str = ""
) -> Generator[tuple[str, str, dict[str, Any]]]:
    """The stream: id, event and data of each frame but heartbeats."""
    headers = {"Accept": "text/event-stream"}
    if after:
        headers["Last-Event-ID"] = after
    place = f"/contexts/{context}/messages"
    with client.stream("GET", place, headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                fields[name] = value
            elif fields:
                data = json.loads(fields["data"])
                yield fields.get("id", ""), fields["event"], data
                fields = {}


def test_pages(client: Client) -> None:
    context = client.run("console.log('a'); 5", language="javascript")["context_id"]
    first = page(client, context)
    assert [one["type"] for one in first["items"]][-5:] == CELL
    numbers = [one["number"] for one in first["items"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (first["missed"], first["anew"]) == (0, False)
    assert first["items"][-2]["content"]["data"]["text/plain"] == "5"
    caused = {one["parent"].get("msg_id") for one in first["items"][-5:]}
    assert len(caused) == 1
    assert page(client, context, after=first["cursor"])["items"] == []
    # The cell failed: its messages come after the cursor, and by number.
    client.run("throw 1", context_id=context)
    for after in (first["cursor"], str(numbers[-1])):
        items = page(client, context, after=after)["items"]
        assert [one["type"] for one in items][-2:] == ["error", "status"]
    one = page(client, context, after=2, limit=1)
    assert [each["number"] for each in one["items"]] == [3]
    assert one["cursor"].endswith("-3")
    other = page(client, context, after="abc-3", limit=1)
    assert (other["anew"], other["items"][0]["number"]) == (True, 1)


@pytest.mark.parametrize(
    "asked",
    [
        {"after": "x"},
        {"after": "-1"},
        {"after": "1" * 30},
        {"limit": 0},
        {"limit": 1001},
        {"wait_seconds": 61},
        {"wait_seconds": "nan"},
    ],
)
def test_what_is_no_question(client: Client, asked: dict[str, Any]) -> None:
    context = client.create()
    answer = client.get(f"/contexts/{context}/messages", params=asked)
    assert answer.status_code == 400, answer.text
    assert next(iter(asked)) in answer.text


def test_waiting_for_the_next(server: Server, client: Client) -> None:
    context = client.create()
    cursor = page(client, context)["cursor"]
    with ThreadPoolExecutor() as pool, connect(server) as other:
        waits = pool.submit(page, other, context, after=cursor, wait_seconds=20)
        wait_for(lambda: client.get(f"/contexts/{context}/fronts").json()["items"])
        client.run("1", context_id=context)
        assert waits.result()["items"][0]["content"] == {"execution_state": "busy"}
    last = page(client, context)["cursor"]
    assert page(client, context, after=last, wait_seconds=0.01)["items"] == []
    assert client.get(f"/contexts/{context}/fronts").json()["items"] == []


def test_a_stream_goes_on_in_the_next_server(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path / "data"))
    server = servers(*flags)
    with connect(server) as client:
        context = client.run("console.log('a')", language="javascript")["context_id"]
        client.post(f"/contexts/{context}/checkpoint")
        found: list[int] = []
        cursor = ""
        data: dict[str, Any] = {"type": ""}
        with connect(server) as other:
            stream = events(other, context)
            while data["type"] != "stream":
                cursor, event, data = next(stream)
                assert event == "message"
                found.append(data["number"])
            stream.close()
    server.stop(signal.SIGKILL)
    server = servers(*flags)
    with connect(server) as client:
        client.run("console.log('b')", context_id=context)
        texts = []
        stream = events(client, context, cursor)
        for _, _, data in stream:
            found.append(data["number"])
            if data["type"] == "stream":
                texts.append(data["content"]["text"])
                break
        assert texts == ["b\n"]
        assert found == list(range(1, len(found) + 1))
        # The context goes, and so does the stream.
        with connect(server) as other:
            other.delete(f"/contexts/{context}")
        *_, (_, event, data) = stream
        assert (event, data) == ("end", {"reason": "the context was deleted"})


def test_a_stream_tells_what_was_missed(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--transcript-bytes-max", "10000")
    with connect(server) as client:
        context = client.create()
        code = (
            "for (let i = 0; i < 1000; i++) { console.log('x'.repeat(999)); await 1 }"
        )
        client.run(code, context_id=context)
        pages = [page(client, context)]
        while pages[-1]["items"]:
            pages.append(page(client, context, after=pages[-1]["cursor"]))
        kept = [item["number"] for one in pages for item in one["items"]]
        gone = sum(one["missed"] for one in pages)
        assert gone == kept[-1] - len(kept) > 0
        missed, numbers = 0, [0]
        stream = events(client, context)
        for cursor, event, data in stream:
            if event == "missed":
                missed += data["count"]
                assert cursor.endswith(f"-{numbers[-1] + data['count']}")
            else:
                numbers.append(data["number"])
            if numbers[-1] == kept[-1]:
                break
        assert (missed, numbers[1:]) == (gone, kept)
        stream.close()
        stream = events(client, context, "abc-1")
        assert next(stream)[:2] == (f"{cursor.partition('-')[0]}-0", "anew")
        stream.close()


def test_a_stream_ends_with_the_server(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS)
    with connect(server) as client, ThreadPoolExecutor() as pool:
        context = client.create()
        rest = pool.submit(lambda: list(events(client, context)))
        with connect(server) as other:
            place = f"/contexts/{context}/fronts"
            wait_for(lambda: other.get(place).json()["items"])
        assert server.stop() == 0
        _, event, data = rest.result()[-1]
        assert (event, data) == ("end", {"reason": "the server stopped"})


def test_who_is_attached(server: Server, client: Client) -> None:
    context = client.create()
    place = f"/contexts/{context}/fronts"
    assert client.get(place).json() == {"items": []}

    async def work(front: Front) -> None:
        number = await front.ask(
            "execute_request", {"code": "await new Promise(f => 0)"}
        )
        await front.hear_until(lambda message: message.kind == "execute_input")
        answer = await asyncio.to_thread(client.get, place)
        (one,) = answer.json()["items"]
        since = one.pop("since")
        assert since > "2026"
        assert one == {
            "kind": "websocket",
            "session": front.session,
            "client": "",
            "connected": True,
            "behind": 0,
            "waiting": 1,
        }
        # Anybody may interrupt it.
        answer = await asyncio.to_thread(client.post, f"/contexts/{context}/interrupt")
        assert answer.status_code == 200
        assert (await front.reply_to(number))["status"] == "error"
        await front.close()
        await asyncio.to_thread(client.run, "1", context_id=context)
        (one,) = (await asyncio.to_thread(client.get, place)).json()["items"]
        assert (one["connected"], one["waiting"]) == (False, 0)
        assert one["behind"] >= 4

    attached(server, context, work)


def test_how_many_may_be_attached(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--fronts-max", "3", "--context-fronts-max", "2")
    with connect(server) as client:
        first, second = client.create(), client.create()

        async def scenario() -> None:
            fronts = [await Front(channels(server, first), "a").connect()]
            fronts.append(await Front(channels(server, first), "b").connect())
            third = Front(channels(server, first), "c")
            with pytest.raises(HTTPClientError, match="429"):
                await third.connect()
            # One that comes anew takes the place that it had.
            again = await Front(channels(server, first), "a").connect()
            await again.run("1")
            fronts.append(await Front(channels(server, second), "a").connect())
            for context, setting in (
                (first, "context_fronts_max"),
                (second, "fronts_max"),
            ):
                place = f"/contexts/{context}/messages?wait_seconds=1&after=99"
                answer = await asyncio.to_thread(client.get, place)
                assert answer.status_code == 429
                assert f"({setting})" in answer.json()["message"]
                assert "Retry-After" in answer.headers
            for each in fronts[1:]:
                await each.close()
            await third.connect()
            await third.run("1")
            for each in (third, again):
                await each.close()
            assert fronts[0].socket is not None
            fronts[0].socket.close()

        asyncio.run(scenario())


def test_a_session_id_has_a_bound(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        raise AssertionError(front)

    with pytest.raises(HTTPClientError, match="400"):
        attached(server, context, work, session="x" * 201)


def test_clients_without_a_session_are_two(server: Server, client: Client) -> None:
    context = client.create()

    async def scenario() -> None:
        first, second = (Front(channels(server, context)) for _ in range(2))
        for each in (first, second):
            each.forget_session()
            await each.connect()
        await first.run("1")
        await second.run("2")
        await first.close()
        await second.close()

    asyncio.run(scenario())


def test_a_run_has_all_that_is_said_at_once(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    """However much: where it is written before it is told, memory has little of it."""
    server = servers(*V8_FLAGS, "--data-dir", str(tmp_path / "data"))
    with connect(server) as client:
        run = client.submit("console.log('x'.repeat(300_000))", session="mine")
        client.printed(run, "x" * 300_000)


def test_a_run_has_what_the_messages_of_its_execution_say(client: Client) -> None:
    """A view of the same sequence: no other cell's output, in the same order."""
    code = """
        import threading
        over = threading.Event()
        def others():
            while not over.wait(0.001):
                print("late")
        threading.Thread(target=others).start()"""
    lines = "\n".join(line[8:] for line in code.splitlines())
    context = client.run(lines, language="python")["context_id"]
    code = "for i in range(50):\n    print(i)\n    over.wait(0.002)\nover.set()"
    order = {"code": code, "session": context}
    run = client.post("/api/exec", json=order).json()["execution_id"]
    place = f"/api/executions/{run}"
    wait_for(lambda: client.get(place).json()["status"] == "completed")
    output = client.get(f"{place}/output").json()["data"]
    assert output.split() == [str(i) for i in range(50)]
    said: list[dict[str, Any]] = []
    while items := page(client, context, after=len(said))["items"]:
        said += items
    assert any("late" in one["content"].get("text", "") for one in said)
    [(begun, parent)] = [
        (one["number"], one["parent"])
        for one in said
        if one["content"].get("code") == code
    ]
    mine = [one for one in said[begun:] if one["parent"] == parent]
    texts = [one["content"]["text"] for one in mine if one["type"] == "stream"]
    assert "".join(texts) == f"{output}\n"
