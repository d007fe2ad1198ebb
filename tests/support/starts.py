"""Starts `isokernel` without importing all of it again.

Importing is half of what a server's start costs, a second of processor time, and the
suite starts hundreds. A process that has imported the server forks: the same `main`
with arguments, environment, folder and outputs of its own, and a child of the tests'
process like any other. What is about the start itself is started as users do.

Other programs that import much are forked likewise, for clients that start them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.support.leaks import KEPT
from tests.support.programs import FORKED
from tests.support.waiting import DEADLINE

from isokernel.sandbox.syscalls import be_subreaper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

STARTER = Path(__file__).parent / "programs" / "starter.py"
_FORKED = (sys.executable, "-S", "-I", str(FORKED))


class Started:
    """A process, with those of `subprocess.Popen`'s methods that tests call."""

    def __init__(
        self,
        pid: int,
        stdout: IO[str],
        stdin: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._ended = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of what is not sent yet
                    stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._ended)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        if self.poll() is None:
            poller = select.poll()
            poller.register(self._ended, select.POLLIN)
            poller.poll(None if timeout is None else timeout * 1000)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Starter:
    """The process that forks; one for all tests of this process."""

    def __init__(self) -> None:
        self.name = f"isokernel-starter-{os.getpid()}"
        self.programs_name = f"{self.name}-programs"
        self._starting = threading.Lock()
        self._requests, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        with theirs, contextlib.ExitStack() as stack:
            numbers = []
            for name in (self.name, self.programs_name):
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.enter_context(listener)
                listener.bind(f"\0{name}")
                listener.listen()
                numbers.append(listener.fileno())
            self._process = subprocess.Popen(
                [sys.executable, str(STARTER), *map(str, numbers)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
            )
        KEPT.add(self._process.pid)

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str,
        errors: int | None = None,
        namespace: int | None = None,
    ) -> Started:
        """Run `isokernel`, or a program of ours in Python.

        Args:
            command: `isokernel` or the program's path, and the arguments.
            environment: All of it.
            folder: Its working directory.
            errors: A descriptor for its stderr, and stdin is nothing; with None, both
                are pipes, as stdout is.
            namespace: The descriptor of the network that it is in, if not the host's.
        """
        reader, writer = os.pipe()
        given, opened = [writer], [writer]
        stdin = stderr = None
        if errors is None:
            (complained, complaints), (read, written) = os.pipe(), os.pipe()
            opened += [complaints, read]
            given += [complaints, read]
            stdin, stderr = os.fdopen(written, "w"), os.fdopen(complained)
        else:
            given.append(errors)
        request = {
            "command": list(command),
            "environment": dict(environment),
            "folder": folder,
            "network": namespace and f"/proc/{os.getpid()}/fd/{namespace}",
        }
        # It becomes a child of the nearest process that takes in orphans: this one.
        with self._starting:  # threads may start some at once
            be_subreaper(on=True)
            try:
                data = json.dumps(request).encode()
                socket.send_fds(self._requests, [data], given)
                pid = int(self._requests.recv(32))
            finally:
                be_subreaper(on=False)
                for descriptor in opened:
                    os.close(descriptor)
        return Started(pid, os.fdopen(reader), stdin, stderr)

    def close(self) -> None:
        """End the process that forks."""
        self._requests.close()
        self._process.wait()
        KEPT.discard(self._process.pid)


_starters: list[Starter] = []


def starter() -> Starter:
    """Return this process's starter; made when it is first asked for."""
    if not _starters:
        _starters.append(Starter())
    return _starters[0]


def start_isokernel(*arguments: str) -> Started:
    """Start `isokernel` with pipes, as a client over stdio does."""
    return starter().start(
        ["isokernel", *arguments],
        environment=os.environ,
        folder=tempfile.gettempdir(),
    )


def run_isokernel(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `isokernel`, which has nothing to read, to its end."""
    with tempfile.TemporaryFile("w+") as errors:
        process = starter().start(
            ["isokernel", *arguments],
            environment=os.environ,
            folder=tempfile.gettempdir(),
            errors=errors.fileno(),
        )
        with process:
            said = process.stdout.read()
            status = process.wait(DEADLINE)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, said, errors.read())


def isokernel_command(*arguments: str) -> list[str]:
    """Return what a client starts in place of `isokernel` with these arguments.

    Not for tests that send it signals: they reach the process that waits for it.
    """
    return [*_FORKED, starter().name, "isokernel", *arguments]


def program_command(program: Path, *arguments: str) -> list[str]:
    """Return what starts another program of ours, which ends with its client."""
    return [*_FORKED, starter().programs_name, str(program), *arguments]


def end_starter() -> None:
    """End it, if there is one."""
    while _starters:
        _starters.pop().close()
