"""POST /execute: results, logs, errors, limits of one execution."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

LANGUAGES = ("javascript", "typescript", "python")


def test_answers_as_documented(client: Client) -> None:
    answer = client.run("console.log('a'); console.error('b'); 6 * 7")
    assert len(answer.pop("context_id")) == 21
    assert answer.pop("execution_id").isdecimal()
    assert answer == {
        "items": [{"is_primary": True, "text": "42"}],
        "logs": {"stdout": ["a"], "stderr": ["b"]},
        "error": None,
        "execution_count": 1,
    }


def test_answers_as_documented_in_python(client: Client) -> None:
    code = "import sys\nprint('a')\nprint('b', file=sys.stderr)\n6 * 7"
    answer = client.run(code, language="python")
    assert len(answer.pop("context_id")) == 21
    assert answer.pop("execution_id").isdecimal()
    assert answer == {
        "items": [{"is_primary": True, "text": "42"}],
        "logs": {"stdout": ["a"], "stderr": ["b"]},
        "error": None,
        "execution_count": 1,
    }


def test_python_is_what_code_is_when_nobody_says(client: Client) -> None:
    answer = client.post("/execute", json={"code": "'{}'.format(1)"}).json()
    assert answer["items"][0]["text"] == "'1'"


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("typescript", "const a: number = 1; a", "1"),
        ("ts", "const a: number = 1; a", "1"),
        ("bun", "const a: number = 1; a", "1"),
        ("javascript", "1 + 1", "2"),
        ("js", "1 + 1", "2"),
        ("node", "1 + 1", "2"),
        ("python", "1 + 1", "2"),
        ("py", "1 + 1", "2"),
        ("python3", "1 + 1", "2"),
        (1, "'{}'.format(1)", "'1'"),
        (2, "const a: number = 1; a", "1"),
    ],
)
def test_every_documented_language_name(
    client: Client, name: str | int, code: str, text: str
) -> None:
    assert client.text(code, language=name) == text


def test_state_persists(client: Client) -> None:
    first = client.run("let a = 1; const f = () => a")
    here = first["context_id"]
    client.run("a = 5", context_id=here)
    assert client.text("f()", context_id=here) == "5"
    assert client.show(here)["execution_count"] == 3


def test_a_context_without_a_named_language_uses_its_own(client: Client) -> None:
    here = client.create("typescript")
    assert client.text("let b: string = 'x'; b.length", context_id=here) == "1"


def test_another_language_is_refused(client: Client) -> None:
    here = client.create("typescript")
    answer = client.run("1", 400, context_id=here, language="python")
    assert answer["message"] == "Invalid request"
    assert [error["field"] for error in answer["errors"]] == ["language"]
    # The two that V8 runs are one: a context is locked to what runs it.
    assert client.text("1", context_id=here, language="javascript") == "1"


@pytest.mark.parametrize(
    ("language", "code", "name", "value"),
    [
        ("javascript", "null.x", "TypeError", "Cannot read properties of null"),
        ("typescript", "throw new RangeError('far')", "RangeError", "far"),
        ("javascript", "let let = 1", "SyntaxError", "let"),
        ("python", "1/0", "ZeroDivisionError", "division by zero"),
        ("python", "a b", "SyntaxError", "invalid syntax"),
    ],
)
def test_failing_code_is_an_answer(
    client: Client, language: str, code: str, name: str, value: str
) -> None:
    answer = client.run(code, language=language)
    error = answer["error"]
    assert error["name"] == name
    assert value in error["value"]
    assert error["traceback"].endswith("\n")
    assert not error["traceback"].endswith("\n\n")
    assert name in error["traceback"]
    assert "\x1b" not in error["traceback"]
    assert answer["items"] == []
    assert answer["execution_count"] == 1
    again = client.run("1", context_id=answer["context_id"])
    assert again["execution_count"] == 2


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_lines_have_no_newline_and_lose_nothing(client: Client, language: str) -> None:
    text = "a\\n\\n  b\\r\\nlast"
    write = {
        "javascript": f"console.log('{text}')",
        "python": f"print('{text}', end='')",
    }
    logs = client.run(write[language], language=language)["logs"]
    assert logs == {"stdout": ["a", "", "  b\r", "last"], "stderr": []}


def test_no_result_gives_no_item(client: Client) -> None:
    assert client.run("let x = 1")["items"] == []
    assert client.run("None", language="python")["items"] == []


def test_mime_types_are_mapped(client: Client) -> None:
    code = """
