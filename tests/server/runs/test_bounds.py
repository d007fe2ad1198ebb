"""How much is kept: of one execution's output, and of all executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import RUN_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client

SQLITE_ONLY = pytest.mark.parametrize("database_flags", ["sqlite"], indirect=True)
NOTICE = "[output cut after 1000 bytes; raise --output-bytes-max to see more]"


@pytest.fixture
def bounded(
    servers: Callable[..., Server], database_flags: Callable[[], tuple[str, ...]]
) -> Callable[..., Any]:
    """Starts servers with bounds."""
    return lambda *flags: servers(*RUN_FLAGS, "--stateless", *database_flags(), *flags)


def _all(api: Client, execution_id: str) -> str:
    page = api.output(execution_id, byte_offset=0, byte_limit=1 << 20)
    assert not page["has_more"]
    text: str = page["data"]
    return text


@SQLITE_ONLY
def test_output_is_cut_at_its_bound(bounded: Callable[..., Any]) -> None:
    with connect(bounded("--output-bytes-max", "1000")) as api:
        info = api.done("for (let i = 0; i < 300; i++) console.log('12345678é')")
        assert info["status"] == "completed"
        text = _all(api, info["execution_id"])
        kept, notice = text[: -len(NOTICE) - 1], text[-len(NOTICE) - 1 :]
        assert notice == f"{NOTICE}\n"
        # Within the bound no character is lost, and the notice is a line of its own.
        assert kept == "12345678é\n" * 90 + "12345678é\n"
        assert len(kept.encode()) <= 1001
        info = api.done(
            "process.stdout.write('é'.repeat(700)); process.stdout.write('é')"
        )
        assert _all(api, info["execution_id"]) == f"{'é' * 500}\n{NOTICE}\n"
        exact = api.done("process.stdout.write('x'.repeat(1000))")
        assert _all(api, exact["execution_id"]) == "x" * 1000


def _gone(api: Client, ids: list[str]) -> None:
    """Wait until executions and their output are gone."""
    paths = [f"/api/executions/{one}" for one in ids]
    paths += [f"{path}/output" for path in paths]
    wait_for(lambda: all(api.get(path).status_code == 404 for path in paths))


def _listed(api: Client) -> list[str]:
    listed = api.get("/api/executions").json()["executions"]
    return [one["execution_id"] for one in listed]


@SQLITE_ONLY
def test_old_ones_are_forgotten(bounded: Callable[..., Any]) -> None:
    with connect(bounded("--execution-ttl-seconds", "1")) as api:
        running = api.submit("while (true) {}")
        _gone(api, [api.done("console.log(1)")["execution_id"]])
        assert _listed(api) == [running]
        api.cancel(running)


def test_the_oldest_are_forgotten_when_there_are_too_many(
    bounded: Callable[..., Any],
) -> None:
    with connect(bounded("--executions-kept-max", "3")) as api:
        ids = [api.done(f"console.log({n})")["execution_id"] for n in range(6)]
        _gone(api, ids[:3])
        assert _listed(api) == ids[:2:-1]
        assert [_all(api, one) for one in ids[3:]] == ["3\n", "4\n", "5\n"]


def test_the_oldest_are_forgotten_when_they_take_too_much(
    bounded: Callable[..., Any],
) -> None:
    flags = ("--executions-total-bytes-max", "100000", "--execution-ttl-seconds", "8")
    with connect(bounded(*flags)) as api:
        code = "console.log('x'.repeat(30000))"
        ids = [api.done(code)["execution_id"] for _ in range(5)]
        _gone(api, ids[:2])
        assert _listed(api) == ids[:1:-1]
