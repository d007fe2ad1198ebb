"""`isokernel serve`: settings, readiness, the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import START, Server
from tests.support.waiting import DEADLINE, wait_for

from isoserver.cli.serve import load
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_it_says_where_it_listens(servers: Callable[..., Server]) -> None:
    server = servers("--languages", "python")
    assert re.fullmatch(
        r"isokernel is listening on http://127\.0\.0\.1:\d+\n", server.first_line
    )


def test_flags_go_before_variables_and_these_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(
        "port = 1\ncells_queued_max = 1\ncontexts_max = 1\nlanguages = ['js']\n"
    )
    monkeypatch.setenv("ISOKERNEL_PORT", "2")
    monkeypatch.setenv("ISOKERNEL_CELLS_QUEUED_MAX", "2")
    settings = load(["--config", str(file), "--port", "3"])
    assert (settings.port, settings.cells_queued_max, settings.contexts_max) == (
        3,
        2,
        1,
    )
    assert settings.languages == ["js"]
    monkeypatch.setenv("ISOKERNEL_CONFIG", str(file))
    assert load([]).contexts_max == 1


def test_lists_have_commas_or_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOKERNEL_API_KEY", "a,b")
    assert load([]).api_key == ["a", "b"]
    settings = load(["--api-key", "c", "--api-key", "d", "--languages", "js, ts"])
    assert (settings.api_key, settings.languages) == (["c", "d"], ["js", "ts"])


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(load(["--api-key", "secret"]))


def test_every_setting_has_a_description() -> None:
    for name, field in ServerSettings.model_fields.items():
        assert field.description, name


def test_others_can_not_read_what_it_keeps(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    folder = tmp_path / "data"
    before = os.umask(0)
    try:
        server = servers("--languages", "javascript", "--data-dir", str(folder))
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.glob("isokernel.sqlite*"))
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    server.stop()
    assert "others may read" not in server.said
    folder.chmod(0o755)  # which somebody may want
    server = servers("--languages", "javascript", "--data-dir", str(folder))
    server.stop()
    assert "others may read" in server.said
    assert folder.stat().st_mode & 0o777 == 0o755


def _serve(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, "serve", *flags],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, **variables},
    )


def test_help_lists_every_setting() -> None:
    said = _serve("--help")
    assert said.returncode == 0
    tables = {"sources", "policies"}  # of the file alone
    for name in ServerSettings.model_fields.keys() - tables:
        assert f"--{name.replace('_', '-')} " in said.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "x"], "port"),
        (["--port", "70000"], "port"),
        (["--no-such-flag"], "no-such-flag"),
        (["--config", "/no/such/file.toml"], "/no/such/file.toml"),
    ],
)
def test_wrong_settings_are_said(flags: list[str], words: str) -> None:
    said = _serve(*flags)
    assert said.returncode == 2
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_a_port_in_use_is_said(servers: Callable[..., Server], tmp_path: Path) -> None:
    server = servers("--languages", "python")
    port = server.url.rpartition(":")[2]
    said = _serve("--port", port, "--languages", "python", TMPDIR=str(tmp_path))
    assert said.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-dir", "/proc/cpuinfo"], "the data folder can't be made"),
        (["--data-dir", "/proc"], "the folder /proc can't be used"),
        (["--languages", "js,klingon"], "no language or kernel 'klingon'"),
        (["--default-language", "klingon"], "'klingon' is not served"),
        (["--database-url", "mysql://somewhere"], "mysql is no database of ours"),
        (["--database-url", "sqlite:////none/x"], "database /none/x can't be used"),
    ],
)
def test_what_it_can_not_start_with_is_said(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    said = _serve("--port", "0", *flags, TMPDIR=str(tmp_path))
    assert said.returncode == 1
    assert said.stderr.startswith("isokernel: ")
    assert words in said.stderr
    assert said.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_over_stdio_as_well_though_nobody_closes_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START, "mcp", "--languages", "klingon"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.wait(DEADLINE) == 1
        said = process.stderr.read()
        assert said.startswith("isokernel: there is no language or kernel 'klingon'")
        assert said.count("\n") == 1
        assert not process.stdout.read()
    assert not list(tmp_path.iterdir())


def test_two_servers_do_not_share_a_folder(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    flags = ("--languages", "python", "--data-dir", str(tmp_path))
    first = servers(*flags)
    said = _serve("--port", "0", *flags)
    assert said.returncode == 1
    assert f"server (process {first.process.pid}), which must end first" in said.stderr
    with connect(first) as client:
        client.create("python")
    left = list((tmp_path / "contexts").iterdir())
    first.stop(signal.SIGKILL)
    servers(*flags)
    assert left
    assert not list((tmp_path / "contexts").iterdir())


def test_the_path_of_the_data_folder_may_be_long(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    folder = tmp_path / ("long" * 50) / ("longer" * 30)
    server = servers("--languages", "python", "--data-dir", str(folder))
    with connect(server) as client:
        assert client.text("import os; os.getcwd()", language="python").startswith(
            f"'{folder}/"
        )


def test_sockets_find_a_short_path(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    server = servers("--languages", "python", env={"TMPDIR": str(folder)})
    with connect(server) as client:
        assert client.text("6 * 7", language="python") == "42"
    server.stop()
    assert not list(folder.iterdir())


class Cell:
    """A cell that runs while the server is stopped."""

    def __init__(self, client: Any, code: str, language: str) -> None:
        self.context_id = client.create(language)
        body = {"code": code, "context_id": self.context_id}
        self.answer: Any = None

        def run() -> None:
            self.answer = client.post("/execute", json=body)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        client.wait_state(self.context_id, "busy")

    def join(self) -> Any:
        self._thread.join()
        assert self.answer.status_code == 200
        return self.answer.json()


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_running_cells_end_before_the_server(
    servers: Callable[..., Server], language: str
) -> None:
    server = servers()
    code = {
        "javascript": "await new Promise(d => setTimeout(d, 700)); 'done'",
        "python": "import time\ntime.sleep(0.7)\n'done'",
    }[language]
    with connect(server) as client:
        cell = Cell(client, code, language)
        processes = server.children()
        assert server.stop() == 0
        assert cell.join()["items"][0]["text"] == "'done'"
    assert processes
    _all_gone(processes)


def test_cells_that_do_not_end_are_interrupted(servers: Callable[..., Server]) -> None:
    server = servers(
        "--shutdown-grace-seconds", "0.3", "--interrupt-grace-seconds", "0.5"
    )
    with connect(server) as client:
        cells = [
            Cell(client, "while (true) {}", "javascript"),
            Cell(client, "while True: pass", "python"),
        ]
        processes = server.children()
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 10
        names = {cell.join()["error"]["name"] for cell in cells}
    assert names <= {"KeyboardInterrupt", "ContextDeletedError"}
    _all_gone(processes)


def test_a_second_signal_ends_the_grace_period(servers: Callable[..., Server]) -> None:
    server = servers(
        "--shutdown-grace-seconds", "600", "--interrupt-grace-seconds", "0.5"
    )
    with connect(server) as client:
        cell = Cell(client, "while (true) {}", "javascript")
        server.process.send_signal(signal.SIGTERM)
        # It has stopped listening when a new connection is refused.
        _until_refused(server)
        assert server.stop(signal.SIGINT) == 0
        assert cell.join()["error"] is not None


def _until_refused(server: Any) -> None:
    import httpx  # noqa: PLC0415

    def refused() -> bool:
        try:
            httpx.get(f"{server.url}/healthz")
        except httpx.ConnectError:
            return True
        return False

    wait_for(refused)


def _all_gone(processes: set[int]) -> None:
    import psutil  # noqa: PLC0415

    gone = {pid for pid in processes if not psutil.pid_exists(pid)}
    assert gone == processes


def test_a_killed_server_leaves_no_process(servers: Callable[..., Server]) -> None:
    server = servers()
    with connect(server) as client:
        Cell_ids = [client.create(), client.create("python")]  # noqa: N806
        assert len(Cell_ids) == 2
        processes = server.children()
    assert processes
    server.stop(signal.SIGKILL)
    wait_for(lambda: not any(_lives(pid) for pid in processes))


def _lives(pid: int) -> bool:
    """Whether a process runs; who is dead and has nobody to bury him doesn't."""
    import psutil  # noqa: PLC0415

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
