"""Loads what `isokernel serve` does, then forks one for each request on its stdin.

So it does for requests to a listening socket, whose number is its first argument.

A server's fork server, too, has everything loaded already: it is forked from here, as
long as it holds nothing of the server's, and waits until the server launches it.

Other programs are forked by a second process, for requests to the socket of the second
argument: what they import would be in each server, too, if this one did it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import isoserver
from isokernel.forkserver import client, contexts, process
from isokernel.sandbox.syscalls import syscall
from isoserver.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.forkserver.process import Template

REQUEST_BYTES_MAX = 1 << 20
LAUNCH_BYTES_MAX = 100
PEER = struct.Struct("3i")
"""Of a connected process: its id, its user's, its group's."""
CONTEXTS = "forkserver.contexts"
SETNS = 308
"""The number of a system call."""
USED_LATER = ("sqlalchemy.dialects.sqlite", "aiosqlite")
"""What SQLAlchemy imports when it opens a database."""
IN_CLUSTERS = ("sqlalchemy.dialects.postgresql.asyncpg", "asyncpg", "s3fs")
"""What several servers in place of one (`support/anywhere`) import in each test."""
OF_OTHERS = ("isoserver.jupyter.lab", "isoserver.ray.")
"""Run in processes of JupyterLab's and Ray's, and import what only those have."""


def load() -> Template:
    """Import all of the server, and what its modules import when they are used."""
    for module in pkgutil.walk_packages(isoserver.__path__, "isoserver."):
        if not module.name.endswith("__main__") and not module.name.startswith(
            OF_OTHERS
        ):
            importlib.import_module(module.name)
    several = "ISOKERNEL_TEST_SERVERS" in os.environ
    for name in (*USED_LATER, *(IN_CLUSTERS if several else ())):
        importlib.import_module(name)
    return process.load(contexts.ContextTemplate)


class WaitingForkServer:
    """A fork server that has been forked, and is a server's when it launches one.

    A child of this process, with those of `subprocess.Popen`'s methods that
    `ForkServer` calls.
    """

    def __init__(self, template: Template) -> None:
        self._launches, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._launches.close()
            self._wait(template, theirs)
        theirs.close()

    def launch(self, spares: int, kernels: int, descriptors: list[int]) -> None:
        """Have it be the fork server that holds the descriptors."""
        with self._launches:
            request = f"{spares} {kernels}".encode()
            socket.send_fds(self._launches, [request], descriptors)

    def leave(self) -> None:
        """Don't have it be anything here."""
        self._launches.close()

    @staticmethod
    def _wait(template: Template, launches: socket.socket) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.setsid()
            os.chdir("/")
            for name in set(os.environ):
                if not client.is_inherited(name):
                    del os.environ[name]
            data, descriptors, _, _ = socket.recv_fds(launches, LAUNCH_BYTES_MAX, 2)
            launches.close()
            if data:
                spares, kernels = map(int, data.split())
                if kernels:
                    contexts._load_kernels()
                requests, exits = descriptors
                process.serve(lambda: template, requests, exits, spares)
        finally:
            os._exit(0)

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            select.select([ended], [], [], timeout)
            os.close(ended)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


def prepare_fork_server(template: Template) -> None:
    """Fork the first fork server that this process launches; later ones are started."""
    waiting: list[WaitingForkServer] = [WaitingForkServer(template)]
    parent = os.getpid()
    start: Callable[..., Any] = client._launch

    def launch(module: str, *numbers: int) -> Any:
        if module != CONTEXTS or not waiting:
            return start(module, *numbers)
        requests, exits, spares, kernels = numbers
        made = waiting.pop()
        if os.getpid() != parent:
            # The server of `mcp` with a data folder, in a process of its own: it is no
            # child of this one, and ends with the other process.
            made.leave()
            return start(module, *numbers)
        made.launch(spares, kernels, [requests, exits])
        return made

    client._launch = launch


