"""Odd results: whatever a value is, each client of the server gets a valid answer."""

from __future__ import annotations

import random
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from tests.support.agents import HANDSHAKE, MODERN, Way, connect_agent, said
from tests.support.odd_values import (
    UNKNOWN,
    OddValue,
    check_data,
    check_text,
    in_javascript,
    odd_values,
    read_json,
)
from tests.support.waiting import DEADLINE, wait_for

from isoserver.contexts.models import ExecutionModel, StreamEvent
from isoserver.runs.models import ExecutionInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client
    from tests.support.server import Server

TURNS: Final = 10
MANY: Final = 250
AS_RUN_EVERY: Final = 10
"""Of values over MCP, one of so many is also the result of `run_js`."""
RUNS_TOGETHER: Final = 16
"""Most of the time of one that is alone goes into asking whether it has ended."""
FRESH_AFTER: Final = 50
"""Values after which there is a new context: `Out` keeps the large ones."""
WAYS: Final = (
    Way("http", MODERN),
    # Its answers are events, as those of the next.
    pytest.param(Way("http", HANDSHAKE), marks=pytest.mark.slow),
    Way("sse", HANDSHAKE),
    Way("stdio", HANDSHAKE),
)


def _values(turns: int) -> Iterator[OddValue]:
    # The seed is a new one in each run, and printed by pytest-randomly.
    return odd_values(random.Random(random.getrandbits(32)), turns)  # noqa: S311


def _contexts(client: Client, values: Iterator[OddValue]) -> Iterator[tuple[str, Any]]:
    context = ""
    for turn, value in enumerate(values):
        if turn % FRESH_AFTER == 0:
            client.clean()
            context = client.create("javascript")
        yield context, value


def _check_item(value: OddValue, items: list[dict[str, Any]]) -> None:
    if not items:  # undefined
        assert value.data is UNKNOWN, value
        return
    item = items[-1]
    assert item["is_primary"], (value, items)
    assert any(item.get(name) for name in ("text", "html", "extra")), (value, item)
    data = value.data
    if isinstance(data, (list, dict)):
        # A value that is itself no plain data has its text alone.
        if "json" in item or value.is_plain:
            assert in_javascript(item["json"]) == in_javascript(data), (value, item)
            told = "json_note" in item
            assert value.is_plain in (None, not told), (value, item)
        else:
            assert "json_note" not in item, (value, item)


def _execute(client: Client, turns: int) -> None:
    for context, value in _contexts(client, _values(turns)):
        body = {"code": value.code, "context_id": context}
        answer = client.post("/execute", json=body)
        assert answer.status_code == 200, (value, answer.text)
        result = read_json(answer.content)
        ExecutionModel.model_validate(result)
        assert result["error"] is None or value.may_fail, (value, result["error"])
        if result["error"] is None:
            _check_item(value, result["items"])


def _stream(client: Client, turns: int) -> None:
    for context, value in _contexts(client, _values(turns)):
        body = {"code": value.code, "context_id": context}
        answer = client.post("/execute/async", json=body)
        events = [
            read_json(line.removeprefix(b"data: "))
            for line in answer.content.split(b"\n")
            if line.startswith(b"data: ")
        ]
        for event in events:
            StreamEvent.model_validate(event)
        assert events[-1]["code"] == 0 or value.may_fail, (value, events)
        if events[-1]["code"] == 0:
            _check_item(value, events[-1].get("items", []))


def _runs(client: Client, turns: int) -> None:
    values = _values(turns)
    while together := list(islice(values, RUNS_TOGETHER)):
        paths = [_order(client, value) for value in together]
        for value, path in zip(together, paths, strict=True):
            shown = wait_for(partial(_ended, client, path))
            ExecutionInfo.model_validate(shown)
            assert shown["status"] == "completed" or value.may_fail, (value, shown)
            if shown["status"] == "completed":
                _check_run(value, shown)


def _order(client: Client, value: OddValue) -> str:
    order = {"code": value.code, "execution_timeout_secs": 300}  # many run at once
    answer = client.post("/api/exec", json=order)
    assert answer.status_code == 202, (value, answer.text)
    return f"/api/executions/{answer.json()['execution_id']}"


def _ended(client: Client, path: str) -> Any:
    shown = read_json(client.get(path).content)
    return None if shown["status"] == "running" else shown


def _check_run(value: OddValue, shown: dict[str, Any]) -> None:
    text = shown["result"]
    if "cut" in (shown["result_note"] or ""):
        return
    data = None if text is None else read_json(text)
    check_data(value, data, shown["result_note"], shown["result_text"])


FRONTS: Final = {"execute": _execute, "stream": _stream, "runs": _runs}


@pytest.mark.parametrize("front", FRONTS)
def test_odd_results_are_valid_answers(client: Client, front: str) -> None:
    FRONTS[front](client, TURNS)


@pytest.mark.slow
@pytest.mark.race
@pytest.mark.parametrize("front", FRONTS)
def test_many_odd_results_are_valid_answers(
    client: Client, times: int, front: str
) -> None:
    FRONTS[front](client, MANY * times)


# -- over MCP, with the SDK's client, which checks what it gets by the tool's schema --


async def _agents(url: str, way: Way, turns: int, flags: tuple[str, ...]) -> None:
    async with connect_agent(url, way, flags=flags) as agent:
        for turn, value in enumerate(_values(turns)):
            await _as_task(agent, value)
            if turn % AS_RUN_EVERY == 0:
                await _as_run(agent, value)


async def _as_task(agent: Any, value: OddValue) -> None:
    result = await agent.call_tool("execute", {"code": f"return {value.code}"})
    check_text(result.model_dump(mode="json", by_alias=True))
    task = result.structured_content
    assert task is not None, (value, said(result))
    assert f"status: {task['status']}" in said(result)
    if task["status"] != "completed":  # a promise or a getter `then` that is the value
        assert value.data is UNKNOWN, (value, task)
        return
    note, text = task.get("resultNote"), task.get("resultText")
    if "cut" not in (note or ""):
        check_data(value, task["result"], note, text)


async def _as_run(agent: Any, value: OddValue) -> None:
    submitted = await agent.call_tool("run_js", {"code": value.code})
    arguments = submitted.structured_content
    status = "running"
    with anyio.fail_after(DEADLINE):
        while status == "running":
            result = await agent.call_tool("get_execution", arguments)
            check_text(result.model_dump(mode="json", by_alias=True))
            shown = result.structured_content
            status = shown["status"]
    assert status == "completed" or value.may_fail, (value, shown)
    if status == "completed":
        _check_run(value, shown)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


FLAGS: Final = ("--languages", "javascript,typescript")
UNHURRIED: Final = ("--execute-rate-per-minute", "0")


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_odd_results_are_valid_over_mcp(server: Server, way: Way) -> None:
    await _agents(server.url, way, TURNS // 2, FLAGS)


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.race
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_many_odd_results_are_valid_over_mcp(
    servers: Callable[..., Server], times: int, way: Way
) -> None:
    url = "" if way.transport == "stdio" else servers(*FLAGS, *UNHURRIED).url
    await _agents(url, way, MANY * times, (*FLAGS, *UNHURRIED))
