"""The provisioner: kernels by fork, the same as others, and others where it can't."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_core.utils import run_sync
from tests.support.leaks import KEPT
from tests.support.waiting import DEADLINE, wait_for
from tests.support.workers import orphans_reaped

from isokernel.errors import ForkServerError
from isokernel.forkserver import provisioner
from isokernel.forkserver.provisioner import (
    ForkedProcess,
    IsokernelProvisioner,
    KernelForkServer,
)
from isokernel.jupyter.install import PROVISIONER, START, specification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.settings import Language


@pytest.fixture(scope="module", autouse=True)
def _loop() -> None:
    """jupyter_client keeps an event loop; it is made before leaks are counted."""
    run_sync(asyncio.sleep)(0)


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kernelspecs and history of its own."""
    monkeypatch.delenv("ISOKERNEL_FORKS")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    languages: dict[str, Language] = {"js": "javascript", "ts": "typescript"}
    for name, language in languages.items():
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        content = json.dumps(specification(language, "python"))
        (folder / "kernel.json").write_text(content)
    return tmp_path


def _warmed(server: KernelForkServer) -> KernelForkServer:
    """The same, once it can fork."""
    thread = server.prepare()
    if thread is not None:
        thread.join()
    return server


@pytest.fixture(scope="module")
def warm(_loop: None) -> Iterator[KernelForkServer]:
    """A warm fork server, for all tests that leave it as it is."""
    made = _warmed(KernelForkServer())
    assert made._server is not None
    assert made._server.pid is not None
    KEPT.add(made._server.pid)
    yield made
    KEPT.discard(made._server.pid)
    made.close()


@pytest.fixture
def fork_server(
    warm: KernelForkServer, monkeypatch: pytest.MonkeyPatch
) -> KernelForkServer:
    """This process's fork server, warm."""
    assert warm.problem is None
    monkeypatch.setattr(provisioner, "FORK_SERVER", warm)
    return warm


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelForkServer]:
    """This process's fork server, which is the test's alone and isn't started."""
    made = KernelForkServer()
    monkeypatch.setattr(provisioner, "FORK_SERVER", made)
    yield made
    made.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Kernel]]:
    """Starts kernels, and ends them."""
    made: list[Kernel] = []

    def begin(name: str = "js", **options: Any) -> Kernel:
        made.append(Kernel(name, **options))
        return made[-1]

    yield begin
    for kernel in made:
        kernel.close()


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, name: str, **options: Any) -> None:
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(**options)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE)

    @property
    def process(self) -> Any:
        return self.manager.provisioner.process  # type: ignore[union-attr]

    @property
    def forked(self) -> bool:
        return isinstance(self.process, ForkedProcess)

    def value(self, code: str) -> str:
        """The text of a cell's result, or the error's name."""
        number = self.client.execute(code)
        found = ""
        while True:
            message = self.client.get_iopub_msg(timeout=DEADLINE)
            if message["parent_header"].get("msg_id") != number:
                continue
            content = message["content"]
            if message["msg_type"] == "execute_result":
                found = content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                found = content["ename"]
            elif content.get("execution_state") == "idle":
                return found

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.manager.context.destroy(linger=0)


def await_end(kernel: Kernel) -> int | None:
    wait_for(lambda: kernel.process.poll() is not None)
    code: int | None = kernel.process.poll()
    return code


# -- forked ------------------------------------------------------------------------


def test_jupyter_finds_it() -> None:
    factory = KernelProvisionerFactory.instance()
    assert PROVISIONER in factory.get_provisioner_entries()


@pytest.mark.usefixtures("fork_server")
def test_a_warm_kernel_is_forked(start: Callable[..., Kernel]) -> None:
    kernel = start()
    assert isinstance(kernel.manager.provisioner, IsokernelProvisioner)
    assert kernel.forked
    assert kernel.value("let x = 20; x * 2 + 2") == "42"
    assert kernel.value("x") == "20"
    assert kernel.manager.is_alive()
    assert kernel.manager.provisioner.pid == kernel.process.pid


@pytest.mark.usefixtures("fork_server")
def test_it_speaks_the_kernelspecs_language(start: Callable[..., Kernel]) -> None:
    kernel = start("ts")
    assert kernel.forked
    assert (
        kernel.value("enum E { a, b }; const f = <T,>(x: T): T => x; f<E>(E.b)") == "1"
    )
    info = kernel.client.kernel_info(reply=True, timeout=DEADLINE)
    assert info["content"]["language_info"]["name"] == "typescript"


@pytest.mark.usefixtures("fork_server")
def test_kernels_are_strangers(start: Callable[..., Kernel]) -> None:
    first, second = start(), start()
    first.value("globalThis.mine = 1")
    assert second.value("typeof mine") == "'undefined'"
    assert first.value("Math.random()") != second.value("Math.random()")


