"""The stores and the envelope: whole or not at all, checked when read."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

from isokernel.runtime import scripts
from isoserver.errors import HeapDamagedError, HeapEngineError, HeapStoreError
from isoserver.heaps.content import examine, pack, unpack, verify
from isoserver.heaps.records import is_key
from isoserver.heaps.store import HeapStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.heaps import Packed

SIZE_MAX = 64 << 20
KEYS = ["0" * 64, "a" * 64]

WRITER = """
import sys
from isoserver.heaps.store import HeapStore
store, data = HeapStore(sys.argv[1]), open(sys.argv[3], "rb").read() * 64
print("ready", flush=True)
while True:
    store.write(sys.argv[2], data)
"""


# In a process of its own, as libraries keep threads and connections.
ASKER = """
import sys
from isoserver.errors import HeapStoreError
from isoserver.heaps.store import HeapStore
HeapStore(sys.argv[1]).open()
store = HeapStore(sys.argv[1].replace("s3://", "s3://no"))
for ask in (store.open, lambda: store.read(sys.argv[2])):
    try:
        ask()
    except HeapStoreError as error:
        print(error)
"""

GIVER = """
import sys, threading
from isoserver.errors import HeapStoreError
from isoserver.heaps.store import HeapStore
store, key = HeapStore(sys.argv[1]), sys.argv[2]
def ask(method, *arguments):
    try:
        print(method(*arguments))
    except HeapStoreError as error:
        print(error)
asking = threading.Thread(target=ask, args=(store.write, key, b"0"))
asking.start()
sys.stdin.readline()
store.give_up()
asking.join()
ask(store.exists, key)
"""
PATIENT = """
import sys
from isoserver.errors import HeapStoreError
from isoserver.heaps import store
store._ANSWER_SECONDS, store._READ_SECONDS = 0.5, 0.25
asked, key = store.HeapStore(sys.argv[1]), sys.argv[2]
for ask in (
    lambda: asked.write(key, b"0" * 1000),
    lambda: asked.write(key, b"0" * (1 << 20)),
    lambda: asked.read(key),
    lambda: asked.exists(key),
    lambda: asked.set_aside(key),
    lambda: asked.bring_back(key),
    asked.files,
    asked.open,
):
    try:
        ask()
    except HeapStoreError as error:
        print(error)
"""

LATE_GIVER = """
import sys, threading
from isoserver.errors import HeapStoreError
from isoserver.heaps.store import HeapStore
store, gate = HeapStore(sys.argv[1]), threading.Event()
loop = store._opened[0].loop
loop.call_soon_threadsafe(gate.wait)
def ask():
    try:
        store.write(sys.argv[2], b"0")
    except HeapStoreError as error:
        print(error, flush=True)
asking = threading.Thread(target=ask, daemon=True)
if sys.argv[3] == "before":
    asking.start()
    while not loop._ready:  # what is asked, which hasn't begun
        asking.join(0.01)
    store.give_up()
else:
    begun, given = threading.Event(), threading.Event()
    pipe = store._opened[0].pipe_file
    def late(*asked, **options):
        begun.set()
        given.wait()
        return pipe(*asked, **options)
    store._opened[0].pipe_file = late
    asking.start()
    begun.wait()
    store.give_up()
    before = len(loop._ready)
    given.set()
    while len(loop._ready) == before:
        asking.join(0.01)
gate.set()
asking.join(10)
"""


LISTED = """
import json, sys
from isoserver.heaps.store import HeapStore
store = HeapStore(sys.argv[1])
for digit in range(16):
    store.write(f"{digit:x}" * 64, b"packed")
