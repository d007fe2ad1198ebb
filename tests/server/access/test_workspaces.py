"""Two workspaces that try, on every route, to see each other's things, and fail.

What there is to try is read from the route table: a route with an id, or a request with
one, that isn't covered here fails, until it is said how such a thing is made.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import wait_for
from tests.support.workspaces import executed, make_approval, make_task, use_session

from isoserver.app import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client
    from tests.support.workspaces import Two

    from isoserver.http.routes import Operation, Route


def _added(client: Client, path: str, name: str, body: dict[str, Any]) -> str:
    """The name of something that was just added."""
    answer = client.post(path, json=body)
    assert answer.status_code in {200, 201, 202}, answer.text
    added: str = answer.json()[name]
    return added


def _source(client: Client) -> str:
    name = f"red{secrets.token_hex(4)}"
    # Nobody is there, which is no reason not to have it.
    body = {"type": "graphql", "name": name, "url": "http://127.0.0.1:9/"}
    _added(client, "/sources", "name", body)
    # It stays failed.
    wait_for(lambda: client.get(f"/sources/{name}").json()["state"] == "failed")
    return name


def _policy(client: Client) -> str:
    return _added(client, "/policies", "id", {"effect": "deny", "tool": "red.**"})


MAKERS: dict[str, tuple[Callable[[Two], str], str]] = {
    # By the name in the path: how one is made, and an id that nobody has.
    "context_id": (lambda two: two.red.create(), "nobody"),
    "id": (lambda two: str(executed(two.red)["execution_id"]), "nobody"),
    "key": (lambda two: str(executed(two.red)["heap"]), "0" * 64),
    "session": (lambda two: use_session(two.red), "nobody"),
    "name": (lambda two: _source(two.red), "nobody"),
    "policy_id": (lambda two: _policy(two.red), "nobody"),
    "task_id": (lambda two: make_task(two.red), "nobody"),
    "approval_id": (make_approval, "nobody"),
}
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
BODIES: dict[str, Any] = {
    "POST /contexts/{context_id}/complete": {"code": "1"},
    "POST /contexts/{context_id}/inspect": {"code": "1"},
    "POST /contexts/{context_id}/notebook": NOTEBOOK,
    "POST /contexts/{context_id}/files": {"action": "make_folder", "path": "a"},
    "POST /contexts/{context_id}/forks": {"count": 2},
    "PUT /contexts/{context_id}/capabilities": {"net": "off"},
    "POST /approvals/{approval_id}": {"decision": "denied"},
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
FREE = {
    "POST /execute execution_id",
    "POST /execute/async execution_id",
    "POST /api/exec session",
    "POST /tasks runtimeId",
    "POST /tasks sessionId",
    "POST /policies source",
    "POST /policies session",
}
"""Names that each workspace is free to use, so that nothing is absent."""
OPERATORS = {
    # Of no workspace, but of the whole server: path by path, how it is asked for.
    "/metrics": "GET",
    "/cluster/servers": "GET",
    "/cluster/servers/{server_id}/drain": "POST",
    "/cluster/rebalance": "POST",
}
_NAMING = re.compile(
    r"(^|_)(id|key|heap|session|context|execution|task|approval|source)s?$|[a-z]Id$"
)


def _operations() -> Iterator[tuple[Route, Operation, str]]:
    for route in ROUTES:
        for operation in route.operations:
            if not route.handler.public:
                yield route, operation, f"{operation.method} {route.path}"


def _names(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


WITH_IDS = [
    (name, route, operation)
    for route, operation, name in _operations()
    if _names(route.path) and route.path not in OPERATORS
]
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
    if operation.method == "GET"
    and not _names(route.path)
    and route.path not in OPERATORS
]


def _make(two: Two, name: str) -> tuple[str, str]:
    """One of red's things, and one that nobody has."""
    if name not in MAKERS:
        pytest.fail(f"say in MAKERS how what {{{name}}} names is made")
    make, absent = MAKERS[name]
    return make(two), absent


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


_BELOW = {"path": "red/file", "execution_id": "red"}
"""What a path names besides the thing itself."""
# The owner is whichever server was asked, where there are several.
_CHANGING = {"date", "x-request-id", "content-length", "x-isokernel-owner"}


@pytest.mark.parametrize("name", [name for name, _, _ in WITH_IDS])
def test_what_another_has_is_as_if_it_were_not(two: Two, name: str) -> None:
    _, route, operation = next(each for each in WITH_IDS if each[0] == name)
    parameter, *rest = _names(route.path)
    ids = _make(two, parameter)
    below = {each: _BELOW[each] for each in rest}
    mine, nobodys = (route.path.format(**{parameter: each}, **below) for each in ids)
    if "execution_id" in rest:
        two.red.run("1", context_id=ids[0], execution_id="red")
    if "path" in rest:
        assert two.red.put(mine, content=b"red").status_code == 201
    if operation.request is not None and name not in BODIES and _needs_body(operation):
        pytest.fail(f"say in BODIES what {name} takes")
    body = BODIES.get(name)
    whole = _shown_at(route).format(**{parameter: ids[0]})
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


def _shown_at(route: Route) -> str:
    """Where the thing that a route is about is shown, or listed at least."""
    shown = {
        each.path
        for each in ROUTES
        if "GET" in {operation.method for operation in each.operations}
    }
    one = route.path[: route.path.index("}") + 1]
    listed = one.rpartition("/")[0]
    return next(path for path in (one, listed, route.path) if path in shown)


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
    if name in FREE:
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


def test_lists_do_not_show_what_another_has(two: Two) -> None:
    before = {path: two.blue.get(path) for path in LISTS}
    known = {name for route in ROUTES for name in _names(route.path)}
    for name, (make, _) in MAKERS.items():
        if name in known:
            make(two)
    for path in LISTS:
        assert before[path].status_code == 200, path
        after = two.blue.get(path)
        assert after.json() == before[path].json(), path
        assert [*after.headers] == [*before[path].headers], path


def test_figures_are_neither_workspaces(two: Two) -> None:
    for client in (two.red, two.blue):
        for path, method in OPERATORS.items():
            answer = client.request(method, path.format(server_id="x"))
            assert answer.status_code == 403, path


def test_one_name_in_two_workspaces_is_two_things(two: Two) -> None:
    session = use_session(two.red)
    found = executed(two.blue, code="typeof mine", session=session)
    assert found["result"] == '"undefined"'
    assert two.blue.delete(f"/contexts/{session}").status_code == 204
    assert two.red.get(f"/contexts/{session}").status_code == 200
    again = executed(two.red, code="mine", session=session)
    assert again["result"] == '"red"'


def test_one_execution_id_in_two_workspaces_is_two_executions(two: Two) -> None:
    for client, code in ((two.red, "'red'"), (two.blue, "'blue'")):
        answer = client.run(code, execution_id="one-name")
        assert answer["items"][0]["text"] == code


def test_the_same_state_in_two_workspaces_is_two_heaps(two: Two) -> None:
    heap = executed(two.red)["heap"]
    for path in (f"/api/heaps/{heap}", f"/api/heaps/{heap}/tags"):
        assert two.blue.delete(path).status_code == 404
    assert two.red.get(f"/api/heaps/{heap}").status_code == 200
