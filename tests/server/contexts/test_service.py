"""All contexts of a server: while its database comes and goes, and names anew."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from isoserver.capabilities.service import POLICIES, Capabilities
from isoserver.contexts import hibernation
from isoserver.contexts.context import State
from isoserver.contexts.engines import Engines
from isoserver.contexts.service import Contexts
from isoserver.contexts.store import CONTEXTS
from isoserver.contexts.transcript_files import TranscriptFiles
from isoserver.errors import (
    ContextDeadError,
    ContextExistsError,
    ContextMissingError,
)
from isoserver.files.service import Files
from isoserver.heaps.service import Heaps
from isoserver.http.metrics import Metrics
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import METADATA, Database, url_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from isoserver.contexts.context import Context, Key
    from isoserver.settings.server import ServerSettings

SECONDS = 30.0
LONG = 0.5
"""How long a save is put off, in the test of that."""


def test_old_contexts_are_deleted_also_after_an_outage(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "data_dir": tmp_path,
        "languages": ["javascript"],
        "default_language": "javascript",
        "context_ttl_seconds": 0.2,
        "sandbox": False,
    }
    settings = read_settings(**given)

    async def until_deleted(contexts: Contexts, name: str) -> None:
        language = contexts.languages.find("javascript")
        context = await contexts.create("default", language, context_id=name)
        if name == "first":
            saving = asyncio.ensure_future(contexts.checkpoint(context))
            while not saving.done():  # in use until it is written
                context.touch()
                await asyncio.sleep(0.01)
            await saving
            context.touch()
            async with database.begin() as connection:
                await connection.execute(text(f"DROP TABLE {CONTEXTS.name}"))
        while context.state is not State.DEAD:  # noqa: ASYNC110 - it ends by itself
            await asyncio.sleep(0.01)

    async def use(contexts: Contexts) -> None:
        await until_deleted(contexts, "first")
        async with database.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        await until_deleted(contexts, "second")

    database = Database(url_of(None, tmp_path))
    with_contexts(settings, tmp_path, database, use)


def test_saving_gives_way_to_waking_but_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody waits for a context that is woken, nobody for one that goes to sleep."""
    monkeypatch.setattr(hibernation, "_WAKE_SECONDS", (SECONDS, SECONDS))
    monkeypatch.setattr(hibernation, "_GIVE_WAY_SECONDS", LONG)
    settings = read_settings(
        data_dir=tmp_path,
        languages=["javascript"],
        default_language="javascript",
        sandbox=False,
    )

    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        context = await contexts.create("default", language)
        await contexts._hibernation._hibernate_all([context])
        assert context.state is State.HIBERNATED
        await context.names()  # which wakes it
        begin = time.monotonic()
        await contexts._hibernation._hibernate_all([context])
        assert context.state is State.HIBERNATED
        assert time.monotonic() - begin > LONG

    with_contexts(settings, tmp_path, Database(url_of(None, tmp_path)), use)


def test_a_server_that_others_take_over_from_ends_in_order(tmp_path: Path) -> None:
    """Also amid its saves: nothing is written from then on, and that is no error."""

    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        context = await contexts.create("default", language)
        hibernation = contexts._hibernation
        ending = asyncio.ensure_future(hibernation.stop(asyncio.Event()))
        await wait_until(lambda: context.key in hibernation._hibernating)
        contexts._store.abandon()
        await ending
        assert contexts._registry.is_live(context)

    with_contexts(plain(tmp_path), tmp_path, Database(url_of(None, tmp_path)), use)


async def wait_until(happened: Callable[[], bool]) -> None:
    """Give way until something has happened; the test's own deadline bounds it."""
    while not happened():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def plain(folder: Path, **given: Any) -> ServerSettings:
    """Return the settings of a server of JavaScript, without a sandbox."""
    one = {"languages": ["javascript"], "default_language": "javascript"}
    return read_settings(data_dir=folder, sandbox=False, **one, **given)


