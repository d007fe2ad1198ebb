"""Heaps as a service: owned by workspaces, tagged, in sessions, over both databases."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.heaps import SIZE_MAX, VALUES, age, keep, no_content
from tests.support.waiting import DEADLINE, wait_for

from isokernel.timeouts import timeout
from isokernel.v8.snapshot import Snapshot
from isoserver.errors import (
    HeapDamagedError,
    HeapMissingError,
    HeapStoreError,
    HeapUnsavableError,
    InvalidRequestError,
)
from isoserver.files.manifest import FileEntry, Manifest
from isoserver.heaps import store
from isoserver.heaps.content import join, pack, unpack
from isoserver.heaps.records import HeapOrigin
from isoserver.heaps.service import Heaps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.heaps import Packed

    from isoserver.storage.database import Database

NO_ANSWER = "it did not answer"
BODY = b"of a file"
DIGEST = hashlib.sha256(BODY).hexdigest()


def test_a_heap_is_of_its_workspaces(
    use: Callable[..., None], packed: list[Packed], database_url: str
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        key = await keep(heaps, packed[0])
        assert key == packed[0].key
        assert await heaps.load("one", key) == unpack(packed[0].data, SIZE_MAX)
        assert await heaps.exists("one", key)
        assert not await heaps.exists("two", key)
        for call in (heaps.load, heaps.get, heaps.export_file, heaps.delete):
            with pytest.raises(HeapMissingError):
                await call("two", key)
        with pytest.raises(HeapMissingError):
            await heaps.set_tags("two", key, {"a": "b"})
        with pytest.raises(HeapMissingError):
            await heaps.delete_tags("two", key, None)
        assert await heaps.newest("two", {}) == []
        # Another workspace may own the same one, and give it up.
        await heaps.set_tags("one", key, {"a": "1"})
        assert await keep(heaps, packed[0], "two", tags={"a": "2"}) == key
        assert (await heaps.get("one", key)).tags == {"a": "1"}
        assert await heaps.tagged("two", {"a": "1"}) == []
        await heaps.delete("one", key)
        with pytest.raises(HeapMissingError):
            await heaps.load("one", key)
        await heaps.load("two", key)
        await heaps.delete("two", key)
        with pytest.raises(HeapMissingError):
            await heaps.load("two", key)
        assert heaps._store.files() == []

    use(test, database_url)


def test_a_damaged_file_is_told_to_nobody_but_its_owner(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    """A file is read beside the look-up of its row, which alone decides."""

    async def test(heaps: Heaps, _database: Database) -> None:
        key = await keep(heaps, packed[0])
        heaps._store.write(key, b"damaged")
        with pytest.raises(HeapDamagedError):
            await heaps.open("one", key)
        for call in (heaps.open, heaps.load, heaps.export_file):
            with pytest.raises(HeapMissingError):
                await call("two", key)

    use(test)


def test_a_heap_that_is_opened_is_a_file_in_memory_and_was_used(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    async def test(heaps: Heaps, database: Database) -> None:
        key = await keep(heaps, packed[0])
        await age(database)
        loaded = await heaps.open("one", key)
        descriptor = loaded.file.descriptor
        size = os.fstat(descriptor).st_size
        assert os.pread(descriptor, size, 0) == unpack(packed[0].data, SIZE_MAX)
        held = weakref.ref(loaded.file)
        del loaded
        # The loop holds what this task has waited for until it waits again, and the
        # thread that has made it perhaps a moment longer.
        await asyncio.sleep(0)
        wait_for(lambda: held() is None)
        await heaps.close()  # nobody has waited for what it writes
        assert (await heaps.get("one", key)).last_used > 1.0

    use(test)


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "0" * 64, "a\0b"])
def test_what_is_no_heap_is_missing(use: Callable[..., None], key: str) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        assert not await heaps.exists("one", key)
        for call in (heaps.load, heaps.get, heaps.export_file, heaps.delete):
            with pytest.raises(HeapMissingError):
                await call("one", key)

    use(test)


def test_tags(
    use: Callable[..., None], packed: list[Packed], database_url: str
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        keys = [await keep(heaps, one) for one in packed[:3]]
        await heaps.set_tags("one", keys[0], {"env": "prod", "v": "1"})
        await heaps.set_tags("one", keys[1], {"env": "prod", "v": "2"})
        found = await heaps.tagged("one", {"env": "prod"})
        assert [key for key, _ in found] == sorted(keys[:2])
        assert await heaps.tagged("one", {"env": "prod", "v": "2"}) == [
            (keys[1], {"env": "prod", "v": "2"})
        ]
        assert await heaps.tagged("one", {"env": "PROD"}) == []
        # Without pairs: all that have a tag. Heaps without tags are in no answer.
        assert len(await heaps.tagged("one", {})) == 2
        assert (await heaps.get("one", keys[2])).tags == {}
        await heaps.set_tags("one", keys[0], {"only": "this"})
        assert (await heaps.get("one", keys[0])).tags == {"only": "this"}
        await heaps.delete_tags("one", keys[1], ["v", "nothing"])
        assert (await heaps.get("one", keys[1])).tags == {"env": "prod"}
        await heaps.delete_tags("one", keys[1], None)
        assert (await heaps.get("one", keys[1])).tags == {}
        with pytest.raises(HeapMissingError):
            await heaps.set_tags("one", "0" * 64, {"a": "b"})
        for wrong in ({"": "a"}, {"a": "b\0"}, {"n" * 257: ""}, {"a": "v" * 4097}):
            with pytest.raises(InvalidRequestError):
                await heaps.set_tags("one", keys[0], wrong)
        newest = await heaps.newest("one", {"only": "this"})
        assert [heap.key for heap in newest] == [keys[0]]
        assert [h.key for h in await heaps.newest("one", {})] == keys[::-1]

    use(test, database_url)


def test_sessions(
    use: Callable[..., None], packed: list[Packed], database_url: str
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        codes = ["let a = 1", "a\0 'ü'", "a"]
        previous = None
        for number, code in enumerate(codes):
            previous = await keep(
                heaps, packed[number], session="s", input_heap=previous, code=code
            )
        await keep(heaps, packed[3], session="other", code="x")
        await keep(heaps, packed[3], "two", session="theirs", code="x")
        assert await heaps.sessions("one") == ["other", "s"]
        steps = await heaps.history("one", "s")
        assert [step.index for step in steps] == [0, 1, 2]
        assert [step.code for step in steps] == codes
        assert [step.output_heap for step in steps] == [p.key for p in packed[:3]]
        assert [step.input_heap for step in steps] == [
            None,
            packed[0].key,
            packed[1].key,
        ]
        assert await heaps.history("one", "theirs") == []
        assert await heaps.history("two", "s") == []

    use(test, database_url)


def test_a_history_is_bounded(use: Callable[..., None], packed: list[Packed]) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        for number in range(5):
            await keep(heaps, packed[number % 2], session="s", code=str(number))
        steps = await heaps.history("one", "s")
        assert [(step.index, step.code) for step in steps] == [
            (2, "2"),
            (3, "3"),
            (4, "4"),
        ]

    use(test, session_entries_max=3)


def test_a_lost_file_is_an_error(
    use: Callable[..., None], packed: list[Packed], tmp_path: Path
) -> None:
    async def test(heaps: Heaps, _database: Database) -> None:
        key = await keep(heaps, packed[0])
        (tmp_path / "heaps" / f"{key}.heap").unlink()
        with pytest.raises(HeapDamagedError, match="not in the store"):
            await heaps.load("one", key)

    use(test)


class Crowd:
    """Those who save, load and delete two heaps at random."""

    def __init__(self, heaps: Heaps, packed: list[Packed]) -> None:
        self.heaps = heaps
        self.packed = packed[:2]
        self.owners = ["one", "two", "three"]
        self.loaded = 0
        self.random = random.Random(2)  # noqa: S311 -- no secret

    async def save(self, owner: str, one: Packed) -> None:
        await keep(self.heaps, one, owner)

    async def load(self, owner: str, one: Packed) -> None:
        with suppress(HeapMissingError):
            await self.heaps.load(owner, one.key)
            self.loaded += 1

    async def delete(self, owner: str, one: Packed) -> None:
        with suppress(HeapMissingError):
            await self.heaps.delete(owner, one.key)

    async def collect(self, _owner: str, _one: Packed) -> None:
        await self.heaps.collect()

    async def do(self, *calls: Any) -> None:
        choose = self.random.choice
        for _ in range(60):
            await choose(calls)(choose(self.owners), choose(self.packed))

    async def owned(self) -> set[str]:
        """Load all that anybody owns; the keys."""
        keys = set()
        for owner in self.owners:
            for heap in await self.heaps.newest(owner, {}):
                await self.heaps.load(owner, heap.key)
                keys.add(heap.key)
        return keys


@pytest.mark.slow
def test_saving_loading_and_deleting_at_once(
    use: Callable[..., None], packed: list[Packed]
) -> None:
    """A heap that a workspace owns can always be loaded, whatever others do."""

    async def test(heaps: Heaps, _database: Database) -> None:
        crowd = Crowd(heaps, packed)
        work = [
            crowd.do(crowd.save, crowd.save, crowd.load, crowd.delete) for _ in range(4)
        ]
        await asyncio.gather(*work, crowd.do(crowd.collect))
        assert crowd.loaded
        owned = await crowd.owned()
        await heaps.collect()
        stored = heaps._store.files()
        assert {(one.key, one.state) for one in stored} == {
            (key, "whole") for key in owned
        }

    use(test, heap_grace_seconds=0.0, heap_compression_level=-7)


def test_what_cannot_be_deleted_yet_fails_nothing(
    use: Callable[..., None], packed: list[Packed], tmp_path: Path
) -> None:
    """Whoever has no use for a heap has saved another one by now."""
    data = unpack(packed[0].data, SIZE_MAX)
    automatic = {**VALUES, "automatic": True}

    async def test(heaps: Heaps, _: Database) -> None:
        key = await heaps._add(data, HeapOrigin("one"), automatic, no_content)
        heaps._store.give_up()
        await heaps.release("one", key)
        assert not await heaps.exists("one", key)
        assert (tmp_path / "heaps" / f"{key}.heap").exists()  # to be collected

    use(test)


@pytest.mark.parametrize(
    ("which", "contents"),
    [("_store", {DIGEST: BODY}), ("_contents", {DIGEST: BODY}), ("_contents", {})],
    ids=["heap", "content", "content that only the store has"],
)
def test_what_was_to_be_deleted_before_it_was_owned_stays(
    use: Callable[..., None],
    packed: list[Packed],
    tmp_path: Path,
    which: str,
    contents: dict[str, bytes],
) -> None:
    """One server decides to delete a file, and is stopped; another comes to own it."""
    manifest = Manifest((FileEntry("a", 0o644, 0, len(BODY), DIGEST),))
    data = join(unpack(packed[0].data, SIZE_MAX), manifest, {})

    async def test(heaps: Heaps, database: Database) -> None:
        own = heaps._settings, database, tmp_path, heaps._files, heaps._log
        other = Heaps(*own)
        loop, going_on = asyncio.get_running_loop(), threading.Event()
        written, decided = asyncio.Event(), asyncio.Event()
        slow, add = getattr(heaps, which), other._tables.add
        delete = slow.delete_aside

        def delete_late(key: str) -> None:
            loop.call_soon_threadsafe(decided.set)
            assert going_on.wait(DEADLINE)
            delete(key)

        async def add_late(*values: Any, **options: Any) -> None:
            written.set()
            await decided.wait()
            await add(*values, **options)

        slow.delete_aside = delete_late
        other._tables.add = add_late  # type: ignore[method-assign]
        if not contents:
            other._contents.write(DIGEST, pack(BODY, 3))
        async with timeout(DEADLINE):
            try:
                origin = HeapOrigin("two")
                saving = other._add(data, origin, VALUES, contents.__getitem__)
                saved = asyncio.ensure_future(saving)
                await written.wait()
                collecting = asyncio.ensure_future(heaps.collect())
                key = await saved
            finally:
                going_on.set()
            await collecting
            assert bytes(await other.load("two", key))
            assert other._content(DIGEST) == BODY
            await heaps.collect()
        found = {(one.key, one.state) for one in other._store.files()}
        assert found == {(key, "whole"), (DIGEST, "whole")}
        await other.close()

    use(test, heap_grace_seconds=0.0)


def test_a_heap_is_not_described_otherwise(
    use: Callable[..., None], packed: list[Packed], tmp_path: Path
) -> None:
    one = packed[0]
    true = unpack(one.data, SIZE_MAX)
    heap = Snapshot.from_bytes(true)
    distance = heap.references[0]
    assert isinstance(distance, int)
    moved = (distance + 16, *heap.references[1:])
    forged = Snapshot(heap.blob, moved, heap.operations, heap.scripts)
    assert forged.key == one.key

    async def test(heaps: Heaps, _: Database) -> None:
        assert await heaps.import_file("victim", one.data) == one.key
        with pytest.raises(HeapUnsavableError, match="another header"):
            await heaps.import_file("thief", pack(forged.to_bytes(), 3))
        with pytest.raises(HeapMissingError):
            await heaps.get("thief", one.key)
        assert await heaps.load("victim", one.key) == true
        # What is the same is owned by both, however hard it was compressed.
        assert await heaps.import_file("friend", pack(true, 1)) == one.key
        # And what is damaged is mended by whoever has it whole.
        (tmp_path / "heaps" / f"{one.key}.heap").write_bytes(b"damaged")
        assert await heaps.import_file("friend", one.data) == one.key
        assert await heaps.load("victim", one.key) == true

    use(test)


def test_a_silent_store_holds_up_nothing_else(
    use: Callable[..., None], packed: list[Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SILENT_SECONDS", 0.0)

    async def scenario(heaps: Heaps, _database: Database) -> None:
        heap, given_up = packed[0], threading.Event()
        await heaps.import_file("default", heap.data)

        def ask() -> None:
            given_up.wait()
            raise HeapStoreError(NO_ANSWER)

        asking = [asyncio.ensure_future(heaps._threads.run(ask)) for _ in range(40)]
        waiting = [
            asyncio.ensure_future(call("default", heap.key))
            for call in (heaps.load, heaps.export_file)
        ]
        try:
            async with timeout(DEADLINE):
                while len(heaps._threads._asked) < len(asking + waiting):
                    await asyncio.to_thread(str)
        finally:
            given_up.set()
        told = await asyncio.gather(*asking, *waiting, return_exceptions=True)
        assert {type(one) for one in told} == {HeapStoreError}
        assert {str(one) for one in told} == {NO_ANSWER, store._SILENT}
        assert await heaps.load("default", heap.key)

    use(scenario)


def test_what_waits_for_a_slow_store_has_its_turn(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes, and if it isn't what one of them wants."""
    monkeypatch.setattr(store, "_SILENT_SECONDS", 0.0)

    async def scenario(heaps: Heaps, _database: Database) -> None:
        answered = threading.Event()

        def ask(number: int) -> int:
            answered.wait()
            if number == 0:
                raise FileNotFoundError
            return number

        asking = [asyncio.ensure_future(heaps._threads.run(ask, n)) for n in range(96)]
        await asyncio.to_thread(str)
        answered.set()
        told = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(told[0], FileNotFoundError)
        assert told[1:] == list(range(1, 96))

    use(scenario)
