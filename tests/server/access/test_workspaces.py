"""Two workspaces that try, on every route, to see each other's things, and fail.

What there is to try is read from the route table: a route with an id, or a request with
one, that isn't covered here fails, until it is said how such a thing is made.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.server.conftest import Client, Server, connect, wait_for

from isoserver.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isoserver.routes import Operation, Route

RED, BLUE = (f"the-secret-key-of-{name}" for name in ("red", "blue"))
FILE = f"""
[[workspaces]]
name = "red"
execute_rate = 0
api_keys = [{{ key = "{RED}", client = "ci", admin = true }}]
[[workspaces]]
name = "blue"
execute_rate = 0
api_keys = [{{ key = "{BLUE}", client = "ci", admin = true }}]
"""
SESSION = "red-session"


class Two(NamedTuple):
    """A server, and a client in each of its workspaces."""

    server: Server
    red: Client
    blue: Client


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """A server with two workspaces."""
    file = tmp_path_factory.mktemp("workspaces") / "isokernel.toml"
    file.write_text(FILE)
    flags = ("--languages", "javascript,typescript", "--default-language", "js")
    server = Server("--config", str(file), *flags)
    with ExitStack() as stack:
        red, blue = (
            stack.enter_context(connect(server, **{"X-API-Key": key}))
            for key in (RED, BLUE)
        )
        for client in (red, blue):
            client.get("/healthz")  # the connection that stays
        yield Two(server, red, blue)
    assert server.stop() == 0
    assert not server.wrong()


def _executed(client: Client, **fields: Any) -> dict[str, Any]:
    """An execution that is over."""
    answer = client.post("/api/exec", json={"code": "var mine = 'red'", **fields})
    assert answer.status_code == 202, answer.text
    place = f"/api/executions/{answer.json()['execution_id']}"

    def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(place).json()
        return shown if shown["completed_at"] else None

    found: dict[str, Any] = wait_for(over)
    assert found["status"] == "completed", found
    return found


def _session(client: Client) -> str:
    _executed(client, session=SESSION)
    return SESSION


MAKERS: dict[str, tuple[Callable[[Client], str], str]] = {
    # By the name in the path: how one is made, and an id that nobody has.
    "context_id": (lambda client: client.create(), "nobody"),
    "id": (lambda client: str(_executed(client)["execution_id"]), "nobody"),
    "key": (lambda client: str(_executed(client)["heap"]), "0" * 64),
    "session": (_session, "nobody"),
}
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
BODIES: dict[str, Any] = {
    "POST /contexts/{context_id}/complete": {"code": "1"},
    "POST /contexts/{context_id}/inspect": {"code": "1"},
    "POST /contexts/{context_id}/notebook": NOTEBOOK,
    "PUT /api/heaps/{key}/tags": {"tags": {"a": "b"}},
}
ABSENT = {
    # What is answered when there is no such thing, where that isn't 404.
    "DELETE /contexts/{context_id}": 204,
    "POST /api/executions/{id}/cancel": 400,
    "GET /api/sessions/{session}/snapshots": 200,
}
NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    # Requests that name something in their body: what, and the rest of the body.
    "POST /execute context_id": ("context_id", {"code": "1"}),
    "POST /execute/async context_id": ("context_id", {"code": "1"}),
    "POST /contexts heap": ("key", {}),
    "POST /api/exec heap": ("key", {"code": "1"}),
}
OWN_TEST = {"POST /api/exec session"}
"""Names that are free in each workspace, so that nothing is absent: tested below."""
_NAMING = re.compile(
    r"(^|_)(id|key|heap|session|context|execution|task|approval|source)s?$|[a-z]Id$"
)


def _operations() -> Iterator[tuple[Route, Operation, str]]:
    for route in ROUTES:
        for operation in route.operations:
            if not route.handler.open:
                yield route, operation, f"{operation.method} {route.path}"


def _names(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


WITH_IDS = [(name, r, o) for r, o, name in _operations() if _names(r.path)]
IN_BODIES = [
    f"{name} {field}"
    for _, operation, name in _operations()
    if operation.request is not None
    for field in operation.request.model_fields
    if _NAMING.search(field)
]
LISTS = [
    route.path
    for route, operation, _ in _operations()
    if operation.method == "GET" and not _names(route.path) and route.path != "/metrics"
]


def _make(two: Two, name: str) -> tuple[str, str]:
    """One of red's things, and one that nobody has."""
    if name not in MAKERS:
        pytest.fail(f"say in MAKERS how what {{{name}}} names is made")
    make, absent = MAKERS[name]
    return make(two.red), absent


