"""All contexts of a server, while its database comes and goes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from isoserver.contexts import hibernation
from isoserver.contexts.context import State
from isoserver.contexts.engines import Engines
from isoserver.contexts.service import Contexts
from isoserver.contexts.store import CONTEXTS
from isoserver.contexts.transcript_files import TranscriptFiles
from isoserver.files.service import Files
from isoserver.heaps.service import Heaps
from isoserver.http.metrics import Metrics
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import METADATA, Database, url_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

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


def with_contexts(
    settings: ServerSettings,
    folder: Path,
    database: Database,
    use: Callable[[Contexts], Awaitable[None]],
) -> None:
    """Run something with the contexts of a server that has started."""

    async def run() -> None:
        await database.start()
        log = make_log("error")
        files = Files(settings, folder / "files")
        heaps = Heaps(settings, database, folder, files, log)
        await heaps.start(collect=False)
        contexts = Contexts(
            settings,
            Metrics(),
            database,
            heaps,
            files,
            Engines(settings, files, folder, (), None, log),
            TranscriptFiles(folder / "transcripts", 1 << 20, log, durable=True),
            log,
        )
        await contexts.start()
        try:
            await use(contexts)
        finally:
            await contexts.close(0)
            await heaps.close()
            await database.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
