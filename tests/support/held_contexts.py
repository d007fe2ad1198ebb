"""Contexts whose calls are answered, as a notebook's kernel answers them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.local_contexts import LocalContext
from tests.support.waiting import DEADLINE

from isokernel.capabilities import Grant, Holder
from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.packages.provider import ModuleProvider
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from concurrent.futures import Future

    from isokernel.capabilities import Answered, Asked, Providers
    from isokernel.context.events import Event

T = TypeVar("T")

__all__ = ["Desk", "HeldContext", "open_desk"]


class Desk:
    """A loop in a thread, and the providers on it.

    Attributes:
        grant: What all contexts have, in which everything is allowed.
        defects: What failed that should not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, providers: Providers) -> None:
        self._loop = loop
        self.defects: list[Exception] = []
        self.asked: list[Asked] = []
        self._holder = Holder(
            providers, lambda _name, error: self.defects.append(error)
        )
        self.grant = Grant("test", self._allow)

    async def _allow(self, asked: Asked) -> None:
        self.asked.append(asked)

    async def end(self) -> None:
        for provider in self._holder._providers.values():
            if isinstance(provider, ModuleProvider):
                await provider.end()

    def provider(self, name: str) -> Any:
        """What answers the calls of one name; some must have been made."""
        return self._holder._providers[name]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    def submit(self, call: CapabilityCall) -> Future[Answered]:
        answer = self._holder.answer(call.name, call.arguments, call.data, self.grant)
        return asyncio.run_coroutine_threadsafe(answer, self._loop)


@contextlib.contextmanager
def open_desk(providers: Providers) -> Iterator[Desk]:
    """A desk, for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="isok-desk", daemon=True)
    thread.start()
    desk = Desk(loop, providers)
    try:
        yield desk
    finally:
        asyncio.run_coroutine_threadsafe(desk.end(), loop).result(DEADLINE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class HeldContext(LocalContext):
    """A context whose calls go to a desk."""

    def __init__(self, desk: Desk, seconds: float = DEADLINE, **options: Any) -> None:
        self._desk = desk
        self._seconds = seconds
        self._answers: deque[tuple[int, CallAnswer]] = deque()
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[0], False)
        super().__init__(ContextSettings(), call_now=self._call_now, **options)
        self.events = _Sink(self.events, self._begin)
        self.context.bridge.host.sink = self.events.append

    def close(self) -> None:
        self.context.close()
        for descriptor in self._pipe:
            os.close(descriptor)

    def _begin(self, call: CapabilityCall) -> None:
        def answered(future: Future[Answered]) -> None:
            self._answers.append((call.call_id, CallAnswer(*future.result())))
            os.write(self._pipe[1], b"x")

        self._desk.submit(call).add_done_callback(answered)

    def _call_now(self, call: CapabilityCall) -> CallAnswer:
        return CallAnswer(*self._desk.submit(call).result(self._seconds))

    def wait(self, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        end = time.monotonic() + max(seconds, self._seconds)
        while not until():
            left = end - time.monotonic()
            assert left > 0, "it did not happen in time"
            wait = self.context.wait_time()
            wait = left if wait is None else min(wait, left)
            select.select([self.context.wakeup, self._pipe[0]], [], [], wait)
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)
            while self._answers:
                self.context.settle_call(*self._answers.popleft())
            self.context.step()


class _Sink(list[Any]):
    """Events, without calls."""

    def __init__(
        self, events: list[Event], call: Callable[[CapabilityCall], None]
    ) -> None:
        super().__init__(events)
        self._call = call

    def append(self, event: Event) -> None:
        if isinstance(event, CapabilityCall):
            self._call(event)
        else:
            super().append(event)
