"""execute whose code calls an OpenAPI service and a GraphQL endpoint."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp_types import ElicitRequestParams, ElicitResult
from tests.support.agents import connect_agent, execute
from tests.support.services import KEY, Services
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server

pytestmark = pytest.mark.anyio

CODE = """
const made = await tools.github.issues.create({ owner: "ada", body: { title: "It" } });
const [listed] = await tools.github.issues.list({ owner: "ada", labels: ["a", "b"] });
const ada = await tools.people.query.person({ id: "1" });
const renamed = await tools.people.mutation.rename(
  { id: "1", change: { name: "Eve" }, _select: "name" });
const whole = await tools.people.graphql({ query: "{ version }" });
const failed: Record<string, unknown> = {};
for (const kind of ["missing", "busy", "big"]) {
  try {
    await tools.github.odd({ kind });
  } catch (error) {
    const { code, status, retryable, details } = error as ToolError;
    failed[kind] = [code, status, retryable, details];
  }
}
return { made, listed, ada, renamed, whole, failed };
"""


def _toml(source: dict[str, Any]) -> str:
    def value(given: Any) -> str:
        if not isinstance(given, dict):
            return json.dumps(given)
        inside = ", ".join(f"{name} = {value(part)}" for name, part in given.items())
        return f"{{ {inside} }}"

    lines = [f"{name} = {value(given)}" for name, given in source.items()]
    return "\n".join(["[[sources]]", *lines, ""])


@pytest.mark.parametrize("typecheck", [False, True], ids=["as it is", "checked"])
async def test_code_calls_services(
    servers: Callable[..., Server], tmp_path: Path, *, typecheck: bool
) -> None:
    asked: list[str] = []

    async def answer(_context: Any, question: ElicitRequestParams) -> ElicitResult:
        asked.append(question.message)
        return ElicitResult(action="accept", content={"decision": "approve"})

    services = Services(asyncio.get_running_loop().create_future)
    config = tmp_path / "isokernel.toml"
    text = _toml(services.openapi()) + _toml(services.graphql())
    await anyio.Path(config).write_text(text)
    try:
        with anyio.fail_after(2 * DEADLINE):
            server = await anyio.to_thread.run_sync(servers, "--config", str(config))
            async with connect_agent(server.url, elicitation_callback=answer) as agent:
                done = await execute(agent, CODE, typecheck=typecheck)
            # The services are in this loop: nobody calls them once it is gone.
            await anyio.to_thread.run_sync(server.stop)
    finally:
        await services.close()
    assert done["status"] == "completed", done
    result = done["result"]
    assert json.loads(result["made"]["body"]) == {"title": "It"}
    assert result["made"]["owner"] == result["listed"]["owner"] == "ada"
    assert result["listed"]["query"] == "labels=a&labels=b"
    assert result["ada"]["name"] == "Ada"
    assert result["renamed"] == {"name": "Eve"}
    assert result["whole"]["data"] == {"version": "1"}
    failed = result["failed"]
    assert failed["missing"][:3] == ["http_error", 404, False]
    assert failed["busy"][:3] == ["http_error", 503, True]
    assert failed["big"][0] == "response_too_large"
    # Reads were not asked about; the key went to the service, and to nobody else.
    assert [text.split("\n")[0] for text in asked] == [
        "Code wants to call github.issues.create.",
        "Code wants to call people.mutation.rename.",
    ]
    assert result["made"]["headers"]["Authorization"] == "Bearer [redacted]"
    assert KEY not in json.dumps(done)
    assert KEY not in server.said
