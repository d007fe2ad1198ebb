"""Contexts of a real server, driven by calls that block."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import wait_for

from isokernel.client import (
    BadRequestError,
    Client,
    Context,
    ContextStateError,
    Displayed,
    Ended,
    ExecutionError,
    Failed,
    NotFoundError,
    Printed,
    Started,
    Updated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

    from isokernel.client import Execution


@pytest.fixture
def context(client: Client) -> Iterator[Context]:
    """A context that is made when it is used."""
    with Context(client=client) as made:
        yield made


# -- their life ------------------------------------------------------------------------


def test_a_context_finds_its_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_URL", f"{server.url}/")
    with Context() as c:
        assert c.run("const n: number = 6; n * 7").value == 42
        assert c.info().language_name == "typescript"


def test_the_end_of_with_deletes_it(client: Client) -> None:
    with client.contexts.create() as c:
        assert [one.id for one in client.contexts.list()] == [c.id]
    assert client.contexts.list() == []
    with pytest.raises(ContextStateError):
        c.run("1")
    c.close()


def test_it_is_deleted_where_its_code_raises(client: Client) -> None:
    with pytest.raises(ZeroDivisionError), client.contexts.create():
        _ = 1 / 0
    assert client.contexts.list() == []


def test_it_is_made_when_it_is_first_used(client: Client) -> None:
    c = Context(client=client)
    assert client.contexts.list() == []
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(c.id)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(client.contexts.list()) == 1
    c.close()
    assert client.contexts.list() == []


def test_what_is_to_be_kept_stays(client: Client) -> None:
    with client.contexts.create(keep=True) as c:
        c.run("let here = 1")
    with client.contexts.connect(c.id) as again:
        assert again.run("here").value == 1
    assert client.contexts.get(c.id).execution_count == 2
    again = client.contexts.connect(c.id)
    again.delete()
    with pytest.raises(NotFoundError):
        client.contexts.get(c.id)
    client.contexts.delete(c.id)


def test_a_fork_outlives_the_connections_of_its_parent(server: Server) -> None:
    with Context(base_url=server.url) as c:
        c.run("let n = 41")
        fork = c.fork()
    with fork:
        assert fork.run("n + 1").value == 42


def test_languages(client: Client) -> None:
    assert {one.name for one in client.languages().items} >= {"python", "typescript"}
    with client.contexts.create(language="python") as c:
        assert c.run("[n ** 2 for n in range(3)]").value == [0, 1, 4]
    assert client.version()


# -- values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        ("1 + 1", 2, "2"),
        ("'a\\n'", "a\n", "'a\\n'"),
        ("null", None, "null"),
        ("undefined", None, ""),
        ("let a = 1", None, ""),
        ("({ a: [1, { b: true }] })", {"a": [1, {"b": True}]}, None),
        ("Promise.resolve(4)", 4, "4"),
        ("new Date(0)", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_values(context: Context, code: str, value: Any, text: str | None) -> None:
    execution = context.run(code)
    assert (execution.value, execution.value_note) == (value, "")
    assert execution.status == "completed"
    assert text is None or execution.text == text


@pytest.mark.parametrize(
    ("code", "value", "word"),
    [
        ("new Map([[1, 2]])", None, "Map"),
        ("10n", None, "bigint"),
        ("() => 1", None, "function"),
        ("const o = {}; o.o = o; o", None, "can't be made JSON"),
        ("({ a: new Set() })", {"a": {}}, "$.a (Set)"),
    ],
)
def test_what_is_no_plain_data_is_said(
    context: Context, code: str, value: Any, word: str
) -> None:
    execution = context.run(code)
    assert execution.value == value
    assert word in execution.value_note
    assert execution.text


def test_long_values_are_cut(context: Context) -> None:
    execution = context.run("'x'.repeat(5000)", result_characters_max=100)
    assert len(execution.value) <= 100
    assert "characters" in execution.value_note


# -- how cells end ---------------------------------------------------------------------


def test_failing_code_is_data(context: Context) -> None:
    execution = context.run("const a = 1;\na.b.c")
    assert execution.status == "failed"
    error = execution.error
    assert error is not None
    assert error.name == "TypeError"
    assert "reading 'c'" in error.message
    assert "cell 1:2:5" in error.traceback
    with pytest.raises(ExecutionError, match="TypeError") as raised:
        execution.raise_for_error()
    assert raised.value.error == error
    assert context.run("a").raise_for_error().value == 1


@pytest.mark.parametrize(
    ("language", "code"),
    [("typescript", "for (;;) {}"), ("python", "import time\ntime.sleep(60)")],
)
def test_a_timeout_is_the_server_s(client: Client, language: str, code: str) -> None:
    with client.contexts.create(language=language) as c:
        execution = c.run(code, timeout=0.3)
        assert execution.status == "timed_out"
        assert execution.error is not None
        assert execution.error.name == "TimeoutError"
        own = {"typescript": "throw new DOMException('', 'TimeoutError')"}
        own["python"] = "raise TimeoutError"
        assert c.run(own[language]).status == "failed"


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("typescript", "await new Promise(() => {})"),
        ("python", "input_ = [0]\nwhile 1: pass"),
    ],
)
def test_an_interrupt_cancels(client: Client, language: str, code: str) -> None:
    with client.contexts.create(language=language) as c:
        stream = c.stream(code, timeout=60)
        assert isinstance(next(stream), Started)
        assert c.interrupt().id == c.id
        assert stream.wait().status == "cancelled"
        assert c.run("1").value == 1


def test_a_context_that_dies_is_data_and_then_a_conflict(client: Client) -> None:
    with client.contexts.create(language="python") as c:
        execution = c.run("import os; os.kill(os.getpid(), 9)")
        assert execution.error is not None
        assert execution.error.name == "ContextDiedError"
        c.restart()
        assert c.run("1 + 1").value == 2


# -- output ----------------------------------------------------------------------------


def test_callbacks(context: Context) -> None:
    told: list[tuple[str, Any]] = []

    def tell(name: str) -> Callable[[Any], None]:
        return lambda what: told.append((name, what))

    execution = context.run(
        "console.log('a'); display({ b: 1 }); console.error('c'); 5;",
        on_stdout=tell("out"),
        on_stderr=tell("err"),
        on_result=tell("result"),
        on_error=tell("error"),
    )
    assert [name for name, _ in told] == ["out", "result", "err", "result"]
    assert [told[0][1], told[2][1]] == ["a\n", "c\n"]
    assert [told[1][1], told[3][1]] == execution.outputs
    assert execution.result is execution.outputs[1]
    assert (execution.stdout, execution.stderr) == ("a\n", "c\n")
    context.run("throw 1", on_error=tell("failed"))
    assert told[-1][0] == "failed"


def test_a_stream_tells_what_happens_when_it_does(
    context: Context, server: Server
) -> None:
    code = "console.log('now'); await new Promise((d) => { globalThis.go = d }); 7"
    with context.stream(code, timeout=60) as events:
        seen = [next(events), next(events)]
        assert seen[1] == Printed(stream="stdout", text="now\n")
        assert events.execution is None
        with connect(server) as other:
            other.post(f"/contexts/{context.id}/interrupt")
        seen += events
    assert [type(one) for one in seen] == [Started, Printed, Failed, Ended]
    assert isinstance(seen[-1], Ended)
    assert seen[-1].execution is events.execution is events.wait()


def test_leaving_a_stream_interrupts_the_cell(context: Context) -> None:
    code = "let n = 1; console.log(n); await new Promise(() => {})"
    with context.stream(code, timeout=60) as events:
        assert [type(next(events)), type(next(events))] == [Started, Printed]
    # It runs when the other has ended.
    assert context.run("n").value == 1
    assert context.info().state == "idle"


def test_a_cell_can_outlive_its_stream(context: Context) -> None:
    code = "await new Promise((d) => setTimeout(d, 300)); globalThis.done = true"
    with context.stream(code, on_leave="continue") as events:
        next(events)
    assert context.run("done").value is True


def test_displays_are_updated_and_cleared(context: Context) -> None:
    events = list(context.stream("const d = display(1); d.update(2); display(3)"))
    kinds = [type(one) for one in events]
    assert kinds == [Started, Displayed, Updated, Displayed, Ended]
    end = events[-1]
    assert isinstance(end, Ended)
    assert [output.text for output in end.execution.outputs] == ["2", "3"]


def test_clearing_output(client: Client) -> None:
    code = (
        "from IPython.display import clear_output\nprint('old')\nclear_output()\n"
        "print('new')\nclear_output(wait=True)\nprint('newest')"
    )
    with client.contexts.create(language="python") as c:
        assert c.run(code).stdout == "newest\n"


def test_what_comes_late_is_told_as_such(context: Context) -> None:
    context.run("setTimeout(() => console.log('late'), 1)")
    told: list[str] = []

    def look() -> Execution | None:
        execution = context.run("console.log('own')", on_stdout=told.append)
        assert execution.stdout == "own\n"
        return execution if execution.late.stdout else None

    assert wait_for(look).late.stdout == "late\n"
    assert set(told) == {"own\n"}


def test_pictures(client: Client) -> None:
    picture = "iVBORw0KGgo="
    code = (
        "import base64; from IPython.display import Image\n"
        f"Image(base64.b64decode('{picture}'), format='png')"
    )
    with client.contexts.create(language="python") as c:
        result = c.run(code).result
        assert result is not None
        assert result.png == b"\x89PNG\r\n\x1a\n"
        assert result.jpeg is None
        assert result.data["image/png"].strip() == picture


def test_large_output_is_whole(context: Context) -> None:
    execution = context.run(
        "for (let n = 0; n < 60_000; n++) console.log('x'.repeat(99))"
    )
    assert len(execution.stdout) == 6_000_000
    assert not execution.truncated


def test_of_too_much_output_head_and_tail_are_kept(server: Server) -> None:
    with (
        Client(server.url, output_bytes_max=5000) as client,
        client.contexts.create() as c,
    ):
        execution = c.run(
            "console.log('first'); for (let n = 0; n < 9999; n++) console.log(n);"
            "for (let n = 0; n < 99; n++) display('y'.repeat(50))"
        )
        assert execution.truncated
        assert execution.stdout.startswith("first\n0\n1\n")
        assert execution.stdout.endswith("\n9998\n")
        assert "characters left out" in execution.stdout
        assert len(execution.stdout) < 5100
        assert 0 < len(execution.outputs) < 9
        # What it returns is kept in any case.
        assert c.run("'z'.repeat(9000)").value == "z" * 9000


# -- state -----------------------------------------------------------------------------


def test_save_fork_and_restart(client: Client) -> None:
    with client.contexts.create() as c:
        c.run("let n = 41; const next = () => ++n")
        heap = c.save()
        with c.fork() as fork:
            assert fork.run("next()").value == 42
        forks = c.forks(3)
        for number, each in enumerate(forks):
            with each:
                assert each.run(f"n += {number}").value == 41 + number
        assert {one.id for one in client.contexts.list()}.isdisjoint(
            each.id for each in forks
        )
        with pytest.raises(BadRequestError):
            c.forks(17)
        assert c.run("n = 5").value == 5
        c.restart(from_checkpoint=True)
        assert c.run("n").value == 41
        c.restart()
        assert c.run("typeof n").value == "undefined"
    with Context(heap=client.heaps.get(heap), client=client) as later:
        assert later.run("next()").value == 42


def test_questions(context: Context) -> None:
    context.run("let cities = 1")
    found = context.complete("cit")
    assert (found.matches, found.cursor_start) == (["cities"], 0)
    assert context.complete("cities; Math.flo", 3).matches == ["cities"]
    assert context.inspect("Math.floor").found
    assert context.packages().packages == []
    info = context.info()
    assert (info.state, info.execution_count) == ("idle", 1)
    assert info.memory


def test_notebooks(context: Context) -> None:
    context.run("6 * 7")
    notebook = context.notebook()
    assert [cell["source"] for cell in notebook["cells"]] == ["6 * 7"]
    notebook["cells"][0]["source"] = "6 * 8"
    done = context.run_notebook(notebook, timeout=10)
    assert done["cells"][0]["outputs"][0]["data"]["text/plain"] == "48"


def test_what_code_may_do_can_be_less(context: Context) -> None:
    code = "require('node:fs').writeFileSync('a', '1')"
    assert context.run(code, capabilities={"files": "off"}).status == "failed"
    assert context.run(code).status == "completed"