def _same(answers: list[Any], ids: tuple[str, str]) -> None:
    """Nothing tells what another has from what nobody has."""
    foreign, absent = answers
    assert foreign.status_code == absent.status_code
    texts = [
        answer.text.replace(made, "ID")
        for answer, made in zip((foreign, absent), ids, strict=True)
    ]
    assert texts[0] == texts[1]
    headers = [
        {name: value for name, value in answer.headers.items() if name not in _CHANGING}
        for answer in (foreign, absent)
    ]
    assert headers[0] == headers[1]


_CHANGING = {"date", "x-request-id", "content-length"}


@pytest.mark.parametrize("name", [name for name, _, _ in WITH_IDS])
def test_what_another_has_is_as_if_it_were_not(two: Two, name: str) -> None:
    _, route, operation = next(each for each in WITH_IDS if each[0] == name)
    (parameter,) = _names(route.path)
    ids = _make(two, parameter)
    mine, nobodys = (route.path.format(**{parameter: each}) for each in ids)
    if operation.request is not None and name not in BODIES and _needs_body(operation):
        pytest.fail(f"say in BODIES what {name} takes")
    body = BODIES.get(name)
    whole = _one(route).format(**{parameter: ids[0]})
    before = two.red.get(whole)
    assert before.status_code == 200, before.text
    answers = [
        two.blue.request(operation.method, p, json=body) for p in (mine, nobodys)
    ]
    _same(answers, ids)
    assert answers[0].status_code == ABSENT.get(name, 404), answers[0].text
    # It is as it was, and its owner can do what the other could not.
    assert _lasting(two.red.get(whole)) == _lasting(before)
    own = two.red.request(operation.method, mine, json=body)
    assert own.status_code < 400 or own.status_code in {400, 409}, own.text
    assert own.text.replace(ids[0], "ID") != answers[0].text or own.status_code == 204


def _needs_body(operation: Operation) -> bool:
    model = operation.request
    return model is not None and any(
        field.is_required() for field in model.model_fields.values()
    )


def _one(route: Route) -> str:
    """The path that shows the thing that a route is about."""
    known = {each.path for each in ROUTES}
    whole = route.path[: route.path.index("}") + 1]
    return whole if whole in known else route.path


def _lasting(answer: Any) -> dict[str, Any]:
    """What of a thing doesn't change by itself."""
    shown: dict[str, Any] = answer.json()
    return {
        name: value
        for name, value in shown.items()
        if name not in {"memory", "last_used", "last_used_at", "pid"}
    }


@pytest.mark.parametrize("name", IN_BODIES)
def test_what_another_has_cannot_be_named(two: Two, name: str) -> None:
    if name in OWN_TEST:
        return
    if name not in NAMED:
        pytest.fail(f"say in NAMED what {name} is")
    method, path, field = name.split()
    parameter, rest = NAMED[name]
    ids = _make(two, parameter)
    answers = [
        two.blue.request(method, path, json={**rest, field: each}) for each in ids
    ]
    _same(answers, ids)
    assert answers[0].status_code == 404


@pytest.mark.parametrize("path", LISTS)
def test_lists_do_not_show_what_another_has(two: Two, path: str) -> None:
    paths = {route.path for route in ROUTES}
    before = two.blue.get(path)
    assert before.status_code == 200, before.text
    two.red.create()
    if "/api/exec" in paths:
        _executed(two.red, tags={"owner": "red"})
        _session(two.red)
    after = two.blue.get(path)
    assert after.json() == before.json()
    assert [*after.headers] == [*before.headers]


def test_figures_are_neither_workspaces(two: Two) -> None:
    for client in (two.red, two.blue):
        assert client.get("/metrics").status_code == 403


def test_one_name_in_two_workspaces_is_two_things(two: Two) -> None:
    if "/api/exec" not in {route.path for route in ROUTES}:
        pytest.skip("there are no sessions")
    _session(two.red)
    found = _executed(two.blue, code="typeof mine", session=SESSION)
    assert found["result"] == '"undefined"'
    assert two.blue.delete(f"/contexts/{SESSION}").status_code == 204
    assert two.red.get(f"/contexts/{SESSION}").status_code == 200
    again = _executed(two.red, code="mine", session=SESSION)
    assert again["result"] == '"red"'


def test_the_same_state_in_two_workspaces_is_two_heaps(two: Two) -> None:
    if "/api/exec" not in {route.path for route in ROUTES}:
        pytest.skip("there are no heaps")
    heap = _executed(two.red)["heap"]
    for path in (f"/api/heaps/{heap}", f"/api/heaps/{heap}/tags"):
        assert two.blue.delete(path).status_code == 404
    assert two.red.get(f"/api/heaps/{heap}").status_code == 200
