"""The command-line client: the download, and what its commands do."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import Client, connect
from tests.support.server import RUN_FLAGS, START, Server
from tests.support.waiting import DEADLINE, wait_for

from isokernel._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLATFORMS = ["linux-x86_64", "linux-aarch64", "macos-aarch64"]
Done = subprocess.CompletedProcess[str]


class Command:
    """The downloaded client, run with nothing but Python."""

    def __init__(self, file: Path, url: str) -> None:
        self.file = file
        self.url = url

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command."""
        # -S: no package that is installed can be found.
        line = [sys.executable, "-S", "-I", str(self.file), *arguments]
        env = {"ISOKERNEL_URL": self.url, "PATH": os.environ["PATH"]}
        return subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, **options},
        )

    def run(self, *arguments: str, stdin: str = "", **options: str) -> Done:
        """Run a command to its end."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(stdin, DEADLINE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def said(self, *arguments: str, **options: str) -> str:
        """What a command prints; it must not fail."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done
        return done.stdout


@pytest.fixture(scope="module")
def exec_server() -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    server = Server(*RUN_FLAGS)
    yield server
    assert server.stop() == 0
    assert not server.wrong()


@pytest.fixture
def api(exec_server: Server) -> Iterator[Client]:
    """A client of that server, which has no process left of the test."""
    with connect(exec_server) as client:
        yield client
        client.clean()
    wait_for(exec_server.is_at_rest)


@pytest.fixture
def command(api: Client, tmp_path: Path) -> Command:
    file = tmp_path / "isokernel-client"
    file.write_bytes(api.get(f"/api/cli/{PLATFORMS[0]}").content)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return Command(file, str(api.base_url))


def test_the_download_is_listed(api: Client, exec_server: Server) -> None:
    index = api.get("/api/cli").json()
    assert index["version"] == __version__ == api.get("/api/version").json()["version"]
    assert index["assets"] == [
        {
            "platform": platform,
            "url": f"{exec_server.url}/api/cli/{platform}",
            "available": True,
        }
        for platform in PLATFORMS
    ]
    answers = [api.get(asset["url"]) for asset in index["assets"]]
    assert len({answer.content for answer in answers}) == 1
    for platform, answer in zip(PLATFORMS, answers, strict=True):
        assert answer.headers["Content-Type"] == "application/octet-stream"
        name = f'attachment; filename="isokernel-client-{platform}"'
        assert answer.headers["Content-Disposition"] == name


def test_there_is_none_for_other_platforms(api: Client) -> None:
    answer = api.get("/api/cli/plan9")
    assert answer.status_code == 404
    text = f"Unknown platform 'plan9'. Valid platforms: {', '.join(PLATFORMS)}"
    assert answer.json() == {"error": text}


def test_it_has_the_servers_version(command: Command) -> None:
    assert command.said("--version") == f"{__version__}\n"
    assert command.said("version") == f"client {__version__}\nserver {__version__}\n"


