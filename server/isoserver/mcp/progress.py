"""Progress notifications: what a run prints and downloads while a tool waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.session import ServerSession

    from isokernel.capabilities import Stage

__all__ = ["OutputBuffer", "OutputProgress", "Stages"]

_MESSAGE_MAX: Final = 16 * 1024
"""Characters of one notification; the tool's answer has all of the output."""
_WAITING_MAX: Final = 1 << 20
"""Characters that wait for a client that reads slowly."""
_LAST_SECONDS: Final = 5.0
"""Seconds that the last lines may take to a client that reads slowly."""
_PAUSE: Final = 0.02
"""Seconds in which lines are gathered into one notification."""


class OutputBuffer:
    """Text between a run that prints and a client that reads; limited in size."""

    def __init__(self) -> None:
        """Start empty."""
        self._text = ""
        self._over = False
        self._changed = asyncio.Event()

    def put(self, text: str) -> None:
        """Add text; beyond the limit, the oldest text is dropped."""
        self._text = (self._text + text)[-_WAITING_MAX:]
        self._changed.set()

    def close(self) -> None:
        """Let `read` end once it has returned everything."""
        self._over = True
        self._changed.set()

    async def read(self) -> AsyncIterator[str]:
        """Yield the text as it comes, until `close`."""
        while True:
            if not self._text:
                await self._changed.wait()
            self._changed.clear()
            text, self._text = self._text, ""
            if text:
                yield text
            # More may have come, and the end, while what was there was being read.
            if self._over and not self._text:
                return


class Stages:
    """The stages of what takes long, such as downloads, between a run and a client."""

    def __init__(self) -> None:
        """Start with none."""
        self.buffer = OutputBuffer()

    def put(self, stage: Stage) -> None:
        """Add one."""
        self.buffer.put(f"{stage.text}\n")


class OutputProgress:
    """Sends whole lines to the client, at the pace at which it reads.

    The progress is the number of lines so far, with those that tell of downloads. A
    client that gave no token gets none.
    """

    def __init__(
        self,
        session: ServerSession,
        output: AsyncIterator[str],
        stages: Stages,
        *,
        wanted: bool,
    ) -> None:
        """Start sending, if the client wants progress.

        Args:
            session: The client's.
            output: What is printed, as it comes, until the end of the run.
            stages: How far downloads have come; of those that wait, the last is sent.
            wanted: Whether the client gave a token.
        """
        self._session = session
        self._output = output
        self._count = 0
        self._partial = ""
        self._stages = stages.buffer
        self._tasks: set[asyncio.Future[None]] = set()
        if wanted:
            follow = (self._follow(), self._follow_stages())
            self._tasks = {asyncio.ensure_future(each) for each in follow}

    async def finish(self) -> None:
        """Send the last lines, once the run has ended."""
        self._stages.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)

    def stop(self) -> None:
        """Stop sending; called in any case, also after `finish`."""
        for task in self._tasks:
            task.cancel()

    async def _follow(self) -> None:
        async for text in self._output:
            whole, newline, self._partial = (self._partial + text).rpartition("\n")
            if newline:
                await self._report(whole)
                await asyncio.sleep(_PAUSE)
        if self._partial:
            await self._report(self._partial)

    async def _follow_stages(self) -> None:
        async for text in self._stages.read():
            await self._report(text.rstrip("\n").rpartition("\n")[2])

    async def _report(self, lines: str) -> None:
        self._count += lines.count("\n") + 1
        if len(lines) > _MESSAGE_MAX:
            left_out = len(lines) - _MESSAGE_MAX
            lines = f"… ({left_out} characters left out)\n{lines[-_MESSAGE_MAX:]}"
        await self._session.report_progress(self._count, None, lines)
