"""A context's process that goes on from a heap, or is cloned."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.waiting import wait_for
from tests.support.workers import WorkerClient, await_exit

from isokernel.protocol.frames import FORKS_MAX
from isokernel.v8 import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local_contexts import LocalContext

    from isokernel.forkserver import ForkServer


def test_it_goes_on_from_a_snapshot(
    spawn: Callable[..., WorkerClient], context: LocalContext
) -> None:
    context.run("let saved = { list: [1, 2] }; const f = () => saved.list.length")
    heap = writer.save(context.context.bridge.isolate).to_bytes()
    first, second = spawn(heap), spawn(heap)
    assert first.value("saved.list.push(3); f()") == "3"
    assert second.value("f()") == "2"
    assert first.value("Math.random()") != second.value("Math.random()")


def test_a_heap_that_is_none_is_said(
    fork_server: ForkServer, spawn: Callable[..., WorkerClient]
) -> None:
    client = spawn(b"nothing of the kind")
    words = client.last_words()
    assert words is not None
    assert "SnapshotFormatError" in words["detail"]
    assert await_exit(fork_server, client.pid).status == 73


@pytest.fixture
def clone(fork_server: ForkServer) -> Iterator[Callable[[WorkerClient], WorkerClient]]:
    made: list[WorkerClient] = []

    def fork(client: WorkerClient) -> WorkerClient:
        made.append(client.clone())
        fork_server.adopt(made[-1].pid)
        return made[-1]

    yield fork
    for client in made:
        client.close()
        await_exit(fork_server, client.pid)


def test_a_clone_has_the_state_and_goes_its_own_way(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let n = 1; const bump = () => ++n; let p = Promise.resolve(7)")
    other = clone(client)
    assert client.value("bump()") == "2"
    assert other.value("bump(); bump()") == "3"
    assert client.value("n") == "2"
    assert other.value("await p") == "7"
    frames = other.run("1")
    assert frames[1].content["execution_count"] == 4
    assert client.value("Math.random()") != other.value("Math.random()")


def test_a_clone_can_be_cloned(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let depth = 0")
    current = client
    for depth in range(1, 6):
        current = clone(current)
        assert current.value("++depth") == f"{depth}"
    assert client.value("depth") == "0"


def test_a_clone_outlives_its_original_and_stops_alone(
    fork_server: ForkServer,
    client: WorkerClient,
    clone: Callable[[WorkerClient], WorkerClient],
) -> None:
    client.run("let m = 5")
    other = clone(client)
    client.close()
    await_exit(fork_server, client.pid)
    number = other.execute("for (;;);")
    other.interrupt(number)
    assert other.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert other.value("m") == "5"
    assert "heap_used" in other.memory()


def test_a_clone_is_the_fork_servers_child(
    fork_server: ForkServer,
    client: WorkerClient,
    clone: Callable[[WorkerClient], WorkerClient],
) -> None:
    other = clone(clone(client))
    assert psutil.Process(other.pid).ppid() == fork_server.pid
    assert psutil.Process(client.pid).children() == []


def _spares(client: WorkerClient, *others: WorkerClient) -> list[int]:
    """The spare clones of a context: what is in its session beside others."""
    known = {client.pid, *(other.pid for other in others)}
    return [
        pid for pid in psutil.pids() if pid not in known and _session(pid) == client.pid
    ]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def test_the_second_clone_is_ready(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let n = 1; setTimeout(() => console.log('fired'), 1e6); 0")
    first = clone(client)
    [spare] = wait_for(lambda: _spares(client, first))
    second = clone(client)
    assert second.pid == spare
    assert second.value("++n") == "2"
    assert second.value("Math.random()") != first.value("Math.random()")
    number = second.execute("for (;;);")
    second.interrupt(number)
    assert second.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert first.value("n") == client.value("n") == "1"
    third = clone(second)
    assert third.value("n") == "2"


@pytest.mark.parametrize("change", ["a cell", "a timer"])
def test_a_spare_clone_ends_when_its_original_goes_on(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient], change: str
) -> None:
    client.run("let n = 1")
    if change == "a timer":
        client.run("setTimeout(() => console.log(n = 2), 1500); 0")
    first = clone(client)
    [spare] = wait_for(lambda: _spares(client, first))
    if change == "a timer":
        client.wait(lambda frame: frame.type == "stream")
    else:
        client.run("n = 2")
    wait_for(lambda: not psutil.pid_exists(spare))
    assert clone(client).value("n") == "2"


def test_a_spare_clone_ends_with_its_original(
    fork_server: ForkServer,
    client: WorkerClient,
    clone: Callable[[WorkerClient], WorkerClient],
) -> None:
    first = clone(client)
    [spare] = wait_for(lambda: _spares(client, first))
    os.kill(client.pid, signal.SIGKILL)
    assert await_exit(fork_server, client.pid).status == -signal.SIGKILL
    wait_for(lambda: not psutil.pid_exists(spare))
    assert first.value("1") == "1"


def test_a_clone_does_without_a_spare_one_that_was_killed(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let n = 1")
    first = clone(client)
    [spare] = wait_for(lambda: _spares(client, first))
    os.kill(spare, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(spare))
    assert clone(client).value("n") == "1"


def test_a_clone_has_no_threads_before_it_is_asked_something(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let m = 5")
    # At once: else the next one would be ready, which has them.
    other, asked, answering = (clone(client) for _ in range(3))
    assert "heap_used" in answering.memory()
    number = asked.execute("for (;;);")
    asked.interrupt(number)
    assert asked.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert psutil.Process(asked.pid).num_threads() > 1
    assert psutil.Process(other.pid).num_threads() == 1
    assert other.value("m") == "5"


@pytest.mark.parametrize("ready", [False, True])
def test_many_clones_of_one_moment(
    fork_server: ForkServer, client: WorkerClient, *, ready: bool
) -> None:
    client.run("let n = 1")
    if ready:  # the first of them is a spare one
        first = client.clones(1)
        wait_for(lambda: _spares(client, *first))
    else:
        first = []
    others = client.clones(FORKS_MAX)
    left = {other.pid for other in (*first, *others)}
    assert len(left) == FORKS_MAX + len(first)
    for pid in left:
        fork_server.adopt(pid)
        assert psutil.Process(pid).ppid() == fork_server.pid
    numbers = [other.value(f"n += {place}") for place, other in enumerate(others)]
    assert numbers == [f"{1 + place}" for place in range(FORKS_MAX)]
    assert client.value("n") == "1"
    # Each has closed what is the others': the end of one is seen.
    os.kill(others[1].pid, signal.SIGKILL)
    others[1].work.settimeout(20)
    assert others[1].work.recv(1) == b""
    for other in (*first, *others):
        other.close()
    wait_for(lambda: not _left_of(left, fork_server))


def _left_of(pids: set[int], fork_server: ForkServer) -> set[int]:
    """Take out those that have exited since."""
    pids.difference_update(exited.pid for exited in fork_server.poll_exits())
    return pids


@pytest.mark.parametrize("count", [0, FORKS_MAX + 1, True, "1", None])
def test_a_wrong_number_of_clones_is_refused(
    client: WorkerClient, count: object
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptors = [theirs.fileno()]
        number = client.send("fork_request", {"count": count}, descriptors=descriptors)
        assert client.reply(number)["ename"] == "MessageError"
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""
    assert client.value("1") == "1"


def test_timers_go_on_in_both(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    number = client.execute("setTimeout(() => console.log('fired'), 200); 0")
    client.finish(number)
    other = clone(client)
    for each in (client, other):
        late = each.wait(lambda frame: frame.type == "stream")
        assert (late.parent, late.content["text"]) == (number, "fired\n")


def test_a_fork_request_without_sockets_is_refused(client: WorkerClient) -> None:
    number = client.send("fork_request", {"count": 1})
    assert client.reply(number)["ename"] == "MessageError"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptors = [theirs.fileno()]
        number = client.send("fork_request", {"count": 1}, descriptors=descriptors)
        assert client.reply(number)["ename"] == "MessageError"
        # Nobody has kept it: the other end is the last one.
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""
    assert client.value("1") == "1"