def test_the_file_runs_by_itself(command: Command) -> None:
    said = subprocess.run(
        [command.file, "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"{__version__}\n"


def test_the_installed_command_is_the_same_program(command: Command) -> None:
    for arguments in (["exec", "-e", "6 * 7", "--wait"], ["--help"], ["status", "x"]):
        ours = subprocess.run(
            [sys.executable, "-c", START, "client", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ISOKERNEL_URL": command.url},
        )
        theirs = command.run(*arguments)
        assert ours.stdout == theirs.stdout
        assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)


def test_code_comes_from_where_it_is(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "code.ts"
    file.write_text("const x: number = 2; x", encoding="utf-8")
    assert command.said("exec", str(file), "--wait") == "2\n"
    assert command.said("exec", "-", "--wait", stdin="'ü'") == '"ü"\n'
    assert command.said("exec", "-e", "console.log('a'); 3", "--follow") == "a\n"
    both = command.said("exec", "-e", "console.log('a'); 3", "--follow", "--wait")
    assert both == "a\n3\n"


def test_an_execution_is_shown_read_and_listed(command: Command, api: Client) -> None:
    code = "for (let i = 0; i < 150; i++) console.log('line', i); 'end'"
    one = command.said("exec", "-e", code).strip()
    api.ended(one)
    assert '"result": "\\"end\\""' in command.said("status", one)
    text = "".join(f"line {i}\n" for i in range(150))
    assert command.said("output", one) == text
    page = command.run("output", one, "--line-offset", "3", "--line-limit", "2")
    assert page.stdout == "line 2\nline 3\n"
    assert page.stderr == "there is more: --line-offset 5\n"
    page = command.run("output", one, "--byte-offset", "0", "--byte-limit", "6")
    assert (page.stdout, page.stderr) == ("line 0", "there is more: --byte-offset 6\n")
    assert command.said("list", "--limit", "1").split()[:2] == [one, "completed"]
    assert one not in command.said("list", "--status", "failed")


def test_options_are_passed_on(command: Command, api: Client) -> None:
    options = ["--session", "mine", "--tag", "env=test", "--memory", "64"]
    said = command.said("exec", "-e", "let n = 1; n", "--wait", "--json", *options)
    assert '"result": "1"' in said
    assert "mine" in command.said("contexts")
    assert "mine" in command.said("sessions").splitlines()
    (entry,) = api.get("/api/sessions/mine/snapshots").json()["entries"]
    heap = entry["output_heap"]
    assert heap in command.said("sessions", "mine")
    assert heap in command.said("heaps", "--tag", "env=test")
    assert heap not in command.said("heaps", "--tag", "env=other")
    assert '"env": "test"' in command.said("heaps", heap)
    assert command.said("tags", heap, "--set", "a=b", "--delete", "env") == "a=b\n"
    assert command.said("tags", heap, "--clear") == ""
    assert command.said("exec", "-e", "n + 1", "--wait", "--heap", heap) == "2\n"


def test_output_is_followed_while_it_comes(command: Command, api: Client) -> None:
    code = "console.log('one'); await new Promise(go => { globalThis.go = go }); 0"
    with command.start("exec", "-e", code, "--follow", "--session", "f") as process:
        killer = threading.Timer(DEADLINE, process.kill)
        killer.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        (one,) = api.get("/api/executions?status=running").json()["executions"]
        api.cancel(one["execution_id"])
        out, err = process.communicate(timeout=DEADLINE)
        killer.cancel()
        assert (out, err) == ("", "cancelled: Cancelled by user\n")
        assert process.returncode == 1


def test_an_interrupted_client_leaves_the_execution(
    command: Command, api: Client
) -> None:
    code = "console.log('on'); while (true) {}"
    with command.start("exec", "-e", code, "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    (one,) = api.get("/api/executions?status=running").json()["executions"]
    assert one["execution_id"] in err
    assert process.returncode == 130
    assert command.said("cancel", one["execution_id"]) == ""
    assert api.info(one["execution_id"])["status"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["exec", "-e", "throw new Error('boom')", "--wait"], 1, "failed: Error: boom"),
        (["exec", "-e", "while (1) {}", "--timeout", "1", "--wait"], 1, "timed_out"),
        (["exec", "-e", "1", "--timeout", "900"], 3, "execution_timeout_secs"),
        (["exec", "-e", "1", "--heap", "0" * 64], 3, "not found (HTTP 404)"),
        (["exec", "/no/such/file"], 3, "No such file"),
        (["exec"], 2, "file"),
        (["exec", "-e", "1", "--tag", "x"], 2, "NAME=VALUE"),
        (["nothing"], 2, "nothing"),
        (["status", "nobody"], 3, "Execution 'nobody' not found (HTTP 404)"),
        (["cancel", "nobody"], 3, "not found (HTTP 400)"),
        (["--url", "nonsense", "list"], 3, "no URL"),
        (["--url", "http://127.0.0.1:9", "list"], 4, "no answer"),
    ],
)
def test_exit_statuses(
    command: Command, arguments: list[str], status: int, words: str
) -> None:
    done = command.run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_are_brought(command: Command, servers: Callable[..., Server]) -> None:
    server: Server = servers(*RUN_FLAGS, "--api-key", "secret")
    url = ("--url", server.url)
    done = command.run(*url, "list")
    assert (done.returncode, "API key" in done.stderr) == (3, True)
    assert command.run(*url, "--api-key", "secret", "list").returncode == 0
    assert command.run(*url, "list", ISOKERNEL_API_KEY="secret").returncode == 0
