"""Transcripts and their files: numbers, bounds, and what a kill leaves."""

from __future__ import annotations

import asyncio
import io
import shutil
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from isoserver.contexts.messages import Message
from isoserver.contexts.transcript import NOTHING, Cause, Entry, Transcript
from isoserver.contexts.transcript_files import TranscriptFile, TranscriptFiles
from isoserver.settings.logs import make_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = ("default", "context")
PARENT = {"msg_id": "1", "msg_type": "execute_request", "session": "a"}
CAUSE = Cause(7, PARENT, "a")


def opened(folder: Path, bytes_max: int = 1 << 20, errors: Any = None) -> Any:
    log = make_log("error", errors or io.StringIO())
    return TranscriptFile(folder, "e", bytes_max, log)


def kept(folder: Path, bytes_max: int = 1 << 20, *, durable: bool = True) -> Transcript:
    """A transcript in a folder, as a server opens it."""
    log = make_log("error", io.StringIO())
    files = TranscriptFiles(folder, bytes_max, log, durable=durable)
    transcript = Transcript(bytes_max)
    files.keep(transcript, KEY, 1.0)
    return transcript


def say(transcript: Transcript, count: int, size: int = 10) -> None:
    for _ in range(count):
        text = str(transcript.last + 1).ljust(size)
        transcript.add("stream", {"name": "stdout", "text": text}, CAUSE)


def all_of(transcript: Transcript, after: int = 0, at_once: int = 7) -> list[Entry]:
    """Read pages to the end."""
    found: list[Entry] = []
    while page := transcript.after(found[-1].number if found else after, at_once):
        found += page
    return found