listed = [[one.key for one in store.files(part)] for part in (*store.parts, "")]
print(json.dumps([listed[:-1], listed[-1]]))
"""


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> HeapStore:
    """An empty store of each kind."""
    folder = str(tmp_path / "heaps")
    url = folder if request.param == "folder" else f"memory://{tmp_path.name}"
    made = HeapStore(url)
    made.open()
    return made


def test_what_is_written_can_be_read(store: HeapStore) -> None:
    assert not store.exists(KEYS[0])
    with pytest.raises(FileNotFoundError):
        store.read(KEYS[0])
    store.write(KEYS[0], b"first")
    store.write(KEYS[1], b"second")
    store.write(KEYS[0], b"replaced")
    assert store.read(KEYS[0]) == b"replaced"
    assert store.exists(KEYS[1])
    found = sorted(store.files())
    assert [(one.key, one.state, one.size) for one in found] == [
        (KEYS[0], "whole", 8),
        (KEYS[1], "whole", 6),
    ]


def test_what_is_set_aside_can_be_had_back(store: HeapStore) -> None:
    store.write(KEYS[0], b"data")
    assert store.set_aside(KEYS[0])
    assert not store.set_aside(KEYS[0])
    assert not store.exists(KEYS[0])  # it may be about to be deleted
    assert store.read(KEYS[0]) == b"data"
    assert [one.state for one in store.files()] == ["aside"]
    store.bring_back(KEYS[0])
    assert [one.state for one in store.files()] == ["whole"]
    store.set_aside(KEYS[0])
    store.write(KEYS[0], b"again")
    store.bring_back(KEYS[0])
    assert store.read(KEYS[0]) == b"again"
    assert [one.state for one in store.files()] == ["whole"]
    store.set_aside(KEYS[0])
    store.delete_aside(KEYS[0])
    assert not store.exists(KEYS[0])
    store.delete_aside(KEYS[0])
    store.bring_back(KEYS[0])
    assert store.files() == []


def test_what_is_set_aside_has_no_size(store: HeapStore) -> None:
    store.write(KEYS[0], b"packed")
    assert store.size(KEYS[0]) == 6
    store.set_aside(KEYS[0])
    with pytest.raises(FileNotFoundError):
        store.size(KEYS[0])
    store.bring_back(KEYS[0])
    assert store.size(KEYS[0]) == 6


def test_files_are_listed_part_by_part(bucket: tuple[str, dict[str, str]]) -> None:
    url, variables = bucket
    found = subprocess.run(
        [sys.executable, "-c", LISTED, url],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, **variables},
        timeout=DEADLINE,
    )
    each, whole = json.loads(found.stdout)
    keys = [f"{digit:x}" * 64 for digit in range(16)]
    assert each == [[key] for key in keys]
    assert sorted(whole) == keys


def test_a_store_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(HeapStoreError, match="nosuch"):
        HeapStore("nosuch://place").open()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(HeapStoreError):
        HeapStore(str(file / "heaps")).open()


def test_a_folder_that_is_gone_is_no_heap_that_is_missing(tmp_path: Path) -> None:
    store = HeapStore(str(tmp_path / "heaps"))
    store.open()
    (tmp_path / "heaps").rmdir()
    with pytest.raises(HeapStoreError, match="can't be written"):
        store.write(KEYS[0], b"data")


def test_a_bucket_that_is_missing_is_no_heap_that_is_missing(
    bucket: tuple[str, dict[str, str]],
) -> None:
    """Else contexts whose heaps are there would be lost by a wrong setting."""
    url, variables = bucket
    said = subprocess.run(
        [sys.executable, "-c", ASKER, url, KEYS[0]],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(said) == 2
    assert all("bucket does not exist" in line for line in said)


def _asking(port: int) -> dict[str, str]:
    """The environment of what asks a store at a port."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def test_who_waits_for_a_silent_store_is_told_that_it_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asking = subprocess.Popen(
            [sys.executable, "-c", GIVER, "s3://silent/in/here", KEYS[0]],
            env=_asking(silent.getsockname()[1]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # it waits for the answer
            began = time.monotonic()
            said, _ = asking.communicate("give up\n")
            assert time.monotonic() - began < 5
    assert said.count("the server is ending") == 2


def test_a_store_that_takes_requests_and_answers_none_is_given_up() -> None:
    """Each request ends by itself; what is sent has no other bound."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        said = subprocess.run(
            [sys.executable, "-c", PATIENT, "s3://silent/in/here", KEYS[0]],
            env=_asking(silent.getsockname()[1]),
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        ).stdout.splitlines()
    assert len(said) == 8
    assert all("the store of heaps can't be used" in line for line in said)
    assert sum("it does not answer" in line for line in said) >= 2


@pytest.mark.parametrize("order", ["before", "after"])
def test_who_has_only_begun_to_ask_a_store_is_told_that_it_is_given_up(
    order: str,
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LATE_GIVER, "s3://silent/in/here", KEYS[0], order],
        env=_asking(1),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said


@pytest.mark.parametrize(
    "text", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n", "a" * 65]
)
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)


def test_a_heap_comes_out_as_it_went_in(packed: list[Packed]) -> None:
    for key, data in packed:
        heap = unpack(data, SIZE_MAX)
        verify(key, heap)
        assert examine(heap).key == key
        assert unpack(pack(heap, 1), SIZE_MAX) == heap
        assert len(data) < len(heap)


def test_damage_is_found(packed: list[Packed]) -> None:
    key, data = packed[0]
    whole = unpack(data, SIZE_MAX)
    chosen = random.Random(1)  # noqa: S311 -- no secret
    found = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        try:
            read = unpack(bytes(damaged), SIZE_MAX)
            verify(key, read)
        except HeapDamagedError:
            found += 1
        else:
            assert read == whole  # the same bytes can be had from another place, too
    assert found > 290
    for length in (0, 1, 100, len(data) - 1):
        with pytest.raises(HeapDamagedError):
            verify(key, unpack(data[:length], SIZE_MAX))
    changed = bytearray(whole)
    for _ in range(100):
        place = chosen.randrange(len(changed))
        changed[place] ^= 0xFF
        # Whatever is changed, what V8 gets is what was saved or nothing.
        try:
            verify(key, bytes(changed))
        except (HeapDamagedError, HeapEngineError):
            pass
        else:
            assert place < 2000
        changed[place] ^= 0xFF


def test_another_heap_under_the_key_is_found(packed: list[Packed]) -> None:
    with pytest.raises(HeapDamagedError, match=packed[1].key):
        verify(packed[0].key, unpack(packed[1].data, SIZE_MAX))


def test_a_heap_of_another_engine_names_both(packed: list[Packed]) -> None:
    heap = unpack(packed[0].data, SIZE_MAX)
    engine = examine(heap).engine
    other = engine.replace("14.", "13.")
    assert other != engine
    foreign = heap.replace(engine.encode(), other.encode(), 1)
    with pytest.raises(HeapEngineError) as caught:
        verify(packed[0].key, foreign)
    assert engine in str(caught.value)
    assert other in str(caught.value)


def test_a_heap_of_another_runtime_names_both(packed: list[Packed]) -> None:
    heap = unpack(packed[0].data, SIZE_MAX)
    other = "0" * len(scripts.identity())
    foreign = heap.replace(scripts.identity().encode(), other.encode(), 1)
    assert foreign != heap
    with pytest.raises(HeapEngineError, match=f"runtime {other}") as caught:
        verify(packed[0].key, foreign)
    assert f"runtime {scripts.identity()}" in str(caught.value)


BOUNDED_WRITER = """
import resource, signal, sys
from isoserver.errors import HeapStoreError
from isoserver.heaps.store import HeapStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = HeapStore(sys.argv[1])
store.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    store.write(sys.argv[2], bytes(1 << 20))
except HeapStoreError as error:
    print(error)
"""


def test_what_can_not_be_written_takes_no_room(tmp_path: Path) -> None:
    place = tmp_path / "heaps"
    said = subprocess.run(
        [sys.executable, "-c", BOUNDED_WRITER, str(place), KEYS[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in said.stdout
    assert list(place.iterdir()) == []


def test_a_bomb_is_not_unpacked() -> None:
    bomb = pack(bytes(1 << 24), 19)
    assert len(bomb) < 1 << 12
    with pytest.raises(HeapDamagedError, match="16777216"):
        unpack(bomb, 1 << 20)


@pytest.fixture
def writers() -> Iterator[list[subprocess.Popen[Any]]]:
    """Processes, which are ended."""
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
def test_kill_9_amid_a_write_leaves_nothing_that_could_be_read(
    packed: list[Packed], tmp_path: Path, writers: list[subprocess.Popen[Any]]
) -> None:
    key, data = packed[0]
    source = tmp_path / "source"
    source.write_bytes(data)
    folder = tmp_path / "heaps"
    parts = 0
    chosen = random.Random(3)  # noqa: S311 -- no secret
    for _ in range(12):
        command = [sys.executable, "-c", WRITER, str(folder), key, str(source)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        writers.append(process)
        assert process.stdout is not None
        folder.mkdir(exist_ok=True)
        assert process.stdout.readline() == b"ready\n"
        end = time.monotonic() + chosen.random() / 20
        while time.monotonic() < end:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        found = HeapStore(str(folder)).files()
        parts += sum(one.state == "part" for one in found)
        for one in found:
            if one.state == "whole":
                assert Path(one.path).read_bytes() == data * 64
    assert parts, "no write was interrupted: the test shows nothing"