def end_with(pid: int) -> None:
    """End this process, whatever it does by then, when another one has ended."""

    def wait() -> None:
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(pid)
            select.select([ended], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def run(
    template: Template | None, request: dict[str, Any], descriptors: list[int]
) -> None:
    """Become what was asked for; never returns."""
    stdout, stderr, *stdin = descriptors
    stdin = stdin or [os.open(os.devnull, os.O_RDONLY)]
    for number, descriptor in enumerate((*stdin, stdout, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request.get("network") is not None:
        enter(request["network"])
    tell_what_waits(signal.SIGUSR2)
    program, *arguments = request["command"]
    sys.argv = [program, *arguments]
    status: object = 1
    try:
        if template is not None and not {"serve", "mcp"}.isdisjoint(arguments):
            prepare_fork_server(template)
        if program == "isokernel":
            main()
        else:
            runpy.run_path(program, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException as error:  # noqa: BLE001 -- told as the interpreter would
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def tell_what_waits(number: int) -> None:
    """Have a signal tell where all threads and tasks are, of what doesn't end."""

    def tell_tasks(*_: object) -> None:
        for each in gc.get_objects():
            if isinstance(each, asyncio.Task) and not each.done():
                each.print_stack(file=sys.stderr)

    signal.signal(number, tell_tasks)
    faulthandler.register(number, all_threads=True, chain=True)


def enter(path: str) -> None:
    """Be in a namespace of the network."""
    namespace = os.open(path, os.O_RDONLY)
    syscall(SETNS, namespace, 0)
    os.close(namespace)


def fork(become: Callable[[], None], sockets: list[socket.socket]) -> int:
    """Fork a process that isn't a child of this one, and return its id."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(writer)
            for each in sockets:
                each.close()
            become()
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(between, 0)
    with os.fdopen(reader) as told:
        return int(told.read())


def answer(
    template: Template, requests: socket.socket, sockets: list[socket.socket]
) -> bool:
    """Answer a request; whether there was one."""
    data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 3)
    if not data:
        return False
    pid = fork(lambda: run(template, json.loads(data), descriptors), sockets)
    for descriptor in descriptors:
        os.close(descriptor)
    requests.send(str(pid).encode())
    return True


def serve(
    template: Template,
    requests: socket.socket,
    others: socket.socket,
    kept: socket.socket,
) -> None:
    """Answer requests until the other end of the first socket is closed."""
    while True:
        ready, _, _ = select.select([requests, others], [], [])
        if others in ready:
            client, _ = others.accept()
            with client:
                answer(template, client, [requests, others, client, kept])
        elif not answer(template, requests, [requests, others, kept]):
            return


def serve_programs(listener: socket.socket, parent: socket.socket) -> None:
    """Fork other programs for clients, which they end with; until the parent ends."""
    loaded: set[str] = set()
    while True:
        ready, _, _ = select.select([listener, parent], [], [])
        if parent in ready:
            return
        client, _ = listener.accept()
        with client:
            answer_program(client, [listener, parent, client], loaded)


def answer_program(
    client: socket.socket, sockets: list[socket.socket], loaded: set[str]
) -> None:
    """Answer a request for a program; what it imports is there for every later one."""
    data, descriptors, _, _ = socket.recv_fds(client, REQUEST_BYTES_MAX, 3)
    request = json.loads(data)
    program = request["command"][0]
    if program not in loaded:
        runpy.run_path(program, run_name="loaded")
        loaded.add(program)
    peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    of_client, _, _ = PEER.unpack(peer)

    def become() -> None:
        end_with(of_client)
        run(None, request, descriptors)

    pid = fork(become, sockets)
    for descriptor in descriptors:
        os.close(descriptor)
    client.send(str(pid).encode())


def fork_programs(
    listener: socket.socket, others: list[socket.socket]
) -> socket.socket:
    """Fork the process for other programs; it lives until the socket is closed."""
    kept, parent = socket.socketpair()
    if os.fork() == 0:
        for each in (kept, *others):
            each.close()
        serve_programs(listener, parent)
        os._exit(0)
    parent.close()
    listener.close()
    return kept


if __name__ == "__main__":
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with (
        socket.socket(fileno=os.dup(0)) as stdin,
        socket.socket(fileno=int(sys.argv[1])) as listener,
    ):
        template = load()
        programs = socket.socket(fileno=int(sys.argv[2]))
        with fork_programs(programs, [stdin, listener]) as kept:
            serve(template, stdin, listener, kept)
