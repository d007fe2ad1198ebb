"""Jupyter Server's REST routes on contexts, as fronts demand them."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from tests.support.client import connect
from tests.support.workspaces import BLUE, FILE, RED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.server import Server

MISSING = "00000000-0000-4000-8000-000000000000"


def kernel(client: Client, context: str) -> dict[str, Any]:
    found = client.get(f"/jupyter/api/kernels/{context}")
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def test_kernelspecs(client: Client) -> None:
    specs = client.get("/jupyter/api/kernelspecs").json()
    assert specs["default"] == "python3"
    assert set(specs["kernelspecs"]) >= {"python3", "v8-javascript", "v8-typescript"}
    for name, each in specs["kernelspecs"].items():
        assert each["name"] == name
        assert each["spec"]["argv"] == []
        assert each["spec"]["display_name"]
        assert client.get(f"/jupyter/api/kernelspecs/{name}").json() == each
    logos = specs["kernelspecs"]["v8-javascript"]["resources"]
    assert set(logos) == {"logo-32x32", "logo-64x64", "logo-svg"}
    for name, address in logos.items():
        kind = "svg+xml" if name == "logo-svg" else "png"
        picture = client.get(address)
        assert picture.headers["Content-Type"] == f"image/{kind}"
        assert (b"<svg" if kind == "svg+xml" else b"PNG") in picture.content
    # `tests.e2e.test_gateway` has them shown.
    base = logos["logo-svg"].rpartition("/")[0]
    for path in ("kernel.json", "..%2fv8-javascript%2flogo-svg.svg", "logo-none.png"):
        assert client.get(f"{base}/{path}").status_code == 404, path
    missing = client.get("/jupyter/api/kernelspecs/nosuch")
    assert missing.status_code == 404
    assert set(missing.json()) == {"message", "reason"}


def test_a_server_without_the_default_language(servers: Callable[..., Server]) -> None:
    with connect(servers("--languages", "v8-typescript")) as client:
        answer = client.get("/jupyter/api/kernelspecs").json()
        made = client.post("/jupyter/api/kernels").json()
        page = client.get("/ui/")
        assert client.post("/execute", json={"code": "1"}).status_code == 400
    assert page.status_code == 200
    assert "<option selected>v8-typescript</option>" in page.text
    (spec,) = answer["kernelspecs"].values()
    assert answer["default"] == made["name"] == spec["name"] == "v8-typescript"
    # What the kernelspec itself says.
    assert spec["spec"]["language"] == "typescript"
    assert spec["spec"]["display_name"] == "TypeScript (V8)"


def test_every_context_is_a_kernel(client: Client) -> None:
    contexts = [client.create(language) for language in ("javascript", "typescript")]
    listed = client.get("/jupyter/api/kernels").json()
    assert [one["context_id"] for one in listed] == contexts
    for one, name in zip(listed, ("v8-javascript", "v8-typescript"), strict=True):
        assert str(UUID(one["id"])) == one["id"]
        assert (one["name"], one["execution_state"]) == (name, "idle")
        assert one["connections"] == 0
        assert re.fullmatch(r"\d{4}(-\d\d){2}T[\d:]{8}\.\d{6}Z", one["last_activity"])
        # Both ids are good everywhere.
        assert kernel(client, one["id"]) == kernel(client, one["context_id"])
        assert client.show(one["id"])["id"] == one["context_id"]
        assert client.text("1", context_id=one["id"]) == "1"


def test_status(client: Client) -> None:
    before = client.get("/jupyter/api/status").json()
    assert (before["kernels"], before["connections"]) == (0, 0)
    assert before["last_activity"] == before["started"]
    used = kernel(client, client.create())["last_activity"]
    status = client.get("/jupyter/api/status").json()
    assert (status["kernels"], status["last_activity"]) == (1, used)
    assert status["started"] == before["started"] < used


def test_who_made_it_ends_it(client: Client) -> None:
    agents = client.create()
    made = client.post("/jupyter/api/kernels", json={"name": "v8-typescript"})
    assert made.status_code == 201
    own = made.json()
    assert made.headers["Location"] == f"/jupyter/api/kernels/{own['id']}"
    for one in (agents, own["id"]):
        assert client.delete(f"/jupyter/api/kernels/{one}").status_code == 204
    left = {one["id"] for one in client.get("/contexts").json()["items"]}
    assert left & {agents, own["id"]} == {agents}
    gone = client.get(f"/jupyter/api/kernels/{own['id']}")
    assert gone.status_code == 404
    assert set(gone.json()) == {"message", "reason"}


def test_a_kernel_can_be_named_by_its_id(client: Client) -> None:
    agents = client.create()
    again = client.post("/jupyter/api/kernels", json={"kernel_id": agents})
    assert again.json() == kernel(client, agents)
    assert client.post("/jupyter/api/kernels").json()["name"] == "python3"
    none = client.post("/jupyter/api/kernels", json={"name": "cobol"})
    assert none.status_code == 400
    assert "cobol" in none.text


def test_interrupt_and_restart(client: Client) -> None:
    agents = client.create()
    own = client.post("/jupyter/api/kernels", json={"name": "v8-javascript"}).json()
    place = "/jupyter/api/kernels/{}/{}".format
    assert client.post(place(agents, "interrupt")).status_code == 204
    client.run("let a = 1", context_id=own["id"])
    restarted = client.post(place(own["id"], "restart"))
    assert (restarted.status_code, restarted.json()["id"]) == (200, own["id"])
    assert client.run("a", context_id=own["id"])["error"]["name"] == "ReferenceError"
    refused = client.post(place(agents, "restart"))
    assert refused.status_code == 403
    assert f"/contexts/{agents}/restart" in refused.json()["message"]


def test_each_context_has_a_session(client: Client) -> None:
    agents = client.create()
    (row,) = client.get("/jupyter/api/sessions").json()
    assert row["kernel"] == kernel(client, agents)
    assert row["type"] == "notebook"
    assert row["path"].endswith(".ipynb")
    assert client.get(f"/jupyter/api/sessions/{row['id']}").json() == row
    assert client.delete(f"/jupyter/api/sessions/{row['id']}").status_code == 204
    assert client.text("1", context_id=agents) == "1"


def test_sessions_of_fronts(client: Client) -> None:
    agents = client.create()
    body = {
        "path": "a.ipynb",
        "name": "a.ipynb",
        "type": "notebook",
        "kernel": {"id": agents},
    }
    made = client.post("/jupyter/api/sessions", json=body)
    assert made.status_code == 201
    row = made.json()
    assert {name: row[name] for name in ("path", "name", "type")} == {
        name: body[name] for name in ("path", "name", "type")
    }
    assert client.get("/jupyter/api/sessions").json() == [row]
    place = f"/jupyter/api/sessions/{row['id']}"
    changed = client.patch(place, json={"path": "b.ipynb"}).json()
    assert changed == {
        **row,
        "path": "b.ipynb",
        "notebook": {"path": "b.ipynb", "name": "a.ipynb"},
    }
    switched = client.patch(place, json={"kernel": {"name": "v8-typescript"}}).json()
    assert switched["id"] == row["id"]
    made_for_it = switched["kernel"]["context_id"]
    assert made_for_it != agents
    # The context that the session has left was an agent's, and lives.
    assert client.text("1", context_id=agents) == "1"
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404
    left = {one["id"] for one in client.get("/contexts").json()["items"]}
    assert left & {agents, made_for_it} == {agents}


def test_the_session_that_a_context_has_by_itself_gets_another(client: Client) -> None:
    first, second = client.create(), client.create()
    kernel, other = (
        client.get(f"/jupyter/api/kernels/{name}").json() for name in (first, second)
    )
    place = f"/jupyter/api/sessions/{kernel['id']}"
    switched = client.patch(place, json={"kernel": {"id": other["id"]}}).json()
    assert switched["kernel"] == other
    assert client.get(place).json() == switched
    assert client.patch(place, json={"name": "b"}).json() == {
        **switched,
        "name": "b",
        "notebook": {**switched["notebook"], "name": "b"},
    }


def test_a_document_has_one_session(client: Client) -> None:
    """However often it is asked for, as with Jupyter Server."""
    asked = {"path": "a.ipynb", "name": "a", "type": "notebook"}

    def post(kernel: dict[str, str]) -> dict[str, Any]:
        body = {**asked, "kernel": kernel}
        answer = client.post("/jupyter/api/sessions", json=body)
        assert answer.status_code == 201, answer.text
        row: dict[str, Any] = answer.json()
        return row

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(post, [{"name": "v8-javascript"}] * 4))
    assert rows.count(rows[0]) == 4
    kernel = rows[0]["kernel"]
    for same in ({}, {"name": "v8-typescript"}, {"id": kernel["id"]}):
        assert post(same)["id"] == rows[0]["id"]
    assert len(client.get("/contexts").json()["items"]) == 1
    # Another context that is named by its id is used, and so is a new one after all.
    other = client.create()
    assert post({"id": other})["kernel"]["context_id"] == other
    assert client.get("/jupyter/api/sessions").json()[0]["kernel"] == kernel
    client.delete(f"/contexts/{other}")
    assert post({})["kernel"]["context_id"] not in {other, kernel["context_id"]}


def test_a_document_whose_kernel_died_gets_another(
    server: Server, client: Client
) -> None:
    asked = {"path": "a.ipynb", "kernel": {"name": "v8-javascript"}}
    first = client.post("/jupyter/api/sessions", json=asked).json()
    name = first["kernel"]["context_id"]
    with ThreadPoolExecutor(1) as pool:
        died = pool.submit(client.run, "while (1) {}", context_id=name)
        os.kill(server.busy_process(), signal.SIGKILL)
        assert died.result()["error"]["name"] == "ContextDiedError"
    second = client.post("/jupyter/api/sessions", json=asked).json()
    assert second["kernel"]["context_id"] != name
    rows = client.get("/jupyter/api/sessions").json()
    assert [row["id"] for row in rows if row["path"] == "a.ipynb"] == [second["id"]]


def test_the_kernel_of_a_session_went_first(client: Client) -> None:
    made = {"path": "a.ipynb", "name": "a", "type": "notebook"}
    for own in (True, False):
        context = client.create()
        if own:
            body = {**made, "kernel": {"id": context}}
            client.post("/jupyter/api/sessions", json=body)
        (row,) = client.get("/jupyter/api/sessions").json()
        place = f"/jupyter/api/sessions/{row['id']}"
        assert client.delete(f"/contexts/{context}").status_code == 204
        gone = client.delete(place)
        assert gone.status_code == 410
        assert "was deleted before" in gone.json()["message"]
        assert client.delete(place).status_code == 404


def test_a_session_of_an_older_client(client: Client) -> None:
    asked = {"notebook": {"path": "old.ipynb"}, "kernel": {"name": "python"}}
    made = client.post("/jupyter/api/sessions", json=asked)
    assert made.status_code == 201, made.text
    row = made.json()
    assert (row["path"], row["type"]) == ("old.ipynb", "notebook")
    assert row["kernel"]["name"] == "python3"


@pytest.mark.parametrize("body", [{}, {"path": 1}, [], {"path": "a", "kernel": 3}])
def test_a_session_that_is_none(client: Client, body: Any) -> None:
    answer = client.post("/jupyter/api/sessions", json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"message", "reason"}


def test_what_is_not_there(client: Client) -> None:
    for path in (f"kernels/{MISSING}", "kernels/nobody", f"sessions/{MISSING}"):
        answer = client.get(f"/jupyter/api/{path}")
        assert answer.status_code == 404, path
    assert client.put("/jupyter/api/kernels").status_code == 405


def test_who_one_is(client: Client) -> None:
    me = client.get("/jupyter/api/me").json()
    assert me["identity"]["username"] == "default"
    assert me["permissions"] == {}


def test_what_vs_code_asks(client: Client) -> None:
    """In that order: is it a hub, does it want a password, what runs there."""
    agents = client.create()
    assert client.get("/jupyter/hub/api").status_code == 404
    assert client.get("/jupyter/tree?").status_code == 200
    assert client.get("/jupyter/api/kernelspecs").json()["kernelspecs"]
    (listed,) = client.get("/jupyter/api/sessions").json()
    assert listed["kernel"]["context_id"] == agents
    kernels = [{"id": listed["kernel"]["id"]}, {"name": "v8-javascript"}]
    rows = []
    for each in kernels:  # with a UUID of its own in each path
        path = f"a-jvsc-{uuid4()}.ipynb"
        asked = {"path": path, "name": "a.ipynb", "type": "notebook", "kernel": each}
        rows.append(client.post("/jupyter/api/sessions", json=asked).json())
    assert rows[0]["kernel"]["id"] == listed["kernel"]["id"] != rows[1]["kernel"]["id"]
    for row in rows:
        gone = client.delete(f"/jupyter/api/sessions/{row['id']}").status_code
        assert gone == 204
    (left,) = client.get("/jupyter/api/sessions").json()
    assert left["kernel"]["context_id"] == agents


def test_workspaces_do_not_see_each_other(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(FILE)
    server = servers("--config", str(file), "--languages", "javascript")
    with connect(server) as red, connect(server) as blue:
        assert red.get("/jupyter/tree").status_code == 401
        red.headers["Authorization"] = f"token {RED}"
        blue.headers["Authorization"] = f"token {BLUE}"
        made = red.post("/jupyter/api/kernels", json={"name": "v8-javascript"}).json()
        (row,) = red.get("/jupyter/api/sessions").json()
        assert blue.get("/jupyter/api/kernels").json() == []
        assert blue.get("/jupyter/api/sessions").json() == []
        for path in (f"kernels/{made['id']}", f"sessions/{row['id']}"):
            assert blue.get(f"/jupyter/api/{path}").status_code == 404
            assert blue.delete(f"/jupyter/api/{path}").status_code == 404
        for act in ("interrupt", "restart"):
            place = f"/jupyter/api/kernels/{made['id']}/{act}"
            assert blue.post(place).status_code == 404
        again = blue.post("/jupyter/api/kernels", json={"kernel_id": made["id"]})
        assert again.status_code == 404
        assert red.get("/jupyter/api/me").json()["identity"]["username"] == "ci"
        assert kernel(red, made["id"])["execution_state"] == "idle"
