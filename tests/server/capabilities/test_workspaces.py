"""What administrators narrow their workspaces to, while the server runs."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import Client, connect
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import DEADLINE, wait_for

from isokernel.errors import SettingsError
from isoserver.capabilities.service import Capabilities
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.changes import Changes
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL

ADMIN, USER, BLUE = (f"the-secret-key-of-{name}" for name in ("admin", "user", "blue"))
CONFIGURATION = f"""
net = ["a.example", "b.example"]
files = "on"
env = ["SEEN_*"]

[[workspaces]]
name = "red"
api_keys = [{{ client = "ada", key = "{ADMIN}", admin = true }}, {{ key = "{USER}" }}]

[[workspaces]]
name = "blue"
api_keys = [{{ key = "{BLUE}", admin = true }}]
"""
WRITE = "require('node:fs').writeFileSync('a.txt', 'x'); 1"
FETCH = "await fetch('https://a.example/').then(() => '', (e) => e.message)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("narrowed") / "server.toml"
    file.write_text(CONFIGURATION)
    with run_server(
        *V8_FLAGS, "--config", str(file), env={"SEEN_ONE": "1", "SEEN_TWO": "2"}
    ) as made:
        yield made


@pytest.fixture
def admin(server: Server) -> Iterator[Client]:
    with connect(server, **{"X-API-Key": ADMIN}) as made:
        yield made
        put(made)
        made.clean()


def put(client: Client, status: int = 200, **body: Any) -> Any:
    answer = client.put("/capabilities", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def error(client: Client, code: str, **fields: Any) -> str:
    failed = client.run(code, **fields)["error"]
    return "" if failed is None else str(failed["value"])


def test_it_is_shown_changed_and_taken_back(admin: Client) -> None:
    before = admin.get("/capabilities").json()
    assert before["narrowed"] == {}
    assert before["workspace"]["net"] == ["a.example", "b.example"]
    assert before["mode"] == "enforce"
    given: dict[str, Any] = {"net": ["b.example"], "files": "read"}
    made = put(admin, **given)
    assert made["narrowed"] == given
    assert made["changed_by"] == "ada"
    assert made["changed_at"]
    assert made["workspace"] == before["workspace"]
    assert admin.get("/capabilities").json() == made
    assert put(admin)["narrowed"] == {}


def test_it_holds_for_live_contexts_at_once(admin: Client) -> None:
    context = admin.create()
    assert error(admin, WRITE, context_id=context) == ""
    put(admin, files="read", net=["b.example"])
    denied = error(admin, WRITE, context_id=context)
    assert "in the capabilities of the workspace" in denied
    said = admin.text(FETCH, context_id=context)
    assert "in the capabilities of the workspace" in said
    # A new one has no more, nor has a run, and a request can't undo it.
    assert error(admin, WRITE, capabilities={"files": "on"}) == denied
    run = admin.ended(admin.submit(WRITE, capabilities={"files": "on"}))
    assert denied in run["error"]
    shown = admin.get(f"/contexts/{context}/capabilities").json()
    assert shown["narrowed"] == {"files": "read", "net": ["b.example"]}
    assert shown["context"] == {}
    inside = admin.text(
        "JSON.stringify((await Jupyter.capabilities()).narrowed)", context_id=context
    )
    assert json.loads(inside.strip("'")) == shown["narrowed"]
    put(admin)
    assert error(admin, WRITE, context_id=context) == ""


def test_it_never_gives_more_than_the_server(admin: Client) -> None:
    put(admin, net="on", modules="on", env="on")
    said = admin.text("await fetch('https://c.example/').catch((e) => e.message)")
    assert "or a rule of the server" in said
    failed = error(admin, "await import('npm:d3')")
    assert "or a rule of the server" in failed
    assert admin.text("Object.keys(process.env).join()") == "'SEEN_ONE,SEEN_TWO'"


def test_variables_follow(admin: Client) -> None:
    context = admin.create()
    put(admin, env=["SEEN_TWO"])
    code = "Object.keys(process.env).join()"
    assert wait_for(lambda: admin.text(code, context_id=context) == "'SEEN_TWO'")


def test_results_become_no_files_where_none_may_be_written(admin: Client) -> None:
    put(admin, files="read")
    context = admin.create()
    code = "'x'.repeat(5000)"

    def note() -> str:
        made = admin.run(code, context_id=context, result_characters_max=200)
        return str(made["items"][-1]["json_note"])

    assert "results/" not in note()
    put(admin)
    assert "whole in results/" in note()


def test_an_approval_that_comes_too_late_lets_nothing_through(admin: Client) -> None:
    rule = {"effect": "require_approval", "capability": "files", "target": "asked/**"}
    put(admin, rules=[rule])
    execution = admin.submit("require('node:fs').mkdirSync('asked'); 1")
    approval = wait_for(lambda: (admin.get("/approvals").json()["items"] or [None])[0])
    assert approval["task_id"] == execution
    assert approval["client"] == "ada"
    put(admin, files="off")
    decided = admin.post(f"/approvals/{approval['id']}", json={"decision": "approved"})
    assert decided.status_code == 200, decided.text
    ended = admin.ended(execution)
    assert ended["status"] == "failed"
    assert "in the capabilities of the workspace" in ended["error"]


def test_only_administrators_change_it_and_only_their_own(
    admin: Client, server: Server
) -> None:
    put(admin, files="off")
    with connect(server, **{"X-API-Key": USER}) as user:
        assert put(user, 403, files="on")["message"]
        assert user.get("/capabilities").json()["narrowed"] == {"files": "off"}
        assert "in the capabilities of the workspace" in error(user, WRITE)
        user.clean()
    with connect(server, **{"X-API-Key": BLUE}) as blue:
        assert blue.get("/capabilities").json()["narrowed"] == {}
        put(blue, net="off")
        assert error(blue, WRITE) == ""
        blue.clean()
    assert admin.get("/capabilities").json()["narrowed"] == {"files": "off"}


@pytest.mark.parametrize(
    "body",
    [
        {"net": "true"},
        {"network": "off"},
        {"rules": [{"effect": "maybe", "capability": "net"}]},
        {"files": ["../x"]},
    ],
)
def test_what_cant_be_understood_changes_nothing(
    admin: Client, body: dict[str, Any]
) -> None:
    put(admin, files="read")
    assert put(admin, 400, **body)["errors"]
    assert admin.get("/capabilities").json()["narrowed"] == {"files": "read"}


def test_changes_are_in_the_audit(admin: Client) -> None:
    put(admin, env="off")
    found = admin.get("/audit", params={"kind": "capabilities.changed"}).json()
    entry = found["items"][0]
    assert (entry["client"], entry["input"]) == ("ada", '{"env": "off"}')


# -- without a server around it --------------------------------------------------------


@asynccontextmanager
async def capabilities_on(
    folder: Path, url: str | None = None
) -> AsyncIterator[Capabilities]:
    log = make_log("error", None)
    database = Database(url_of(url, folder))
    await database.start()
    changes = Changes(database, log)
    await changes.start()
    made = Capabilities(
        read_settings(net="on"), {}, log, database=database, changes=changes
    )
    await made.start()
    try:
        yield made
    finally:
        await made.settle()
        await changes.close()
        await database.close()


def test_it_outlives_the_server(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with capabilities_on(tmp_path) as first:
            await first.narrow("red", {"net": ["a.com"]}, "eve")
            with pytest.raises(SettingsError):
                await first.narrow("red", {"net": ["a b"]}, "eve")
        async with capabilities_on(tmp_path) as second:
            found = await second.narrowed("red")
            assert (found.given, found.changed_by) == ({"net": ["a.com"]}, "eve")
            assert second.shown(("red", "c"))["narrowed"] == {"net": ["a.com"]}
            assert (await second.narrowed("blue")).policy is None

    asyncio.run(scenario())


def test_other_servers_follow(tmp_path: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.database()

    async def scenario() -> None:
        async with (
            capabilities_on(tmp_path, url) as first,
            capabilities_on(tmp_path, url) as second,
        ):
            heard = asyncio.Event()
            assert second._narrowed is not None
            second._narrowed._changes.subscribe(
                "workspace_capabilities", lambda _change: heard.set()
            )
            for given in ({"net": "off"}, {"net": ["a.com"]}, {}):
                await first.narrow("red", given, "eve")
                await asyncio.wait_for(heard.wait(), DEADLINE)
                heard.clear()
                # What was changed counts as soon as it is told, not a moment later.
                assert (await second.narrowed("red")).given == given
            # At once, on one row.
            await asyncio.gather(
                *(
                    one.narrow("red", {"env": "off"}, f"{number}")
                    for number, one in enumerate([first, second] * 4)
                )
            )
            assert (await first.narrowed("red")).given == {"env": "off"}

    asyncio.run(scenario())
