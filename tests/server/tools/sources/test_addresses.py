"""Where sources may be, and what they may be asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.tools import remote, serve_upstream

from isoserver.errors import ToolError
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.settings.tools import OpenapiSettings, read_source
from isoserver.tools.sources.base import SourceLimits
from isoserver.tools.sources.openapi import Openapi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.services import Services
    from tests.support.tools import World


def test_added_sources_are_at_public_addresses(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        sources, services = world.tools.sources, world.services
        port = services.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{port}"
            made: list[dict[str, Any]] = [
                services.openapi(name="own", document=f"{url}/openapi.json"),
                services.graphql(name="own", url=f"{url}/graphql"),
                remote(f"{url}/mcp", name="own"),
                remote(f"{url}/sse", name="own"),
            ]
            for fields in made:
                source = await sources.add(read_source(fields), "eve")
                assert source.state == "failed", fields
                assert "(or sources_private)" in source.reason, fields
                await sources.delete("default", "own", "eve")
        # No request has come, but of those that the file has.
        assert {seen.partition("?")[0] for seen in services.seen} <= {"/openapi.json"}
        assert (await sources.get("default", "github")).state == "ready"

    run(scenario, sources=lambda services: [services.openapi()])


def test_calls_are_held_back_as_well(run: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "service.json"

    async def scenario(world: World) -> None:
        file.write_text(json.dumps(SERVICE))
        services = world.services
        # The document is a file, which only the configuration may name.
        configuration = read_source(
            services.openapi(document=str(file), base_url=services.url)
        )
        settings = read_settings()
        assert isinstance(configuration, OpenapiSettings)
        limits = SourceLimits.of(settings, configuration, private=False)
        source = Openapi(configuration, limits, make_log("debug"))
        source.start()
        await source.settled()
        assert source.state == "ready", source.reason
        (tool,) = (tool for tool in source.tools if tool.path == "github.get")
        with pytest.raises(ToolError, match=r"\(or sources_private\)") as caught:
            await source.call(tool, {"a": "x", "b": "y"})
        assert caught.value.code == "address_refused"
        await source.close()

    run(scenario)


def test_they_may_be_anywhere_if_the_server_says_so(run: Callable[..., None]) -> None:
    with serve_upstream("http") as url:

        async def scenario(world: World) -> None:
            for fields in (
                remote(url),
                world.services.openapi(),
                world.services.graphql(),
            ):
                source = await world.tools.sources.add(read_source(fields), "eve")
                assert source.state == "ready", source.reason

        run(scenario, sources_private=True)


SERVICE: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "paths": {
        path: {
            "get": {
                "operationId": name,
                "parameters": [
                    {
                        "name": field,
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                    for field in fields
                ],
                "responses": {"200": {"description": "fine"}},
            }
        }
        for path, name, fields in (
            ("/repos/{a}{b}/issues", "get", "ab"),
            ("/repos/.{a}/issues", "dotted", "a"),
            ("/repos/%2e{a}/issues", "coded", "a"),
        )
    },
}


def test_values_make_no_dots_together(run: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    file.write_text(json.dumps(SERVICE))

    def sources(services: Services) -> list[dict[str, Any]]:
        return [services.openapi(document=str(file), base_url=services.url)]

    async def scenario(world: World) -> None:
        for path, given in (
            ("get", {"a": ".", "b": "."}),
            ("dotted", {"a": "."}),
            ("coded", {"a": "."}),
        ):
            with pytest.raises(ToolError) as caught:
                await world.call(f"github.{path}", given)
            assert caught.value.code == "invalid_arguments", path
        for a, b in (("x.", ".y"), (".", "y"), ("..", "y")):
            (seen,) = await world.call("github.get", {"a": a, "b": b})
            assert seen["path"] == f"/repos/{a}{b}/issues"

    run(scenario, sources=sources)