@pytest.mark.usefixtures("fork_server")
def test_it_is_interrupted(start: Callable[..., Kernel]) -> None:
    kernel = start()
    number = kernel.client.execute("for (;;);")
    while True:
        message = kernel.client.get_iopub_msg(timeout=DEADLINE)
        if message["msg_type"] == "execute_input":
            break
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=DEADLINE)
    assert reply["parent_header"]["msg_id"] == number
    assert reply["content"]["ename"] == "KeyboardInterrupt"


@pytest.mark.usefixtures("fork_server")
def test_a_signal_reaches_it(start: Callable[..., Kernel]) -> None:
    kernel = start()
    kernel.client.execute("for (;;);")
    while kernel.client.get_iopub_msg(timeout=DEADLINE)["msg_type"] != "execute_input":
        pass
    kernel.manager.signal_kernel(signal.SIGINT)
    reply = kernel.client.get_shell_msg(timeout=DEADLINE)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    kernel.manager.signal_kernel(signal.SIGTERM)
    assert await_end(kernel) == 0


@pytest.mark.usefixtures("fork_server")
def test_it_restarts(start: Callable[..., Kernel]) -> None:
    kernel = start()
    before = kernel.process.pid
    kernel.value("let y = 1")
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=DEADLINE)
    assert kernel.forked
    assert kernel.process.pid != before
    assert kernel.value("typeof y") == "'undefined'"


@pytest.mark.usefixtures("fork_server")
def test_it_shuts_down_and_is_reaped(start: Callable[..., Kernel]) -> None:
    kernel = start()
    pid = kernel.process.pid
    kernel.manager.shutdown_kernel()
    assert not kernel.manager.has_kernel
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("fork_server")
def test_a_kill_is_noticed(start: Callable[..., Kernel]) -> None:
    kernel = start()
    os.kill(kernel.process.pid, signal.SIGKILL)
    assert await_end(kernel) == -9
    assert not kernel.manager.is_alive()


@pytest.mark.usefixtures("fork_server")
def test_it_is_a_kernel_like_any_other(
    start: Callable[..., Kernel], tmp_path: Path
) -> None:
    """Its folder, environment, session, rights and outputs are those asked for."""
    log = tmp_path / "stderr"
    environment = {**os.environ, "SPECIAL": "value"}
    with log.open("wb") as file:
        kernel = start(cwd=str(tmp_path), env=environment, stderr=file)
    assert kernel.forked
    process = Path(f"/proc/{kernel.process.pid}")
    assert (process / "cwd").resolve() == tmp_path.resolve()
    assert (process / "fd" / "2").resolve() == log.resolve()
    assert os.getsid(kernel.process.pid) == kernel.process.pid
    status = (process / "status").read_text()
    assert "Seccomp:\t0" in status
    assert f"Uid:\t{os.getuid()}" in status


def test_several_managers_may_start_at_once(fork_server: KernelForkServer) -> None:
    async def run() -> list[bool]:
        managers = [AsyncKernelManager(kernel_name="js") for _ in range(5)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        found = []
        for manager in managers:
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=DEADLINE)
            reply = await client.execute("1+1", reply=True, timeout=DEADLINE)
            found.append(reply["content"]["status"] == "ok")
            client.stop_channels()
            await manager.shutdown_kernel(now=True)
            manager.context.destroy(linger=0)
        return found

    assert asyncio.run(run()) == [True] * 5
    assert fork_server.problem is None


# -- not forked --------------------------------------------------------------------


def test_the_first_kernel_does_not_wait(
    cold: KernelForkServer, start: Callable[..., Kernel]
) -> None:
    first = start()
    assert not first.forked
    _warmed(cold)
    second = start()
    assert second.forked
    assert (first.value("1"), second.value("2")) == ("1", "2")


@pytest.mark.usefixtures("cold")
def test_clients_need_not_wait_until_it_listens() -> None:
    manager = KernelManager(kernel_name="js")
    manager.start_kernel()
    try:
        for port in manager.ports:
            socket.create_connection((manager.ip, port), timeout=DEADLINE).close()
        assert not isinstance(manager.provisioner.process, ForkedProcess)  # type: ignore[union-attr]
    finally:
        manager.shutdown_kernel(now=True)


