"""Fronts and readers of contexts that sleep: what they keep in memory, and what not."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING
from weakref import ref

import pytest
from tests.server.contexts.test_service import plain, wait_until, with_contexts

from isoserver.contexts.context import State
from isoserver.jupyter import fronts as fronts_module
from isoserver.jupyter.fronts import Front, Fronts
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from pathlib import Path

    from isoserver.contexts.context import Context
    from isoserver.contexts.service import Contexts
    from isoserver.contexts.transcript import Entry
    from isoserver.jupyter.frames import FrontMessage

PRINTS = "for (let i = 0; i < 500; i++) console.log(String(i).padEnd(1000)); 1"


class Listener:
    """A socket whose client reads at once, and says so."""

    has_room = True

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.front: Front | None = None

    def connect(self, front: Front) -> None:
        self.front = front
        front.connect(self)

    def leave(self) -> None:
        assert self.front is not None
        self.front.disconnect(self)

    def deliver(self, message: FrontMessage) -> None:
        self.numbers.append(int(message.header["msg_id"].rpartition("_")[2]))

    def probe(self, mark: bytes) -> None:
        assert self.front is not None
        asyncio.get_running_loop().call_soon(self.front.arrived, mark)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        raise AssertionError(code, reason)


async def made(contexts: Contexts, name: str) -> Context:
    """A context that has said much."""
    language = contexts.languages.find("javascript")
    context = await contexts.session("default", name, language)
    await context.execute(PRINTS, 10.0).done
    return context


async def sleep(contexts: Contexts, context: Context) -> None:
    await contexts._hibernation._hibernate_all([context])
    assert context.state is State.HIBERNATED


def all_of(context: Context) -> list[Entry]:
    """All that a context has said."""
    found: list[Entry] = []
    while page := context.transcript.after(len(found), 1000):
        found += page
    return found


def in_memory(context: Context) -> tuple[int, int]:
    """How many messages and causes a context has in memory."""
    return len(context.transcript._kept), len(context.transcript._causes)


@pytest.mark.parametrize("durable", [True, False])
def test_who_is_attached_hears_all_of_a_context_that_sleeps(
    tmp_path: Path, *, durable: bool
) -> None:
    """Though little of it is in memory then."""

    async def use(contexts: Contexts) -> None:
        context = await made(contexts, "one")
        fronts = Fronts(read_settings())
        listener = Listener()
        reader = fronts.join(context, "", context.transcript.last)
        listener.connect(fronts.attach(context, "a", ""))
        before = all_of(context)
        await sleep(contexts, context)
        assert in_memory(context) == (0, 0)
        assert all_of(context) == before
        assert await reader.read(10, 0.01) == []
        waiting = asyncio.ensure_future(reader.read(10, 10.0))
        await context.execute("2", 10.0).done
        found = await waiting
        assert [each.kind for each in found][:2] == ["status", "status"]
        last = context.transcript.last
        await wait_until(lambda: listener.numbers[-1:] == [last])
        assert listener.numbers == list(range(len(before) + 1, last + 1))

    settings = plain(tmp_path)
    database = Database(url_of(None, tmp_path))
    with_contexts(settings, tmp_path, database, use, durable=durable)


def test_nobody_who_has_left_keeps_a_context_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts_module, "_AWAY_IN_ALL_MAX", 0)
    fronts = Fronts(read_settings(fronts_max=2))
    key = "default", "one"

    async def use(contexts: Contexts) -> None:
        listener = Listener()
        context = await made(contexts, "one")
        held, places = ref(context), context.transcript.places
        reader = fronts.join(context, "", 0)
        listener.connect(fronts.attach(context, "a", ""))
        await wait_until(lambda: places.get("a", 0) > 0)
        listener.leave()
        said = all_of(context)
        await sleep(contexts, context)
        fronts.leave(reader)
        # It may come back: only others that come make it one too many.
        assert fronts.readers(context) == []
        (away,) = fronts.of(context)
        assert away is listener.front
        other = await made(contexts, "other")
        others = [Listener(), Listener()]
        for each, name in zip(others, "bc", strict=True):
            each.connect(fronts.attach(other, name, ""))
        assert fronts.of(context) == []
        assert context.transcript.ends == []
        assert list(fronts._attached) == [other]
        others[0].leave()
        listener.front = None
        del context, reader, away
        gc.collect()
        assert held() is None
        assert contexts._registry.recalled(key) is None
        again = contexts.get(*key)
        assert all_of(again) == said
        front = fronts.attach(again, "a", "")
        assert front.number == len(said)

    database = Database(url_of(None, tmp_path))
    with_contexts(plain(tmp_path), tmp_path, database, use)


def test_readers_that_come_and_go(tmp_path: Path) -> None:
    async def use(contexts: Contexts) -> None:
        context = await made(contexts, "one")
        fronts = Fronts(read_settings())
        first, second = (fronts.join(context, "", 0) for _ in range(2))
        fronts.leave(first)
        assert fronts.readers(context) == [second]
        fronts.leave(second)
        assert (fronts._attached, context.transcript.ends) == ({}, [])
        third = fronts.join(context, "", 0)
        context.transcript.end("it is over")
        assert third.end == "it is over"
        fronts.leave(third)
        assert fronts._attached == {}
        assert context.transcript.listeners == []

    database = Database(url_of(None, tmp_path))
    with_contexts(plain(tmp_path), tmp_path, database, use)
