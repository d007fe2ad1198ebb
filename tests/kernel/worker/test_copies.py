"""A context's process that goes on from a heap, or is cloned."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.workers import WorkerClient, await_exit

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


def test_a_clone_has_no_threads_before_it_is_asked_something(
    client: WorkerClient, clone: Callable[[WorkerClient], WorkerClient]
) -> None:
    client.run("let m = 5")
    other, asked, answering = (clone(client) for _ in range(3))
    assert "heap_used" in answering.memory()
    number = asked.execute("for (;;);")
    asked.interrupt(number)
    assert asked.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert psutil.Process(asked.pid).num_threads() > 1
    assert psutil.Process(other.pid).num_threads() == 1
    assert other.value("m") == "5"


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
    assert client.reply(client.send("fork_request"))["ename"] == "MessageError"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = client.send("fork_request", descriptors=[theirs.fileno()])
        assert client.reply(number)["ename"] == "MessageError"
        # Nobody has kept it: the other end is the last one.
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""
    assert client.value("1") == "1"
