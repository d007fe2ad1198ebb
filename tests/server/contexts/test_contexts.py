"""Contexts: made, shown, interrupted, restarted, forked, deleted; bounds and TTL."""

from __future__ import annotations

import re
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

BOTH = pytest.mark.parametrize("language", ["javascript", "python"])
LOOP = {"javascript": "while (true) {}", "python": "while True: pass"}


@pytest.mark.parametrize(
    ("language", "number"), [("python", 1), ("typescript", 2), ("js", 2)]
)
def test_a_context_is_shown_as_documented(
    client: Client, language: str, number: int
) -> None:
    answer = client.post("/contexts", json={"language": language, "cwd": "/home/me"})
    assert answer.status_code == 201
    context = answer.json()
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", context["id"])
    assert (context["language"], context["cwd"]) == (number, "/home/me")
    assert context["state"] == "idle"
    shown = client.show(context["id"])
    assert sum(shown.pop("memory").values()) > 0
    assert shown == context
    assert client.get("/contexts").json() == {"items": [context]}


def test_a_context_can_be_made_of_nothing(client: Client) -> None:
    context = client.post("/contexts", json={}).json()
    assert (context["language_name"], context["cwd"]) == ("python", "/home/user")


def test_python_has_its_own_folder(client: Client) -> None:
    first, second = (client.create("python") for _ in range(2))
    code = "import os\nopen('mine', 'w').close()\nprint(os.getcwd(), os.listdir())"
    place, _, files = client.run(code, context_id=first)["logs"]["stdout"][0].partition(
        " "
    )
    assert place == "/home/user"
    assert files == "['mine']"
    assert client.text("import os; os.listdir()", context_id=second) == "[]"


def test_a_folder_stays_inside(client: Client) -> None:
    body = {"language": "python", "cwd": "../../../../etc"}
    here = client.post("/contexts", json=body).json()["id"]
    place = client.text("import os; os.getcwd()", context_id=here)
    assert place == "'/home/user/etc'"


def test_deleting_is_idempotent(client: Client) -> None:
    here = client.create()
    for _ in range(2):
        answer = client.delete(f"/contexts/{here}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/contexts/{here}").status_code == 404
    assert client.get(f"/contexts/{here}").json() == {
        "message": f"Context {here} not found"
    }


@pytest.mark.parametrize(
    "path", ["interrupt", "restart", "fork", "complete", "inspect", "notebook"]
)
def test_a_missing_context_is_missing_everywhere(client: Client, path: str) -> None:
    answer = client.post(f"/contexts/nobody/{path}", json={"code": ""})
    assert (answer.status_code, answer.json()) == (
        404,
        {"message": "Context nobody not found"},
    )


class Running:
    """A cell that runs in a thread meanwhile."""

    def __init__(self, client: Client, code: str, context_id: str) -> None:
        self.answer: Any = None
        self._thread = threading.Thread(
            target=self._run, args=(client, code, context_id)
        )
        self._thread.start()

    def _run(self, client: Client, code: str, context_id: str) -> None:
        body = {"code": code, "context_id": context_id, "timeout_ms": 60_000}
        self.answer = client.post("/execute", json=body)

    def join(self) -> Any:
        self._thread.join()
        return self.answer


@BOTH
def test_an_interrupt_stops_and_keeps_the_state(client: Client, language: str) -> None:
    here = client.run("a = 7", language=language)["context_id"]
    running = Running(client, LOOP[language], here)
    client.wait_state(here, "busy")
    assert client.post(f"/contexts/{here}/interrupt").status_code == 200
    answer = running.join().json()
    assert answer["error"]["name"] == "KeyboardInterrupt"
    assert client.text("a", context_id=here) == "7"


@BOTH
def test_an_interrupt_of_what_is_idle_does_nothing(
    client: Client, language: str
) -> None:
    here = client.create(language)
    answer = client.post(f"/contexts/{here}/interrupt")
    assert (answer.status_code, answer.json()["state"]) == (200, "idle")
    assert client.text("1", context_id=here) == "1"


@BOTH
def test_a_restart_keeps_only_the_id(client: Client, language: str) -> None:
    here = client.run("a = 7", language=language)["context_id"]
    running = Running(client, LOOP[language], here)
    client.wait_state(here, "busy")
    waiting = Running(client, "1", here)
    wait_for(lambda: client.show(here)["waiting"] == 1)
    answer = client.post(f"/contexts/{here}/restart")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["id"], shown["state"]) == (here, "idle")
    assert shown["execution_count"] == 0
    assert running.join().json()["error"]["name"] == "ContextRestartedError"
    refused = waiting.join()
    assert (refused.status_code, list(refused.json())) == (409, ["message"])
    failed = client.run("a", context_id=here)
    assert failed["error"]["value"].endswith("is not defined")
    assert failed["execution_count"] == 1


@BOTH
def test_deleting_ends_what_runs(client: Client, language: str) -> None:
    here = client.create(language)
    running = Running(client, LOOP[language], here)
    client.wait_state(here, "busy")
    assert client.delete(f"/contexts/{here}").status_code == 204
    assert running.join().json()["error"]["name"] == "ContextDeletedError"


def test_a_fork_has_the_state_and_a_life_of_its_own(client: Client) -> None:
    here = client.create()
    client.run("let a = 1; const next = () => ++a", context_id=here)
    answer = client.post(f"/contexts/{here}/fork")
    assert answer.status_code == 201, answer.text
    other = answer.json()
    assert other["id"] != here
    assert other["execution_count"] == 1
    assert client.text("next(); next()", context_id=other["id"]) == "3"
    assert client.text("a", context_id=here) == "1"
    client.delete(f"/contexts/{here}")
    assert client.text("a", context_id=other["id"]) == "3"


