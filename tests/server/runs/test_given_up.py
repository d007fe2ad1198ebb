"""Orders that are given up before they were taken: none is left running for ever."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.runs.orders import ScriptOrder, TaskOrder

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

HERE = "here"
SECONDS = 30.0


async def _give_up(order: Coroutine[Any, Any, Any]) -> None:
    """Cancel an order when it has been asked for, and isn't written down yet."""
    asked = asyncio.ensure_future(order)
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert asked.cancelled()


def test_an_order_that_was_given_up_ends(tmp_path: Path) -> None:
    async def run() -> None:
        flags = ("--port", "0", "--data-dir", str(tmp_path), "--no-access-log")
        served = ("--languages", "typescript", "--default-language", "typescript")
        server = Server(load([*flags, *served]), io.StringIO())
        await server.open()
        try:
            for order in (
                ScriptOrder(HERE, "1", SECONDS, stateful=False),
                TaskOrder(HERE, "1", SECONDS),
            ):
                await _give_up(server.runs.submit(order))
                found = await server.runs.list(order.kind, HERE)
                while not found or not found[0].status.final:
                    found = await server.runs.list(order.kind, HERE)
                assert [one.status.value for one in found] == ["cancelled"]
        finally:
            await server.stop()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
