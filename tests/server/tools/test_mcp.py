"""Tools of MCP servers, over each transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.server.tools.conftest import World, stdio

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_tool_answers(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert await world.call("up.add", {"a": 1, "b": 2}) == {"result": 3}

    run(scenario, sources=lambda _: [stdio()])
