"""All contexts of a server, while its database comes and goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from isoserver.contexts.context import State
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
    from pathlib import Path

SECONDS = 30.0


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

    async def run() -> None:
        await database.start()
        log = make_log("error")
        files = Files(settings, tmp_path / "files")
        heaps = Heaps(settings, database, tmp_path, files, log)
        await heaps.start(collect=False)
        contexts = Contexts(
            settings,
            Metrics(),
            database,
            heaps,
            files,
            tmp_path,
            TranscriptFiles(tmp_path / "transcripts", 1 << 20, log, durable=True),
            log,
        )
        await contexts.start()
        try:
            await until_deleted(contexts, "first")
            async with database.begin() as connection:
                await connection.run_sync(METADATA.create_all)
            await until_deleted(contexts, "second")
        finally:
            await contexts.close()
            await heaps.close()
            await database.close()

    database = Database(url_of(None, tmp_path))
    asyncio.run(asyncio.wait_for(run(), SECONDS))
