"""Packages in contexts of the server, under policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from tests.support.agents import connect_agent
from tests.support.client import Client, connect
from tests.support.packages import FILES, FROM_FILES, IMPORT, registry_of_packages
from tests.support.registry import PackageRegistry, held_for
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def registry() -> Iterator[PackageRegistry]:
    with registry_of_packages() as registry:
        yield registry


@pytest.fixture(scope="module")
def npmrc(tmp_path_factory: pytest.TempPathFactory, registry: PackageRegistry) -> Path:
    return registry.write_npmrc(tmp_path_factory.mktemp("npmrc"))


@pytest.fixture(scope="module")
def own(npmrc: Path, registry: PackageRegistry) -> Iterator[Server]:
    """A server whose policy admits few packages, and the registry's address."""
    with run_server(
        *V8_FLAGS,
        *("--modules", "npm:sums,npm:@sums/*", "--package-npmrc", str(npmrc)),
        *("--package-cache-dir", str(npmrc.parent / "cache")),
        *("--net", registry.url.removeprefix("http://")),
    ) as server:
        yield server


@pytest.fixture
def client(own: Server) -> Iterator[Client]:
    with connect(own) as client:
        yield client


def execute(client: Client, code: str, **body: Any) -> dict[str, Any]:
    answer = client.post("/execute", json={"code": code, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_policy_admits_a_package_and_what_it_needs(client: Client) -> None:
    context = client.post("/contexts", json={}).json()["id"]
    answer = execute(client, IMPORT, context_id=context)
    assert answer["error"] is None, answer
    assert answer["items"][-1]["text"] == "3"
    listed = client.get(f"/contexts/{context}/packages").json()["packages"]
    assert [(one["name"], one["version"], one["dependent"]) for one in listed] == [
        ("sums", "1.2.0", None),
        ("zero", "1.0.1", "sums@1.2.0"),
    ]
    assert all(one["integrity"].startswith("sha512-") for one in listed)


@pytest.mark.parametrize("code", ["import 'other'", "require('zero')"])
def test_other_packages_are_denied(client: Client, code: str) -> None:
    error = execute(client, code)["error"]
    assert error["name"] == "CapabilityDeniedError"
    assert "--modules npm:" in error["value"]


def test_a_context_may_have_less(client: Client) -> None:
    made = client.post("/contexts", json={"capabilities": {"modules": "off"}}).json()
    error = execute(client, IMPORT, context_id=made["id"])["error"]
    assert error["name"] == "CapabilityDeniedError"
    assert client.get(f"/contexts/{made['id']}/packages").json() == {
        "packages": [],
        "addresses": [],
    }
    assert client.get("/contexts/nosuch/packages").status_code == 404


def test_modules_in_the_folder_of_a_context(client: Client) -> None:
    context = client.post("/contexts", json={}).json()["id"]
    for path, text in FILES.items():
        put = client.put(f"/contexts/{context}/files/{path}", content=text)
        assert put.is_success, put.text
    answer = execute(client, FROM_FILES, context_id=context)
    assert answer["error"] is None, answer
    assert answer["items"][-1]["text"] == "'b,local,1'"


def test_a_module_that_holds_what_cannot_be_saved_is_named(client: Client) -> None:
    context = client.post("/contexts", json={}).json()["id"]
    text = "const words = new Intl.Segmenter().segment('a'); exports.get = () => words"
    client.put(f"/contexts/{context}/files/words.cjs", content=text)
    execute(client, "require('./words.cjs'); 0", context_id=context)
    answer = client.post(f"/contexts/{context}/checkpoint")
    assert answer.status_code == 409
    said = answer.json()
    assert said["message"].endswith("(Intl.Segments at words in file:///words.cjs)")
    assert (said["path"], said["holder"]) == ("words", "file:///words.cjs")


def test_a_script_imports(client: Client) -> None:
    assert client.result(IMPORT) == "3"


def test_what_is_denied_is_not_asked_for(client: Client) -> None:
    """A name may be private: the registry shall not learn it."""
    error = execute(client, "import 'npm:secret-name@^1'")["error"]
    assert error["name"] == "CapabilityDeniedError"
    assert "--modules npm:secret-name" in error["value"]


@pytest.mark.anyio
async def test_a_long_download_is_progress(
    own: Server, registry: PackageRegistry
) -> None:
    """Over MCP; from the cache, nothing is told."""
    registry.publish(
        "@sums/large",
        files={"index.js": "exports.part = require('@sums/part')"},
        dependencies={"@sums/part": "1"},
    )
    registry.publish("@sums/part", files={"index.js": "module.exports = 7"})
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert (progress, total) == (len(told) + 1, None)
        told.append(message or "")

    arguments = {"code": "return require('@sums/large').part"}
    path = "/@sums/part/-/part-1.0.0.tgz"
    async with connect_agent(own.url) as agent:
        with held_for(registry, path, 0.6):
            first: Any = await agent.call_tool(
                "execute", arguments, progress_callback=note
            )
        assert not first.is_error, first.content
        with anyio.fail_after(DEADLINE):
            while not (told and told[-1].startswith("Downloaded 2 packages")):
                await anyio.lowlevel.checkpoint()
        assert told[0].startswith("Downloading packages: ")
        told.clear()
        again: Any = await agent.call_tool("execute", arguments, progress_callback=note)
        assert "7" in str(again.content)
        assert not told


def test_the_folder_of_a_context_names_a_registry(
    client: Client, registry: PackageRegistry
) -> None:
    """It is asked by the context's own network, with its own token."""
    registry.publish("@sums/own", files={"index.js": "module.exports = 'own'"})
    place = registry.url.removeprefix("http:")
    npmrc = f"@sums:registry={registry.url}\n{place}/:_authToken=t0k\n"
    for capabilities, said in (({}, "'own'"), ({"net": "off"}, "")):
        made = client.post("/contexts", json={"capabilities": capabilities}).json()
        context = made["id"]
        client.put(f"/contexts/{context}/files/.npmrc", content=npmrc)
        answer = execute(client, "require('@sums/own')", context_id=context)
        if said:
            assert answer["error"] is None, answer
            assert answer["items"][-1]["text"] == said
            continue
        assert answer["error"]["name"] == "CapabilityDeniedError"
        assert f"{registry.url}/@sums" in answer["error"]["value"]
        assert "t0k" not in str(answer)
    sent = {path: headers.get("Authorization") for path, headers in registry.requests}
    assert sent["/@sums/own"] == sent["/@sums/own/-/own-1.0.0.tgz"] == "Bearer t0k"