def test_a_name_is_had_anew_when_all_is_gone_that_was_left_under_it(
    tmp_path: Path,
) -> None:
    """Else the rows, files and the policy of the new context would go."""

    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        deleting, go_on = asyncio.Event(), asyncio.Event()

        async def gone(_key: Key) -> None:
            deleting.set()
            await go_on.wait()

        contexts.gone.append(gone)
        old = await contexts.session("default", "s", language)
        first = asyncio.ensure_future(contexts.delete("default", "s"))
        await deleting.wait()
        making = [
            asyncio.ensure_future(contexts.session("default", "s", language))
            for _ in range(2)
        ]
        again = asyncio.ensure_future(contexts.delete("default", "s"))
        await asyncio.sleep(0)  # by now it would be there
        with pytest.raises(ContextMissingError):
            contexts.get("default", "s")
        with pytest.raises(ContextExistsError):
            await contexts.create("default", language, context_id="s")
        go_on.set()
        await first
        await again
        new, same = await asyncio.gather(*making)
        assert new is same is contexts.get("default", "s")
        assert new.state is not State.DEAD
        # Nor does who still has the old one put it in its place.
        with pytest.raises(ContextDeadError):
            await contexts.restart(old)
        assert new is contexts.get("default", "s")

    with_contexts(plain(tmp_path), tmp_path, Database(url_of(None, tmp_path)), use)


def test_what_is_deleted_while_it_is_made_has_no_process(tmp_path: Path) -> None:
    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        heap = await contexts.checkpoint(await contexts.create("default", language))
        made = asyncio.ensure_future(
            contexts.create("default", language, context_id="s", heap=heap)
        )
        context = await until_there(contexts, "s")
        await contexts.delete("default", "s")
        with pytest.raises(ContextDeadError):
            await made
        assert context.state is State.DEAD
        assert contexts.count_live() == 1

    with_contexts(plain(tmp_path), tmp_path, Database(url_of(None, tmp_path)), use)


async def until_there(contexts: Contexts, name: str) -> Context:
    while True:
        with suppress(ContextMissingError):
            return contexts.get("default", name)
        await asyncio.sleep(0)


def test_the_policy_of_a_context_that_nobody_used_goes_with_it(tmp_path: Path) -> None:
    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        context = await contexts.session("default", "s", language)
        calls = contexts._calls
        assert calls is not None
        await calls.set(context.key, {"net": "off"})
        await contexts._hibernation._hibernate_all([context])
        while contexts._registry.has(context.key):
            await contexts._hibernation.sweep()
        assert not calls.given((await contexts.session("default", "s", language)).key)

    settings = plain(tmp_path, hibernated_context_ttl_seconds=0.1)
    with_contexts(settings, tmp_path, Database(url_of(None, tmp_path)), use)


def test_of_forks_that_can_not_all_be_kept_none_is_left(tmp_path: Path) -> None:
    """Whoever asked for them doesn't know how those are called that were made."""
    database = Database(url_of(None, tmp_path))

    async def use(contexts: Contexts) -> None:
        language = contexts.languages.find("javascript")
        context = await contexts.create("default", language, policy={"net": "off"})
        async with database.begin() as connection:  # the second fork's
            await connection.execute(text(_NO_MORE))
        with pytest.raises(IntegrityError):
            await contexts.forks(context, 3)
        assert contexts.in_workspace("default") == [context]
        async with database.connect() as connection:
            for table in (CONTEXTS, POLICIES):
                kept = await connection.execute(select(table.c.id))
                assert set(kept.scalars()) <= {context.id}
        assert list(calls_of(contexts)) == [context.key]

    with_contexts(plain(tmp_path), tmp_path, database, use)


_NO_MORE = """
    CREATE TRIGGER no_more BEFORE INSERT ON context_policies
    WHEN (SELECT count(*) FROM context_policies) = 2
    BEGIN SELECT RAISE(ABORT, 'full'); END
"""


def calls_of(contexts: Contexts) -> dict[Key, dict[str, Any]]:
    calls = contexts._calls
    assert isinstance(calls, Capabilities)
    return calls._given


def with_contexts(
    settings: ServerSettings,
    folder: Path,
    database: Database,
    use: Callable[[Contexts], Awaitable[None]],
    *,
    durable: bool = True,
) -> None:
    """Run something with the contexts of a server that has started."""

    async def run() -> None:
        await database.start()
        log = make_log("error")
        files = Files(settings, folder / "files")
        heaps = Heaps(settings, database, folder, files, log)
        await heaps.start(collect=False)
        calls = Capabilities(settings, {}, log, database=database)
        contexts = Contexts(
            settings,
            Metrics(),
            database,
            heaps,
            files,
            Engines(settings, files, folder, (), None, log),
            TranscriptFiles(folder / "transcripts", 1 << 20, log, durable=durable),
            log,
            calls=calls,
        )
        await contexts.start()
        try:
            await use(contexts)
        finally:
            await contexts.close(0)
            await heaps.close()
            await database.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
