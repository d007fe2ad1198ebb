"""A context's queue and life, where two things happen to it at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.contexts import SECONDS, context_of, with_fork_server

from isokernel.forkserver import ForkServer
from isoserver.contexts.context import State
from isoserver.contexts.forkserver import AsyncForkServer
from isoserver.errors import ContextDeadError

FOREVER = "await new Promise(() => {})"


def _fork_server() -> AsyncForkServer:
    return AsyncForkServer(ForkServer())


@pytest.mark.parametrize("act", ["save", "fork"])
def test_what_was_given_up_while_it_waited_is_not_begun(act: str) -> None:
    # Its descriptors are closed by then, and their numbers may be others'.
    async def scenario(fork_server: AsyncForkServer) -> None:
        context = context_of(fork_server, context_query_timeout_seconds=600.0)
        await context.start()
        context.execute(FOREVER, SECONDS)
        call = context.save() if act == "save" else context.fork_into(context)
        asked = asyncio.ensure_future(call)
        while not context.waiting:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        context.interrupt()
        execution = context.execute("1 + 1", SECONDS)
        await execution.done
        assert execution.failure is None
        await context.close()

    with_fork_server(_fork_server, scenario)


def test_a_context_deleted_while_it_restarts_stays_dead() -> None:
    async def scenario(fork_server: AsyncForkServer) -> None:
        context = context_of(fork_server)
        await context.start()
        restarting = asyncio.ensure_future(context.restart())
        while context.process.pid:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        await context.close()
        await asyncio.wait([restarting])
        assert context.state is State.DEAD
        assert context.process.pid == 0
        with pytest.raises(ContextDeadError):
            context.execute("1", SECONDS)

    with_fork_server(_fork_server, scenario)
