"""Readers: clients that follow a context's messages over HTTP, as agents do.

A reader has a cursor and asks for what came after it. Nothing waits for it in memory:
what it hasn't read is in the transcript.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.timeouts import timeout
from isoserver.errors import FieldProblem, InvalidRequestError

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.transcript import Entry, Transcript

__all__ = ["Place", "Reader", "cursor_of", "read_cursor"]

_CURSOR: Final = re.compile(r"(?:([0-9a-f]{1,16})-)?([0-9]{1,16})", re.ASCII)


class Place(NamedTuple):
    """What a cursor says.

    Attributes:
        number: The last message that its sender has.
        anew: Whether it is of an earlier context of the same id, so that all messages
            are new to its sender.
    """

    number: int
    anew: bool


def cursor_of(transcript: Transcript, number: int) -> str:
    """Return the cursor of who has all messages up to one."""
    return f"{transcript.epoch}-{number}"


def read_cursor(transcript: Transcript, text: str) -> Place:
    """Read a cursor: one of `cursor_of`, or a message's number.

    Raises:
        InvalidRequestError: It is neither.
    """
    found = _CURSOR.fullmatch(text)
    if found is None:
        problem = "must be a cursor of an earlier answer, or a message's number"
        raise InvalidRequestError(FieldProblem("after", problem))
    epoch, number = found[1], int(found[2])
    if epoch is not None and epoch != transcript.epoch:
        return Place(0, anew=True)
    return Place(number, anew=False)


class Reader:
    """One client that waits for a context's messages. Used from the event loop.

    Attributes:
        context: The context.
        client: Who it is, as access knows it.
        number: The last message that it has.
        since: When it came, as time.time() gives it.
        end: Why no more messages come; empty as long as some may.
    """

    def __init__(self, context: Context, client: str, number: int) -> None:
        """Wait for messages after one."""
        self.context = context
        self.client = client
        self.number = number
        self.since = time.time()
        self.end = ""
        self._news = asyncio.Event()
        context.transcript.listen(self._hear)

    def _hear(self, _entry: Entry) -> None:
        self._news.set()

    async def read(self, count_max: int, seconds: float) -> list[Entry]:
        """Return what comes next; nothing if that takes longer than so many seconds."""
        transcript = self.context.transcript
        found = transcript.after(self.number, count_max)
        if not found and not self.end and seconds > 0:
            self._news.clear()
            try:
                async with timeout(seconds):
                    await self._news.wait()
            except asyncio.TimeoutError:
                return []
            found = transcript.after(self.number, count_max)
        return found

    def close(self, reason: str) -> None:
        """Have no more messages come."""
        self.end = reason
        self._news.set()

    def leave(self) -> None:
        """Wait for nothing any more."""
        self.context.transcript.listeners.remove(self._hear)