from IPython.display import display
data = {
    "text/plain": "t", "text/html": "<b>", "text/markdown": "*m*",
    "image/svg+xml": "<svg/>", "image/png": "aVZC", "image/jpeg": "aVZD",
    "application/pdf": "aVZE", "text/latex": "$l$", "application/json": {"a": [1]},
    "application/javascript": "1", "application/x-own": {"b": 2},
}
display(data, raw=True)
display({"text/plain": "list", "application/json": [1, 2]}, raw=True)
"last"
"""
    items = client.run(code, language="python")["items"]
    assert items == [
        {
            "text": "t",
            "html": "<b>",
            "markdown": "*m*",
            "svg": "<svg/>",
            "png": "aVZC",
            "jpeg": "aVZD",
            "pdf": "aVZE",
            "latex": "$l$",
            "json": {"a": [1]},
            "javascript": "1",
            "extra": {"application/x-own": {"b": 2}},
        },
        {"text": "list", "extra": {"application/json": [1, 2]}},
        {"is_primary": True, "text": "'last'"},
    ]


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_timeout_keeps_the_state(client: Client, language: str) -> None:
    loop = {"javascript": "while (true) {}", "python": "while True: pass"}
    here = client.run("a = 7", language=language)["context_id"]
    answer = client.run(loop[language], context_id=here, timeout_ms=300)
    assert answer["error"]["name"] == "TimeoutError"
    assert "0.3 s" in answer["error"]["value"]
    assert answer["execution_count"] == 2
    assert client.text("a", context_id=here) == "7"


def test_a_pending_await_ends_with_the_timeout(client: Client) -> None:
    answer = client.run("await new Promise(() => {})", timeout_ms=200)
    assert answer["error"]["name"] == "TimeoutError"


def test_python_that_ignores_interrupts_is_restarted(client: Client) -> None:
    here = client.run("a = 7", language="python")["context_id"]
    code = """
import time
while True:
    try:
        time.sleep(1)
    except KeyboardInterrupt:
        pass
