"""Fronts on the websocket: what they ask, what they hear, and what they missed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.fronts import Front, attached, channels, is_idle
from tests.support.server import V8_FLAGS
from tests.support.waiting import wait_for
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

    from isoserver.jupyter.frames import FrontMessage

ORDER = ["busy", "execute_input", "stream", "execute_result", "idle"]


def said(front: Front, number: str) -> list[str]:
    """The messages on iopub that a request has caused, by kind or state."""
    return [
        message.content.get("execution_state", message.kind)
        for message in front.heard
        if message.channel == "iopub" and message.parent_header.get("msg_id") == number
    ]


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_cell(server: Server, client: Client, language: str, v1: bool) -> None:  # noqa: FBT001
    context = client.run("x = 41", language=language)["context_id"]

    async def work(front: Front) -> None:
        number = await front.ask("execute_request", {"code": "print(x)\nx + 1"})
        reply = await front.reply_to(number)
        assert reply["status"] == "ok"
        assert reply["execution_count"] == 2
        assert reply["payload"] == []
        assert said(front, number) == ORDER
        (result,) = [one for one in front.heard if one.kind == "execute_result"]
        assert result.content["data"]["text/plain"] == "42"
        assert result.parent_header["session"] == front.session
        header = result.header
        assert header["version"].startswith("5.")
        assert header["date"].endswith("Z")
        assert header["session"] != front.session

    if language == "javascript":
        client.run("globalThis.print = console.log", context_id=context)
        client.post(f"/contexts/{context}/restart")
        client.run("print = console.log; x = 41", context_id=context)
    attached(server, context, work, v1=v1)


def test_all_requests_are_answered(server: Server, client: Client) -> None:
    code = "const thing = {alpha: 1}"
    context = client.run(code)["context_id"]

    async def work(front: Front) -> None:
        known = await front.reply("kernel_info_request", {})
        assert known["language_info"]["name"] == "javascript"
        found = await front.reply(
            "complete_request", {"code": "thing.", "cursor_pos": 6}
        )
        assert "alpha" in found["matches"]
        seen = await front.reply("inspect_request", {"code": "thing", "cursor_pos": 3})
        assert seen["found"]
        whole = await front.reply("is_complete_request", {"code": "f("})
        assert whole["status"] == "incomplete"
        assert (await front.reply("comm_info_request", {}))["comms"] == {}
        history = await front.reply("history_request", {"hist_access_type": "tail"})
        assert history["history"] == [[0, 1, code]]
        unknown = await front.reply("usage_request", {}, "control")
        assert (unknown["status"], unknown["ename"]) == ("error", "MessageError")
        wrong = await front.reply("execute_request", {"code": 1})
        assert wrong["status"] == "error"
        assert "code" in wrong["evalue"]

    attached(server, context, work)


def test_a_busy_kernel_tells_who_it_is(server: Server, client: Client) -> None:
    context = client.create("python")

    async def work(front: Front) -> None:
        code = "import time\ntime.sleep(60)"
        number = await front.ask("execute_request", {"code": code})
        await front.hear_until(lambda message: message.kind == "execute_input")
        known = await front.reply("kernel_info_request", {})
        assert known["language_info"]["name"] == "python"
        # Fronts would ask for what isn't passed on.
        assert not known.keys() & {"supported_features", "debugger"}
        assert not [one for one in front.heard if one.kind == "execute_reply"]
        await front.reply("interrupt_request", {}, "control")
        assert (await front.reply_to(number))["status"] == "error"

    attached(server, context, work)


# A kernel that prepares a cell takes an interrupt for its own: in a callback it goes on
# with the cell then, elsewhere it drops the reply. Each waits a second there, once.
EARLY = {
    "in a callback": """
def prepare():
    shell.events.unregister("pre_execute", prepare)
    wait(1)
shell.events.register("pre_execute", prepare)
""",
    "elsewhere": """
async def prepare(*args, do_execute=shell.kernel.do_execute, **more):
    shell.kernel.do_execute = do_execute
    wait(1)
    return await do_execute(*args, **more)
