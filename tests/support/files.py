"""A context with a folder, whose calls are answered on a loop of the test's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.local_contexts import LocalContext

from isokernel.capabilities import Grant, Holder
from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.files.folder import Folder, FolderLimits
from isokernel.files.provider import FileCalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from isokernel.capabilities import Asked


class ContextWithFiles(LocalContext):
    """A context whose global `fs` is `node:fs`."""

    def __init__(
        self,
        place: Path,
        limits: FolderLimits | None = None,
        decide: Callable[[Asked], None] = lambda _asked: None,
        *,
        writable: bool = True,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self.defects: list[Exception] = []

        def open_folder(_grant: Grant) -> Folder:
            return Folder(place, limits, writable=writable)

        async def allow(asked: Asked) -> None:
            decide(asked)

        self._grant = Grant("one", allow, folder=place)
        self._holder = Holder(
            {"files": lambda: FileCalls(open_folder)},
            lambda _name, error: self.defects.append(error),
        )
        super().__init__(call_now=self._answer)
        self.run("fs = require('node:fs'); fsp = require('fs/promises'); 0")

    def _answer(self, call: CapabilityCall) -> CallAnswer:
        answered = self._holder.answer(
            call.name, call.arguments, call.data, self._grant
        )
        return CallAnswer(*self._loop.run_until_complete(answered))

    def wait(self, until: Callable[[], bool], *seconds: Any) -> None:
        def answered() -> bool:
            while calls := [e for e in self.events if isinstance(e, CapabilityCall)]:
                for call in calls:
                    self.events.remove(call)
                    self.context.settle_call(call.call_id, self._answer(call))
                self.context.step()
            return until()

        super().wait(answered, *seconds)

    def close(self) -> None:
        self.context.close()
        self._loop.run_until_complete(self._holder.close("one"))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        assert not self.defects, self.defects
