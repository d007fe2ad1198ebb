"""Tools of services with an OpenAPI document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.services import DOCUMENT, KEY, Services
from tests.support.tools import refused

from isoserver.errors import ApprovalDeniedError
from isoserver.tools.sources.openapi_document import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.tools import World


def service(services: Services) -> list[dict[str, Any]]:
    return [services.openapi(writes="allow", call_deadline=20.0)]


def test_requests_are_as_the_document_says(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        given = {
            "owner": "a b/../c",
            "labels": ["x y", "z"],
            "filter": {"state": "open", "n": 1},
            "X-Trace": "t1",
            "session": "s;1",
        }
        (seen,) = await world.call("github.issues.list", given)
        assert seen["path"] == "/repos/a%20b%2F..%2Fc/issues"
        query = "labels=x+y&labels=z&filter%5Bstate%5D=open&filter%5Bn%5D=1"
        assert seen["query"].replace("%20", "+") == query
        assert seen["headers"]["X-Trace"] == "t1"
        assert seen["headers"]["Cookie"] == "session=s%3B1"
        body = {"title": "Ünï", "parent": {"number": 1, "parent": {"number": 2}}}
        made = await world.call("github.issues.create", {"owner": "o", "body": body})
        assert json.loads(made["body"]) == body
        assert made["headers"]["Content-Type"] == "application/json"
        form = await world.call("github.postForm", {"body": {"a": "1 &2"}})
        assert form["body"] == "a=1+%262"

    run(scenario, sources=service)


def test_inputs_are_checked_first(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        for given, field in (
            ({"body": {"title": "t"}}, "input"),
            ({"owner": "o", "body": {"title": ""}}, "body.title"),
            ({"owner": "o", "body": {"title": "t", "parent": {"number": -1}}}, None),
            ({"owner": "o", "body": {"title": "t"}, "x": 1}, "input"),
            ({"owner": "..", "body": {"title": "t"}}, "input"),
            ("text", "input"),
        ):
            told = await refused(world, "github.issues.create", given)
            assert told["code"] == "invalid_arguments"
            assert field in (None, told["details"]["problems"][0]["field"])
        told = await refused(world, "github.issue.create")
        assert told["code"] == "tool_not_found"
        assert told["details"]["nearest"][0] == "github.issues.create"
        assert "github.issues.create" in told["message"]
        null = {"owner": "o", "body": {"title": "t", "body": None}}
        assert await world.call("github.issues.create", null)

    run(scenario, sources=service)


def test_answers_and_failures(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        async def odd(kind: str) -> Any:
            return await world.call("github.odd", {"kind": kind})

        assert await odd("empty") is None
        assert await odd("text") == "café"
        assert await odd("near") == "café"
        png = {"type": "blob", "mimeType": "image/png", "data": "iVBORw=="}
        assert await odd("bytes") == png
        for kind, code, status, retryable in (
            ("none", "http_error", 404, False),
            ("busy", "http_error", 503, True),
            ("big", "response_too_large", None, False),
            ("bomb", "response_too_large", None, False),
            ("away", "redirected", 302, False),
        ):
            told = await refused(world, "github.odd", {"kind": kind})
            seen = told["code"], told["status"], told["retryable"]
            assert seen == (code, status, retryable)
            assert KEY not in json.dumps(told)
        assert told["message"].endswith("http://example.org, which is not followed")
        told = await refused(world, "github.odd", {"kind": "none"})
        assert told["details"] == {"why": "there is no such thing"}

    run(scenario, sources=service)


def test_what_hangs_is_given_up(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        told = await refused(world, "github.odd", {"kind": "hang"})
        assert (told["code"], told["retryable"]) == ("tool_timeout", True)
        assert await world.call("github.odd", {"kind": "text"}) == "café"

    run(scenario, sources=lambda s: [s.openapi(call_deadline=1.0)])


def test_a_key_is_used_and_never_seen(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        echoed = await world.call("github.odd", {"kind": "echo"})
        assert echoed == {"you sent": "Bearer [redacted]"}
        (seen,) = await world.call("query.issues.list", {"owner": "o"})
        assert seen["query"] == "key=[redacted]"
        await refused(world, "github.odd", {"kind": "busy"})
        texts = [
            json.dumps(await world.audit()),
            (world.folder / "log").read_text(),
            await world.tools.describe("default"),
        ]
        assert not any(KEY in text for text in texts)

    def both(services: Services) -> list[dict[str, Any]]:
        auth = {"type": "api_key", "value": KEY, "query": "key"}
        return [services.openapi(), services.openapi(name="query", auth=auth)]

    run(scenario, sources=both)


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("Authorization", KEY, "[redacted]"),
        ("Authorization", f"Bearer {KEY}", "[redacted]"),
        ("Authorization", "ghp_1aB2cD3eF4gH5iJ6kL7m", "[redacted]"),
        ("X-Version", "2022-11-28", None),
    ],
)
def test_what_is_written_in_headers_is_never_seen(
    run: Callable[..., None], name: str, value: str, seen: str | None
) -> None:
    async def scenario(world: World) -> None:
        echoed = await world.call("github.odd", {"kind": "echo"})
        assert echoed == {"you sent": seen}
        for text in (
            json.dumps(await world.audit()),
            (world.folder / "log").read_text(),
        ):
            assert value not in text

    headers = {name: value}
    run(scenario, sources=lambda s: [s.openapi(auth={"type": "none"}, headers=headers)])


def test_reads_are_allowed_and_writes_wait(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.call("github.issues.list", {"owner": "o"})
        given = {"owner": "o", "body": {"title": "t"}}
        with pytest.raises(ApprovalDeniedError) as caught:
            await world.call("github.issues.create", given)
        assert caught.value.code == "approval_expired"
        assert world.waits == [True, False]

    run(scenario, sources=lambda s: [s.openapi()], approval_timeout_seconds=0.2)


def test_sources_that_can_not_be(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        reasons = {}
        for source in await world.tools.sources.list("default"):
            await source.settled()
            reasons[source.name] = source.reason
            assert source.state == "failed"
            assert KEY not in source.reason
            told = await refused(world, f"{source.name}.anything")
            assert (told["code"], told["retryable"]) == ("source_unavailable", True)
        assert "answered 404" in reasons["missing"]
        assert "can't be read" in reasons["nofile"]
        assert "set base_url" in reasons["elsewhere"]
        assert "can't be reached" in reasons["refused"]
        assert "no OpenAPI 3 document" in reasons["old"]

    def bad(services: Services) -> list[dict[str, Any]]:
        return [
            services.openapi(name="missing", document=f"{services.url}/nothing"),
            services.openapi(name="nofile", document="/nowhere/at/all.json"),
            services.openapi(name="elsewhere", document=f"{services.url}/elsewhere"),
            services.openapi(name="refused", document="http://127.0.0.1:1/x"),
            services.openapi(name="old", document=f"{services.url}/old"),
        ]

    run(scenario, sources=bad)


def test_documents_in_yaml_and_from_files(
    run: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "issues.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))

    async def scenario(world: World) -> None:
        assert await world.call("github.odd", {"kind": "text"}) == "café"

    run(scenario, sources=lambda s: [s.openapi(document=str(path), base_url=s.url)])


def test_names_take_the_tag_only_if_they_must() -> None:
    paths = {
        "/a": {"get": {"operationId": "list", "tags": ["Alpha"]}},
        "/b": {"get": {"operationId": "list", "tags": ["Beta"]}},
        "/c": {"get": {"operationId": "getOne", "tags": ["Beta"]}},
        "/d/{id}": {"delete": {}},
        "/e": {"get": {"operationId": "repos/listAll"}},
        "/f": {"get": {"operationId": "get_one"}},
        "/g": {"get": {"operationId": "get-one"}},
    }
    document = {"openapi": "3.1.0", "paths": paths}
    names = [one.name for one in Document(json.dumps(document).encode()).operations()]
    assert names == [
        "alpha.list",
        "beta.list",
        "beta.get_one",
        "delete_d_id",
        "repos.list_all",
        "get_one",
        "get_one_2",
    ]


def test_our_own_document_is_a_source(run: Callable[..., None], client: Client) -> None:
    url = str(client.base_url).rstrip("/")

    async def scenario(world: World) -> None:
        tools = (await world.tools.sources.catalog("default")).tools
        assert len(tools) > 20
        run_code = {"body": {"code": "6 * 7", "language": "javascript"}}
        made = await world.call("isokernel.post_execute", run_code)
        assert made["items"][0]["text"] == "42"
        found = await world.call("discover", {"query": "run code in a context"})
        assert any("execute" in item["path"] for item in found["results"])
        assert await world.call("isokernel.getHealthz") == {"status": "ok"}

    own = {
        "type": "openapi",
        "name": "isokernel",
        "workspace": "default",
        "document": f"{url}/openapi.json",
        "writes": "allow",
    }
    run(scenario, sources=lambda _: [own])