"""
    answer = client.run(code, context_id=here, timeout_ms=300)
    assert answer["error"]["name"] == "TimeoutError"
    assert "restarted" in answer["error"]["value"]
    client.wait_state(here, "idle")
    assert client.run("a", context_id=here)["error"]["name"] == "NameError"


@pytest.mark.parametrize("value", ["plain", 'it\'s "quoted"', "\n\\'; boom(", "é漢🎉"])
@pytest.mark.parametrize("language", ["javascript", "python"])
def test_environment_is_there_for_one_execution(
    client: Client, language: str, value: str
) -> None:
    read = {
        "javascript": "console.log(JSON.stringify(process.env.THE_NAME ?? null))",
        "python": "import os, json\nprint(json.dumps(os.environ.get('THE_NAME')))",
    }[language]
    here = client.create(language)
    lent = {"THE_NAME": value}
    first = client.run(read, context_id=here, env_vars=lent)
    assert first["error"] is None, first
    import json  # noqa: PLC0415

    assert json.loads(first["logs"]["stdout"][0]) == value
    failed = client.run("boom(", context_id=here, env_vars=lent)
    assert failed["error"]["name"] == "SyntaxError"
    assert client.run(read, context_id=here)["logs"]["stdout"] == ["null"]
    assert client.show(here)["execution_count"] == 3


def test_the_servers_environment_is_not_seen(servers: Callable[..., Server]) -> None:
    server = servers("--languages", "python,javascript", env={"THE_SECRET": "x"})
    with connect(server) as client:
        code = "import os\nos.environ.get('THE_SECRET')"
        assert client.text(code, language="python") is None
        assert client.text("process.env.THE_SECRET ?? 'none'") == "'none'"


def test_executions_of_a_context_run_in_order(client: Client) -> None:
    here = client.create()
    client.run("globalThis.order = []", context_id=here)
    slow = "await new Promise(done => setTimeout(done, 300)); order.push(1)"
    answers: list[int] = []

    def first() -> None:
        answers.append(client.run(slow, context_id=here)["execution_count"])

    thread = threading.Thread(target=first)
    thread.start()
    try:
        # A machine that is busy may show it only once it is over.
        wait_for(lambda: answers or client.show(here)["state"] == "busy")
        assert client.text("order.push(2); order", context_id=here) == "[ 1, 2 ]"
    finally:
        thread.join()
    assert answers == [2]


def test_endless_output_is_cut(servers: Callable[..., Server]) -> None:
    flags = ("--output-bytes-max", "100000", "--interrupt-grace-seconds", "1")
    with connect(servers(*flags)) as client:
        for language, code in (
            ("javascript", "while (true) console.log('x'.repeat(99))"),
            ("python", "while True: print('x' * 99)"),
        ):
            answer = client.run(code, language=language, timeout_ms=1000)
            assert answer["error"]["name"] == "TimeoutError"
            logs = answer["logs"]
            size = len("\n".join(logs["stdout"]))
            assert size <= 100_000
            assert "raise --output-bytes-max to see more]" in logs["stderr"][0]
            assert "bytes left out]" in logs["stderr"][1]


def test_python_is_interrupted_again_if_it_swallows_that(client: Client) -> None:
    here = client.create("python")
    client.run("import time; kept = 7", context_id=here)
    code = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(60)"
    answer = client.run(code, context_id=here, timeout_ms=300)
    assert answer["error"]["name"] == "TimeoutError"
    assert client.text("kept", context_id=here) == "7"


def test_an_unknown_context_is_missing(client: Client) -> None:
    answer = client.run("1", 404, context_id="V1StGXR8_Z5jdHi6B-myT")
    assert answer == {"message": "Context V1StGXR8_Z5jdHi6B-myT not found"}


def test_a_client_that_goes_leaves_the_execution_running(
    server: Server, client: Client
) -> None:
    here = client.create()
    code = "await new Promise(d => setTimeout(d, 500)); globalThis.done = 1"
    with connect(server) as short, pytest.raises(Exception, match="timed out"):
        short.post("/execute", json={"code": code, "context_id": here}, timeout=0.2)
    assert client.text("done", context_id=here) == "1"


def test_a_client_that_goes_can_have_it_interrupted(
    server: Server, client: Client
) -> None:
    here = client.create()
    body = {"code": "while (true) {}", "context_id": here, "timeout_ms": 600_000}
    where = "/execute?on_disconnect=interrupt"
    with connect(server) as short, pytest.raises(Exception, match="timed out"):
        short.post(where, json=body, timeout=0.2)
    assert client.wait_state(here, "idle")["execution_count"] == 1


def test_a_full_queue_says_so(servers: Callable[..., Server]) -> None:
    server = servers("--cells-queued-max", "1")
    with connect(server) as client:
        here = client.create()
        body = {"code": "while (true) {}", "context_id": here, "timeout_ms": 60_000}
        threads = [
            threading.Thread(target=client.post, args=("/execute",), kwargs={"json": b})
            for b in (body, {**body, "code": "1"})
        ]
        threads[0].start()
        client.wait_state(here, "busy")
        threads[1].start()
        wait_for(lambda: client.show(here)["waiting"] == 1)
        answer = client.post("/execute", json=body)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert "(cells_queued_max)" in answer.json()["message"]
        client.post(f"/contexts/{here}/interrupt")
        for thread in threads:
            thread.join()


def test_a_million_characters_come_whole(client: Client) -> None:
    answer = client.run("console.log('é'.repeat(1e6)); 'é'.repeat(10)")
    assert answer["logs"]["stdout"] == ["é" * 1_000_000]


def test_late_output_is_in_the_next_answer(client: Client) -> None:
    """A cell ends with its own promise; what its timers print later isn't lost."""
    here = client.create()
    code = "setTimeout(() => { console.log('one'); console.error('two') }, 100); 0"
    first = client.run(code, context_id=here)
    assert "late" not in first
    code = "await new Promise((done) => setTimeout(done, 200)); console.log('own')"
    second = client.run(code, context_id=here)
    assert second["late"] == {"stdout": ["one"], "stderr": ["two"]}
    assert second["logs"]["stdout"] == ["own"]
    assert "late" not in client.run("1", context_id=here)


def test_plain_data_is_given_whole(client: Client) -> None:
    """However long and deep; what is shown as text is cut as Node.js does."""
    code = "({ a: { b: { c: { d: { e: [1] } } } }, s: 'x'.repeat(20_000) })"
    item = client.run(code)["items"][0]
    assert "[Object]" in item["text"]
    assert item["json"] == {"a": {"b": {"c": {"d": {"e": [1]}}}}, "s": "x" * 20_000}
    assert client.run("'y'.repeat(20_000)")["items"][0]["json"] == "y" * 20_000
    assert client.run("[1, [2]]")["items"][0]["json"] == [1, [2]]


def test_what_json_does_not_hold_is_told(client: Client) -> None:
    """Values that aren't plain data are text alone."""
    item = client.run("({ when: new Map([[1, 2]]) })")["items"][0]
    assert item["json"] == {"when": {}}
    assert item["json_note"] == "JSON has no form for $.when (Map)"
    for code in ("new Map([[1, 2]])", "() => 1", "NaN", "1", "new Error('e')"):
        assert "json" not in client.run(code)["items"][0]


