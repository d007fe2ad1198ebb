"""What a server imports before its first answer, and what it says before that."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

from isoserver.cli.flags import GROUPS
from isoserver.errors import InvalidSettingsError
from isoserver.mcp.handshake import Opening
from isoserver.settings.reading import read_settings
from isoserver.settings.server import ServerSettings
from isoserver.storage.folders import LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path

EARLY = {"isokernel", "isoserver", "msgspec", "typing_extensions"}
"""All packages that may be imported before the first answer."""
SLOW = {"asyncio", "ctypes", "dataclasses", "email", "inspect", "subprocess", "uuid"}
"""Modules of the standard library that take 5 ms or more each."""
LATE = {"aiosqlite", "anyio", "fsspec", "graphql", "httpx", "jsonschema", "jwt", "mcp"}
LATE |= {"jsonschema_rs", "jupyter_client", "mcp_types", "nbformat", "rich", "yaml"}
LATE |= {"prometheus_client", "rfc3987_syntax", "sqlalchemy", "structlog", "typer"}
LATE |= {"starlette", "zmq", "zstandard"}
# Notes what is imported when the process first writes where its client reads.
WATCH = """
import json, os, sys
place = sys.argv.pop(1)
wire, write = os.fstat(1), os.write

def noted(descriptor, data):
    seen = os.fstat(descriptor)
    is_wire = (seen.st_dev, seen.st_ino) == (wire.st_dev, wire.st_ino)
    if is_wire and not os.path.exists(place):
        with open(place, "w") as file:
            json.dump(sorted(sys.modules), file)
    return write(descriptor, data)

class Output:
    def write(self, text):
        return noted(1, text.encode())

    def flush(self):
        pass

os.write, sys.stdout = noted, Output()
from isoserver.cli.main import main
main()
"""
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"roots": {"listChanged": True}},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
_META = "io.modelcontextprotocol/"
DISCOVER: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "server/discover",
    "params": {
        "_meta": {
            f"{_META}protocolVersion": "2026-07-28",
            f"{_META}clientInfo": {"name": "test", "version": "1"},
            f"{_META}clientCapabilities": {},
        }
    },
}


def _imported(tmp_path: Path, command: str, first: dict[str, Any] | None) -> set[str]:
    """Start a server up to its first line; what it had imported."""
    note = tmp_path / "modules"
    arguments = [command] if command == "mcp" else [command, "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, str(note), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if first is not None:
            process.stdin.write(f"{json.dumps(first)}\n")
            process.stdin.flush()
        assert process.stdout.readline()
        process.kill()
    return {name.split(".")[0] for name in json.loads(note.read_text())}


def _packages(names: set[str]) -> set[str]:
    """Those of modules that don't come with Python."""
    known = sys.stdlib_module_names | {"__main__", "__mp_main__"}
    # Of the interpreter's own start: hooks of installed packages, editable ones too.
    return {
        name
        for name in names - known
        if not name.startswith(("_", "sitecustomize", "usercustomize", "distutils-"))
    }


@pytest.mark.parametrize(
    ("command", "first"),
    [("serve", None), ("mcp", INITIALIZE), ("mcp", DISCOVER)],
    ids=["serve", "initialize", "discover"],
)
def test_the_first_answer_needs_few_packages(
    tmp_path: Path, command: str, first: dict[str, Any] | None
) -> None:
    imported = _imported(tmp_path, command, first)
    assert not imported & LATE
    if command == "serve":
        assert "asyncio" not in imported
        # The reading thread of `mcp` answers while the rest is being imported.
        assert _packages(imported) <= EARLY


def _serve(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isokernel", *flags],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--prot", "3"], "there is no flag --prot; did you mean --port?"),
        (["--port"], "--port needs a value"),
        (["--no-port"], "--port isn't a switch"),
        (["--no-sandbox=on"], "--no-sandbox takes no value"),
        (["--access-log=maybe"], "--access-log: must be on or off"),
        (["3000"], "unexpected argument '3000'"),
    ],
)
def test_wrong_flags_are_explained(flags: list[str], words: str) -> None:
    said = _serve("serve", *flags)
    assert said.returncode == 2
    assert words in said.stderr
    assert not said.stdout


def test_the_help_is_that_of_the_command_in_groups() -> None:
    said = _serve("mcp", "-h")
    assert said.returncode == 0
    assert said.stdout.startswith("Usage: isokernel mcp ")
    assert all(f"\n{title}:\n" in said.stdout for title in GROUPS)
    assert max(map(len, said.stdout.splitlines())) <= 100


