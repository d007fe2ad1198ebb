"""What all sources have in common."""

from __future__ import annotations

import asyncio
from typing import Any

from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.settings.tools import read_source
from isoserver.tools.sources.base import Source, SourceLimits


class _Stubborn(Source):
    """Makes another error of a cancellation, as groups of tasks can."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.began = asyncio.Event()

    @property
    def location(self) -> str:
        raise NotImplementedError

    async def _serve(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            message = "unhandled errors in a TaskGroup"
            raise RuntimeError(message) from error

    async def _call(self, tool: Any, arguments: Any) -> Any:
        raise NotImplementedError


def test_a_source_ends_also_when_its_library_hides_that() -> None:
    async def scenario() -> None:
        configuration = read_source({"type": "mcp", "name": "up", "command": "none"})
        settings = read_settings()
        limits = SourceLimits.of(settings, configuration, private=True)
        source = _Stubborn(configuration, limits, make_log("debug", None))
        source.start()
        await source.began.wait()
        await asyncio.wait_for(source.close(), 20)
        assert source.state == "starting"

    asyncio.run(scenario())
