"""All that a context has said, in one sequence: what every front is told.

A message is added once, when the process has sent it or the context itself says it, and
has a number in the context. Fronts that are attached hear of each as it is added; one
that was away asks for what came after the last that it has.

Where the sequence is to outlive the server, a message is in a file before anybody hears
of it. So a number that somebody has been told is never another message's, even after
kill -9. What nobody listens to is written a moment later, together with what follows.
Where it isn't to outlive it, what is much is in a file too, as memory has little of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isoserver.contexts.messages import Message
    from isoserver.contexts.transcript_files import TranscriptFile

__all__ = ["NOTHING", "Cause", "Entry", "Transcript"]

_ENTRY_BYTES: Final = 600
"""What an entry takes beside its texts, roughly: with its content's object, and its
share of the request's header."""
_VALUE_BYTES: Final = 50
"""What a value in a list takes, or one in an object with its name."""
_MEMORY_BYTES: Final = 256 * 1024
"""What is kept in memory of what is in a file, too."""
_CONTAINERS: Final = (dict, list)
_PLACES_MAX: Final = 1000
"""Sessions whose place is kept; the oldest go."""
_CAUSES_MAX: Final = 2000
"""Jobs that are known by what has caused them; the oldest go."""
_OWN: Final = {"status", "execute_input"}
"""What a process says that the context says by itself, in the same form for all; so it
is with replies."""


class Cause(NamedTuple):
    """What a message is about.

    Attributes:
        job: The id of the job that caused it; 0 if none did.
        header: The header of the request for that.
        front: The session of the front that asked; empty if none did.
    """

    job: int
    header: Mapping[str, Any]
    front: str


NOTHING: Final = Cause(0, {}, "")


class Entry(NamedTuple):
    """One message.

    Attributes:
        number: Its place in the sequence, from 1.
        at: When it was added, as time.time() gives it.
        kind: Jupyter's type of the message.
        content: Its content.
        metadata: Jupyter's metadata.
        parent: The header of the request that caused it; empty if none did.
        buffers: Binary attachments.
        front: The session of the front whose request caused it; empty if none did.
            Replies are for that alone.
        job: The id of the job that caused it; 0 if none did.
    """

    number: int
    at: float
    kind: str
    content: Mapping[str, Any]
    metadata: Mapping[str, Any]
    parent: Mapping[str, Any]
    buffers: tuple[bytes, ...]
    front: str = ""
    job: int = 0


