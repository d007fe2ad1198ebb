"""Contexts whose code can make calls, which the runtime keeps for its own modules."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import zstandard
from tests.support.local_contexts import LocalContext

from isokernel.capabilities import Answer, Asked, CapabilityError

if TYPE_CHECKING:
    from pathlib import Path

    from isokernel.capabilities import Call, Providers
    from isokernel.context import Context

_DEFINE = "(call, callNow) => { Object.assign(globalThis, { call, callNow }) }"


def expose(context: Context) -> None:
    """Define `call` and `callNow` as globals."""
    bridge = context.bridge
    names = ("call", "callNow")
    functions = [bridge.export_of("capabilities", name) for name in names]
    isolate = bridge.isolate
    isolate.call(isolate.run_script(_DEFINE, "test:expose"), *functions)


@functools.cache
def heap_with_calls() -> bytes:
    """A heap whose code has `call` and `callNow`."""
    session = LocalContext()
    try:
        expose(session.context)
        return session.context.heaps.save().to_bytes()
    finally:
        session.context.close()


def write_heap_with_calls(folder: Path) -> None:
    """Put it where `Jupyter.restore("calls")` finds it."""
    data = zstandard.ZstdCompressor().compress(heap_with_calls())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calls.heap").write_bytes(data)


class SmallProvider:
    """Answers `small.…`; what it holds are gates, which open when they are told to.

    Attributes:
        waiting: How many calls wait at a gate now.
        calls: How many there were.
        closed: The ids of contexts that it has closed.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.calls = 0
        self.closed: list[str] = []
        self._gates: dict[tuple[str, str], asyncio.Event] = {}

    async def call(self, call: Call) -> Answer:
        self.calls += 1
        action = getattr(self, f"_{call.name.partition('.')[2]}", None)
        if action is None:
            message = f"there is no {call.name}"
            raise CapabilityError(message, code="no_such_call")
        made: Answer = await action(call)
        return made

    async def close(self, context_id: str) -> None:
        self.closed.append(context_id)

    async def _echo(self, call: Call) -> Answer:
        return Answer(call.arguments, call.data)

    async def _zeros(self, call: Call) -> Answer:
        return Answer(None, bytes(call.arguments["size"]))

    async def _text(self, call: Call) -> Answer:
        return Answer("x" * call.arguments["size"])

    async def _missing(self, call: Call) -> Answer:
        message = f"no such file: {call.arguments['path']}"
        raise CapabilityError(message, code="ENOENT", errno=-2, syscall="open")

    async def _divide(self, call: Call) -> Answer:
        return Answer(1 / call.arguments["by"])

    async def _ask(self, call: Call) -> Answer:
        await call.grant.decide(Asked(**call.arguments))
        return Answer("done")

    async def _secrets(self, call: Call) -> Answer:
        facts = {"scheme": "https", "port": 443, **call.arguments}
        found = call.grant.secrets(Asked("net", "", facts))
        return Answer({name: len(value) for name, value in found.items()})

    async def _wait(self, call: Call) -> Answer:
        self.waiting += 1
        try:
            await self._gate(call).wait()
        finally:
            self.waiting -= 1
        return Answer("open")

    async def _open(self, call: Call) -> Answer:
        self._gate(call).set()
        return Answer(self.waiting)

    async def _waiting(self, _call: Call) -> Answer:
        return Answer(self.waiting)

    def _gate(self, call: Call) -> asyncio.Event:
        key = call.grant.context_id, call.arguments["gate"]
        return self._gates.setdefault(key, asyncio.Event())


SMALL: Providers = {"small": SmallProvider}
