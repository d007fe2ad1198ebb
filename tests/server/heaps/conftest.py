"""Heaps of real contexts, and stores and databases to keep them in."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.heaps import Packed
from tests.support.object_stores import ObjectStore
from tests.support.server import V8_FLAGS, Server

from isoserver.files.service import Files
from isoserver.heaps.service import Heaps
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgresql import PostgreSQL

HEAPS = 5


@pytest.fixture(scope="session")
def packed() -> list[Packed]:
    """Some heaps: the n-th has `n`, a number, and `next`, which gives n + 1."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(*V8_FLAGS, "--data-dir", folder)
        with connect(server) as client:
            keys = []
            for number in range(HEAPS):
                here = client.create()
                code = f"let n = {number}; const next = () => n + 1"
                client.run(code, context_id=here)
                answer = client.post(f"/contexts/{here}/checkpoint")
                assert answer.status_code == 200, answer.text
                keys.append(answer.json()["heap"])
        assert server.stop() == 0
        files = Path(folder) / "heaps"
        return [Packed(key, (files / f"{key}.heap").read_bytes()) for key in keys]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of one kind or the other."""
    if request.param == "sqlite":
        return url_of(None, tmp_path)
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return url_of(server.database(), tmp_path)


@pytest.fixture
def use(tmp_path: Path) -> Callable[..., None]:
    """Runs a test with heaps in a folder, or elsewhere, by settings of one's own."""

    def run(test: Any, url: str | None = None, **settings: Any) -> None:
        async def main() -> None:
            database = Database(url or url_of(None, tmp_path))
            await database.start()
            made = read_settings(**{"data_dir": tmp_path, **settings})
            heaps = Heaps(
                made,
                database,
                tmp_path,
                Files(made, tmp_path / "files"),
                make_log("error"),
            )
            await heaps.start(collect=False)
            try:
                await test(heaps, database)
            finally:
                await heaps.close()
                await database.close()

        asyncio.run(main())

    return run


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """A bucket of a server that speaks S3, and the variables that lead to it."""
    pytest.importorskip("moto.server")
    store = ObjectStore()
    try:
        store.wait()
        yield store.url, store.environment
    finally:
        store.stop()