shell.kernel.do_execute = prepare
""",
}


@pytest.mark.parametrize("where", EARLY)
def test_an_interrupt_as_a_cell_begins(
    server: Server, client: Client, where: str
) -> None:
    code = f"from time import sleep as wait\nshell = get_ipython()\n{EARLY[where]}"
    context = client.run(code, language="python")["context_id"]

    async def work(front: Front) -> None:
        number = await front.ask("execute_request", {"code": "wait(60)"})
        await front.hear_until(lambda message: message.kind == "execute_input")
        await front.reply("interrupt_request", {}, "control")
        assert (await front.reply_to(number))["ename"] == "KeyboardInterrupt"
        assert (await front.run("shell.kernel"))["status"] == "ok"

    attached(server, context, work)


def test_data_of_comms_is_of_any_form(server: Server, client: Client) -> None:
    context = client.create("python")
    code = """
        from ipykernel.comm import Comm
        comm = Comm(target_name="test", data="hello")
        comm.send(data=[1, {"a": "b"}])
        comm.close()"""

    async def work(front: Front) -> None:
        reply = await front.run("\n".join(map(str.strip, code.splitlines())))
        assert reply["status"] == "ok"
        heard = [one for one in front.heard if one.kind.startswith("comm_")]
        kinds = [one.kind for one in heard]
        assert kinds == ["comm_open", "comm_msg", "comm_close"]
        assert heard[0].content["data"] == "hello"
        assert heard[1].content["data"] == [1, {"a": "b"}]

    attached(server, context, work)


ECHO = """
def opened(comm, message):
    def told(message):
        comm.send(message["content"]["data"] * 2)
        if message["content"]["data"] == 7:
            import os; os._exit(1)
    comm.on_msg(told)
    comm.send(message["metadata"])
