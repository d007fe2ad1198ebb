"""The data folder and the folder for sockets, of real servers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
from tests.support.client import connect
from tests.support.starts import run_isokernel
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server


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


def test_two_servers_do_not_share_a_folder(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    flags = ("--languages", "python", "--no-sandbox", "--data-dir", str(tmp_path))
    first = servers(*flags)
    second = ("--port", "0", "--lock-timeout-seconds", "0.2")
    said = run_isokernel("serve", *second, *flags)
    assert said.returncode == 1
    assert f"server (process {first.process.pid}), which must end first" in said.stderr
    with connect(first) as client:
        client.create("python")
    left = list((tmp_path / "contexts").iterdir())
    processes = [psutil.Process(pid) for pid in first.children()]
    first.stop(signal.SIGKILL)
    servers(*flags)
    assert left
    assert not list((tmp_path / "contexts").iterdir())
    # Though nothing contains its kernel.
    wait_for(lambda: not any(process.is_running() for process in processes))


def test_the_path_of_the_data_folder_may_be_long(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    folder = tmp_path / ("long" * 50) / ("longer" * 30)
    flags = ("--languages", "python", "--no-sandbox")
    server = servers(*flags, "--data-dir", str(folder))
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


def test_nothing_stays_of_a_killed_server(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    place = {"TMPDIR": str(tmp_path)}
    flags = ("--languages", "javascript,python")
    server = servers(*flags, env=place)
    with connect(server) as client:
        assert client.text("1", language="python") == "1"
    killed = {*tmp_path.iterdir()}
    assert killed
    server.stop(signal.SIGKILL)
    living = servers(*flags, env=place)
    with connect(living) as client:
        assert client.text("1", language="python") == "1"
    others = {*tmp_path.iterdir()} - killed
    for folder in (*killed, *others):
        os.utime(folder, (0, 0))  # long ago
    servers(*flags, env=place).stop()
    assert {*tmp_path.iterdir()} == others
    with connect(living) as client:
        assert client.text("2", language="python") == "2"
