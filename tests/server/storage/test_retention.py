"""The sweeper: at once, when asked, at an interval, and on after what went wrong."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from tests.support.waiting import DEADLINE

from isoserver.errors import DatabaseError
from isoserver.settings.logs import make_log
from isoserver.storage.retention import Sweeper

LONG_SECONDS = 3600.0


class Sweeps:
    """Counts sweeps; the first ones fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.number = 0
        self.swept = asyncio.Event()

    async def sweep(self) -> None:
        self.number += 1
        self.swept.set()
        if self.errors:
            raise self.errors.pop(0)

    async def wait(self) -> None:
        await asyncio.wait_for(self.swept.wait(), DEADLINE)
        self.swept.clear()


def test_it_sweeps_at_once_and_when_asked() -> None:
    async def main() -> None:
        sweeps = Sweeps()
        sweeper = Sweeper("rows", sweeps.sweep, LONG_SECONDS, make_log("error"))
        sweeper.start()
        await sweeps.wait()
        sweeper.request()
        await sweeps.wait()
        await sweeper.close()
        sweeper.request()
        assert sweeps.number == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseError("away"), "DatabaseError"),
        (ValueError("a defect"), "Traceback"),
    ],
)
def test_it_goes_on_after_an_error(error: Exception, said: str) -> None:
    file = io.StringIO()

    async def main() -> None:
        sweeps = Sweeps(error)
        sweeper = Sweeper("rows", sweeps.sweep, 0.001, make_log("error", file))
        sweeper.start()
        await sweeps.wait()
        await sweeps.wait()
        await sweeper.close()

    asyncio.run(main())
    (line,) = map(json.loads, file.getvalue().splitlines())
    assert (line["event"], line["of"]) == ("sweep failed", "rows")
    assert said in line.get("error", "") + line.get("exception", "")


def test_it_can_be_closed_before_it_was_started() -> None:
    async def main() -> None:
        sweeps = Sweeps()
        await Sweeper("rows", sweeps.sweep, 1.0, make_log("error")).close()

    asyncio.run(main())