def test_data_is_cut_to_the_budget_of_the_request(client: Client) -> None:
    """Head and tail are kept, and it is JSON still."""
    code = "Array.from({ length: 1e5 }, (_, i) => i)"
    item = client.run(code, result_characters_max=200)["items"][0]
    assert item["json"][:3] == [0, 1, 2]
    assert item["json"][-1] == 99_999
    assert "cut to at most 200 characters" in item["json_note"]


def test_what_was_cut_is_whole_in_a_file(client: Client) -> None:
    context = client.create("javascript")
    cut: dict[str, Any] = {"context_id": context, "result_characters_max": 200}
    note = client.run("Array.from({ length: 1e5 }, (_, i) => i)", **cut)["items"][0][
        "json_note"
    ]
    assert "cut to at most 200 characters; 588.9 kB, whole in results/" in note
    path = note.rpartition(" ")[2]
    whole = client.get(f"/contexts/{context}/files/{path}").json()
    assert whole == [*range(100_000)]
    denied = {**cut, "capabilities": {"files": "read"}}
    item = client.run("'y'.repeat(3_000)", **denied)["items"][0]
    assert item["json_note"] == "cut to at most 200 characters"
    listed = client.get(f"/contexts/{context}/files?recursive=true").json()["files"]
    assert [one["path"] for one in listed] == ["results", path]


@pytest.mark.parametrize("levels", [99, 300, 5000])
def test_any_nesting_is_an_answer(client: Client, levels: int) -> None:
    """Beyond a bound the value is text."""
    code = f"let d = 1; for (let i = 0; i < {levels}; i++) d = [d]; d"
    item = client.run(code)["items"][0]
    assert ("deeper than 100" in item.get("json_note", "")) is (levels > 100)


def test_halves_of_surrogate_pairs_are_replaced(client: Client) -> None:
    """In results, output and errors."""
    answer = client.run("console.log('\\ud83d'); ['\\ud83d', '\\\\ud83d']")
    assert answer["logs"]["stdout"] == ["\ufffd"]
    assert answer["items"][0]["json"] == ["\ufffd", "\\ud83d"]
    assert client.run("throw new Error('\\ud83d')")["error"]["value"] == "\ufffd"
    display = "display.json?.({ a: '\\ud83d' }); Jupyter.display?.({}); 1"
    assert client.run(display)["execution_count"] > 0


def test_python_loses_nothing_with_half_of_a_surrogate_pair(client: Client) -> None:
    code = (
        "import sys\nprint('a', '\\ud83d', '\\ud83d\\ude00', 'b')\n"
        "print('\\ud83d', file=sys.stderr)\n"
        "from IPython.display import display\n"
        "display({'text/plain': 'x\\ud83d'}, raw=True)\n'\\udcff'"
    )
    answer = client.run(code, language="python")
    assert answer["error"] is None
    logs = {"stdout": ["a \ufffd \U0001f600 b"], "stderr": ["\ufffd"]}
    assert answer["logs"] == logs
    assert answer["items"][0]["text"] == "x\ufffd"
    here = answer["context_id"]
    failed = client.run("raise ValueError('\\ud83d')", context_id=here)
    assert failed["error"]["value"] == "\ufffd"
    names = "[name for name in globals() if name in {'pack', 'session', 'json'}]"
    assert client.text(names, context_id=here) == "[]"


def test_a_promise_is_awaited(client: Client) -> None:
    """As the last value; its failure is the cell's."""
    assert client.text("(async () => 7)()") == "7"
    assert client.text("new Promise((r) => setTimeout(r, 5, { a: 1 }))") == "{ a: 1 }"
    error = client.run("(async () => { throw new RangeError('no') })()")["error"]
    assert (error["name"], error["value"]) == ("RangeError", "no")


@pytest.mark.parametrize(
    ("code", "noted"),
    [
        ("const x: number = 1; x", True),
        ("console.log(1)", True),
        ("import { csv } from 'd3'", True),
        ("import 'd3'", True),
        ("[1].map((x) => x)", True),
        ("1 +", False),
        ("nope", False),
        ("import nope_nope", False),
        ("from nope import '", False),
    ],
)
def test_typescript_that_ran_as_python_is_told(
    client: Client,
    code: str,
    noted: bool,  # noqa: FBT001
) -> None:
    """The error names the field; code that is no TypeScript has Python's alone."""
    answer = client.post("/execute", json={"code": code}).json()
    assert ("ran as python; name `language`" in answer["error"]["value"]) is noted


def test_a_fence_is_taken_off(client: Client) -> None:
    """Models like to send code as Markdown; lines keep their numbers."""
    assert client.text("```ts\nlet n: number = 41\nn + 1\n```") == "42"
    assert client.text("```python\n6 * 7\n```\n", language="python") == "42"
    error = client.run("```js\nnope\n```")["error"]
    assert "cell 1:2:1" in error["traceback"]
