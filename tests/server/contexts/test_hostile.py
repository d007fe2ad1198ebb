"""Contexts that their code has taken over: what they say is no proof of anything.

With nothing allowed, and with all that policies can allow: then a context may call the
server, and what it says in calls is held against the same rules. Nothing differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.capabilities import SMALL
from tests.support.contexts import context_of, with_fork_server
from tests.support.waiting import POLL_SECONDS, stop_process

from isokernel.forkserver import ForkServer
from isokernel.network.provider import Network
from isokernel.network.settings import NetworkSettings
from isokernel.protocol.frames import Decoder, encode
from isokernel.settings import ContextSettings
from isoserver.capabilities.service import Capabilities
from isoserver.contexts.forkserver import AsyncForkServer, fork_server
from isoserver.contexts.history import Cell
from isoserver.contexts.v8 import V8Process
from isoserver.errors import ForkError, HeapUnsavableError
from isoserver.runs.calls import ToolCalls
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.tools.calls import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isokernel.forkserver import MemoryFile, Spawned
    from isokernel.protocol.frames import Frame
    from isoserver.contexts.context import Context
    from isoserver.tools.calls import Asker

SECONDS = 30.0
ALL: dict[str, Any] = {"modules": ["on"], "net": ["on"], "files": ["on"], "env": ["on"]}
Make = Callable[..., "Context"]


@pytest.fixture(params=["nothing", "everything"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes contexts that may do nothing beyond themselves, or everything."""

    def make(fork_server: AsyncForkServer, **given: Any) -> Context:
        if request.param == "nothing":
            return context_of(fork_server, **given)
        settings = read_settings(**ALL)
        providers = {**SMALL, "net": lambda: Network(NetworkSettings())}
        calls = Capabilities(settings, providers, make_log("error", None))
        return context_of(fork_server, calls=calls, **ALL, **given)

    return make


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any context."""
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


class Taken(AsyncForkServer):
    """A fork server whose processes speak through us."""

    def __init__(self, answer: Callable[[Frame], list[bytes]]) -> None:
        super().__init__(ForkServer())
        self.answer = answer
        self.reads = threading.Event()
        self.reads.set()
        self.heard: list[Frame] = []
        self._threads: list[threading.Thread] = []

    def spawn(
        self, settings: ContextSettings, heap: MemoryFile | None = None
    ) -> Spawned:
        """Start one, whose `work` is answered by a thread."""
        spawned = super().spawn(settings, heap)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - socket's own signature
        thread = threading.Thread(target=self._lie, args=(theirs, spawned.work))
        thread.start()
        self._threads.append(thread)
        return spawned._replace(work=ours)

    def close(self) -> None:
        """End the processes, whose sockets are closed, and wait for the threads."""
        super().close()
        for thread in self._threads:
            thread.join(SECONDS)

    def _lie(self, theirs: socket.socket, work: socket.socket) -> None:
        decoder = Decoder()
        # The server closes the connection of one that lies, perhaps amid an answer.
        with theirs, work, contextlib.suppress(ConnectionError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(theirs, 1 << 16, 4)
                for descriptor in descriptors:
                    os.close(descriptor)
                if not data:
                    return
                for frame in decoder.feed(data):
                    self.heard.append(frame)
                    try:
                        for said in self.answer(frame):
                            theirs.sendall(said)
                    except BrokenPipeError:  # the server has seen through it
                        return
                self.reads.wait(SECONDS)


@pytest.mark.parametrize("act", ["save", "fork"])
def test_no_foreign_process_is_named(
    act: str, victim: subprocess.Popen[bytes], make: Make
) -> None:
    async def scenario(fork_server: Taken) -> None:
        context = make(fork_server)
        await context.start()
        if act == "save":
            with pytest.raises(HeapUnsavableError, match="not its own"):
                await context.save()
        else:
            other = make(fork_server)
            with pytest.raises(ForkError, match="not its own"):
                await context.fork_into(other)
            await other.close()
        await context.close()

    def names(frame: Frame) -> list[bytes]:
        said = {"status": "ok", "pid": victim.pid, "pids": [victim.pid]}
        return [encode(frame.type.replace("request", "reply"), said, parent=frame.id)]

    with_fork_server(lambda: Taken(names), scenario)
    # Closing the forks kills all that they have adopted, as a failure to save does.
    assert victim.poll() is None


def test_what_is_not_of_a_context_is_refused() -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    gone = ended.pid
    foreign: tuple[object, ...] = (-1, 0, 1, True, "1", None, 3.5, 1 << 22, 1 << 70, [])

    async def scenario(fork_server: AsyncForkServer) -> None:
        with contextlib.ExitStack() as stack:
            one, two = (
                fork_server.spawn(ContextSettings(language="javascript"))
                for _ in range(2)
            )
            for end in (one.work, one.control, two.work, two.control):
                stack.enter_context(end)
            for pid in (*foreign, os.getpid(), os.getppid(), two.pid):
                for take in (fork_server.adopt, fork_server.hold):
                    with pytest.raises(ForkError, match="not its own"):
                        take(pid, one.pid)
            with pytest.raises(ForkError, match="ended at once"):
                fork_server.adopt(gone, one.pid)
            assert fork_server.hold(gone, one.pid) is None

    with_fork_server(lambda: AsyncForkServer(ForkServer()), scenario)


@pytest.mark.skipif(os.geteuid() != 0, reason="contexts have no users of their own")
@pytest.mark.parametrize(("contexts", "bound"), [(2, 256), (500, 2000)])
def test_processes_of_a_context_are_bounded(contexts: int, bound: int) -> None:
    async def scenario(forks: AsyncForkServer) -> None:
        context, clone = (context_of(forks) for _ in range(2))
        await context.start()
        await context.fork_into(clone)
        for each in (context, clone):
            assert bounds(each.process.pid) == [f"{bound}"] * 2
            await each.close()

    def bounds(pid: int) -> list[str]:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        return next(line.split()[2:4] for line in lines if "processes" in line)

    settings = read_settings(contexts_max=contexts)
    with_fork_server(lambda: AsyncForkServer(fork_server(settings)), scenario)


class Tool:
    """A tool that answers when it is told to."""

    def __init__(self, answer: str = "") -> None:
        self.calls = 0
        self.answers = asyncio.Event()
        self._answer = answer

    async def call(
        self, call: Call, *, asker: Asker | None, waiting: Callable[[bool], None]
    ) -> Any:
        """Wait, and answer."""
        del call, asker, waiting
        self.calls += 1
        await self.answers.wait()
        return self._answer

    async def describe(self, workspace: str) -> str:
        """Say nothing."""
        return workspace

    async def end_task(self, workspace: str, task_id: str) -> None:
        """Do nothing."""


def _process(context: Context) -> V8Process:
    assert isinstance(context.process, V8Process)
    return context.process


def _execute(context: Context, tool: Tool) -> tuple[ToolCalls, Any]:
    asked = Call("default", None, "", "task", "", "", {})
    log = make_log("error", None)
    calls = ToolCalls(tool, asked, None, log, context._settings, lambda _: None)
    execution = context.execute("1", SECONDS)
    calls.attach(context, execution)
    return calls, execution


def _flood(number: int, **wrong: Any) -> Callable[[Frame], list[bytes]]:
    def answer(frame: Frame) -> list[bytes]:
        if frame.type != "execute_request":
            return []
        return [
            encode(
                "tool_call",
                {"call_id": each, "path": "a.b", "input": "{}", **wrong},
                parent=frame.id,
            )
            for each in range(number)
        ]

    return answer


@pytest.mark.parametrize(
    ("flood", "calls"),
    [(_flood(50), 3), (_flood(1, path=1), 0), (_flood(1, call_id="x"), 0)],
)
def test_who_breaks_the_rules_of_calls_is_ended(
    flood: Callable[[Frame], list[bytes]], calls: int, make: Make
) -> None:
    async def scenario(fork_server: Taken) -> None:
        context = make(fork_server, task_calls_unfinished_max=3)
        await context.start()
        tool = Tool()
        served, execution = _execute(context, tool)
        await execution.done
        assert execution.failure.name == "ContextDiedError"
        assert tool.calls == calls
        await served.close()
        await context.close()

    with_fork_server(lambda: Taken(flood), scenario)


def test_results_that_nobody_takes_in_are_not_kept(make: Make) -> None:
    number, size = 40, 50_000

    async def scenario(fork_server: Taken) -> None:
        context = make(fork_server, task_unread_bytes_max=4 * size)
        await context.start()
        tool = Tool("x" * size)
        served, _ = _execute(context, tool)
        fork_server.reads.clear()
        while tool.calls < number:  # noqa: ASYNC110 - another process calls
            await asyncio.sleep(POLL_SECONDS)
        tool.answers.set()
        while served._calls:  # noqa: ASYNC110 - each ends by itself
            await asyncio.sleep(POLL_SECONDS)
        assert context.process.unsent_bytes < 5 * size
        fork_server.reads.set()
        while len(fork_server.heard) < number + 1:  # noqa: ASYNC110 - as above
            await asyncio.sleep(POLL_SECONDS)
        results = [f.content for f in fork_server.heard if f.type == "tool_result"]
        assert len(results) == number
        texts = {each["content"][:1] for each in results if each["answer"] == "value"}
        assert texts == {'"'}
        lost = [each["content"] for each in results if each["answer"] == "error"]
        assert lost
        assert all("results_unread" in text for text in lost)
        await served.close()
        await context.close()

    with_fork_server(lambda: Taken(_flood(number)), scenario)


UNSOUND: list[tuple[str, dict[str, Any]]] = [
    ("stream", {"name": "stdout"}),
    ("stream", {"name": ["stdout"], "text": "x"}),
    ("stream", {"name": "stdin", "text": "x"}),
    ("error", {"ename": "E", "evalue": "e"}),
    ("error", {"ename": "E", "evalue": "e", "traceback": [1]}),
    ("display_data", {"data": [], "metadata": {}}),
    ("display_data", {"data": {"a/b": b"x"}, "metadata": {}}),
    ("display_data", {"data": {"a/b": {(1, 2): 3}}, "metadata": {}}),
    ("display_data", {"data": {}, "transient": {"display_id": ["x"]}}),
    ("update_display_data", {"data": {}, "transient": {"display_id": ["x"]}}),
    ("execute_reply", {"status": "ok", "execution_count": "1"}),
    ("execute_reply", {"status": "ok", "execution_count": 1 << 31}),
    ("execute_reply", {"status": "ok", "execution_count": -1}),
    ("execute_reply", {"status": "ok", "execution_count": True}),
    ("execute_reply", {"status": "ok", "result_json": {}}),
    ("execute_reply", {"status": "error", "traceback": "x"}),
]


def test_messages_that_are_none_of_jupyters_are_left_out(make: Make) -> None:
    def answer(frame: Frame) -> list[bytes]:
        if frame.type != "execute_request":
            return []
        said = UNSOUND[int(frame.content["code"])]
        end = ("execute_reply", {"status": "ok", "execution_count": 1})
        idle = ("status", {"execution_state": "idle"})
        return [encode(kind, what, parent=frame.id) for kind, what in (said, end, idle)]

    async def scenario(fork_server: Taken) -> None:
        context = make(fork_server)
        await context.start()
        for number in range(len(UNSOUND)):
            execution = context.execute(str(number), SECONDS)
            await execution.done
            assert "left out" in execution.outputs.text("stderr"), UNSOUND[number]
            assert list(execution.outputs.displays()) == []
            assert context.execution_count == 1
            assert Cell.of(execution).content()["count"] == 1
        await context.close()

    with_fork_server(lambda: Taken(answer), scenario)


def test_last_words_are_short_and_can_be_kept(make: Make) -> None:
    async def scenario(fork_server: Taken) -> None:
        context = make(fork_server)
        await context.start()
        context.execute("1", SECONDS)
        while not _process(context)._last_words:  # noqa: ASYNC110 - another process says them
            await asyncio.sleep(POLL_SECONDS)
        assert _process(context)._last_words == "ab" + 997 * "c"
        await context.close()

    def answer(frame: Frame) -> list[bytes]:
        return [
            encode(
                "fatal", {"detail": "Traceback:\na\0b" + 5000 * "c"}, parent=frame.id
            )
        ]

    with_fork_server(lambda: Taken(answer), scenario)


def test_questions_for_memory_are_bounded(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    # A busy machine may take longer than the second that is waited for each.
    monkeypatch.setattr("isoserver.contexts.v8._MEMORY_SECONDS", SECONDS)

    async def scenario(fork_server: AsyncForkServer) -> None:
        context = make(fork_server)
        await context.start()
        stop_process(context.process.pid)
        asked = [asyncio.ensure_future(context.process.memory()) for _ in range(200)]
        await asyncio.wait(asked, return_when="FIRST_COMPLETED")
        assert len(_process(context)._memory_questions) == 100
        os.kill(context.process.pid, signal.SIGCONT)
        assert sum(done is not None for done in await asyncio.gather(*asked)) == 100
        assert await context.process.memory()
        await context.close()

    with_fork_server(lambda: AsyncForkServer(ForkServer()), scenario)
