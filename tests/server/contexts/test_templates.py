"""Contexts that begin with packages: forks of templates, under their own policies."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.client import Client, connect
from tests.support.registry import serve_registry
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.registry import PackageRegistry

NOSY = """
export const seen = {};
const note = (name) => (error) => { seen[name] = error.name };
await fetch('http://127.0.0.1:1/').catch(note('net'));
await import('node:fs/promises').then((fs) => fs.readdir('/')).catch(note('files'));
await import('https://example.com/x.js').catch(note('address'));
seen.variables = Object.keys(process.env).join();
export const later = () => import('npm:counter').then((m) => m.n);
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        registry.publish(
            "counter",
            "2.1.0",
            {
                "index.js": "import {one} from 'one'; export let n = 0;"
                "export const more = () => { n += one };"
            },
            type="module",
            dependencies={"one": "^1"},
        )
        registry.publish("one", files={"index.js": "exports.one = 1"})
        registry.publish("nosy", files={"index.js": NOSY}, type="module")
        registry.publish("broken", files={"index.js": "throw new Error('at load')"})
        registry.publish("stuck", files={"index.js": "for (;;);"})
        registry.publish("other", files={"index.js": "exports.a = 1"})
        yield registry


@pytest.fixture(scope="module")
def own(
    registry: PackageRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("templates")
    npmrc = registry.write_npmrc(folder)
    with run_server(
        *V8_FLAGS,
        *("--modules", "on", "--net", "on", "--package-npmrc", str(npmrc)),
        *("--package-cache-dir", str(folder / "cache")),
        *("--context-templates-max", "2", "--context-templates", "other"),
        *("--context-template-timeout-seconds", "2"),
        *("--env", "TMPDIR"),
    ) as server:
        yield server


@pytest.fixture
def client(own: Server) -> Iterator[Client]:
    with connect(own) as client:
        yield client


def create(client: Client, *packages: str, status: int = 201, **body: Any) -> Any:
    answer = client.post("/contexts", json={"packages": packages, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_context_begins_with_packages(
    client: Client, registry: PackageRegistry
) -> None:
    for _ in range(3):  # from the template, and from a spare fork of it
        context = create(client, "counter@2")["id"]
        assert client.text("1", context_id=context) == "1"
        registry.requests.clear()
        code = (
            "import {more, n} from 'counter'; import * as c from 'npm:counter@2';"
            "more(); [n, c.n, performance.now() < 60_000]"
        )
        answer = client.run(code, context_id=context)
        assert answer["error"] is None, answer
        assert answer["items"][-1]["text"] == "[ 0, 1, true ]"  # its own, not shared
        assert answer["execution_count"] == 2
        assert not registry.requests
        shown = client.get(f"/contexts/{context}/packages").json()["packages"]
        assert [one["name"] for one in shown] == ["counter", "one"]
        asked = client.get(f"/contexts/{context}/capabilities").json()["asked"]
        assert {one["target"] for one in asked} == {"npm:counter", "npm:one"}
        assert client.text("require('one').one", context_id=context) == "1"


def test_those_of_the_settings_are_made_at_the_start(
    registry: PackageRegistry, servers: Callable[..., Server], tmp_path: Path
) -> None:
    """In a language that V8 runs, though the default language isn't even served."""
    npmrc = registry.write_npmrc(tmp_path)
    registry.requests.clear()
    servers(
        *("--languages", "javascript,typescript", "--modules", "on", "--net", "on"),
        *("--package-npmrc", str(npmrc), "--package-cache-dir", str(tmp_path / "c")),
        *("--context-templates", "other"),
    )
    wait_for(lambda: any("other" in path for path in registry.paths()))


def test_its_heap_and_its_forks_have_them(client: Client) -> None:
    context = create(client, "counter@2", language="typescript")["id"]
    client.run("import * as c from 'counter'; c.more()", context_id=context)
    fork = client.post(f"/contexts/{context}/fork", json={}).json()["id"]
    assert client.text("c.more(); c.n", context_id=fork) == "2"
    heap = client.post(f"/contexts/{context}/checkpoint", json={}).json()["heap"]
    later = client.post("/contexts", json={"heap": heap}).json()["id"]
    assert client.text("c.n", context_id=later) == "1"


def restart(client: Client, context: str, status: int = 200) -> Any:
    answer = client.post(f"/contexts/{context}/restart", json={})
    assert answer.status_code == status, answer.text
    return answer.json()


USE = "import * as c from 'counter'; c.more(); c.n"


def test_it_has_them_again_when_it_is_restarted(
    client: Client, registry: PackageRegistry
) -> None:
    context = create(client, "counter@2")["id"]
    fork = client.post(f"/contexts/{context}/fork", json={}).json()["id"]
    for each in (context, context, fork):
        client.run(f"let own = 1; {USE}", context_id=each)
        registry.requests.clear()
        assert restart(client, each)["state"] == "idle"
        again = client.run(f"{USE} + typeof own", context_id=each)
        assert again["error"] is None, again
        assert again["items"][-1]["text"] == "'1undefined'"
        assert again["execution_count"] == 1
        assert not registry.requests
        shown = client.get(f"/contexts/{each}/packages").json()["packages"]
        assert [one["name"] for one in shown] == ["counter", "one"]
    blank = create(client)["id"]
    restart(client, blank)
    assert client.get(f"/contexts/{blank}/packages").json()["packages"] == []


def test_it_has_them_again_when_its_process_has_died(
    own: Server, client: Client
) -> None:
    context = create(client, "counter@2")["id"]
    client.submit("for (;;);", session=context)
    os.kill(own.busy_process(), signal.SIGKILL)
    wait_for(lambda: client.show(context)["state"] == "dead")
    restart(client, context)
    assert client.text(USE, context_id=context) == "1"


def test_what_is_asked_meanwhile_runs_when_it_has_them(client: Client) -> None:
    context = create(client, "other")["id"]
    with ThreadPoolExecutor() as pool:
        restarting = [pool.submit(restart, client, context) for _ in range(2)]
        runs = [
            client.submit("(await import('other')).a", session=context)
            for _ in range(3)
        ]
        for one in restarting:
            one.result()
    ended = [client.ended(run) for run in runs]
    # One that was there before a restart has ended with it.
    assert all(
        each["result"] == "1" or "was restarted" in each["error"] for each in ended
    ), ended
    assert client.text("(await import('other')).a", context_id=context) == "1"


def test_a_policy_of_today_decides_when_it_is_restarted(client: Client) -> None:
    context = create(client, "counter@2")["id"]
    place = f"/contexts/{context}/capabilities"
    assert client.put(place, json={"modules": ["npm:other"]}).status_code == 200
    refused = restart(client, context, 403)
    assert "npm:counter" in refused["message"]
    shown = client.show(context)
    assert shown["state"] == "dead"
    assert "npm:counter" in shown["reason"]
    assert client.put(place, json={}).status_code == 200
    restart(client, context)
    assert client.text(USE, context_id=context) == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_has_them_again_after_the_server(
    registry: PackageRegistry, tmp_path: Path, number: int
) -> None:
    npmrc = registry.write_npmrc(tmp_path)
    flags = (
        *V8_FLAGS,
        *("--modules", "on", "--net", "on", "--package-npmrc", str(npmrc)),
        *("--package-cache-dir", str(tmp_path / "cache")),
        *("--data-dir", str(tmp_path / "data")),
    )
    first = Server(*flags)
    with connect(first) as client:
        context = create(client, "counter@2")["id"]
        gone = create(client, "counter@2")["id"]
        client.delete(f"/contexts/{gone}")
        wait_for(lambda: _has_row(tmp_path, context))
    first.stop(number)
    second = Server(*flags)
    try:
        with connect(second) as client:
            state = client.show(context)["state"]
            assert state == ("dead" if number == signal.SIGKILL else "hibernated")
            registry.requests.clear()
            restart(client, context)
            assert client.text(USE, context_id=context) == "1"
            client.clean()
        assert not _has_row(tmp_path, context)
    finally:
        second.stop()


def _has_row(folder: Path, context: str) -> bool:
    file = folder / "data" / "isokernel.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as database:
        rows = [*database.execute("SELECT id, packages FROM context_packages")]
    assert all(packages == '["counter@2"]' for _, packages in rows)
    return rows == [(context, '["counter@2"]')]


@pytest.mark.parametrize("modules", ["off", ["npm:other"]])
def test_a_policy_that_denies_a_package_denies_its_template(
    client: Client, modules: Any
) -> None:
    create(client, "counter@2")
    narrow = {"capabilities": {"modules": modules}}
    refused = create(client, "counter@2", status=403, **narrow)
    assert "npm:counter" in str(refused)
    refused = create(client, "counter@2.1.0", status=403, **narrow)  # none is made
    assert "npm:counter" in str(refused)
    create(client, "counter@2", capabilities={"modules": ["npm:counter"]})


def test_packages_of_templates_may_nothing_but_load(client: Client) -> None:
    context = create(client, "nosy")["id"]
    answer = client.run("import {seen} from 'nosy'; seen", context_id=context)
    assert answer["error"] is None, answer
    shown = answer["items"][-1]["text"]
    for name in ("net", "files", "address"):
        assert f"{name}: 'CapabilityDeniedError'" in shown
    assert "variables: ''" in shown
    later = "(await import('nosy')).later()"  # the context itself may, again
    assert client.text(f"await {later}", context_id=context) == "0"


@pytest.mark.parametrize(
    ("package", "status", "why"),
    [
        ("nosuch", 422, "check its spelling"),
        ("counter@9", 422, "has no version '9'"),
        ("broken", 422, "at load (at npm:/broken@1.0.0/index.js:1:7)"),
        ("stuck", 422, "Timeout"),
        ("not a name", 422, "not a name"),
    ],
)
def test_packages_that_cannot_be_loaded(
    client: Client, package: str, status: int, why: str
) -> None:
    before = len(client.get("/contexts").json()["items"])
    assert why in str(create(client, package, status=status))
    assert len(client.get("/contexts").json()["items"]) == before


def test_requests_that_make_no_sense(client: Client) -> None:
    context = create(client, "counter@2")["id"]
    heap = client.post(f"/contexts/{context}/checkpoint", json={}).json()["heap"]
    assert "packages" in str(create(client, "other", status=400, heap=heap))
    assert "packages" in str(create(client, "", status=400))


def test_there_are_only_so_many_templates(own: Server, client: Client) -> None:
    def processes() -> int:
        return len(psutil.Process(own.process.pid).children(recursive=True))

    for context in client.get("/contexts").json()["items"]:
        client.delete(f"/contexts/{context['id']}")
    sets = [("counter@2",), ("other",), ("counter", "other"), ("one",)]
    for packages in sets:
        client.delete(f"/contexts/{create(client, *packages)['id']}")
    # Two templates with a spare fork each, the fork server and its two spare ones, and
    # perhaps what unpacks packages.
    wait_for(lambda: processes() <= 8)
    create(client, *sets[0])
    create(client, *sets[-1])


def test_a_template_that_died_is_made_anew(own: Server, client: Client) -> None:
    server = psutil.Process(own.process.pid)
    before = {each.pid for each in server.children(recursive=True)}
    create(client, "counter@2", "one")
    new = [one for one in server.children(recursive=True) if one.pid not in before]
    for process in new:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, left = psutil.wait_procs(new, DEADLINE)
    assert not left
    context = create(client, "counter@2", "one")["id"]
    assert client.text("(await import('one')).one", context_id=context) == "1"


def test_templates_can_be_off() -> None:
    # Without a word about the language, it is one that has packages.
    flags = ("--languages", "python,javascript", "--default-language", "python")
    server = Server(*flags, "--modules", "on", "--context-templates-max", "0")
    try:
        with connect(server) as client:
            refused = create(client, "d3", status=400)
            assert "context_templates_max" in str(refused)
    finally:
        server.stop()
