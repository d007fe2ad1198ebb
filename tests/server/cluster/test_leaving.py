"""A context leaves its server only as it was saved."""

from __future__ import annotations

import asyncio
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from isokernel.timeouts import timeout
from isoserver.app import Server
from isoserver.contexts.context import State
from isoserver.errors import MovingError
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL

SECONDS = 60.0


def test_what_has_changed_once_it_was_saved_keeps_a_context_here(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """A file that is put into its folder then would go with the folder."""
    settings = read_settings(
        cluster=True,
        cluster_secret="0123456789" * 3,
        database_url=postgresql.database(),
        heap_store=str(tmp_path / "heaps"),
        data_dir=tmp_path / "data",
        port=0,
        languages=["javascript"],
        default_language="javascript",
        sandbox=False,
    )

    async def scenario() -> None:
        server = Server(settings, StringIO())
        await server.start()
        try:
            contexts = server.contexts
            ownership = contexts.ownership
            assert ownership is not None
            context = await contexts.create("default")
            leaving = asyncio.ensure_future(ownership.leave(context.key))
            while context.state is not State.HIBERNATED:  # noqa: ASYNC110 - some turns
                await asyncio.sleep(0)
            contexts.check_here(context)
            assert not await leaving
            assert contexts.get("default", context.id) is context
            assert await ownership.leave(context.key)
            with pytest.raises(MovingError):  # for who had found it before
                contexts.get("default", context.id)
            with pytest.raises(MovingError):
                contexts.check_here(context)
        finally:
            await server.stop()

    async def in_time() -> None:
        async with timeout(SECONDS):
            await scenario()

    asyncio.run(in_time())
