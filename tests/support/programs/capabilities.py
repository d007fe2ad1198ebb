"""A server whose code can make calls of a small provider: a program, of the tests.

Its arguments are a folder, then those of `isokernel`. The workspace `default` has a
heap whose code can make the calls; its key is in the folder.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.support.capabilities import SMALL, heap_with_calls
from tests.support.heaps import VALUES, no_content

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.heaps.records import HeapOrigin


def ready(url: str) -> None:
    sys.stdout.write(f"isokernel is listening on {url}\n")
    sys.stdout.flush()


async def main() -> None:
    folder, _, *flags = sys.argv[1:]  # `serve` is among them
    heap = await asyncio.to_thread(heap_with_calls)
    server = Server(load(flags), providers=SMALL)

    async def keep_heap() -> None:
        key = await server.heaps._add(heap, HeapOrigin("default"), VALUES, no_content)
        (Path(folder) / "heap").write_text(key)

    opening = server.open

    async def open_with_heap() -> None:
        await opening()
        await keep_heap()

    server.open = open_with_heap  # type: ignore[method-assign]
    await server.run(ready)


if __name__ == "__main__":
    asyncio.run(main())
