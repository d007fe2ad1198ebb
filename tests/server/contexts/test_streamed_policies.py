"""POST /execute/async, whose code imports and fetches what policies allow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.contexts.test_streams import stream
from tests.support.client import Client, connect
from tests.support.networks import Site, serve_site
from tests.support.registry import serve_registry
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve_site() as site:
        yield site


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One package and one site are allowed, another package needs an approval."""
    folder = tmp_path_factory.mktemp("streamed")
    with serve_registry() as registry:
        for name in ("allowed", "asked", "other"):
            registry.publish(name, files={"index.js": f"export const n = '{name}'"})
        npmrc = registry.write_npmrc(folder)
        file = folder / "server.toml"
        file.write_text(
            'modules = ["npm:allowed", "npm:asked"]\n'
            f'net = ["127.0.0.1:{site.port}"]\n'
            f"package_npmrc = {json.dumps(str(npmrc))}\n"
            f"package_cache_dir = {json.dumps(str(folder / 'cache'))}\n"
            "[[capability_rules]]\n"
            'effect = "require_approval"\ncapability = "modules"\n'
            'target = "npm:asked"\n'
        )
        with run_server(*V8_FLAGS, "--config", str(file)) as made:
            yield made


@pytest.fixture
def client(server: Server, site: Site) -> Iterator[Client]:
    with connect(server) as made:
        yield made
        made.clean()
    site.end_connections()


def code(site: Site, package: str) -> str:
    return (
        f"import {{ n }} from '{package}'; console.log(n);"
        f"const answer = await fetch('{site.url}/count'); console.log(answer.status);"
        "n"
    )


def printed(events: list[Any]) -> list[str]:
    return [event["data"] for event in events if event["type"] == 0]


def errors(events: list[Any]) -> str:
    assert events[-1] == {"type": 2, "code": 1}, events
    return "\n".join(event["data"] for event in events if event["type"] == 1)


def test_what_is_allowed_is_streamed(client: Client, site: Site) -> None:
    events = stream(client, code(site, "allowed"))
    assert printed(events) == ["allowed", "200"]
    assert events[-1]["items"][-1]["text"] == "'allowed'"
    context = client.create()
    for _ in range(2):  # it is the persistent context, which has the module by then
        events = stream(client, code(site, "allowed"), context_id=context)
        assert printed(events) == ["allowed", "200"]
    listed = client.get(f"/contexts/{context}/packages").json()["packages"]
    assert [one["name"] for one in listed] == ["allowed"]
    events = stream(client, code(site, "allowed"), "?format=jupyter")
    texts = [
        event["content"]["text"] for event in events if event["msg_type"] == "stream"
    ]
    assert "".join(texts) == "allowed\n200\n"


def test_what_is_denied_is_an_error_that_says_so(client: Client, site: Site) -> None:
    said = errors(stream(client, code(site, "other")))
    assert "CapabilityDeniedError" in said
    assert "npm:other" in said
    elsewhere = f"await fetch('http://127.0.0.1:{site.port + 1}/')"
    assert "no policy" in errors(stream(client, elsewhere))


def test_a_request_narrows_what_is_streamed(client: Client, site: Site) -> None:
    context = client.create()
    fields: dict[str, Any] = {"context_id": context}
    before = len(site.seen)
    said = errors(
        stream(client, code(site, "allowed"), capabilities={"net": "off"}, **fields)
    )
    assert "net" in said
    assert "in the capabilities of the request" in said
    assert len(site.seen) == before
    # What it has loaded it has; anything else would be loaded now.
    said = errors(
        stream(client, code(site, "asked"), capabilities={"modules": "off"}, **fields)
    )
    assert "in the capabilities of the request" in said
    assert printed(stream(client, code(site, "allowed"), **fields))[-1] == "200"


def test_an_approval_is_waited_for_while_the_stream_is_open(
    client: Client, server: Server, site: Site
) -> None:
    body = {"code": code(site, "asked"), "language": "javascript"}
    with (
        connect(server) as other,
        client.stream("POST", "/execute/async", json=body) as answer,
    ):
        approval = wait_for(
            lambda: (other.get("/approvals").json()["items"] or [None])[0]
        )
        assert approval["path"] == "modules"
        assert "npm:asked" in approval["input"]
        decided = other.post(
            f"/approvals/{approval['id']}", json={"decision": "approved"}
        )
        assert decided.status_code == 200, decided.text
        text = answer.read().decode()
    assert '"data":"asked"' in text
    assert '"data":"200"' in text


def test_a_client_that_goes_takes_its_approval_along(
    client: Client, server: Server, site: Site
) -> None:
    body = {"code": code(site, "asked"), "language": "javascript"}
    with connect(server) as other:
        with client.stream(
            "POST", "/execute/async?on_disconnect=interrupt", json=body
        ) as _answer:
            approval = wait_for(
                lambda: (other.get("/approvals").json()["items"] or [None])[0]
            )
        place = f"/approvals/{approval['id']}"
        wait_for(lambda: other.get(place).json()["state"] == "withdrawn")
