"""One process of several that use the heaps of one database and one store at random.

Called with JSON as its only argument; prints what it has done, also as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support.heaps import SIZE_MAX, VALUES, no_content

from isoserver.errors import HeapMissingError
from isoserver.files.service import Files
from isoserver.heaps.content import unpack
from isoserver.heaps.records import HeapOrigin
from isoserver.heaps.service import Heaps
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database

OWNERS: Final = ("one", "two", "three")
LANES: Final = 3
WHAT: Final = ("keep", "keep", "load", "load", "delete", "evict")


class Crowd:
    """Those who use heaps, and what they did."""

    def __init__(self, heaps: Heaps, files: list[str], seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._heaps = heaps
        self._known = [
            (Path(file).stem, unpack(Path(file).read_bytes(), SIZE_MAX))
            for file in files
        ]
        self._random = random.Random(seed)  # noqa: S311 -- no secret

    async def lane(self, turns: int) -> None:
        """Do one thing after the other."""
        for _ in range(turns):
            await self._turn()

    async def _turn(self) -> None:
        owner = self._random.choice(OWNERS)
        key, data = self._random.choice(self._known)
        what = self._random.choice(WHAT)
        with suppress(HeapMissingError):
            if what == "keep":
                origin = HeapOrigin(owner)
                assert await self._heaps._add(data, origin, VALUES, no_content) == key
            elif what == "load":
                await self._heaps.load(owner, key)
            elif what == "delete":
                await self._heaps.delete(owner, key)
            else:
                await self._heaps.collect()
            self.done[what] += 1


async def _left(heaps: Heaps) -> dict[str, Any]:
    """Load all that anybody owns; their keys, and the files that there are."""
    await heaps.collect()
    keys = set()
    for owner in OWNERS:
        for heap in await heaps.newest(owner, {}):
            await heaps.load(owner, heap.key)
            keys.add(heap.key)
    files = [(one.key, one.state) for one in heaps._store.files()]
    return {"owned": sorted(keys), "files": sorted(files)}


async def _main(asked: dict[str, Any]) -> dict[str, Any]:
    settings = read_settings(**asked["settings"])
    database = Database(asked["database"])
    await database.start()
    folder = Path(asked["settings"]["data_dir"])
    heaps = Heaps(
        settings,
        database,
        folder,
        Files(settings, folder / "files"),
        make_log("error"),
    )
    await heaps.start(collect=False)
    try:
        if not asked["turns"]:
            return await _left(heaps)
        crowd = Crowd(heaps, asked["files"], asked["seed"])
        await asyncio.gather(*(crowd.lane(asked["turns"]) for _ in range(LANES)))
        return dict(crowd.done)
    finally:
        await heaps.close()
        await database.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_main(json.loads(sys.argv[1])))))
