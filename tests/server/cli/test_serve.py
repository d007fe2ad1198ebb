"""`isokernel serve` and `isokernel mcp`: settings, and why they can't start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.server import START, Server
from tests.support.waiting import DEADLINE

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
    for name, field in ServerSettings.fields.items():
        assert field.description, name


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
    tables = {"sources", "policies", "capability_rules", "secrets"}  # of the file alone
    for name in ServerSettings.fields.keys() - tables:
        assert f"--{name.replace('_', '-')} " in said.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "x"], "isokernel: --port: must be an integer from 0 to 65535\n"),
        (
            ["--port", "70000"],
            "isokernel: --port: must be an integer from 0 to 65535\n",
        ),
        (["--no-such-flag"], "no-such-flag"),
        (["--config", "/no/such/file.toml"], "can't be read: there is no file /no/su"),
        (["--api-key", ""], "isokernel: --api-key: must be keys, none of them empty"),
        (["--api-key="], "isokernel: --api-key: must be keys, none of them empty"),
        (
            ["--api-key", "a, "],
            "isokernel: --api-key: must be keys, none of them empty",
        ),
        (["--workspaces", "{}"], "isokernel: --workspaces.0.name: is missing"),
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
    place = f"127.0.0.1:{port}"
    words = f"can't listen on {place}: Address already in use (--host, --port)"
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-dir", "/proc/cpuinfo"], "made: File exists: /proc/cpuinfo"),
        (["--data-dir", "/proc/x/y"], "made: No such file or directory: /proc/x"),
        (["--data-dir", "/proc"], "the folder /proc can't be used"),
        (["--languages", "js,klingon"], "no language or kernel 'klingon'"),
        (["--default-language", "klingon"], "'klingon' is not served"),
        (["--database-url", "mysql://somewhere"], "mysql is not supported"),
        (
            ["--database-url", "sqlite:////none/x"],
            "database /none/x can't be used: No such",
        ),
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
