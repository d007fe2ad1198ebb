from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from tests.support.waiting import DEADLINE

from isokernel.errors import ConnectionFileError
from isokernel.jupyter.channels import Connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.kernels import Kernel

SHADOWS = (
    "isokernel",
    "zmq",
    "json",
    "msgspec",
    "py_mini_racer",
    "sitecustomize",
    "usercustomize",
    "signal",
    "threading",
    "hmac",
    "sqlite3",
    "typing",
)

HEAVY = {
    "IPython",
    "asyncio",
    "dataclasses",
    "dataclasses_json",
    "importlib.metadata",
    "inspect",
    "ipykernel",
    "jupyter_client",
    "jupyter_core",
    "logging",
    "msgspec",
    "pydantic",
    "secrets",
    "sqlite3",
    "tornado",
    "traitlets",
    "uuid",
}
"""What a kernel must not import before its first reply: each costs 3 to 120 ms."""


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """A folder full of modules with the names of ours and of those that we use."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('shadow: {name}')\n")
    return tmp_path


def test_files_beside_the_notebook_dont_shadow_our_modules(
    shadows: Path, start: Callable[..., Kernel]
) -> None:
    """The kernel fixture starts its kernels in tmp_path, where the shadows are."""
    kernel = start()
    assert (shadows / "isokernel.py").exists()
    assert kernel.run("1 + 1").result == "2"


def test_the_shadows_would_be_loaded_otherwise(shadows: Path) -> None:
    """If this fails the test above proves nothing."""
    command = [sys.executable, "-c", "import isokernel"]
    done = subprocess.run(
        command, cwd=shadows, capture_output=True, text=True, check=False
    )
    assert "shadow: isokernel" in done.stderr


def test_nothing_heavy_is_imported_at_the_start() -> None:
    code = (
        "import sys, isokernel.jupyter.kernel, isokernel.jupyter.channels, "
        "isokernel.context.context, isokernel.jupyter.launch; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()


def test_no_library_is_loaded_beside_that_of_v8(tmp_path: Path) -> None:
    """The linker loads one at a time: the import of another would wait for V8's."""
    file, _ = write_connection_file(str(tmp_path / "connection.json"))
    start = "from isokernel.jupyter.launch import main; main()"
    told = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "linker")}
    with subprocess.Popen(
        [sys.executable, "-c", start, "-f", file],
        env={**os.environ, **told, "ISOKERNEL_HISTORY": "off"},
    ) as process:
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        client.start_channels(hb=False)
        client.kernel_info(reply=True, timeout=DEADLINE)
        said = (tmp_path / f"linker.{process.pid}").read_text()
        client.stop_channels()
        process.terminate()
    loaded = re.findall(r"file=(\S+) \[0\];  dynamically loaded by", said)
    (place,) = [i for i, path in enumerate(loaded) if path.endswith("libmini_racer.so")]
    assert any("_zmq" in path for path in loaded[:place])
    assert not loaded[place + 1 :]


@pytest.mark.parametrize(
    "arguments",
    [[], ["-f"], ["--what"], ["-f", "file", "--language", "cobol"]],
)
def test_a_wrong_command_line_is_explained(arguments: list[str]) -> None:
    command = [
        sys.executable,
        "-c",
        "from isokernel.jupyter.launch import main; main()",
    ]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"ip": "127.0.0.1", "shell_port": "x"}',
        '{"ip": "127.0.0.1", "shell_port": 1, "iopub_port": 2, "stdin_port": 3}',
    ],
)
def test_a_connection_file_that_cant_be_used_is_named(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "connection.json"
    path.write_text(content)
    with pytest.raises(ConnectionFileError, match=r"connection\.json"):
        Connection.read(str(path))


def test_a_port_that_is_taken_is_an_error(start: Callable[..., Kernel]) -> None:
    kernel = start()
    file = str(kernel.manager.connection_file)
    command = [
        sys.executable,
        "-c",
        "from isokernel.jupyter.launch import main; main()",
        "-f",
        file,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ISOKERNEL_HISTORY": "off"},
    )
    assert done.returncode == 1
    assert "can't bind" in done.stderr
    assert kernel.run("1").result == "1"