def in_loop(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def test_a_sequence_goes_on_in_the_next_server(tmp_path: Path) -> None:
    def work() -> None:
        first = kept(tmp_path)
        say(first, 3000, 200)
        buffers = (b"\0\xff", b"")
        first.add(
            "display_data", {"data": {}, "n": 1 << 70}, NOTHING, {"m": 1}, buffers
        )
        before = all_of(first)
        assert [each.number for each in before] == list(range(1, 3002))
        second = kept(tmp_path)
        assert second.last == 3001
        again = all_of(second)
        assert again[:-1] == before[:-1]
        assert again[-1].buffers == buffers
        assert again[-1].content["n"] == float(1 << 70)
        say(second, 5)
        assert [each.number for each in all_of(second, 2999)] == list(range(3000, 3007))
        assert kept(tmp_path).last == 3006

    in_loop(work)


def test_a_number_is_written_before_it_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        transcript = kept(tmp_path)
        told: list[int] = []

        def listener(entry: Entry) -> None:
            told.append(entry.number)
            # Another server would know of it.
            assert kept(tmp_path).last >= entry.number

        transcript.listen(listener)
        for _ in range(5):
            say(transcript, 3)
            await asyncio.sleep(0)
        assert told == list(range(1, 16))
        transcript.listeners.clear()
        say(transcript, 3)
        transcript.listen(listener)
        assert told == list(range(1, 16))
        assert kept(tmp_path).last == 18
        say(transcript, 1)
        await asyncio.sleep(0)
        assert told[-1] == 19

    asyncio.run(run())


def test_what_was_cut_off_was_told_to_nobody(tmp_path: Path) -> None:
    def work() -> None:
        first = kept(tmp_path / "whole")
        say(first, 3)
        first.flush()
        (segment,) = (tmp_path / "whole").glob("*/*")
        whole = segment.stat().st_size
        say(first, 2)
        first.note_place("a", 5)
        first.flush()
        size = segment.stat().st_size
        for end in range(whole, size):
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")
            with next((tmp_path / "cut").glob("*/*")).open("r+b") as file:
                file.truncate(end)
            cut = kept(tmp_path / "cut")
            assert cut.last in {3, 5}
            say(cut, 1)
            cut.flush()
            numbers = [each.number for each in all_of(kept(tmp_path / "cut"))]
            assert numbers == list(range(1, cut.last + 1))

    in_loop(work)


@pytest.mark.parametrize("bytes_max", [3000, 100_000])
def test_the_oldest_go(tmp_path: Path, bytes_max: int) -> None:
    def work() -> None:
        transcript = kept(tmp_path, bytes_max)
        for _ in range(100):
            say(transcript, 20, 100)
            transcript.flush()
        used = sum(path.stat().st_size for path in tmp_path.glob("*/*"))
        assert used <= bytes_max * 1.5
        found = all_of(transcript)
        assert found == all_of(kept(tmp_path, bytes_max))
        numbers = [each.number for each in found]
        assert numbers == list(range(numbers[0], 2001))
        assert numbers[0] > 1
        # A number counts, however large its message was.
        transcript.add("stream", {"name": "stdout", "text": "x" * bytes_max})
        transcript.flush()
        again = kept(tmp_path, bytes_max)
        assert again.last == 2001
        say(again, 1)
        assert all_of(again)[-1].number == 2002

    in_loop(work)


def test_places_of_sessions(tmp_path: Path) -> None:
    def work() -> None:
        transcript = kept(tmp_path, 20_000)
        transcript.note_place("here", 1)
        transcript.note_place("gone", 2)
        transcript.forget_place("gone")
        for _ in range(50):  # many segments
            say(transcript, 20, 100)
            transcript.flush()
        assert kept(tmp_path, 20_000).places == {"here": 1}
        for number in range(2000):
            transcript.note_place(str(number), number)
        transcript.flush()
        assert len(kept(tmp_path, 20_000).places) == 1000

    in_loop(work)


def test_a_disk_that_fails_is_tried_again(tmp_path: Path) -> None:
    def work() -> None:
        errors = io.StringIO()
        place = tmp_path / "place"
        place.write_text("no folder")
        file = opened(place / "one", errors=errors)
        transcript = Transcript(1 << 20)
        transcript.keep_in(file, lambda _: None)
        say(transcript, 3)
        assert [each.number for each in all_of(transcript)] == [1, 2, 3]
        transcript.flush()
        assert errors.getvalue().count("a transcript can't be written") == 1
        place.unlink()
        say(transcript, 1)
        transcript.flush()
        assert opened(place / "one").last == 4

    in_loop(work)


def test_what_has_no_end(tmp_path: Path) -> None:
    def work() -> None:
        folder = tmp_path / "one"
        file = opened(folder)
        transcript = Transcript(1 << 20)
        transcript.keep_in(file, lambda _: None)
        assert file.unfinished() is None
        transcript.add("status", {"execution_state": "busy"}, CAUSE)
        say(transcript, 3000, 200)
        transcript.add("status", {"execution_state": "starting"})
        comm = Cause(8, {"msg_id": "2", "msg_type": "comm_msg"}, "")
        transcript.add("status", {"execution_state": "idle"}, comm)
        transcript.flush()
        assert opened(folder).unfinished() == (PARENT, "a")
        transcript.add("status", {"execution_state": "idle"}, CAUSE)
        transcript.flush()
        assert opened(folder).unfinished() is None

    in_loop(work)


def test_what_does_not_outlive_the_server_is_written_when_asked(tmp_path: Path) -> None:
    def work() -> None:
        transcript = kept(tmp_path, durable=False)
        say(transcript, 10)
        assert not list(tmp_path.iterdir())
        transcript.flush()
        say(transcript, 2000, 1000)
        assert [each.number for each in all_of(transcript)][-1] == 2010
        transcript.flush()
        assert all_of(kept(tmp_path, durable=False)) == all_of(transcript)

    in_loop(work)


@pytest.mark.parametrize("durable", [True, False])
def test_memory_has_little_of_a_long_sequence(tmp_path: Path, *, durable: bool) -> None:
    def work() -> None:
        transcript = kept(tmp_path, 8 << 20, durable=durable)
        tracemalloc.start()
        try:
            for number in range(1, 10_001):
                cause = Cause(number, {"msg_id": str(number)}, "")
                for state in ("busy", "idle"):
                    transcript.add("status", {"execution_state": state}, cause)
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert used < 2 << 20
        numbers = [each.number for each in all_of(transcript, at_once=1000)]
        assert numbers == list(range(1, 20_001))

    in_loop(work)


@pytest.mark.parametrize("bytes_max", [8 << 20, 1000])
@pytest.mark.parametrize("durable", [True, False])
def test_what_is_too_large_for_memory_is_told(
    tmp_path: Path, *, bytes_max: int, durable: bool
) -> None:
    async def scenario() -> None:
        transcript = kept(tmp_path, bytes_max, durable=durable)
        heard: list[int] = []
        transcript.listen(lambda entry: heard.append(entry.number))
        say(transcript, 1, 300_000)
        say(transcript, 1)
        say(transcript, 1, 300_000)
        await asyncio.sleep(0)
        assert heard == [1, 2, 3]

    asyncio.run(scenario())


def test_what_comes_late_has_its_cause(tmp_path: Path) -> None:
    def work() -> None:
        first = kept(tmp_path)
        other = Cause(8, {"msg_id": "2"}, "")
        first.add("stream", {}, CAUSE)
        first.add("stream", {}, other)
        first.flush()
        second = kept(tmp_path)
        for job in (7, 8, 9, 7):
            second.pass_on_late(Message("stream", {"text": "late"}, {}), job)
        late = second.after(2, 10)
        assert [(each.job, each.front) for each in late] == [
            *((7, "a"), (8, ""), (0, ""), (7, "a"))
        ]
        assert late[0].parent == PARENT
        for job in range(10_000):
            second.add("stream", {}, Cause(job, {}, ""))
        assert len(second._causes) <= 2000

    in_loop(work)


def test_what_is_put_away_is_there_still(tmp_path: Path) -> None:
    """In the file, or in memory if that can't be written."""

    def work() -> None:
        place = tmp_path / "place"
        transcript = Transcript(1 << 20)
        transcript.keep_in(opened(place / "one"), lambda _: None)
        say(transcript, 10)
        before = all_of(transcript)
        transcript.put_away()
        assert (len(transcript._kept), len(transcript._causes)) == (0, 0)
        assert all_of(transcript) == before
        transcript.pass_on_late(Message("stream", {"text": "late"}, {}), 7)
        (late,) = all_of(transcript, 10)
        assert (late.number, late.parent, late.front) == (11, PARENT, "a")
        place.rename(tmp_path / "away")
        place.write_text("no folder")
        say(transcript, 2)
        transcript.put_away()
        assert [each.number for each in all_of(transcript, 11)] == [12, 13]
        assert len(transcript._causes) == 1

    in_loop(work)


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"application/json": {"a": [["x" * 1000] * 100]}}},
        {"data": {"application/json": list(range(2000))}},
        {"data": {"application/json": dict.fromkeys(map(str, range(2000)))}},
        {"data": {"application/json": {"x" * 100_000: 1}}},
        {"data": "x" * 100_000, "comm_id": "1"},
        {"data": ["x" * 100_000]},
    ],
    ids=["deep", "numbers", "values", "name", "text", "list"],
)
def test_content_of_any_form_has_its_weight(content: Any) -> None:
    transcript = Transcript(50_000)
    transcript.add("comm_msg", content, CAUSE)
    assert transcript.after(0, 1) == []
    small = {"data": "hello", "comm_id": "1"}
    transcript.add("comm_msg", small, CAUSE)
    (entry,) = transcript.after(0, 2)
    assert (entry.number, entry.content) == (2, small)