def test_a_fork_of_a_fork_and_of_what_failed(client: Client) -> None:
    here = client.create()
    client.run("let a = [1]", context_id=here)
    client.run("throw new Error('x')", context_id=here)
    ids = [here]
    for number in range(5):
        answer = client.post(f"/contexts/{ids[-1]}/fork")
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
        client.run(f"a.push({number})", context_id=ids[-1])
    lengths = [client.text("a.length", context_id=each) for each in ids]
    assert lengths == ["1", "2", "3", "4", "5", "6"]


def test_forks_are_made_at_once_with_one_state(client: Client) -> None:
    here = client.create()
    client.run("let a = 1; const next = () => ++a", context_id=here)
    answer = client.post(f"/contexts/{here}/forks", json={"count": 16})
    assert answer.status_code == 201, answer.text
    ids = [item["id"] for item in answer.json()["items"]]
    assert len({here, *ids}) == 17
    assert {item["execution_count"] for item in answer.json()["items"]} == {1}
    for each in ids:
        assert client.text("next()", context_id=each) == "2"
    assert client.text("a", context_id=here) == "1"
    listed = {item["id"] for item in client.get("/contexts").json()["items"]}
    assert listed.issuperset(ids)


def test_of_forks_for_which_there_is_no_room_none_is_made(
    servers: Callable[..., Server],
) -> None:
    with connect(servers("--contexts-max", "3")) as client:
        here = client.create("javascript")
        path = f"/contexts/{here}/forks"
        assert client.post(path, json={"count": 3}).status_code == 429
        assert [one["id"] for one in client.get("/contexts").json()["items"]] == [here]
        assert client.post(path, json={"count": 2}).status_code == 201


@pytest.mark.parametrize("body", [{}, {"count": 0}, {"count": 17}, {"count": "many"}])
def test_a_wrong_number_of_forks_is_refused(
    client: Client, body: dict[str, object]
) -> None:
    here = client.create()
    answer = client.post(f"/contexts/{here}/forks", json=body)
    assert answer.status_code in {400, 422}
    assert "count" in answer.text


def test_python_cannot_be_forked(client: Client) -> None:
    here = client.create("python")
    answer = client.post(f"/contexts/{here}/fork")
    assert answer.status_code == 409
    assert "can't be forked" in answer.json()["message"]


@BOTH
def test_completion(client: Client, language: str) -> None:
    here = client.run("some_name = 1", language=language)["context_id"]
    body = {"code": "some_n + 1", "cursor_pos": 6}
    answer = client.post(f"/contexts/{here}/complete", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert "some_name" in found["matches"]
    assert (found["cursor_start"], found["cursor_end"]) == (0, 6)
    assert client.show(here)["execution_count"] == 1


@BOTH
def test_inspection(client: Client, language: str) -> None:
    here = client.run("some_name = 1", language=language)["context_id"]
    path = f"/contexts/{here}/inspect"
    found = client.post(path, json={"code": "some_name"}).json()
    assert found["found"]
    assert "text/plain" in found["data"]
    nothing = client.post(path, json={"code": "no_such_name"}).json()
    assert nothing == {"found": False, "data": {}}


def test_too_many_contexts(servers: Callable[..., Server]) -> None:
    with connect(servers("--contexts-max", "2")) as client:
        ids = [client.create(), client.create()]
        for path, body in (("/contexts", {}), ("/execute", {"code": "1"})):
            answer = client.post(path, json=body)
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) >= 1
        client.delete(f"/contexts/{ids[0]}")
        client.create()


def test_an_idle_context_is_deleted(servers: Callable[..., Server]) -> None:
    with connect(servers("--context-ttl-seconds", "0.5")) as client:
        here = client.create()
        kept = client.run("while (true) {}", timeout_ms=1500)["context_id"]
        gone = client.get(f"/contexts/{here}")
        assert gone.status_code == 404
        assert "nobody used it for 0.5 s (context_ttl_seconds)" in gone.text
        ran = client.post("/execute", json={"code": "1", "context_id": here})
        assert (ran.status_code, ran.json()) == (404, gone.json())
        # Nothing of that is said of one that somebody has deleted, or that never was.
        client.delete(f"/contexts/{here}")
        assert "nobody" not in client.get(f"/contexts/{here}").text
        assert client.show(kept)["execution_count"] == 1
        wait_for(lambda: not client.get("/contexts").json()["items"])


def test_times_are_iso_and_utc(client: Client) -> None:
    here = client.create()
    before = client.show(here)
    client.run("1", context_id=here)
    after = client.show(here)
    stamps = [
        datetime.fromisoformat(text.replace("Z", "+00:00"))
        for text in (before["created_at"], before["last_used"], after["last_used"])
    ]
    assert stamps == sorted(stamps)
    assert stamps[1] < stamps[2]


def test_languages_are_listed(client: Client) -> None:
    listed = client.get("/languages").json()
    assert listed["default"] == "python"
    by_name = {item["name"]: item for item in listed["items"]}
    assert set(by_name) == {"python", "javascript", "typescript"}
    assert by_name["python"]["aliases"] == ["python", "py", "python3"]
    assert by_name["typescript"]["can_fork"]


def test_an_installed_kernelspec_can_be_allowed(servers: Callable[..., Server]) -> None:
    with connect(servers("--languages", "v8-typescript,javascript")) as client:
        body = {"language": "v8-typescript", "code": "const a: number = 2; a"}
        answer = client.post("/execute", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["items"][0]["text"] == "2"
        assert client.show(answer.json()["context_id"])["language"] == 0
        refused = client.post("/execute", json={**body, "language": "python"})
        assert refused.status_code == 400
