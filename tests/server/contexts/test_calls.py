"""The calls of contexts on the server: answered, bounded, and ended with them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.contexts.test_hostile import Taken
from tests.support.capabilities import SmallProvider, heap_with_calls
from tests.support.contexts import context_of, with_fork_server

from isokernel.capabilities import Answer
from isokernel.forkserver import ForkServer, MemoryFile
from isokernel.protocol.frames import encode
from isoserver.capabilities.service import Capabilities
from isoserver.contexts.context import State
from isoserver.contexts.forkserver import AsyncForkServer
from isoserver.contexts.records import Checkpoint, LoadedHeap
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isokernel.protocol.frames import Frame
    from isoserver.contexts.context import Context

SECONDS = 30.0
BROKEN = "its code broke the rules of calls to the server"


class World:
    """Contexts whose calls a small provider answers."""

    def __init__(self, fork_server: AsyncForkServer, **given: Any) -> None:
        self.provider = SmallProvider()
        self.holder = Capabilities(
            read_settings(**given),
            {"small": lambda: self.provider},
            make_log("error", None),
        )
        self._given = given
        self._fork_server = fork_server

    async def start(self) -> Context:
        """A context whose code can make calls."""
        context = context_of(self._fork_server, calls=self.holder, **self._given)
        checkpoint = Checkpoint("0" * 64, 0, 0)
        file = MemoryFile(heap_with_calls())
        await context.start(LoadedHeap(checkpoint, "javascript", file))
        return context

    async def wait_for(self, until: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not until():
            assert time.monotonic() < end, "it did not happen in time"
            await asyncio.sleep(0.01)


async def value(context: Context, code: str, seconds: float = SECONDS) -> str:
    """The text of a cell's result, or its error."""
    execution = context.execute(code, seconds)
    await execution.done
    if execution.failure is not None:
        return execution.failure.name
    shown = [i for i in execution.outputs.items if i["output_type"] == "execute_result"]
    return str(shown[0]["data"]["text/plain"])


def run(scenario: Callable[[World], Awaitable[None]], **given: Any) -> None:
    async def with_world(fork_server: AsyncForkServer) -> None:
        await scenario(World(fork_server, **given))

    with_fork_server(lambda: AsyncForkServer(ForkServer()), with_world)


def test_both_forms_have_their_answers() -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        ask = "('small.echo', {a: 1}, Uint8Array.of(1, 2))"
        for form in (f"await call{ask}", f"callNow{ask}"):
            shown = await value(context, f"r = {form}; [r.value, r.data.byteLength]")
            assert shown == "[ { a: 1 }, 2 ]"
        failing = "callNow('small.missing', {path: 'x'})"
        code = f"try {{ {failing} }} catch (e) {{ [e.code, e.errno] }}"
        assert await value(context, code) == "[ 'ENOENT', -2 ]"
        denied = "callNow('small.ask', {capability: 'net', target: 'https://x/'})"
        assert await value(context, denied) == "CapabilityDeniedError"
        await context.close()
        assert world.provider.closed == ["default/c/1"]

    run(scenario)


def test_sixteen_megabytes_go_both_ways() -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        size = (16 << 20) - 2
        for form in ("await call", "callNow"):
            code = (
                f"({form}('small.echo', {{}}, new Uint8Array({size}))).data.byteLength"
            )
            assert await value(context, code) == str(size)
        await context.close()

    run(scenario)


def test_many_calls_at_once_all_have_answers() -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        code = """
        const all = Array.from({length: 1000}, (_, i) => call('small.echo', {i}));
        (await Promise.all(all)).every((r, i) => r.value.i === i)"""
        assert await value(context, code) == "true"
        await context.close()

    run(scenario, capability_calls_max=5)


def test_an_interrupt_and_the_deadline_end_the_call_too() -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        wait = "callNow('small.wait', {gate: 'g'})"
        assert await value(context, wait, 0.3) == "TimeoutError"
        await world.wait_for(lambda: not world.provider.waiting)
        execution = context.execute(wait, SECONDS)
        await world.wait_for(lambda: world.provider.waiting == 1)
        context.interrupt()
        await execution.done
        await world.wait_for(lambda: not world.provider.waiting)
        assert await value(context, "6 * 7") == "42"
        await context.close()

    run(scenario)


@pytest.mark.parametrize("why", ["interrupt", "timeout"])
def test_a_stopped_execution_leaves_no_calls(why: str) -> None:
    """Neither those that it awaits nor others; those of others and of timers go on."""

    async def scenario(world: World) -> None:
        context = await world.start()
        code = "call('small.wait', {gate: 'a'}).then(() => console.log('other')); 0"
        await value(context, code)
        late = "setTimeout(() => call('small.wait', {gate: 'b'}), 0); 0"
        await value(context, late)
        await world.wait_for(lambda: world.provider.waiting == 2)
        for _ in range(3):  # as many as may be, over and over: places become free
            execution = context.execute(
                "const wait = () => call('small.wait', {gate: 'c'});"
                "await Promise.all(Array.from({length: 100}, wait))",
                0.5 if why == "timeout" else SECONDS,
            )
            if why == "interrupt":
                await world.wait_for(lambda: world.provider.waiting == 64)
                context.interrupt()
            await execution.done
            assert execution.failure is not None
            await world.wait_for(lambda: world.provider.waiting == 2)
        assert context.state is State.IDLE
        assert await value(context, "(await call('small.echo', {b: 1})).value.b") == "1"
        execution = context.execute(
            "callNow('small.open', {gate: 'a'}); callNow('small.open', {gate: 'b'}); 0",
            SECONDS,
        )
        await execution.done
        await world.wait_for(lambda: not world.provider.waiting)
        await context.close()

    run(scenario)


