"""What is kept, and what goes: by age, count and bytes; and what was left half done."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.heaps import age, keep

from isoserver.contexts.records import ContextRecord
from isoserver.contexts.store import ContextStore
from isoserver.errors import HeapLimitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.heaps import Packed

    from isoserver.heaps.service import Heaps
    from isoserver.storage.database import Database

HOUR = 3600.0


def _row(heap: str) -> ContextRecord:
    fields = (0.0, 0.0, 1, None, heap, 1, 0.0)
    return ContextRecord("one", "id", "javascript", "/", "hibernated", "", *fields)


async def _left(heaps: Heaps, packed: list[Packed]) -> list[int]:
    return [
        number
        for number, one in enumerate(packed)
        if await heaps.exists("one", one.key)
    ]


def test_what_is_needed_stays(
    use: Callable[..., None], packed: list[Packed], database_url: str
) -> None:
    async def test(heaps: Heaps, database: Database) -> None:
        await keep(heaps, packed[0], session="s")
        await keep(heaps, packed[1], session="s")
        await keep(heaps, packed[2], tags={"a": "b"})
        await keep(heaps, packed[3])
        await ContextStore(database, 10, 10).write(_row(packed[3].key))
        await keep(heaps, packed[4])
        found = await heaps.collect()
        assert await _left(heaps, packed) == [1, 2, 3]
        assert (found.forgotten, len(heaps._store.files())) == (2, 3)
        assert len(await heaps.history("one", "s")) == 2
        await heaps.delete_tags("one", packed[2].key, None)
        await ContextStore(database, 10, 10).write(_row(packed[4].key))
        await heaps.collect()
        assert await _left(heaps, packed) == [1]

    use(test, database_url, heap_ttl_seconds=1e-6, heap_grace_seconds=0.0)


def test_the_oldest_go_when_there_are_too_many(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        for one in packed:
            await keep(heaps, one)
            await keep(heaps, one, "two")
        await heaps.delete("two", packed[0].key)
        await heaps.collect()
        assert await _left(heaps, packed) == [3, 4]
        assert len(await heaps.newest("two", {})) == 2

    use(test, workspace_heaps_max=2, heap_grace_seconds=0.0)


def test_the_oldest_go_when_they_are_too_large(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    limit = sum(len(one.data) for one in packed[2:]) + 1000

    async def test(heaps: Heaps, _database: Database) -> None:
        for one in packed:
            await keep(heaps, one)
        await heaps.collect()
        assert await _left(heaps, packed) == [2, 3, 4]
        await keep(heaps, packed[0], tags={"a": "b"})
        await keep(heaps, packed[1], tags={"a": "b"})
        await heaps.collect()
        assert await _left(heaps, packed) == [0, 1, 4]

    use(test, heaps_total_bytes_max=limit, heap_grace_seconds=0.0)


def test_a_store_full_of_what_is_needed_takes_no_more(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        await keep(heaps, packed[0], tags={"a": "b"})
        with pytest.raises(HeapLimitError):
            await heaps._retention.check_room("default")
        await heaps.delete("one", packed[0].key)
        await heaps._retention.check_room("default")

    use(test, heaps_total_bytes_max=1000, heap_grace_seconds=0.0)


def test_who_waits_for_room_has_it_made_though_it_was_measured_meanwhile(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        retention = heaps._retention
        await keep(heaps, packed[0])
        await retention._measure()
        async with retention._collecting:
            waiting = asyncio.ensure_future(retention.check_room("default"))
            await asyncio.sleep(0)  # it has begun to wait, as there is no room
            await retention._measure()
        await waiting
        assert await _left(heaps, packed) == []

    use(test, heaps_total_bytes_max=1000, heap_grace_seconds=0.0)


def test_what_is_held_was_used_now(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, database: Database) -> None:
        key = await keep(heaps, packed[0])
        await age(database)
        assert await heaps.hold("one", key)
        await heaps.collect()
        assert await _left(heaps, packed) == [0]
        assert not await heaps.hold("two", key)

    use(test, heap_grace_seconds=0.0)


def test_new_ones_stay_in_any_case(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        for one in packed:
            await keep(heaps, one)
        await heaps.collect()
        assert len(await _left(heaps, packed)) == len(packed)

    use(test, workspace_heaps_max=1, heap_ttl_seconds=1e-6, heap_grace_seconds=HOUR)


def test_what_nobody_owns_goes(
    use: Callable[..., None], packed: list[Packed], tmp_path: Path
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        await keep(heaps, packed[0])
        await keep(heaps, packed[1])
        store = heaps._store
        store.set_aside(packed[1].key)  # somebody who deleted it was killed
        store.write(packed[2].key, b"never owned")
        (tmp_path / "heaps" / f"{packed[3].key}.heap.0.part").write_bytes(b"half")
        (tmp_path / "heaps" / "foreign").touch()
        found = await heaps.collect()
        assert (found.forgotten, found.deleted) == (0, 0)  # they may be on their way
        long_ago = time.time() - 2 * HOUR
        for file in (tmp_path / "heaps").iterdir():
            os.utime(file, (long_ago, long_ago))
        found = await heaps.collect()
        assert (found.forgotten, found.deleted) == (0, 2)
        names = sorted(file.name for file in (tmp_path / "heaps").iterdir())
        owned = [f"{one.key}.heap" for one in packed[:2]]
        assert names == sorted([*owned, "foreign"])
        await heaps.load("one", packed[1].key)

    use(test, heap_grace_seconds=HOUR)