get_ipython().kernel.comm_manager.register_target("echo", opened)
"""


def test_what_comes_of_a_comm_has_its_parent(server: Server, client: Client) -> None:
    """Widgets send the next change of a value when the last one has been handled."""
    context = client.create("python")

    async def work(front: Front) -> None:
        await front.run(ECHO)
        asked = {"comm_id": "1", "target_name": "echo", "data": {}}
        opened = await front.ask("comm_open", asked, metadata={"version": "2.1.0"})
        told = await front.ask("comm_msg", {"comm_id": "1", "data": 3})
        for number, data in ((opened, {"version": "2.1.0"}), (told, 6)):
            await front.hear_until(
                lambda one, number=number: (  # type: ignore[misc]
                    is_idle(one) and one.parent_header.get("msg_id") == number
                )
            )
            assert said(front, number) == ["busy", "comm_msg", "idle"]
            (sent,) = [
                one
                for one in front.heard
                if one.kind == "comm_msg" and one.parent_header["msg_id"] == number
            ]
            assert sent.content["data"] == data
        # One that ends the kernel is over, too.
        last = await front.ask("comm_msg", {"comm_id": "1", "data": 7})
        await front.hear_until(
            lambda one: is_idle(one) and one.parent_header.get("msg_id") == last
        )

    attached(server, context, work)


def test_a_comm_of_v8_is_over_at_once(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        asked = {"comm_id": "1", "target_name": "none", "data": {}}
        number = await front.ask("comm_open", asked)
        await front.hear_until(is_idle)
        assert said(front, number) == ["busy", "idle"]

    attached(server, context, work)


def test_expressions_and_silence(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        reply = await front.run("var a = 1; a", user_expressions={"two": "a + 1"})
        assert reply["user_expressions"]["two"]["data"]["text/plain"] == "2"
        number = await front.ask(
            "execute_request",
            {"code": "a = 7; a", "silent": True, "store_history": False},
        )
        assert (await front.reply_to(number))["status"] == "ok"
        assert said(front, number) == ["busy", "idle"]

    attached(server, context, work)
    assert client.text("a", context_id=context) == "7"
    cells = client.get(f"/contexts/{context}/notebook").json()["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2]


def test_cells_count_as_requests(servers: Callable[..., Server]) -> None:
    """Not as executions, of which a notebook has more a minute than an agent."""
    server = servers("--execute-rate-per-minute", "1", "--request-rate-per-minute", "8")
    with connect(server) as client:
        context = client.create("javascript")

    async def work(front: Front) -> None:
        replies = [await front.run(str(number)) for number in range(8)]
        assert [reply["status"] for reply in replies[:3]] == ["ok"] * 3
        assert replies[-1]["ename"] == "RateLimitError"
        assert "too many requests" in replies[-1]["evalue"]

    attached(server, context, work)


def test_all_cells_of_a_notebook_are_sent_at_once(
    server: Server, client: Client
) -> None:
    context = client.create("javascript")

    async def work(front: Front) -> None:
        first = "await new Promise((done) => setTimeout(done, 500))"
        codes = (first, *map(str, range(200)))
        numbers = [await front.ask("execute_request", {"code": code}) for code in codes]
        for number in numbers:
            assert (await front.reply_to(number))["status"] == "ok"

    attached(server, context, work)


CELLS = {
    "javascript": (
        "await new Promise(() => {})",
        "throw new Error('no')",
        "globalThis.kept = 2",
    ),
    "python": ("import time; time.sleep(60)", "1 / 0", "kept = 2"),
}


@pytest.mark.parametrize("language", list(CELLS))
def test_what_waits_for_a_failure_never_begins(
    server: Server, client: Client, language: str
) -> None:
    context = client.run("kept = 1", language=language)["context_id"]

    def is_waiting() -> bool:
        return bool(client.get(f"/contexts/{context}").json()["waiting"] == 3)

    async def work(front: Front) -> None:
        waits, fails, changes = [
            await front.ask("execute_request", {"code": code, "stop_on_error": i > 0})
            for i, code in enumerate(CELLS[language])
        ]
        other = await Front(channels(server, context)).connect()
        theirs = await other.ask("execute_request", {"code": "kept + 10"})
        await asyncio.to_thread(wait_for, is_waiting)
        await front.reply("interrupt_request", {}, "control")
        assert (await front.reply_to(waits))["status"] == "error"
        assert (await front.reply_to(fails))["status"] == "error"
        assert (await front.reply_to(changes))["status"] == "aborted"
        assert (await other.reply_to(theirs))["status"] == "ok"
        await other.close()
        assert said(front, changes) == ["busy", "idle"]

    attached(server, context, work)
    assert client.text("kept", context_id=context) == "1"


def test_a_failure_drops_what_waits(server: Server, client: Client) -> None:
    context = client.create()

    def is_waiting() -> bool:
        return bool(client.get(f"/contexts/{context}").json()["waiting"] == 2)

    async def work(front: Front) -> None:
        codes = ("await new Promise(() => {})", "1", "2")
        numbers = [await front.ask("execute_request", {"code": code}) for code in codes]
        await asyncio.to_thread(wait_for, is_waiting)
        await front.reply("interrupt_request", {}, "control")
        first = await front.reply_to(numbers[0])
        assert (first["status"], first["ename"]) == ("error", "KeyboardInterrupt")
        for number in numbers[1:]:
            assert (await front.reply_to(number))["status"] == "aborted"
            assert said(front, number) == ["busy", "idle"]
        numbers = [
            await front.ask("execute_request", {"code": code, "stop_on_error": False})
            for code in ("await 1; throw new TypeError('no')", "1", "2")
        ]
        assert (await front.reply_to(numbers[0]))["ename"] == "TypeError"
        assert (await front.reply_to(numbers[2]))["status"] == "ok"

    attached(server, context, work)


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_an_interrupt_on_control(server: Server, client: Client, language: str) -> None:
    context = client.create(language)
    endless = "for (;;);" if language == "javascript" else "while True: pass"

    async def work(front: Front) -> None:
        number = await front.ask("execute_request", {"code": endless})
        await front.hear_until(lambda message: message.kind == "execute_input")
        assert (await front.reply("interrupt_request", {}, "control"))["status"] == "ok"
        assert (await front.reply_to(number))["status"] == "error"
        assert (await front.run("1"))["status"] == "ok"

    attached(server, context, work)


def test_what_others_run_is_heard(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        run = asyncio.to_thread(
            client.run, "console.log('by http'); 5", context_id=context
        )
        answer = asyncio.ensure_future(run)
        last = await front.hear_until(is_idle)
        await answer
        assert [each.kind for each in front.heard] == [
            *("status", "execute_input", "stream", "execute_result", "status")
        ]
        parent = last.parent_header
        assert parent["msg_type"] == "execute_request"
        assert parent["session"] != front.session

    attached(server, context, work)


def test_late_output_belongs_to_its_cell(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        code = "globalThis.go = () => console.log('late'); setTimeout(go, 50); 1"
        number = await front.ask("execute_request", {"code": code})
        await front.reply_to(number)
        late = await front.hear_until(lambda message: message.kind == "stream")
        assert late.content["text"] == "late\n"
        assert late.parent_header["msg_id"] == number

    attached(server, context, work)


def test_tasks_print_for_their_cell(server: Server, client: Client) -> None:
    context = client.create("python")

    async def work(front: Front) -> None:
        code = (
            "import asyncio\ngo, gone = asyncio.Event(), asyncio.Event()\n"
            "async def late():\n"
            "    await go.wait(); print('late', flush=True); gone.set()\n"
            "task = asyncio.ensure_future(late())"
        )
        number = await front.ask("execute_request", {"code": code})
        await front.reply_to(number)
        code = "go.set(); await gone.wait()"
        other = await front.ask("execute_request", {"code": code})
        late = await front.hear_until(lambda message: message.kind == "stream")
        assert late.content["text"] == "late\n"
        assert late.parent_header["msg_id"] == number
        await front.reply_to(other)

    attached(server, context, work)


def test_who_comes_back_gets_what_was_missed(server: Server, client: Client) -> None:
    context = client.create()

    async def scenario() -> None:
        front = await Front(channels(server, context), "mine").connect()
        code = "for (let i = 0; i < 100; i++) { console.log(i); await tick() }"
        waits = "globalThis.tick = () => new Promise((go) => setTimeout(go, 1)); 1"
        await front.run(waits)
        number = await front.ask("execute_request", {"code": code})
        for _ in range(5):
            await front.hear_until(lambda message: message.kind == "stream")
            await front.cut()
            await front.connect()
        reply = await front.reply_to(number)
        assert reply["status"] == "ok"
        assert front.texts(parent=number) == "".join(f"{i}\n" for i in range(100))
        # Also the reply, if the cell ended while nobody was there.
        number = await front.ask("execute_request", {"code": "1; 2"})
        await front.close()
        await asyncio.to_thread(client.run, "3", context_id=context)
        await front.connect()
        assert (await front.reply_to(number))["status"] == "ok"
        await front.close()

    asyncio.run(scenario())


def test_pongs_that_nobody_asked_for_mean_nothing(
    server: Server, client: Client
) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        assert front.socket is not None
        protocol: Any = front.socket.protocol
        for data in (b"", b"nothing", b"9-9-9", b"999999-999999", b"\xff" * 9):
            await protocol._write_frame(fin=True, opcode=0xA, data=data)
        assert (await front.run("1"))["status"] == "ok"

    attached(server, context, work)


def test_a_session_has_one_socket(server: Server, client: Client) -> None:
    context = client.create()

    async def scenario() -> None:
        first = await Front(channels(server, context), "same").connect()
        second = await Front(channels(server, context), "same").connect()
        other = await Front(channels(server, context), "other").connect()
        assert first.socket is not None
        while await first.hear() is not None:
            pass
        assert first.socket.close_code == 1000
        await second.run("1")
        await other.hear_until(is_idle)
        shown = await asyncio.to_thread(client.get, f"/jupyter/api/kernels/{context}")
        assert shown.json()["connections"] == 2
        await second.close()
        await other.close()

    asyncio.run(scenario())


def test_a_context_that_goes_closes_its_sockets(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        await front.run("1")
        await asyncio.to_thread(client.delete, f"/contexts/{context}")
        while await front.hear() is not None:
            pass
        assert front.socket is not None
        assert front.socket.close_code == 1001
        front.socket = None

    attached(server, context, work)


def test_a_death_is_told(server: Server, client: Client) -> None:
    context = client.create("python")

    async def work(front: Front) -> None:
        number = await front.ask(
            "execute_request", {"code": "import os; os.kill(os.getpid(), 9)"}
        )
        assert (await front.reply_to(number))["ename"] == "ContextDiedError"
        await front.hear_until(
            lambda message: message.content.get("execution_state") == "dead"
        )
        assert (await front.run("1"))["ename"] == "ContextDeadError"

    attached(server, context, work)


def test_a_front_restarts_what_a_front_has_made(server: Server, client: Client) -> None:
    own = client.post("/jupyter/api/kernels", json={"name": "v8-javascript"}).json()
    agents = client.run("let a = 1", language="javascript")["context_id"]

    async def restarts(front: Front) -> None:
        await front.run("let a = 1")
        again = await front.reply("shutdown_request", {"restart": True}, "control")
        assert again == {"status": "ok", "restart": True}
        assert (await front.run("a"))["ename"] == "ReferenceError"

    async def is_refused(front: Front) -> None:
        again = await front.reply("shutdown_request", {"restart": True}, "control")
        assert again["ename"] == "ForeignContextError"
        ended = await front.reply("shutdown_request", {"restart": False}, "control")
        assert ended["status"] == "ok"
        assert (await front.run("a"))["status"] == "ok"

    attached(server, own["id"], restarts)
    attached(server, agents, is_refused)


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
@pytest.mark.parametrize("data", ["{}", "nothing", b"\0" * 40, b""])
def test_what_is_no_message_closes(
    server: Server,
    client: Client,
    data: str | bytes,
    v1: bool,  # noqa: FBT001
) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        assert front.socket is not None
        await front.socket.write_message(data, binary=isinstance(data, bytes))
        assert await front.hear() is None
        assert front.socket.close_code == 1007
        assert "Jupyter" in str(front.socket.close_reason)
        front.socket = None

    attached(server, context, work, v1=v1)


def test_who_reads_late_gets_all(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--stream-buffer-characters-max", "100000")
    with connect(server) as client:
        context = client.create()

        async def work(front: Front) -> None:
            code = "for (let i = 0; i < 300; i++) { console.log('x'.repeat(20_000)) }"
            number = await front.ask("execute_request", {"code": code})

            def is_over() -> Any:
                return client.show(context)["execution_count"] == 1

            await asyncio.to_thread(wait_for, is_over)
            assert (await front.reply_to(number))["status"] == "ok"
            assert front.texts() == ("x" * 20_000 + "\n") * 300

        attached(server, context, work)


def test_what_is_dropped_is_told(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--transcript-bytes-max", "10000")
    with connect(server) as client:
        context = client.create()

        async def scenario() -> None:
            front = await Front(channels(server, context)).connect()
            await front.run("1")
            await front.close()
            line = "console.log('x'.repeat(1000))"
            code = f"for (let i = 0; i < 100; i++) {{ {line}; await 1 }}"
            for _ in range(3):
                await asyncio.to_thread(client.run, code, context_id=context)
            await front.connect()
            await front.run("2")
            assert "messages were dropped" in front.texts()
            assert "transcript_bytes_max" in front.texts()
            await front.close()

        asyncio.run(scenario())


def test_keys_are_tokens(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--api-key", "k" * 32)
    with connect(server) as client:
        client.headers["Authorization"] = f"token {'k' * 32}"
        context = client.create()
        assert client.get("/jupyter/api/kernels").json()[0]["context_id"] == context
        del client.headers["Authorization"]
        assert client.get("/jupyter/api/kernels").status_code == 401
        assert client.get(f"/jupyter/api/kernels?token={'k' * 32}").status_code == 200
        assert client.get(f"/jupyter/api/kernels?token={'x' * 32}").status_code == 401
        assert client.get(f"/contexts?token={'k' * 32}").status_code == 401
        assert client.get("/jupyter/api").json() == {"version": "2.0.0"}

        async def work(front: Front) -> None:
            assert (await front.run("1"))["status"] == "ok"

        attached(server, context, work, query=f"&token={'k' * 32}")
        headers = {"Authorization": f"token {'k' * 32}"}
        attached(server, context, work, headers=headers)
        with pytest.raises(HTTPClientError, match="401"):
            attached(server, context, work)
        with pytest.raises(HTTPClientError, match="401"):
            attached(server, context, work, headers={"Authorization": "token "})


def test_pages_of_other_sites_may_not_attach(server: Server, client: Client) -> None:
    context = client.create()

    async def work(front: Front) -> None:
        raise AssertionError(front)

    with pytest.raises(HTTPClientError, match="403"):
        attached(server, context, work, headers={"Origin": "https://evil.example"})


def test_no_such_context(server: Server) -> None:
    async def attach() -> None:
        await websocket_connect(channels(server, "nobody"))

    with pytest.raises(HTTPClientError, match="404"):
        asyncio.run(attach())


def test_comms_reach_the_context(server: Server, client: Client) -> None:
    context = client.run(
        "Jupyter.registerTarget?.('t', (comm) => comm.send({hello: 1}));",
        language="javascript",
    )["context_id"]

    async def work(front: Front) -> None:
        content = {"comm_id": "c1", "target_name": "nobody", "data": {}}
        await front.ask("comm_open", content)
        closed = await front.hear_until(lambda message: message.kind == "comm_close")
        assert json.loads(json.dumps(closed.content))["comm_id"] == "c1"

    attached(server, context, work)


def is_question(message: FrontMessage) -> bool:
    return message.kind == "input_request"


QUESTIONS = {
    "python": "import getpass; a = input('name? '); b = getpass.getpass('word? ')\n"
    "print(a, b)",
    "javascript": "a = prompt('name?'); b = Jupyter.getpass('word?')\n"
    "console.log(a, b)",
}


@pytest.mark.parametrize("language", QUESTIONS)
def test_input_asks_the_front_that_ran_the_cell(
    server: Server, client: Client, language: str
) -> None:
    context = client.create(language)

    async def scenario() -> None:
        asking = await Front(channels(server, context), "asking").connect()
        other = await Front(channels(server, context), "other").connect()
        asked = {"code": QUESTIONS[language], "allow_stdin": True}
        number = await asking.ask("execute_request", asked)
        question = await asking.hear_until(is_question)
        assert question.channel == "stdin"
        assert question.content == {"prompt": "name? ", "password": False}
        assert question.parent_header["msg_id"] == number
        # Who wasn't asked can't answer; and a question waits for who was away.
        await other.ask("input_reply", {"value": "no"}, "stdin")
        assert await other.reply("history_request", {"hist_access_type": "tail"})
        await asking.ask("input_reply", {"value": "me"}, "stdin")
        await asking.cut()
        await asking.connect()
        question = await asking.hear_until(is_question)
        assert question.content == {"prompt": "word? ", "password": True}
        await asking.ask("input_reply", {"value": "secret"}, "stdin")
        assert (await asking.reply_to(number))["status"] == "ok"
        assert asking.texts() == "me secret\n"
        await other.hear_until(is_idle)
        assert not any(is_question(message) for message in other.heard)
        # Anybody may stop what waits for an answer.
        number = await asking.ask("execute_request", asked)
        await asking.hear_until(is_question)
        answer = await asyncio.to_thread(client.post, f"/contexts/{context}/interrupt")
        assert answer.status_code == 200
        assert (await asking.reply_to(number))["ename"] == "KeyboardInterrupt"
        # An answer that nobody waits for means nothing.
        await asking.ask("input_reply", {"value": "late"}, "stdin")
        assert (await asking.run("a"))["status"] == "ok"
        await asking.close()
        await other.close()

    asyncio.run(scenario())


def test_input_without_anybody_to_ask(server: Server, client: Client) -> None:
    context = client.create("python")
    for code in ("input('a')", "import getpass; getpass.getpass()"):
        error = client.run(code, context_id=context)["error"]
        assert error["name"] == "EOFError"
        assert "has nobody to ask" in error["value"]
    text = client.text("try: input()\nexcept EOFError: print(1)", context_id=context)
    assert text is None
    v8 = client.create("javascript")
    for code in ("prompt('a')", "confirm('a')", "await 1; alert('a')"):
        error = client.run(code, context_id=v8)["error"]
        assert "nobody can be asked" in error["value"]

    async def work(front: Front) -> None:
        reply = await front.run("input()", allow_stdin=False)
        assert reply["ename"] == "EOFError"

    async def of_v8(front: Front) -> None:
        reply = await front.run("prompt()", allow_stdin=False)
        assert "nobody can be asked" in reply["evalue"]
        # A timer that asks when its cell is over.
        await front.run("setTimeout(() => prompt('a'))", allow_stdin=True)
        await front.hear_until(lambda message: "nobody" in str(message.content))

    attached(server, context, work)
    attached(server, v8, of_v8)


def test_all_take_turns(server: Server, client: Client) -> None:
    context = client.create()
    code = "await new Promise((done) => setTimeout(done, 2)); console.log('{}')"

    async def scenario() -> None:
        fronts = [
            await Front(channels(server, context), name).connect() for name in "ab"
        ]

        async def types(front: Front) -> None:
            numbers = [
                await front.ask("execute_request", {"code": code.format(front.session)})
                for _ in range(8)
            ]
            for number in numbers:
                assert (await front.reply_to(number))["status"] == "ok"

        async def agent() -> None:
            for _ in range(8):
                run = asyncio.to_thread(
                    client.run, code.format("agent"), context_id=context
                )
                assert (await run)["error"] is None

        await asyncio.gather(*map(types, fronts), agent())
        await fronts[0].run("'the end'")
        await fronts[1].hear_until(lambda message: "the end" in str(message.content))
        # Each cell begins when the one before is over, in both fronts' eyes.
        for front in fronts:
            cells: list[tuple[str, list[str]]] = []
            for message in front.heard:
                if message.channel == "iopub":
                    number = message.parent_header["msg_id"]
                    if not cells or cells[-1][0] != number:
                        cells.append((number, []))
                    said = message.content.get("execution_state", message.kind)
                    cells[-1][1].append(said)
            whole = [said for _, said in cells[:24]]
            assert whole == [["busy", "execute_input", "stream", "idle"]] * 24
            counts = [
                message.content["execution_count"]
                for message in front.heard
                if message.kind == "execute_input"
            ]
            assert counts == list(range(1, 26))
            asked = [
                message.parent_header["session"]
                for message in front.heard
                if message.kind == "stream"
            ]
            assert asked.count("a") == asked.count("b") == 8
            # Nobody waits until another has no more cells.
            assert "b" in asked[: asked.index("a") + 12]
            await front.close()

    asyncio.run(scenario())


def test_interrupts_from_anywhere(server: Server, client: Client) -> None:
    context = client.create()
    endless = "await new Promise(() => 0)"

    async def scenario() -> None:
        mine = await Front(channels(server, context), "mine").connect()
        other = await Front(channels(server, context), "other").connect()
        kernel = f"/jupyter/api/kernels/{context}/interrupt"

        async def from_front() -> None:
            await other.reply("interrupt_request", {}, "control")

        async def from_rest() -> None:
            await asyncio.to_thread(client.post, kernel)

        async def from_http() -> None:
            await asyncio.to_thread(client.post, f"/contexts/{context}/interrupt")

        for interrupt in (from_front, from_rest, from_http):
            number = await mine.ask("execute_request", {"code": endless})
            await mine.hear_until(lambda message: message.kind == "execute_input")
            await interrupt()
            assert (await mine.reply_to(number))["ename"] == "KeyboardInterrupt"
        # And a front's stops the agent's.
        run = asyncio.to_thread(client.run, endless, context_id=context)
        answer = asyncio.ensure_future(run)
        await other.hear_until(
            lambda message: (
                message.kind == "execute_input"
                and message.parent_header["session"] == "isokernel"
            )
        )
        await mine.reply("interrupt_request", {}, "control")
        assert (await answer)["error"]["name"] == "KeyboardInterrupt"
        await mine.close()
        await other.close()

    asyncio.run(scenario())
