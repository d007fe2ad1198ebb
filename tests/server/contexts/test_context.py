"""A context's queue and life, where two things happen to it at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import cast

import pytest
from tests.support.contexts import SECONDS, context_of, with_fork_server

from isokernel.forkserver import ForkServer
from isoserver.contexts.context import Context, ContextOwner, State
from isoserver.contexts.forkserver import AsyncForkServer
from isoserver.errors import ContextDeadError

FOREVER = "await new Promise(() => {})"


def _fork_server() -> AsyncForkServer:
    return AsyncForkServer(ForkServer())


class Observed(ForkServer):
    """Notes the threads that wait for it to start."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def launch(self) -> None:
        if not self.alive:
            self.threads.append(threading.get_ident())
        super().launch()


def test_the_loop_goes_on_while_a_dead_fork_server_is_replaced() -> None:
    """Else a server among several could lose its lease by that."""
    server = Observed()

    async def scenario(fork_server: AsyncForkServer) -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        while server.alive:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        contexts = [context_of(fork_server) for _ in range(2)]
        await asyncio.gather(*(context.start() for context in contexts))
        for context in contexts:
            assert context.state is State.IDLE
            await context.close()
        assert len(server.threads) == 2
        assert threading.get_ident() not in server.threads

    with_fork_server(lambda: AsyncForkServer(server), scenario)


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


class Keeper:
    """Keeps contexts in two steps: all but the first wait until they may be saved."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_save, self.may_end = asyncio.Event(), asyncio.Event()

    async def keep(self, context: Context) -> None:
        self.asked += 1
        if self.asked > 1:
            await self.may_save.wait()
        await context.save()
        await self.may_end.wait()


def test_nothing_begins_before_what_has_ended_is_saved() -> None:
    # While the heap of the first one is being stored, the second one runs.
    async def scenario(fork_server: AsyncForkServer) -> None:
        keeper = Keeper()
        owner = cast("ContextOwner", keeper)  # of which nothing else is asked
        context = context_of(fork_server, owner=owner, checkpoint_timeout_seconds=20)
        await context.start()
        first, second, third = (context.execute("1", SECONDS) for _ in range(3))
        while keeper.asked < 2:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        keeper.may_end.set()
        await first.done
        assert third.began is None
        keeper.may_save.set()
        await third.done
        assert second.failure is None
        await context.close()

    with_fork_server(_fork_server, scenario)
