"""A real server in a process of its own, and a client; what leaks there is found."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.server.postgresql import PostgreSQL

from isokernel.sandbox.syscalls import prctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEADLINE = 30.0
"""Seconds that anything here may take at most."""
BUSY_SECONDS = 0.2
"""Processor time by which a process shows that it computes."""
POLL_SECONDS = 0.005
"""Between two looks at what can only be looked at; others compute meanwhile."""
MIB = 1 << 20
BOUNDS = (
    *("--v8-heap-bytes-max", str(96 * MIB), "--array-buffer-bytes-max", str(96 * MIB)),
    *("--python-memory-bytes-max", str(2048 * MIB), "--interrupt-grace-seconds", "1"),
)
"""Of the shared server: what is to be used up is used up soon."""
AT_REST = 3
"""Processes that a server without contexts has: the fork server and two spare ones."""
START = (
    "import sys; from isoserver.cli.main import main; sys.argv[0] = 'isokernel'; main()"
)

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def _reaps_no_orphans() -> None:
    """Let orphans of killed servers go to init, whatever ran here before."""
    prctl(PR_SET_CHILD_SUBREAPER, 0)


class Server:
    """`isokernel serve` on a free port."""

    def __init__(
        self,
        *flags: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = ("-c", START),
    ) -> None:
        self.files_at_rest = 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by stop
        command = [sys.executable, *program, "serve", "--port", "0", *flags]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=tempfile.gettempdir(),
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

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.seek(0)
        self.said = self.errors.read().decode()
        self.errors.close()
        return status

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
        children = psutil.Process(self.process.pid).children(recursive=True)
        return {child.pid for child in children}

    def fork_server(self) -> int:
        """Its fork server, while there is no Python context."""
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid

    def files(self) -> int:
        """How many descriptors it has open, but for the database's, which it keeps."""
        count = 0
        for name in os.listdir(folder := f"/proc/{self.process.pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(FileNotFoundError):
                count += ".sqlite" not in os.readlink(f"{folder}/{name}")  # noqa: PTH115
        return count

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

        found: int = wait_for(find)
        return found


class Client(httpx.Client):
    """The API, as tests use it."""

    def run(self, code: str, status: int = 200, **fields: Any) -> dict[str, Any]:
        """POST /execute, in JavaScript unless the fields say otherwise."""
        if "context_id" not in fields:
            fields.setdefault("language", "javascript")
        answer = self.post("/execute", json={"code": code, **fields})
        assert answer.status_code == status, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def text(self, code: str, **fields: Any) -> Any:
        """The text of a cell's result; the cell must not fail."""
        result = self.run(code, **fields)
        assert result["error"] is None, result["error"]
        return result["items"][-1]["text"] if result["items"] else None

    def create(self, language: str = "javascript") -> str:
        """POST /contexts; its id."""
        answer = self.post("/contexts", json={"language": language})
        assert answer.status_code == 201, answer.text
        context_id: str = answer.json()["id"]
        return context_id

    def show(self, context_id: str) -> dict[str, Any]:
        """GET /contexts/{id}."""
        answer = self.get(f"/contexts/{context_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait_state(self, context_id: str, state: str) -> dict[str, Any]:
        """Wait until a context is at something."""
        found: dict[str, Any] = wait_for(
            lambda: (
                shown if (shown := self.show(context_id))["state"] == state else None
            )
        )
        return found

    def clean(self) -> None:
        """Delete every context."""
        for context in self.get("/contexts").json()["items"]:
            assert self.delete(f"/contexts/{context['id']}").status_code == 204


def wait_for(ask: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Ask until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(POLL_SECONDS)
    return answer


def connect(server: Server, **headers: str) -> Client:
    """A client for a server."""
    limits = httpx.Limits(max_connections=None)
    return Client(base_url=server.url, timeout=DEADLINE, headers=headers, limits=limits)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server, one for all tests of this process."""
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def _postgresql_first(request: pytest.FixtureRequest) -> None:
    """Start PostgreSQL, if it is needed, before a test counts what it leaves."""
    if any("postgresql" in item.nodeid for item in request.session.items):
        request.getfixturevalue("postgresql")


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    server = Server(*BOUNDS)
    try:
        # What it makes once, with its first contexts, is no leak.
        with connect(server) as client:
            for language in client.get("/languages").json()["items"]:
                client.run("1", language=language["name"])
            client.clean()
        server.files_at_rest = wait_for(server.files)
        yield server
    finally:
        status = server.stop()
    assert status == 0
    assert not server.wrong()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, which has no context left of the test afterwards."""
    yield shared_server
    with connect(shared_server) as client:
        client.clean()

    def given_back() -> bool:
        # Sockets of clients close when the server has noticed.
        return (
            len(shared_server.children()) <= AT_REST
            and shared_server.files() <= shared_server.files_at_rest
        )

    wait_for(given_back)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with connect(server) as made:
        yield made


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Starts servers with flags of one's own; stops them at the end."""
    started: list[Server] = []

    def start(*flags: str, **options: Any) -> Server:
        started.append(Server(*flags, **options))
        return started[-1]

    yield start
    for server in started:
        if not server.errors.closed:
            server.stop()
        assert not server.wrong()