@pytest.mark.parametrize("end", ["close", "restart", "kill"])
def test_calls_end_with_the_process(end: str) -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        await value(
            context, "for (let i = 0; i < 9; i++) call('small.wait', {gate: 'g'}); 0"
        )
        await world.wait_for(lambda: world.provider.waiting == 9)
        if end == "kill":
            context.process.kill()
            await world.wait_for(lambda: context.state is State.DEAD)
        else:
            await getattr(context, end)()
        await world.wait_for(lambda: not world.provider.waiting)
        await world.wait_for(lambda: world.provider.closed == ["default/c/1"])
        await context.close()

    run(scenario)


def test_a_fork_has_calls_of_its_own() -> None:
    async def scenario(world: World) -> None:
        context = await world.start()
        await value(context, "p = call('small.wait', {gate: 'g'}); p.catch(() => 0); 0")
        await world.wait_for(lambda: world.provider.waiting == 1)
        fork = context_of(world._fork_server, calls=world.holder)
        await context.fork_into(fork)
        assert await value(fork, "await p") == "Error"
        assert await value(fork, "callNow('small.echo', {a: 2}).value") == "{ a: 2 }"
        await fork.close()
        assert world.provider.waiting == 1
        opened = "callNow('small.open', {gate: 'g'}); (await p).value"
        assert await value(context, opened) == "'open'"
        await context.close()

    run(scenario)


def test_a_context_without_a_holder_is_ended() -> None:
    async def scenario(world: World) -> None:
        world.holder = None  # type: ignore[assignment]
        context = await world.start()
        execution = context.execute("call('small.echo')", SECONDS)
        await execution.done  # before the call is read, or by the end that it is
        await world.wait_for(lambda: context.state is State.DEAD)
        assert BROKEN in context.reason
        await context.close()

    run(scenario)


# -- contexts that their code has taken over ----------------------------------------


def call(**changed: Any) -> bytes:
    buffers = changed.pop("buffers", [])
    content = {
        "call_id": 1,
        "name": "small.wait",
        "arguments": '{"gate":"g"}',
        **changed,
    }
    return encode("capability_call", content, parent=1, buffers=buffers)


def broken() -> list[bytes]:
    """What the runtime never says."""
    return [
        call(call_id="1"),
        call(call_id=True),
        call(name=7),
        call(name="x" * 65),
        call(arguments=None),
        call(arguments={"gate": "g"}),
        call(buffers=[b"1", b"2"]),
        call() + call(),
        call(arguments="x" * (33 << 20)),
        call(buffers=[bytes(33 << 20)]),
        b"".join(call(call_id=i) for i in range(100)),
        # Right one by one, as many as the process can send.
        b"".join(call(call_id=i) for i in range(100_000)),
    ]


def test_what_the_runtime_never_says_ends_the_context() -> None:
    saying = b""

    def answer(_frame: Frame) -> list[bytes]:
        return [saying]

    async def scenario(fork_server: Taken) -> None:
        nonlocal saying
        for said in broken():
            saying = said
            world = World(fork_server)
            context = context_of(fork_server, calls=world.holder)
            await context.start()
            execution = context.execute("1", SECONDS)
            await execution.done
            assert execution.failure is not None
            assert BROKEN in execution.failure.value
            await context.close()
            assert world.provider.waiting == 0
            assert world.provider.calls <= 66

    with_fork_server(lambda: Taken(answer), scenario)


def test_a_context_that_reads_no_answers_gets_only_so_many() -> None:
    size = 8 << 20

    class Large(SmallProvider):
        async def call(self, call: Any) -> Answer:
            await super().call(call._replace(name="small.echo"))
            return Answer(None, os.urandom(16) + bytes(size - 16))

    calls = b"".join(call(call_id=i) for i in range(60))

    async def scenario(fork_server: Taken) -> None:
        fork_server.reads.clear()
        world = World(fork_server)
        world.provider = Large()
        context = context_of(fork_server, calls=world.holder)
        await context.start()
        context.execute("1", SECONDS)
        await world.wait_for(lambda: world.provider.calls == 60)
        await asyncio.sleep(0)
        most = 0

        def settled() -> bool:
            nonlocal most
            most = max(most, context.process.unsent_bytes)
            return not context.calls._tasks

        await world.wait_for(settled)
        assert size <= most <= (64 << 20) + 60 * 300
        fork_server.reads.set()
        await context.close()

    with_fork_server(lambda: Taken(lambda _frame: [calls]), scenario)
