"""A context's clock: what is set, put off and stopped."""

from __future__ import annotations

import asyncio

from tests.support.waiting import DEADLINE

from isoserver.contexts.deadline import Alarm

SOON = 0.01
"""Seconds until what these tests set."""


class Bell:
    """Notes which alarms have rung."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self._heard = asyncio.Event()

    def ring(self, name: str) -> None:
        self.rung.append(name)
        self._heard.set()

    async def heard(self) -> list[str]:
        await asyncio.wait_for(self._heard.wait(), DEADLINE)
        return self.rung


def test_it_rings_once() -> None:
    async def run() -> None:
        alarm, bell = Alarm(), Bell()
        alarm.set(SOON, lambda: bell.ring("first"))
        assert await bell.heard() == ["first"]
        later = Bell()
        asyncio.get_running_loop().call_later(3 * SOON, later.ring, "later")
        await later.heard()
        assert bell.rung == ["first"]

    asyncio.run(run())


def test_only_what_was_set_last_is_called_be_it_sooner_or_later() -> None:
    async def run() -> None:
        for seconds in ((SOON, 3 * SOON), (DEADLINE, SOON)):
            alarm, bell = Alarm(), Bell()
            alarm.set(seconds[0], lambda bell=bell: bell.ring("first"))  # type: ignore[misc]
            alarm.set(seconds[1], lambda bell=bell: bell.ring("second"))  # type: ignore[misc]
            assert await bell.heard() == ["second"]

    asyncio.run(run())


def test_it_can_be_set_amid_its_ringing() -> None:
    async def run() -> None:
        alarm, bell = Alarm(), Bell()
        alarm.set(SOON, lambda: alarm.set(SOON, lambda: bell.ring("second")))
        assert await bell.heard() == ["second"]

    asyncio.run(run())


def test_what_is_stopped_does_not_ring_until_it_is_set_again() -> None:
    async def run() -> None:
        for end in (Alarm.stop, Alarm.close):
            alarm, bell, later = Alarm(), Bell(), Bell()
            alarm.set(SOON, lambda bell=bell: bell.ring("stopped"))  # type: ignore[misc]
            end(alarm)
            loop = asyncio.get_running_loop()
            loop.call_later(3 * SOON, later.ring, "later")
            await later.heard()
            assert bell.rung == []
            alarm.set(SOON, lambda bell=bell: bell.ring("again"))  # type: ignore[misc]
            assert await bell.heard() == ["again"]

    asyncio.run(run())
