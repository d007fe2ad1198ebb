"""Files of transcripts: what outlives the process of a context, and the server.

A transcript is a folder of segments, each named by the number of its first message, so
that the oldest can be deleted and a page be found without reading the rest. A segment
is a sequence of records: a head, then MessagePack of some messages, or of the places of
sessions. They are written into the system's cache, as SQLite does: that outlives the
server, kill -9 included, if not always the machine. A record that was cut off by the
server's end is dropped by the next one; nobody has been told of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from isokernel.errors import reason_of
from isokernel.protocol.frames import plain_data
from isoserver.contexts.kernel_ids import kernel_id
from isoserver.contexts.transcript import Cause, Entry, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Key

__all__ = ["TranscriptFile", "TranscriptFiles"]

_HEAD: Final = struct.Struct("<IQI")
"""Bytes that follow, the number of the first message, messages (0: places)."""
_RECORD_BYTES: Final = 64 * 1024
"""What a record has at most, unless one message is larger."""
_SEGMENT_BYTES_MAX: Final = 256 * 1024
_SEGMENTS: Final = 8
"""Into how many segments the kept bytes are divided at least."""
_DIGITS: Final = 16
_BUFFERS: Final = Entry._fields.index("buffers")
_CAUSES_SEGMENTS: Final = 4
"""Where it is looked what has caused what comes late."""
_SOON_SECONDS: Final = 0.05
"""How long a message that nobody listens to waits for others."""
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


class _Record(NamedTuple):
    """A record as it lies in a segment.

    Attributes:
        first: The number of its first message.
        messages: How many it has; 0 if it has places.
        data: MessagePack.
        end: Where the next one begins.
    """

    first: int
    messages: int
    data: bytes
    end: int


class TranscriptFile:
    """The file of one transcript. Used from the event loop.

    Attributes:
        epoch: Tells it from that of an earlier context of the same id.
        last: The number of the last message in it; 0 if there is none.
        places: How far sessions have got, as far as that is written.
    """

    def __init__(
        self, folder: Path, epoch: str, bytes_max: int, log: FilteringBoundLogger
    ) -> None:
        """Find what is there.

        Args:
            folder: Its folder, which need not exist.
            epoch: See the class.
            bytes_max: What is kept; the oldest messages go.
            log: Told when it can't be written or read.
        """
        self.epoch = epoch
        self.last = 0
        self.places: dict[str, int] = {}
        self._folder = folder
        self._bytes_max = bytes_max
        self._segment_max = min(max(bytes_max // _SEGMENTS, 1), _SEGMENT_BYTES_MAX)
        self._log = log
        self._failed = False
        self._sizes: dict[int, int] = {}  # of segments, by their first message
        self._load()

    def _load(self) -> None:
        try:
            names = [path.name for path in self._folder.iterdir()]
            firsts = sorted(int(name) for name in names if name.isdecimal())
            self._sizes = {one: self._path(one).stat().st_size for one in firsts}
        except FileNotFoundError:
            return
        except OSError as error:
            self._log.error("a transcript can't be read", reason=reason_of(error))
        if not self._sizes:
            return
        newest = max(self._sizes)
        self.last, end = newest - 1, 0
        for record in self._records(newest):
            end = record.end
            if record.messages:
                self.last = record.first + record.messages - 1
            else:
                self._move(_decode(record.data))
        if end < self._sizes[newest]:  # the rest was cut off
            self._sizes[newest] = end
            with suppress(OSError):
                os.truncate(self._path(newest), end)

    def _move(self, moved: dict[str, int | None]) -> None:
        for session, number in moved.items():
            if number is None:
                self.places.pop(session, None)
            else:
                self.places[session] = number

    # -- writing -----------------------------------------------------------------------

    def append(
        self, entries: Iterable[tuple[int, Entry]], moved: dict[str, int | None]
    ) -> bool:
        """Write messages, each with its size by estimate, and new places of sessions.

        Returns:
            Whether that was possible; if not, all of it is to be given again.
        """
        try:
            last = self.last
            for rows in _batches(entries):
                last = rows[-1].number
                self._write(rows[0].number, len(rows), self._encoded(rows))
            self.last = last
            self._move(moved)
            if moved:
                self._write(self.last + 1, 0, _encode(moved))
        except OSError as error:
            if not self._failed:
                reason = reason_of(error)
                self._log.error("a transcript can't be written", reason=reason)
            self._failed = True
            return False
        self._failed = False
        return True

    def _encoded(self, rows: list[Entry]) -> bytes:
        """Return MessagePack of messages; of one that is too large, only the number."""
        try:
            data = _encode(rows)
        except (OverflowError, UnicodeEncodeError, RecursionError, TypeError):
            data = _encode([_storable(row) for row in rows])
        if len(data) > self._bytes_max:
            small = self._bytes_max // max(len(rows), 1)
            kept = [
                row if len(_encode(_storable(row))) <= small else () for row in rows
            ]
            data = _encode([row and _storable(row) for row in kept])
        return data

    def _write(self, first: int, count: int, data: bytes) -> None:
        """Append a record to the newest segment, or begin another one with it."""
        newest = max(self._sizes, default=0)
        size = self._sizes.get(newest, self._segment_max)
        record = _HEAD.pack(len(data), first, count) + data
        if size < self._segment_max:
            self._put(newest, size, record)
            return
        if first in self._sizes:  # places after all messages of a full segment
            self._put(newest, size, record)
            return
        places = _encode(self.places) if self.places else b""
        head = _HEAD.pack(len(places), first, 0) + places if places else b""
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        self._put(first, 0, head + record)
        total = sum(self._sizes.values())
        for old in sorted(self._sizes)[:-1]:
            if total <= self._bytes_max:
                break
            total -= self._sizes.pop(old)
            with suppress(OSError):
                self._path(old).unlink()

    def _put(self, segment: int, at: int, data: bytes) -> None:
        file = os.open(self._path(segment), _FLAGS, 0o600)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(file, data[done:] if done else data, at + done)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, at)
            raise
        finally:
            os.close(file)
        self._sizes[segment] = at + len(data)

    # -- reading -----------------------------------------------------------------------

    def after(self, number: int, count_max: int) -> list[Entry]:
        """Return messages after one, oldest first, if there are any."""
        found: list[Entry] = []
        firsts = sorted(self._sizes)
        passed = len(list(takewhile(lambda first: first <= number + 1, firsts)))
        for segment in firsts[max(0, passed - 1) :]:
            for record in self._records(segment):
                if record.first + record.messages - 1 <= number or not record.messages:
                    continue
                for row in _decode(record.data):
                    if row and row[0] > number:
                        *fields, buffers, front, job = row
                        fields += (tuple(buffers), front, job)
                        found.append(Entry._make(fields))
                        if len(found) >= count_max:
                            return found
        return found

    def unfinished(self) -> tuple[Mapping[str, Any], str] | None:
        """Return the execution that had no end when the last server had, if one hadn't.

        Returns:
            The header of the request, and the session of its front.
        """
        for row in self._backwards(len(self._sizes)):
            is_state = row[2] == "status"
            if is_state and row[5].get("msg_type") == "execute_request":
                idle = row[3].get("execution_state") == "idle"
                return None if idle else (row[5], row[7])
        return None

    def causes(self) -> list[Cause]:
        """Return what has caused the last messages, newest first, some repeatedly."""
        found: list[Cause] = []
        for row in self._backwards(_CAUSES_SEGMENTS):
            if row[8] and (not found or found[-1].job != row[8]):
                found.append(Cause(row[8], row[5], row[7]))
        return found

    def _backwards(self, segments: int) -> Iterator[Entry]:
        """Read the messages of the last segments, the newest first."""
        for segment in sorted(self._sizes, reverse=True)[:segments]:
            for record in reversed(list(self._records(segment))):
                rows = _decode(record.data) if record.messages else []
                yield from filter(None, reversed(rows))

    def _records(self, segment: int) -> Iterator[_Record]:
        """Read a segment up to what was cut off."""
        try:
            data = self._path(segment).read_bytes()
        except OSError as error:
            self._log.error("a transcript can't be read", reason=reason_of(error))
            return
        at = 0
        while at + _HEAD.size <= len(data):
            length, first, count = _HEAD.unpack_from(data, at)
            begin = at + _HEAD.size
            at = begin + length
            if at > len(data):
                return
            yield _Record(first, count, data[begin:at], at)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:0{_DIGITS}d}"


def _batches(entries: Iterable[tuple[int, Entry]]) -> Iterator[list[Entry]]:
    """Divide messages into records."""
    rows: list[Entry] = []
    left = _RECORD_BYTES
    for size, entry in entries:
        if rows and size > left:
            yield rows
            rows, left = [], _RECORD_BYTES
        rows.append(entry)
        left -= size
    if rows:
        yield rows


def _storable(entry: Entry) -> Any:
    """Return what MessagePack can hold of a message: at least that there was one."""
    try:
        row = plain_data([*entry[:_BUFFERS]])
        _encode(row)
    except (RecursionError, TypeError):
        return ()
    return [*row, *entry[_BUFFERS:]]


class TranscriptFiles:
    """The transcripts of a server's contexts. Used from the event loop."""

    def __init__(
        self, place: Path, bytes_max: int, log: FilteringBoundLogger, *, durable: bool
    ) -> None:
        """Begin with none.

        Args:
            place: The folder that their folders are in.
            bytes_max: What is kept of one.
            log: Told of what can't be written or read.
            durable: Whether they outlive the server.
        """
        self._place = place
        self._bytes_max = bytes_max
        self._log = log
        self._durable = durable
        self._waiting: dict[Transcript, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def keep(
        self,
        transcript: Transcript,
        key: Key,
        created_at: float,
        generation: int | None = None,
    ) -> TranscriptFile:
        """Have a transcript kept, after what an earlier server has of it.

        Args:
            transcript: That of a context.
            key: The context.
            created_at: When it was made, as time.time() gives it.
            generation: That of its owner, if servers share a database: what it says
                elsewhere is another sequence.
        """
        if not transcript.last:
            self._write()  # perhaps of this context, which nobody held any more
        folder, epoch = self._folder(key, created_at), _epoch(created_at)
        if generation is not None:
            epoch = f"{generation:x}"
        file = TranscriptFile(folder, epoch, self._bytes_max, self._log)
        transcript.keep_in(file, self._write_soon if self._durable else None)
        return file

    def delete(self, key: Key, created_at: float) -> None:
        """Delete a context's; blocks."""
        shutil.rmtree(self._folder(key, created_at), ignore_errors=True)

    def _folder(self, key: Key, created_at: float) -> Path:
        return self._place / f"{kernel_id(key)}-{_epoch(created_at)}"

    def keep_only(self, contexts: Iterable[tuple[Key, float]]) -> None:
        """Delete those of contexts that aren't there any more; blocks."""
        kept = {self._folder(key, at).name for key, at in contexts}
        with suppress(FileNotFoundError):
            for folder in self._place.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Write what waits."""
        self._write()

    def _write_soon(self, transcript: Transcript) -> None:
        self._waiting[transcript] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SOON_SECONDS, self._write)

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for transcript in waiting:
            transcript.publish()


def _epoch(created_at: float) -> str:
    return f"{round(created_at * 1e6):x}"
