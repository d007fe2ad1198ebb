"""/api/exec and /tasks in Python, and in kernels of other languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client import Client

OTHER = "v8-javascript"
"""A kernelspec like any other: the Jupyter kernel, in a container."""
LANGUAGES = f"python,typescript,{OTHER}"


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with three languages of three kinds."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    with run_server("--languages", LANGUAGES, "--data-dir", str(folder)) as server:
        yield server


@pytest.fixture
def api(kernels: Server) -> Iterator[Client]:
    """Its client, which leaves no context behind."""
    with connect(kernels) as client:
        yield client
        client.clean()


def test_python_has_what_javascript_has(api: Client) -> None:
    """A status, a result, output in pages as it comes, and no heap."""
    code = "print('a')\nprint('b')\nprint('c')\n{'x': [1]}"
    info = api.done(code, language="py")
    assert info["status"] == "completed"
    assert info["result"] == '{"x": [1]}'
    assert info["heap"] is info["heap_error"] is info["error"] is None
    page = api.output(info["execution_id"], line_offset=2, line_limit=1)
    assert (page["data"], page["has_more"], page["total_lines"]) == ("b", True, 3)
    page = api.output(info["execution_id"], byte_offset=2)
    assert (page["data"], page["has_more"]) == ("b\nc\n", False)
    assert info["execution_id"] in {
        one["execution_id"] for one in api.get("/api/executions").json()["executions"]
    }


@pytest.mark.parametrize(
    ("code", "result", "text"),
    [
        ("None", "null", None),
        ("x = 1", "null", None),
        ("'é'", '"é"', None),
        ("{1, 2}", "null", "{1, 2}"),
        ("float('nan')", "null", "nan"),
    ],
)
def test_results_of_python(
    api: Client, code: str, result: str, text: str | None
) -> None:
    info = api.done(code, language="python", session="results")
    assert (info["result"], info["result_text"]) == (result, text)


def test_a_long_result_of_python_is_cut(api: Client) -> None:
    info = api.done("list(range(1000))", language="python", result_characters_max=100)
    assert info["result"].startswith("[0,1,2,")
    assert len(info["result"]) <= 100


def test_both_streams_are_output(api: Client) -> None:
    code = "import sys\nprint('a')\nprint('b', file=sys.stderr)"
    text = api.printed_text(code, language="python", session="streams")
    assert sorted(text.splitlines()) == ["a", "b"]


def test_errors_are_data(api: Client) -> None:
    for code, error in (("1 / 0", "ZeroDivisionError"), ("x = = 1", "SyntaxError")):
        info = api.done(code, language="python", session="errors")
        assert info["status"] == "failed"
        assert error in info["error"]


def test_python_takes_no_longer_than_it_may(api: Client) -> None:
    """Code that swallows an interrupt is interrupted again."""
    code = "import time\nwhile True:\n try: time.sleep(9)\n except BaseException: "
    for rest in ("raise", "time.sleep(9)"):
        info = api.done(code + rest, language="python", execution_timeout_secs=1)
        assert info["status"] == "timed_out"
        assert info["error"] == "Execution timed out after 1 s"


def test_python_takes_no_more_memory_than_it_may(api: Client) -> None:
    """A reservation beyond all bounds is an error of Python's own."""
    code = "held = [bytearray(b'x' * (1 << 20)) for _ in range(400)]"
    info = api.done(code, language="python", heap_memory_max_mb=200)
    assert info["status"] == "failed"
    assert "Out of memory" in info["error"]
    assert "heap_memory_max_mb" in info["error"]
    info = api.done(code, language="python", heap_memory_max_mb=1000)
    assert info["status"] == "completed"
    info = api.done("bytearray(1 << 32)", language="python", heap_memory_max_mb=200)
    assert "MemoryError" in info["error"]