@pytest.mark.usefixtures("cold")
def test_a_taken_port_is_told_by_the_kernel(tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with socket.create_server(("127.0.0.1", 0)) as taken, errors.open("w") as file:
        manager = KernelManager(kernel_name="js", shell_port=taken.getsockname()[1])
        manager.cache_ports = False
        manager.start_kernel(stderr=file)
        try:
            process = manager.provisioner.process  # type: ignore[union-attr]
            wait_for(lambda: process.poll() is not None)
        finally:
            manager.shutdown_kernel(now=True)
    assert "can't bind the shell channel" in errors.read_text()


def test_a_dead_fork_server_is_no_end(
    cold: KernelForkServer, start: Callable[..., Kernel]
) -> None:
    fork_server = _warmed(cold)
    first = start()
    assert fork_server._server is not None
    assert fork_server._server.pid is not None
    os.kill(fork_server._server.pid, signal.SIGKILL)
    fork_server._server._process.wait()  # type: ignore[union-attr]
    second = start()
    assert not second.forked
    _warmed(fork_server)
    third = start()
    assert third.forked
    # The first one goes on, and its end is noticed.
    assert first.value("1 + 1") == "2"
    os.kill(first.process.pid, signal.SIGKILL)
    assert await_end(first) is not None
    assert not first.manager.is_alive()
    assert second.value("2") == "2"


def test_without_a_fork_server_it_starts_as_ever(
    cold: KernelForkServer,
    start: Callable[..., Kernel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        message = "there is none here"
        raise ForkServerError(message)

    monkeypatch.setattr(provisioner, "ForkServer", refuse)
    first = start()
    _warmed(cold)
    with caplog.at_level(logging.WARNING):
        assert not start().forked
        assert not start().forked
    assert cold.problem == "there is none here"
    assert first.value("1") == "1"


@pytest.mark.usefixtures("fork_server")
@pytest.mark.parametrize(
    "options",
    [
        {"env": {**os.environ, "TZ": "Asia/Tokyo"}},
        {"env": {**os.environ, "PYTHONHASHSEED": "1"}},
        {"stdout": subprocess.PIPE},
        {"umask": 0o77},
    ],
    ids=["time zone", "python", "pipe", "option"],
)
def test_what_a_fork_could_not_give_is_started_plainly(
    start: Callable[..., Kernel], options: dict[str, Any]
) -> None:
    kernel = start(**options)
    assert not kernel.forked
    assert kernel.value("1") == "1"


@pytest.mark.usefixtures("fork_server")
def test_it_can_be_switched_off(
    start: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_FORKS", "off")
    assert not start().forked


@pytest.mark.parametrize(
    ("cmd", "ours"),
    [
        ([sys.executable, "-c", START, "-f", "x"], True),
        ([sys.executable, "-c", "import other", "-f", "x"], False),
        (["/other/python", "-c", START, "-f", "x"], False),
        ([sys.executable, "-m", "isokernel"], False),
    ],
)
def test_only_our_own_command_is_forked(cmd: list[str], ours: bool) -> None:  # noqa: FBT001
    assert provisioner._is_ours(cmd) is ours


def test_a_kernelspec_of_another_interpreter_names_no_provisioner() -> None:
    metadata = specification("javascript", sys.executable)["metadata"]
    assert "kernel_provisioner" not in metadata


# -- ends --------------------------------------------------------------------------


_MANAGER = """
import sys
from jupyter_client.manager import KernelManager
from isokernel.forkserver.provisioner import FORK_SERVER
thread = FORK_SERVER.prepare()
thread.join()
for independent in (True, False):
    manager = KernelManager(kernel_name="js")
    manager.start_kernel(independent=independent)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=20)
    process = manager.provisioner.process
    print(type(process).__name__, process.pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_manager_unless_it_is_independent() -> None:
    command = [sys.executable, "-c", _MANAGER]
    with (
        orphans_reaped(),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        pids = []
        for _ in range(2):
            kind, pid = process.stdout.readline().split()
            assert kind == b"ForkedProcess"
            pids.append(int(pid))
        independent, dependent = (os.pidfd_open(pid) for pid in pids)
        process.kill()
        process.wait()
        ended, _, _ = select.select([dependent], [], [], DEADLINE)
        assert ended
        # Both have noticed by now, and what ends, ends at once.
        ended, _, _ = select.select([independent], [], [], 0.3)
        assert not ended
        os.kill(pids[0], signal.SIGKILL)
        select.select([independent], [], [], DEADLINE)
        os.close(independent)
        os.close(dependent)


def test_waiting_has_a_limit(
    fork_server: KernelForkServer, start: Callable[..., Kernel]
) -> None:
    process = start().process
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.terminate()
    assert process.wait(DEADLINE) == 0
    process.kill()  # it is dead already
    assert fork_server.problem is None


def test_a_forked_manager_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_server = KernelForkServer()
    fork_server._owner = os.getpid() + 1
    fork_server._thread = threading.current_thread()
    monkeypatch.setattr(fork_server, "_start", lambda _kernel: None)
    thread = fork_server.prepare()
    assert thread is not None
    assert thread is not threading.current_thread()
    thread.join()
