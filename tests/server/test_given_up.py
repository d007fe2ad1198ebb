"""Orders that are given up before they were taken: none is left running for ever."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.contexts.languages import TYPESCRIPT
from isoserver.executions.orders import Order
from isoserver.executions.records import Status
from isoserver.tasks.records import TaskOrder

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
            await _give_up(
                server.executions.submit(
                    Order(
                        workspace=HERE,
                        code="1",
                        session=None,
                        heap=None,
                        heap_memory_max=None,
                        seconds=SECONDS,
                        tags={},
                        stateful=False,
                        language=TYPESCRIPT,
                        drain=False,
                    )
                )
            )
            executions = await server.executions.list(HERE)
            while not executions or executions[0].status is Status.RUNNING:
                executions = await server.executions.list(HERE)
            assert [one.status.value for one in executions] == ["cancelled"]

            await _give_up(
                server.tasks.start(TaskOrder(workspace=HERE, code="1", seconds=SECONDS))
            )
            tasks = await server.tasks.list(HERE)
            while not tasks or not tasks[0].status.terminal:
                tasks = await server.tasks.list(HERE)
            assert [one.status.value for one in tasks] == ["cancelled"]
        finally:
            await server.stop()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