class Transcript:
    """The last messages of one context. Used from the event loop.

    Attributes:
        last: The number of the last message; 0 if there is none.
        epoch: Tells the sequence from that of an earlier context of the same id, and
            from what it has said on another server; empty as long as it is in no file.
        listeners: Called with each message as it is added.
        ends: Called with the reason when the context is deleted.
        places: How far sessions of fronts have got, by their ids.
    """

    def __init__(self, bytes_max: int) -> None:
        """Begin with nothing.

        Args:
            bytes_max: What is kept for those that are away; the oldest go.
        """
        self.last = 0
        self.epoch = ""
        self.listeners: list[Callable[[Entry], None]] = []
        self.ends: list[Callable[[str, bool], None]] = []
        self.places: dict[str, int] = {}
        self._bytes_max = bytes_max
        self._memory_max = min(bytes_max, _MEMORY_BYTES)
        self._bytes = 0
        self._kept: deque[tuple[int, Entry]] = deque()
        self._file: TranscriptFile | None = None
        self._write_soon: Callable[[Transcript], None] | None = None
        self._written = 0
        self._untold: list[Entry] = []  # whatever becomes of them in memory
        self._moved: dict[str, int | None] = {}  # places that are to be written
        self._waits = False  # to be written soon, or told
        self._causes: dict[int, Cause] = {}  # the last ones
        self._job = 0  # the cause of the last message
        self._searched = False  # whether what the file has of them is among them

    # -- where it is kept --------------------------------------------------------------

    def keep_in(
        self,
        file: TranscriptFile,
        write_soon: Callable[[Transcript], None] | None,
    ) -> None:
        """Be kept in a file from now on, after what that has already.

        Args:
            file: The file.
            write_soon: Has `flush` called before long; None if the sequence doesn't
                outlive the server, so that only `flush` writes.
        """
        self.epoch = file.epoch
        self._file, self._write_soon = file, write_soon
        if not self.last:
            self.last = self._written = file.last
            self.places = dict(file.places)
            return
        self._wait()

    def flush(self) -> None:
        """Write what isn't written yet; a disk that fails is tried again later."""
        file = self._file
        if file is None or (self._written == self.last and not self._moved):
            return
        new = islice(self._kept, self._index_after(self._written), None)
        moved, self._moved = self._moved, {}
        if file.append(new, moved):
            self._written = self.last
            self._forget_written(self._memory_max)
        else:
            self._moved = {**moved, **self._moved}

    def put_away(self) -> None:
        """Have memory keep only what is in no file: little is asked of it for long."""
        self.flush()
        self._forget_written(0)
        if self._file is not None and self._written == self.last:
            self._causes.clear()
            self._job, self._searched = 0, False

    def close(self) -> None:
        """Be in no file any more: that is deleted."""
        self._file = self._write_soon = None

    def _wait(self) -> None:
        """Have what was added written and told, soon or at once."""
        if self._waits or self._write_soon is None:
            return
        self._waits = True
        if self.listeners:
            asyncio.get_running_loop().call_soon(self.publish)
        else:
            self._write_soon(self)

    def publish(self) -> None:
        """Write what was added, then tell who listens."""
        self._waits = False
        self.flush()
        untold, self._untold = self._untold, []
        for entry in untold:
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        for listener in tuple(self.listeners):
            listener(entry)

    # -- the sequence ------------------------------------------------------------------

    def add(
        self,
        kind: str,
        content: Mapping[str, Any],
        cause: Cause = NOTHING,
        metadata: Mapping[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """Add a message, and have who listens told; see `Entry`."""
        self.last += 1
        job, parent, front = cause
        if job != self._job:
            self._job = job
            self._know(cause)
        entry = Entry(
            *(self.last, time.time(), kind, content, metadata or {}, parent),
            *(buffers, front, job),
        )
        size = _size(entry)
        self._kept.append((size, entry))
        self._bytes += size
        if self._bytes > self._memory_max:
            self._forget_written(self._memory_max)
            if self._bytes > self._memory_max:
                self.flush()  # all that is in memory isn't written yet
            while self._bytes > self._bytes_max:
                self._bytes -= self._kept.popleft()[0]
        if self._write_soon is None:
            self._tell(entry)
            return
        if self.listeners:
            self._untold.append(entry)
        if not self._waits:
            self._wait()

    def add_state(self, state: str, cause: Cause = NOTHING) -> None:
        """Add what the context does, in Jupyter's words."""
        self.add("status", {"execution_state": state}, cause)

    def pass_on(self, message: Message, cause: Cause) -> None:
        """Add what the process has said, unless the context says that by itself."""
        kind, content, metadata, buffers = message
        if not _is_own(kind):
            self.add(kind, content, cause, metadata, buffers)

    def pass_on_late(self, message: Message, job: int) -> None:
        """Pass on what comes of a job that is over, as far as that is known still."""
        if _is_own(message.kind):
            return
        if job not in self._causes and self._file is not None and not self._searched:
            self._searched = True  # once: the context can name what it likes
            for cause in self._file.causes():
                self._causes.setdefault(cause.job, cause)
        self.pass_on(message, self._causes.get(job, NOTHING))

    def _know(self, cause: Cause) -> None:
        self._causes[cause.job] = cause
        if len(self._causes) > _CAUSES_MAX:
            del self._causes[next(iter(self._causes))]

    def end(self, reason: str, *, moved: bool = False) -> None:
        """Tell who listens that the context is deleted, or goes on elsewhere."""
        ends, self.ends = self.ends, []
        for call in ends:
            call(reason, moved)

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Have a function called with each message that is added from now on."""
        if self._waits:
            self.publish()  # without listeners, it would be written later
        self.listeners.append(listener)

    def after(self, number: int, count_max: int) -> list[Entry]:
        """Return messages after one, oldest first.

        The first has a higher number than the next if those between are gone.
        """
        if self._write_soon is not None:
            self.flush()
        if self._file is not None and number < min(self._written, self._first - 1):
            found = self._file.after(number, count_max)
            if found:
                return found
        start = self._index_after(number)
        return [entry for _, entry in islice(self._kept, start, start + count_max)]

    @property
    def _first(self) -> int:
        """The number of the first message in memory."""
        return self.last - len(self._kept) + 1

    def _index_after(self, number: int) -> int:
        return max(0, number + 1 - self._first)

    def _forget_written(self, bytes_max: int) -> None:
        """Drop from memory what is in the file, as far as it is more than that."""
        while self._bytes > bytes_max and self._first <= self._written:
            self._bytes -= self._kept.popleft()[0]

    # -- places of sessions ------------------------------------------------------------

    def note_place(self, session: str, number: int) -> None:
        """Note that a session of a front has all messages up to one."""
        self.places[session] = self._moved[session] = number
        if len(self.places) > _PLACES_MAX:
            self.forget_place(next(iter(self.places)))
        self._wait()

    def forget_place(self, session: str) -> None:
        """Forget a session."""
        if self.places.pop(session, None) is not None:
            self._moved[session] = None
            self._wait()


def _is_own(kind: str) -> bool:
    return kind in _OWN or kind.endswith("_reply")


def _size(entry: Entry) -> int:
    """Estimate the memory that an entry keeps.

    The content is plain data of any form: code decides what is in it.
    """
    size = _ENTRY_BYTES + sum(map(len, entry.buffers))
    if entry.kind == "status":  # half of all
        return size
    waiting: list[Any] = [entry.content, entry.metadata]
    while waiting:
        value = waiting.pop()
        parts = value
        if type(value) is not list:
            size += sum(map(len, value))
            parts = value.values()
        size += _VALUE_BYTES * len(parts)
        for part in parts:
            kind = type(part)
            if kind is str:
                size += len(part)
            elif part and kind in _CONTAINERS:
                waiting.append(part)
    return size
