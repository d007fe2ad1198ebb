"""Pages of output: every edge, over HTTP; and random ones against a plain reading."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
import sqlite3
from contextlib import closing
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.support.client import connect
from tests.support.server import RUN_FLAGS

from isoserver.errors import DatabaseError
from isoserver.runs.output import CHUNK, LiveOutput
from isoserver.runs.pages import BYTES_MAX, LINES_MAX, PageRequest, Pages
from isoserver.runs.records import Ending, Kind, RunRecord, Status
from isoserver.runs.store import Store
from isoserver.settings.logs import make_log
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.outages import Away
    from tests.support.server import Server

    from isoserver.runs.pages import Page
    from isoserver.runs.records import Extent

TEN = "".join(f"line {n}\\n" for n in range(1, 11))
LINES = ("start_line", "end_line", "next_line_offset", "total_lines")
BYTES = ("start_byte", "end_byte", "next_byte_offset", "total_bytes")
EDGES: list[tuple[str, dict[str, int], str, tuple[int, ...], tuple[int, ...], bool]] = [
    ("", {}, "", (0, 0, 1, 0), (0, 0, 0, 0), False),
    ("hello world\\n", {}, "hello world", (1, 1, 2, 1), (0, 12, 12, 12), False),
    (
        TEN,
        {"line_offset": 1, "line_limit": 3},
        "line 1\nline 2\nline 3",
        (1, 3, 4, 10),
        (0, 21, 21, 71),
        True,
    ),
    (
        TEN,
        {"line_offset": 4, "line_limit": 3},
        "line 4\nline 5\nline 6",
        (4, 6, 7, 10),
        (21, 42, 42, 71),
        True,
    ),
    (TEN, {"line_offset": 10}, "line 10", (10, 10, 11, 10), (63, 71, 71, 71), False),
    # Past the end the cursor stays at the end.
    (TEN, {"line_offset": 11}, "", (0, 0, 11, 10), (71, 71, 71, 71), False),
    (TEN, {"line_offset": 999}, "", (0, 0, 11, 10), (71, 71, 71, 71), False),
    # 0 is taken as 1, a limit of nothing as 1.
    (
        TEN,
        {"line_offset": 0, "line_limit": 3},
        "line 1\nline 2\nline 3",
        (1, 3, 4, 10),
        (0, 21, 21, 71),
        True,
    ),
    (TEN, {"line_limit": 0}, "line 1", (1, 1, 2, 10), (0, 7, 7, 71), True),
    ("\\n\\na\\n", {}, "\n\na", (1, 3, 4, 3), (0, 4, 4, 4), False),
    ("\\n\\na\\n", {"line_limit": 1}, "", (1, 1, 2, 3), (0, 1, 1, 4), True),
    (
        "aaaa\\nbbbb\\n",
        {"byte_offset": 0, "byte_limit": 5},
        "aaaa\n",
        (1, 2, 2, 2),
        (0, 5, 5, 10),
        True,
    ),
    (
        "aaaa\\nbbbb\\n",
        {"byte_offset": 0},
        "aaaa\nbbbb\n",
        (1, 3, 3, 2),
        (0, 10, 10, 10),
        False,
    ),
    *(
        (
            "aaaa\\nbbbb\\n",
            {"byte_offset": past},
            "",
            (3, 3, 3, 2),
            (10, 10, 10, 10),
            False,
        )
        for past in (10, 99, (1 << 63) - 1)
    ),
    (
        "aaaa\\nbbbb\\n",
        {"byte_offset": 3, "byte_limit": 0},
        "a",
        (1, 1, 1, 2),
        (3, 4, 4, 10),
        True,
    ),
    # A character is never cut: it comes whole where the limit is smaller,
    (
        "é€\\n",
        {"byte_offset": 0, "byte_limit": 1},
        "é",
        (1, 1, 1, 1),
        (0, 2, 2, 6),
        True,
    ),
    # and a page that would begin in it begins before it, and ends before the next.
    (
        "é€\\n",
        {"byte_offset": 1, "byte_limit": 2},
        "é",
        (1, 1, 1, 1),
        (0, 2, 2, 6),
        True,
    ),
    (
        "é€\\n",
        {"byte_offset": 3, "byte_limit": 1},
        "€",
        (1, 1, 1, 1),
        (2, 5, 5, 6),
        True,
    ),
    (
        "é€\\n",
        {"byte_offset": 2, "byte_limit": 4},
        "€\n",
        (1, 2, 2, 1),
        (2, 6, 6, 6),
        False,
    ),
    # byte_offset makes it a page of bytes, whatever is said of lines.
    (
        "aaaa\\nbbbb\\n",
        {"line_offset": 2, "byte_offset": 0, "byte_limit": 2},
        "aa",
        (1, 1, 1, 2),
        (0, 2, 2, 10),
        True,
    ),
    # A last line without its newline is a line.
    ("abc\\ndef", {}, "abc\ndef", (1, 2, 3, 2), (0, 7, 7, 7), False),
    (
        "abc\\ndef",
        {"byte_offset": 0},
        "abc\ndef",
        (1, 2, 2, 2),
        (0, 7, 7, 7),
        False,
    ),
    ("abc\\ndef", {"line_offset": 3}, "", (0, 0, 3, 2), (7, 7, 7, 7), False),
]


def test_edges(api: Client) -> None:
    texts = {text for text, *_ in EDGES}
    ids = {text: api.submit(f"process.stdout.write('{text}')") for text in texts}
    for text, asked, data, lines, places, more in EDGES:
        info = api.ended(ids[text])
        assert info["status"] == "completed", info
        assert api.output(ids[text], **asked) == {
            "execution_id": ids[text],
            "data": data,
            **dict(zip(LINES, lines, strict=True)),
            **dict(zip(BYTES, places, strict=True)),
            "has_more": more,
            "status": "completed",
        }, (text, asked)


def test_a_line_without_its_newline_is_seen_and_asked_for_again(api: Client) -> None:
    code = """
    process.stdout.write("abc\\ndef");
    await new Promise(resolve => { globalThis.go = resolve; });
    """
    execution_id = api.submit(code, session="tail")
    api.printed(execution_id, "def")
    page = api.output(execution_id)
    assert (page["data"], page["status"]) == ("abc\ndef", "running")
    assert [page[name] for name in LINES] == [1, 2, 2, 2]
    assert [page[name] for name in BYTES] == [0, 7, 7, 7]
    assert not page["has_more"]
    api.cancel(execution_id)
    page = api.output(execution_id, line_offset=page["next_line_offset"])
    assert (page["data"], page["next_line_offset"]) == ("def", 3)


NO_NUMBERS = (
    "line_offset=-1",
    "line_limit=x",
    "byte_offset=1.5",
    "byte_limit=-3",
    "byte_offset=",
    "line_offset=99999999999999999999",
)


def test_what_is_no_number_is_refused(api: Client) -> None:
    for query in NO_NUMBERS:
        answer = api.get(f"/api/executions/nobody/output?{query}")
        assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_pages_have_bounds(api: Client) -> None:
    info = api.done("for (let i = 0; i < 12000; i++) console.log(i)")
    page = api.output(info["execution_id"], line_limit=1 << 40)
    assert (page["end_line"], page["has_more"]) == (LINES_MAX, True)
    info = api.done("console.log('x'.repeat(999)); ".join(["", *["0; "] * 1100]))
    page = api.output(info["execution_id"], line_limit=10_000)
    assert (page["end_byte"], page["end_line"]) == (1_048_000, 1048)
    page = api.output(info["execution_id"], byte_offset=7, byte_limit=1 << 40)
    assert page["end_byte"] == 7 + BYTES_MAX


def test_a_longer_line_comes_whole(api: Client) -> None:
    info = api.done("console.log('a'.repeat(3000000)); console.log('b')")
    page = api.output(info["execution_id"])
    assert (len(page["data"]), page["end_line"]) == (3_000_000, 1)
    page = api.output(info["execution_id"], line_offset=page["next_line_offset"])
    assert (page["data"], page["has_more"]) == ("b", False)


# -- against a plain reading -----------------------------------------------------------


class Reading:
    """All of a text at hand, to read pages from as plainly as can be."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self.lines = text.splitlines(keepends=True)
        lengths = (len(character.encode()) for character in text)
        self.edges = [0, *itertools.accumulate(lengths)]

    def check(self, page: Page, asked: PageRequest) -> None:
        if asked.byte_offset is None:
            self._check_lines(page, asked)
        else:
            self._check_bytes(page, asked.byte_offset, asked.byte_limit)

    def _check_lines(self, page: Page, asked: PageRequest) -> None:
        first = max(asked.line_offset, 1)
        limit = min(max(asked.line_limit, 1), LINES_MAX)
        wanted: list[str] = []
        size = 0
        for line in self.lines[first - 1 : first - 1 + limit]:
            size += len(line.encode())
            if wanted and size > BYTES_MAX:
                break
            wanted.append(line)
        text = "".join(wanted)
        assert page.data == text.removesuffix("\n")
        if not wanted:
            assert page.next_line_offset == len(self.lines) + 1
            assert not page.has_more
            return
        start = len("".join(self.lines[: first - 1]).encode())
        assert (page.start_byte, page.end_byte) == (start, start + len(text.encode()))
        assert (page.start_line, page.end_line) == (first, first + len(wanted) - 1)
        assert page.next_line_offset == page.end_line + 1
        assert page.has_more == (page.end_line < len(self.lines))

    def _check_bytes(self, page: Page, offset: int, limit: int) -> None:
        start = min(offset, len(self.data))
        stop = min(start + min(max(limit, 1), BYTES_MAX), len(self.data))
        begin = self.edges[bisect.bisect_right(self.edges, start) - 1]
        after = bisect.bisect_right(self.edges, stop) - 1
        if self.edges[after] <= begin < len(self.data):
            after += 1
        end = self.edges[after]
        assert (page.start_byte, page.end_byte) == (begin, end)
        assert page.data.encode() == self.data[begin:end]
        assert page.start_line == self.data[:begin].count(b"\n") + 1
        assert page.end_line == self.data[:end].count(b"\n") + 1
        assert page.has_more == (end < len(self.data))


