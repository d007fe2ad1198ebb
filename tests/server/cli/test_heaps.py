"""`isokernel heaps`: heaps listed, shown, moved to another folder, cleaned up."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.heaps import checkpoint, restored
from tests.support.server import JAVASCRIPT_FLAGS, V8_FLAGS, Server
from tests.support.starts import run_isokernel

from isoserver.cli.heaps import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MISSING = "0" * 64


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs `isokernel heaps` on a data folder; status, output, errors."""

    def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("ISOKERNEL_DATA_DIR", str(folder))
        status = run(list(arguments))
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_command_line(
    servers: Callable[..., Server],
    tmp_path: Path,
    command: Callable[..., Any],
) -> None:
    folder, elsewhere, file = tmp_path / "a", tmp_path / "b", tmp_path / "file"
    elsewhere.mkdir()
    server = servers(*V8_FLAGS, "--data-dir", str(folder))
    with connect(server) as client:
        key = checkpoint(client, "let a = 42")
        client.put(f"/api/heaps/{key}/tags", json={"tags": {"k": "v"}})
        # Beside a server that runs, as a program.
        done = run_isokernel("heaps", "list", "--data-dir", str(folder))
        assert f"{key} " in done.stdout, done.stderr
        assert f"{key} " in command(folder, "list", "--tag", "k:v")[1]
    assert key not in command(folder, "list", "--tag", "k:w")[1]
    assert f"key: {key}\n" in command(folder, "show", key)[1]
    assert command(folder, "export", key, str(file))[0] == 0
    assert command(elsewhere, "import", str(file)) == (0, f"{key}\n", "")
    file.write_bytes(file.read_bytes()[:-100])
    status, _, complaint = command(elsewhere, "import", str(file))
    assert status == 1
    assert complaint.startswith("isokernel: ")
    assert complaint.count("\n") == 1
    assert "0 heaps forgotten" in command(folder, "gc")[1]
    assert command(folder, "show", MISSING)[0] == 1
    server.stop(signal.SIGTERM)
    with connect(servers(*V8_FLAGS, "--data-dir", str(elsewhere))) as client:
        assert restored(client, key, "a") == "42"


def test_the_commands_for_heaps_work_beside_a_server(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    servers(*JAVASCRIPT_FLAGS, "--data-dir", str(tmp_path))
    done = run_isokernel("heaps", "list", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_settings_are_said_in_a_line_each(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("ISOKERNEL_PORT", "x")
    status, _, errors = command(tmp_path, "list")
    assert status == 2
    assert "ISOKERNEL_PORT: must be an integer" in errors
    assert "pydantic" not in errors
    monkeypatch.setenv("ISOKERNEL_CONFIG", "/no/such/file.toml")
    status, _, errors = command(tmp_path, "list")
    assert status == 2
    assert "there is no file /no/such/file.toml" in errors
