"""The fork server: starting, exits, its own death, its server's death."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.waiting import DEADLINE, stop_process, wait_for
from tests.support.workers import WorkerClient, await_exit, orphans_reaped

from isokernel.errors import ForkServerError
from isokernel.forkserver import ForkServer
from isokernel.forkserver.protocol import Refused
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = ContextSettings()
PR_GET_CHILD_SUBREAPER = 37


@pytest.fixture
def fork_server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[ForkServer]:
    """One for all tests that look at its contexts alone."""
    made = ForkServer(subreaper=False)  # which is for those that are about its end
    made.start()
    yield made
    made.close()


def readable(descriptor: int, seconds: float = DEADLINE) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_it_starts_with_the_first_context(fork_server: ForkServer) -> None:
    assert fork_server.pid is None
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    assert client.value("1 + 1") == "2"
    assert fork_server.starts == 1
    fork_server.start()
    assert fork_server.starts == 1
    client.close()


def test_a_context_tells_its_own_memory() -> None:
    fork_server = ForkServer(spare_processes=0)
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    try:
        client.run("let held = new Uint8Array(30_000_000).fill(1)")
        told = client.memory()["pss"]
        seen = psutil.Process(client.pid).memory_full_info().pss
        assert told == pytest.approx(seen, rel=0.1)
    finally:
        client.close()
        fork_server.close()


def test_sockets_do_not_block_and_are_not_inherited(shared: ForkServer) -> None:
    spawned = shared.spawn(SETTINGS)
    for sock in (spawned.work, spawned.control):
        with pytest.raises(BlockingIOError):
            pytest.fail(f"it said {sock.recv(4096)!r}")
        assert not os.get_inheritable(sock.fileno())
        sock.close()


def test_contexts_know_nothing_of_each_other(shared: ForkServer) -> None:
    first, second = (WorkerClient(*shared.spawn(SETTINGS)) for _ in range(2))
    first.run("globalThis.x = 1")
    assert second.value("typeof x") == "'undefined'"
    # The end of one is seen by its server, though the other was forked meanwhile.
    first.close()
    assert await_exit(shared, first.pid).status == 0
    second.close()


def test_the_base_is_blank(shared: ForkServer) -> None:
    client = WorkerClient(*shared.spawn(SETTINGS))
    assert client.value("[Object.keys(In), Object.keys(Out), typeof _]") == (
        "[ [ '1' ], [], 'undefined' ]"
    )
    assert "cell 2:1:7" in "\n".join(
        client.run("throw Error('x')")[-2].content["traceback"]
    )
    client.close()


def test_exits_are_reported_in_words(fork_server: ForkServer) -> None:
    clients = [WorkerClient(*fork_server.spawn(SETTINGS)) for _ in range(3)]
    assert fork_server.poll_exits() == []
    assert not readable(fork_server.exits_fd, 0)
    os.kill(clients[0].pid, signal.SIGKILL)
    os.kill(clients[1].pid, signal.SIGSEGV)
    clients[2].close()
    found = {client.pid: None for client in clients}
    while None in found.values():
        assert readable(fork_server.exits_fd)
        for exited in fork_server.poll_exits():
            found[exited.pid] = exited  # type: ignore[assignment]
    ends = [found[client.pid] for client in clients]
    assert [end.status for end in ends] == [-9, -11, 0]  # type: ignore[attr-defined]
    assert "SIGKILL" in ends[0].reason  # type: ignore[attr-defined]
    assert ends[1].reason == "killed by SIGSEGV"  # type: ignore[attr-defined]
    assert not readable(fork_server.exits_fd, 0)
    for client in clients:
        client.close()


def test_its_death_leaves_the_contexts(fork_server: ForkServer) -> None:
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    client.run("let kept = 1")
    descriptor, dead = fork_server.exits_fd, fork_server.pid
    assert dead is not None
    os.kill(dead, signal.SIGKILL)
    assert readable(descriptor)
    assert fork_server.poll_exits() == []
    assert fork_server.pid is None
    assert client.value("kept") == "1"
    other = WorkerClient(*fork_server.spawn(SETTINGS))
    assert other.value("2") == "2"
    assert fork_server.starts == 2
    assert fork_server.pid != dead
    assert fork_server.exits_fd == descriptor
    # Both ends are told, that of the orphan too.
    os.kill(client.pid, signal.SIGKILL)
    assert await_exit(fork_server, client.pid).status == -9
    client.close()
    other.close()
    assert await_exit(fork_server, other.pid).status == 0


def test_an_end_between_two_fork_servers_is_told(fork_server: ForkServer) -> None:
    clients = [WorkerClient(*fork_server.spawn(SETTINGS)) for _ in range(2)]
    assert fork_server.pid is not None
    stop_process(fork_server.pid)
    os.kill(clients[0].pid, signal.SIGKILL)
    os.kill(fork_server.pid, signal.SIGKILL)
    assert await_exit(fork_server, clients[0].pid).status == -9
    clients[1].close()
    assert await_exit(fork_server, clients[1].pid).status == 0
    clients[0].close()


@pytest.mark.parametrize("spares", [0, pytest.param(1, marks=pytest.mark.slow), 3])
def test_processes_are_forked_in_advance(spares: int) -> None:
    server = ForkServer(spare_processes=spares)
    server.start()
    assert server.pid is not None
    process_of_server = psutil.Process(server.pid)
    wait_for(lambda: len(process_of_server.children()) >= spares)
    waiting = process_of_server.children()
    client = WorkerClient(*server.spawn(SETTINGS))
    assert (client.pid in {process.pid for process in waiting}) is (spares > 0)
    assert client.value("[Math.random() < 1, Object.keys(In)]") == "[ true, [ '1' ] ]"
    # Their ends are nobody's business, and another one takes the place.
    killed = [
        child for child in process_of_server.children() if child.pid != client.pid
    ]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, DEADLINE)
    other = WorkerClient(*server.spawn(SETTINGS))
    assert other.value("1") == "1"
    assert server.poll_exits() == []
    for each in (client, other):
        each.close()
        await_exit(server, each.pid)
    server.close()


def test_its_death_is_found_by_the_next_spawn(fork_server: ForkServer) -> None:
    fork_server.start()
    assert fork_server.pid is not None
    os.kill(fork_server.pid, signal.SIGKILL)
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    assert client.value("1") == "1"
    assert fork_server.starts == 2
    client.close()


def test_clones_outlive_the_fork_server_too(fork_server: ForkServer) -> None:
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    assert client.value("1") == "1"  # it knows its fork server, and sees its end
    assert fork_server.pid is not None
    os.kill(fork_server.pid, signal.SIGKILL)
    assert readable(fork_server.exits_fd)
    fork_server.poll_exits()
    clone = client.clone()
    fork_server.adopt(clone.pid)
    clone.close()
    assert await_exit(fork_server, clone.pid).status == 0
    client.close()


def _has_group(group: int) -> bool:
    """Whether processes of a group are children of this process, dead ones included."""
    try:
        os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def test_what_an_orphan_has_forked_is_reaped(fork_server: ForkServer) -> None:
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    client.run("const kept = Array.from({ length: 2e5 }, (_, i) => ({ i })); 0")
    assert fork_server.pid is not None
    os.kill(fork_server.pid, signal.SIGKILL)
    assert readable(fork_server.exits_fd)
    fork_server.poll_exits()
    with client.saving() as saving:
        assert client.reply(saving.number)["status"] == "ok"
        # What writes the heap is under way, and ends with the context.
        assert psutil.Process(client.pid).children()
        os.kill(client.pid, signal.SIGKILL)
        assert await_exit(fork_server, client.pid).status == -9
        end = time.monotonic() + DEADLINE
        while _has_group(client.pid):
            fork_server.poll_exits()
            assert time.monotonic() < end
    client.close()


def test_a_clone_may_end_before_it_is_adopted(fork_server: ForkServer) -> None:
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    clone = client.clone()
    clone.close()
    assert readable(fork_server.exits_fd)
    assert fork_server.poll_exits() == []
    fork_server.adopt(clone.pid)
    assert readable(fork_server.exits_fd)
    [exited] = fork_server.poll_exits()
    assert (exited.pid, exited.status) == (clone.pid, 0)
    client.close()


def test_many_threads_may_ask(shared: ForkServer) -> None:
    values: list[str] = []

    def work() -> None:
        for _ in range(5):
            client = WorkerClient(*shared.spawn(SETTINGS))
            values.append(client.value("1"))
            client.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == ["1"] * 20


def test_a_hundred_contexts_and_their_ends(shared: ForkServer) -> None:
    clients = [WorkerClient(*shared.spawn(SETTINGS)) for _ in range(100)]
    for number, client in enumerate(clients):
        client.execute(f"let own = {number}; own")
    for number, client in enumerate(clients):
        assert client.finish(1)[2].content["data"]["text/plain"] == f"{number}"
    for client in clients:
        client.close()
    left = {client.pid for client in clients}
    while left:
        assert readable(shared.exits_fd)
        left -= {exited.pid for exited in shared.poll_exits()}


def test_what_makes_no_sense_is_refused(shared: ForkServer) -> None:
    assert isinstance(shared._exchange(b"\xc1", []), Refused)
    assert isinstance(shared._exchange(b"\x80", []), Refused)


def test_a_fork_server_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ForkServerError, match="can't be started"):
        fork_server.start()
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(ForkServerError, match="ended"):
        fork_server.spawn(SETTINGS)
    monkeypatch.undo()
    client = WorkerClient(*fork_server.spawn(SETTINGS))
    assert client.value("1") == "1"
    client.close()


def test_closing_ends_everything() -> None:
    server = ForkServer()
    clients = [WorkerClient(*server.spawn(SETTINGS)) for _ in range(3)]
    clients[0].execute("for (;;);")
    pidfds = [os.pidfd_open(client.pid) for client in clients]
    server.close()
    server.close()
    for pidfd, client in zip(pidfds, clients, strict=True):
        assert readable(pidfd)
        os.close(pidfd)
        client.close()
    with pytest.raises(ForkServerError, match="closed"):
        server.spawn(SETTINGS)


def test_closing_may_leave_what_was_forked() -> None:
    server = ForkServer()
    client = WorkerClient(*server.spawn(SETTINGS))
    server.close(kill=False)
    assert client.value("1") == "1"
    client.close()
    os.waitpid(client.pid, 0)  # an orphan, so ours


_SERVER = """
import sys
from isokernel.settings import ContextSettings
from isokernel.forkserver import ForkServer
server = ForkServer()
spawned = server.spawn(ContextSettings())
print(server.pid, spawned.pid, flush=True)
sys.stdin.read()
"""


def test_all_die_with_the_server() -> None:
    command = [sys.executable, "-c", _SERVER]
    with (
        orphans_reaped(),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        for pidfd in pidfds:
            assert readable(pidfd)
            os.close(pidfd)


def test_who_closes_one_that_does_not_start_waits_for_no_start() -> None:
    fork_server = ForkServer()
    fork_server.launch()
    process = psutil.Process(fork_server.pid)
    stop_process(process.pid)
    told: list[ForkServerError] = []

    def start() -> None:
        with pytest.raises(ForkServerError) as raised:
            fork_server.start()
        told.append(raised.value)

    def has_begun() -> bool:
        free = fork_server._lock.acquire(blocking=False)
        if free:
            fork_server._lock.release()
        return not free

    starting = threading.Thread(target=start)
    starting.start()
    wait_for(has_begun)
    begun = time.monotonic()
    fork_server.close()
    assert time.monotonic() - begun < 15  # of 30 for a start
    starting.join()
    assert len(told) == 1
    assert not process.is_running()


def test_there_is_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ForkServerError, match="only on Linux"):
        ForkServer()


def test_orphans_are_left_to_others_once_all_are_closed() -> None:
    def reaps() -> bool:
        found = ctypes.c_int(-1)
        assert ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found)) == 0
        return found.value == 1

    servers = [ForkServer(), ForkServer()]
    for server in servers:
        server.start()
    assert reaps()
    servers[0].close()
    assert reaps()
    servers[1].close()
    assert not reaps()