def test_cancelling_keeps_the_state_of_a_session(api: Client) -> None:
    """Also if the code has swallowed the first interrupt."""
    api.done("kept = 7", language="python", session="kept")
    swallow = "try:\n while True: pass\nexcept KeyboardInterrupt: print('more')\n"
    code = f"print('now', flush=True)\n{swallow}{swallow}"
    running = api.submit(code, session="kept")
    waiting = api.submit("kept = 8", session="kept")
    api.printed(running, "now")
    assert api.cancel(waiting) == {"ok": True}
    assert api.cancel(running) == {"ok": True}
    for execution in (running, waiting):
        info = api.info(execution)
        assert (info["status"], info["error"]) == ("cancelled", "Cancelled by user")
    assert api.cancel(running, 400)["ok"] is False
    assert api.result("kept", session="kept") == "7"


def test_cancelling_ends_what_does_not_stop(api: Client) -> None:
    """Code in a context of its own is ended with it."""
    code = "print('now', flush=True)\nwhile True:\n try:\n  while True: pass\n"
    running = api.submit(f"{code} except BaseException: pass", language="python")
    api.printed(running, "now")
    assert api.cancel(running) == {"ok": True}
    wait_for(lambda: not api.get("/contexts").json()["items"])


def test_a_session_is_of_one_language(api: Client) -> None:
    """What the code is in is that of the session, if nobody says."""
    api.done("kept = [1]", language="python", session="py")
    assert api.result("kept", session="py") == "[1]"
    assert api.run("kept", context_id="py")["items"][0]["text"] == "[1]"
    answer = api.post(
        "/api/exec", json={"code": "1", "session": "py", "language": "ts"}
    )
    assert answer.status_code == 400
    assert "python" in answer.json()["error"]
    assert api.result("typeof kept") == '"undefined"'


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"heap": "0" * 64}, "heap", "a python context has no heaps"),
        ({"tags": {"a": "b"}}, "tags", "a python context has no heaps"),
        ({"heap_memory_max_mb": 4096, "session": "m"}, "heap_memory_max_mb", "session"),
        ({"language": "nope"}, "language", "there are: python"),
        ({"language": ""}, "language", "at least 1"),
        ({"language": 1}, "language", "string"),
    ],
)
def test_what_python_has_not(
    api: Client, fields: dict[str, Any], field: str, said: str
) -> None:
    answer = api.post("/api/exec", json={"code": "1", "language": "python", **fields})
    assert answer.status_code == 400
    assert f"{field}: " in answer.json()["error"]
    assert said in answer.json()["error"]


def test_memory_is_bounded_by_the_setting(kernels: Server) -> None:
    flags = ("--languages", "python", "--python-memory-bytes-max", str(1 << 30))
    del kernels
    server = Server(*flags)
    try:
        with connect(server) as client:
            body = {"code": "1", "language": "python", "heap_memory_max_mb": 1025}
            answer = client.post("/api/exec", json=body)
            assert answer.status_code == 400
            assert "at most 1024 (python_memory_bytes_max)" in answer.json()["error"]
    finally:
        server.stop()


def test_the_script_itself_may_be_the_body(api: Client) -> None:
    answer = api.post(
        "/api/exec?language=python",
        content="[n for n in range(3)]",
        headers={"Content-Type": "text/x-python"},
    )
    assert answer.status_code == 202
    assert api.ended(answer.json()["execution_id"])["result"] == "[0, 1, 2]"


def test_another_kernel(api: Client) -> None:
    """Its values are text, as a kernel has no other form for them."""
    info = api.done("console.log('a'); 6 * 7", language=OTHER)
    assert info["status"] == "completed"
    assert (info["result"], info["result_text"]) == ("null", "42")
    assert api.output(info["execution_id"])["data"] == "a"
    body = {"code": "6 * 7", "runtimeId": OTHER, "waitForResult": True}
    task = api.post("/tasks", json=body).json()
    assert (task["status"], task["runtimeId"]) == ("completed", OTHER)
    assert task["resultText"] == "42"
    body = {"code": "1", "runtimeId": "nope"}
    answer = api.post("/tasks", json=body)
    assert answer.status_code == 400
    assert f"isokernel-v8, python, {OTHER}, local-bun" in answer.text