def test_every_setting_is_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    tables = {"sources", "policies", "capability_rules", "secrets"}
    assert sorted(names) == sorted(ServerSettings.fields.keys() - tables)


@pytest.mark.parametrize("flag", ["--version", "version"])
def test_the_version_is_told(flag: str) -> None:
    said = _serve(flag)
    assert said.returncode == 0
    assert said.stdout.startswith("isokernel ")


SETTINGS = read_settings()


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None},
        {"id": True},
        {"method": "tools/list"},
        {"jsonrpc": "1.0"},
        {"params": None},
        {"params": {**INITIALIZE["params"], "protocolVersion": "1999-01-01"}},
        {"params": {**INITIALIZE["params"], "clientInfo": {"name": "test"}}},
        {"params": {**INITIALIZE["params"], "capabilities": {"roots": 5}}},
    ],
)
def test_what_is_not_plainly_right_is_left_to_the_sdk(changed: dict[str, Any]) -> None:
    message = json.dumps({**INITIALIZE, **changed}).encode()
    assert Opening(SETTINGS).answer(message) is None


def test_only_the_first_message_is_answered_and_its_answer_dropped_once() -> None:
    opening = Opening(SETTINGS)
    line = json.dumps(INITIALIZE).encode()
    assert opening.answer(b"\n") is None
    answer = opening.answer(line)
    assert answer is not None
    assert opening.answer(line) is None
    assert not opening.repeats('{"jsonrpc":"2.0","method":"ping","id":7}')
    assert opening.repeats(answer)
    assert not opening.repeats(answer)


# Says what is imported when the process ends.
TOLD = """
import sys
from isoserver.cli.main import main
try:
    main()
finally:
    print(*sys.modules)
"""


def _told(*flags: str) -> tuple[str, set[str]]:
    """Start a server that can't be; what it says, and the modules it has imported."""
    command = [sys.executable, "-c", TOLD, *flags]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode in {1, 2}
    return said.stderr, {name.partition(".")[0] for name in said.stdout.split()}


@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_what_is_wrong_is_told_before_much_is_imported(
    tmp_path: Path, command: str
) -> None:
    """With the standard library alone, and little of that."""
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = str(taken.getsockname()[1])
        cases = [
            (["--prot", port], "did you mean --port?"),
            (["--port", "none"], "must be an integer"),
            (["--data-dir", "/proc/nowhere"], "the data folder can't be made"),
            (["--default-language", "cobol"], "'cobol' is not served"),
        ]
        folder = ["--data-dir", str(tmp_path), "--lock-timeout-seconds", "0"]
        if command == "serve":  # the other would go on with whoever has the folder
            cases.append((["--port", port], "Address already in use"))
            cases.append(([*folder, "--port", "0"], f"the folder {tmp_path}"))
        lock = stack.enter_context((tmp_path / LOCK_FILE).open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        for flags, words in cases:
            said, imported = _told(command, *flags)
            assert words in said
            assert not imported & SLOW, flags
            assert _packages(imported) == {"isokernel", "isoserver"}, flags


@pytest.mark.parametrize(
    ("flags", "module", "told"),
    [
        (
            ["--database-url", "postgresql://db/x"],
            "asyncpg",
            "database_url [postgresql]",
        ),
        (["--heap-store", "s3://bucket/heaps"], "s3fs", "heap_store [s3]"),
        (["--traces"], "opentelemetry", "traces [otel]"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_a_missing_extra_is_named(
    flags: list[str], module: str, told: str, command: str
) -> None:
    # What Python documents for a module that can't be imported.
    program = f"import sys; sys.modules[{module!r}] = None\n{TOLD}"
    said = subprocess.run(
        [sys.executable, "-c", program, command, *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    setting, extra = told.split()
    assert said.returncode == 2
    assert said.stderr == (
        f"isokernel: {setting}: needs the extra: pip install 'isokernel{extra}'\n"
    )
    assert "sqlalchemy" not in said.stdout.split()


def test_a_cluster_says_all_extras_that_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("asyncpg", "s3fs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings(
            cluster="on",
            cluster_secret="0123456789" * 3,
            database_url="postgresql+asyncpg://db/x",
            heap_store="s3a://bucket/heaps",
        )
    names = [problem.partition(":")[0] for problem in caught.value.problems]
    assert names == ["database_url", "heap_store"]
    read_settings(database_url="sqlite:///x", heap_store="s3")  # it is a folder