def _text(chance: random.Random) -> str:
    """Text that comes to several chunks, with lines and characters of all lengths."""
    pieces = ["é", "€", "😀", "a", "bc", "\n", "\n\n", "x" * 50]
    if chance.random() < 0.3:
        pieces += ["y" * CHUNK, "ü" * (CHUNK // 2)]
        return "".join(chance.choices(pieces, k=15))
    return "".join(chance.choices(pieces, k=chance.choice([0, 3, 40, 10_000])))


def _request(chance: random.Random, extent: Extent) -> PageRequest:
    if chance.random() < 0.5:
        return PageRequest(
            byte_offset=chance.randint(0, extent.bytes + 3),
            byte_limit=chance.choice([0, 1, 2, 5, 4096, CHUNK, 1 << 30]),
        )
    return PageRequest(
        line_offset=chance.randint(0, extent.lines + 2),
        line_limit=chance.choice([0, 1, 3, 100, 1 << 30]),
    )


async def _compare(database: Database, seed: int) -> None:
    """Write texts in random pieces, read random pages of them."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    await database.start()
    store = Store(database, structlog.get_logger())
    for number in range(10):
        name = f"run-{number}"
        output = LiveOutput("here", name, store, 1 << 40)
        text = _text(chance)
        place = 0
        while place < len(text):
            size = chance.choice([1, 7, 500, 40_000])
            output.append(text[place : place + size])
            place += size
            if chance.random() < 0.05:
                output.save()
                await store.flush()
        output.save()
        await store.flush()
        reading = Reading(text)
        assert output.extent.bytes == len(reading.data)
        assert output.extent.lines == len(reading.lines)
        pages = Pages(store, ("here", name), output.extent, Status.COMPLETED)
        for _ in range(30):
            asked = _request(chance, output.extent)
            reading.check(await pages.read(asked), asked)
    await store.close()
    await database.close()


# Another seed is another order of the same reads.
OTHER_SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2)]


@pytest.mark.parametrize("seed", [0, *OTHER_SEEDS])
def test_random_pages(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path, seed: int
) -> None:
    flags = database_flags()
    url = url_of(flags[1] if flags else None, tmp_path)
    asyncio.run(_compare(Database(url), seed))


# -- output that isn't there -----------------------------------------------------------


def test_output_whose_commit_fails_goes_along_with_the_end(
    away: Away, tmp_path: Path
) -> None:
    """It is still being written, and as it were saved, when the run ends."""

    async def run() -> None:
        database = Database(url_of(away.url, tmp_path))
        await database.start()
        store = Store(database, make_log("error", StringIO()))
        record = RunRecord(
            *("r", Kind.SCRIPT, "here", None, 1.0, {}, Status.QUEUED, 1.0)
        )
        first = store.add(record, "")
        output = LiveOutput("here", "r", store, 99)
        output.append("a first line\n")
        output.save()
        await first
        away.leave()
        output.append("its last line\n")
        output.save()
        lost = store.put(_chunk("another run's"))
        lost.written.add_done_callback(lambda _: away.come_back())
        while (commit := store.add(record, "")) is lost:  # noqa: ASYNC110 - a tick
            await asyncio.sleep(0)
        output.save()
        ending = Ending(Status.COMPLETED)
        ended = record._replace(
            status=ending.status, ended_at=2.0, ending=ending, output=output.extent
        )
        assert store.end(ended) is commit
        with pytest.raises(DatabaseError):
            await lost
        await commit
        assert await store.get(Kind.SCRIPT, "here", "r") == ended
        pages = Pages(store, ("here", "r"), ended.output, Status.COMPLETED)
        page = await pages.read(PageRequest())
        assert page.data == "a first line\nits last line"
        await database.close()

    asyncio.run(run())


def _chunk(run_id: str, start: int = 0, data: bytes = b"") -> dict[str, Any]:
    key = {"workspace": "here", "run_id": run_id}
    return {**key, "start_byte": start, "start_line": start, "data": data}


@pytest.mark.parametrize("gone", ["", "start_byte = 0", "start_byte > 0"])
def test_output_that_is_not_there_is_told_as_such(
    servers: Callable[..., Server], tmp_path: Path, gone: str
) -> None:
    """Whether that is all of it, or its beginning, or what follows."""
    server = servers(*RUN_FLAGS, "--data-dir", str(tmp_path))
    with connect(server) as client:
        code = "for (let i = 0; i < 20000; i++) console.log(i)"
        path = f"/api/executions/{client.done(code)['execution_id']}/output"
        # The end of the first chunk, and the beginning of the second one.
        pages = [{"byte_offset": CHUNK - 9, "byte_limit": 18}]
        pages += [{"line_offset": 6000, "line_limit": 2000}]
        for asked in pages:
            assert client.get(path, params=asked).status_code == 200
        where = f"WHERE {gone}" if gone else ""
        file = tmp_path / "isokernel.sqlite"
        with closing(sqlite3.connect(file)) as other, other:
            other.execute(f"DELETE FROM run_output {where}")  # noqa: S608 - ours
        for asked in pages:
            answer = client.get(path, params=asked)
            assert answer.status_code == 503, asked
            assert answer.headers["X-Error-Code"] == "database"
            assert "is missing" in answer.json()["error"]
