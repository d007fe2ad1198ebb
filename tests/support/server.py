"""`isokernel serve` in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.leaks import children_of, descendants, described
from tests.support.starts import Started, starter
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx


_TELL_SECONDS = 3.0
BUSY_SECONDS = 0.2
"""Processor time by which a process shows that it computes."""
MIB = 1 << 20
BOUNDS = (
    *("--v8-heap-bytes-max", str(96 * MIB), "--array-buffer-bytes-max", str(96 * MIB)),
    *("--python-memory-bytes-max", str(2048 * MIB), "--interrupt-grace-seconds", "2"),
    *("--python-spares", "0"),
)
"""Of the shared server: what is to be used up is used up soon, and it has no processes
but those of contexts, so that what tests leave can be counted."""
AT_REST = 3
"""Processes that a server without contexts has: the fork server and two spare ones."""
JAVASCRIPT_FLAGS = ("--languages", "javascript", "--default-language", "javascript")
V8_FLAGS = ("--languages", "javascript,typescript", "--default-language", "javascript")
RUN_FLAGS = ("--languages", "javascript,typescript", "--interrupt-grace-seconds", "1")
START = (
    "import sys; from isoserver.cli.main import main; sys.argv[0] = 'isokernel'; main()"
)
"""What `isokernel` does, for `python -c`: its script may not be on the path."""


class Server:
    """`isokernel serve` on a free port."""

    def __init__(
        self,
        *flags: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = (),
        before: Sequence[str] = (),
        namespace: int | None = None,
    ) -> None:
        self.files_at_rest = 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by stop
        arguments = ["serve", "--port", "0", *flags]
        environment = {**os.environ, **(env or {})}
        folder = tempfile.gettempdir()
        self.process: Started | subprocess.Popen[str]
        if before or program[:1] == ("-c",):
            self.process = subprocess.Popen(
                [*before, sys.executable, *(program or ("-c", START)), *arguments],
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=environment,
                cwd=folder,
            )
        else:
            self.process = starter().start(
                [*(program or ("isokernel",)), *arguments],
                environment=environment,
                folder=folder,
                errors=self.errors.fileno(),
                namespace=namespace,
            )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = re.fullmatch(
            r"isokernel is listening on (http://\S+)\n", self.first_line
        )
        if found is None:
            self.stop(signal.SIGKILL)
            pytest.fail(f"the server said {self.first_line!r}\n{self.said}")
        self.url = found.group(1)
        # It listens before it has started, and answers when it has.
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        with contextlib.closing(
            http.client.HTTPConnection(host.strip("[]"), int(port), timeout=DEADLINE)
        ) as connection:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            try:
                connection.getresponse().read()
            except OSError as error:
                self.stop(signal.SIGKILL)
                pytest.fail(f"the server did not start: {error}\n{self.said}")

    def stop(
        self, number: int = signal.SIGTERM, seconds: float | None = DEADLINE
    ) -> int:
        """Stop it, within some seconds; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR2)  # see `programs/starter`
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_TELL_SECONDS)
            raise
        finally:
            self.process.kill()  # if it hasn't ended: the next tests don't see it
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.errors.seek(0)
            self.said = self.errors.read().decode()
            self.errors.close()
        return status

    def transport(self) -> httpx.BaseTransport | None:
        """What a client sends its requests by, if not as ever."""
        return None

    def log(self) -> str:
        """What it has logged so far."""
        return Path(f"/proc/self/fd/{self.errors.fileno()}").read_text()

    def wrong(self) -> list[str]:
        """What it said that it should never say, once it is stopped."""
        lines = self.said.splitlines()
        return [line for line in lines if "Traceback" in line or "Uncaught" in line]

    def connection(self) -> socket.socket:
        """A connection to it, with nothing sent yet."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=DEADLINE)

    def children(self) -> set[int]:
        """Its processes."""
        return descendants(self.process.pid)

    def held(self) -> list[str]:
        """What its processes are, and what it has open; for a test that fails."""
        found = described(self.children())
        folder = f"/proc/{self.process.pid}/fd"
        for name in os.listdir(folder):  # noqa: PTH208
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"{folder}/{name}"))  # noqa: PTH115
        return found

    def fork_server(self) -> int:
        """Its fork server, while there is no Python context."""
        (child,) = children_of(self.process.pid)
        return child

    def files(self) -> int:
        """How many descriptors it has open, but for the database's, which it keeps."""
        count = 0
        for name in os.listdir(folder := f"/proc/{self.process.pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(FileNotFoundError):
                count += ".sqlite" not in os.readlink(f"{folder}/{name}")  # noqa: PTH115
        return count

    def is_at_rest(self, processes: int = AT_REST) -> bool:
        """Whether it has no more than without contexts; files, if they were counted."""
        if len(self.children()) > processes:
            return False
        return not self.files_at_rest or self.files() <= self.files_at_rest

    def busy_process(self) -> int:
        """Wait for a process of its that does nothing but compute."""
        began: dict[int, float] = {}

        def find() -> int:
            for pid in self.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    now = psutil.Process(pid).cpu_times().user
                    if now - began.setdefault(pid, now) > BUSY_SECONDS:
                        return pid
            return 0

        return wait_for(find)


@contextlib.contextmanager
def run_server(*flags: str, **options: Any) -> Iterator[Server]:
    """A server that ends as it should, and has said nothing that it never should."""
    server = Server(*flags, **options)
    yield server
    assert server.stop() == 0, server.said[-2000:]
    assert not server.wrong()
