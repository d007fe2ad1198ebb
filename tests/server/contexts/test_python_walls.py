"""Python contexts: what they can't reach, what they still can, and figures."""

from __future__ import annotations

import base64
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import BOUNDS, Server

from isokernel.sandbox import landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


with_seccomp = pytest.mark.skipif(not seccomp.supported(), reason="no seccomp here")
with_landlock = pytest.mark.skipif(not landlock.version(), reason="no Landlock here")


@pytest.fixture(scope="module")
def python_server() -> Iterator[Server]:
    """A server with Python alone."""
    server = Server("--languages", "python", *BOUNDS)
    yield server
    server.stop()
    assert not server.wrong()


@pytest.fixture(scope="module")
def python(python_server: Server) -> Iterator[Callable[[str], Any]]:
    """Runs code in one Python context; what the code's last expression gave."""
    with connect(python_server) as client:
        here = client.create("python")

        def run(code: str) -> Any:
            answer = client.run(code, context_id=here)
            error = answer["error"]
            return answer["items"][-1]["text"] if error is None else error["name"]

        yield run


@with_landlock
@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "open('/etc/shadow')",
        "__import__('os').listdir('/')",
        "__import__('os').listdir('/proc')",
        "open('/tmp/made', 'w')",
        "open('/dev/tty')",
    ],
)
def test_files_outside_are_denied(python: Callable[[str], Any], code: str) -> None:
    assert python(code) == "PermissionError"


@with_landlock
def test_a_file_beside_it_is_denied(
    python: Callable[[str], Any], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    assert python(f"open({str(secret)!r}).read()") == "PermissionError"
    assert python(f"open({str(tmp_path / 'made')!r}, 'w')") == "PermissionError"
    command = f"__import__('subprocess').check_output(['cat', {str(secret)!r}])"
    assert python(command) == "CalledProcessError"


@with_landlock
def test_the_servers_environment_is_denied(
    python_server: Server, python: Callable[[str], Any]
) -> None:
    pid = python_server.process.pid
    for what in ("environ", "cmdline", "mem", "fd"):
        path = f"/proc/{pid}/{what}"
        code = f"open({path!r}).read()" if what != "fd" else f"os.listdir({path!r})"
        assert python(f"import os\n{code}") == "PermissionError"


@with_landlock
def test_nobody_else_can_be_signalled(
    python_server: Server, python: Callable[[str], Any]
) -> None:
    if landlock.scopes_signals():
        code = f"import os\nos.kill({python_server.process.pid}, 0)"
        assert python(code) == "PermissionError"


@with_seccomp
@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('127.0.0.1', {port}))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "urllib.request.urlopen('http://127.0.0.1:{port}/healthz')",
    ],
)
def test_the_network_is_denied(
    python_server: Server, python: Callable[[str], Any], code: str
) -> None:
    port = python_server.url.rpartition(":")[2]
    found = python("import socket, urllib.request\n" + code.format(port=port))
    assert found in {"OSError", "URLError"}


@with_seccomp
@pytest.mark.parametrize(
    "call",
    [
        "ptrace(16, 1, 0, 0)",
        "unshare(0x10000000)",
        "mount(b'none', b'/', b'tmpfs', 0, None)",
        "chroot(b'/')",
        "setns(0, 0)",
        "reboot(0)",
    ],
)
def test_what_serves_only_to_break_out_is_denied(
    python: Callable[[str], Any], call: str
) -> None:
    code = (
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"done = libc.{call}\nassert done == -1\n"
        "errno.errorcode[ctypes.get_errno()]"
    )
    assert python(code) == "'EPERM'"


def test_no_privilege_can_be_gained(python: Callable[[str], Any]) -> None:
    code = "[l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')]"
    assert python(code) == r"['NoNewPrivs:\t1\n']"


def test_what_programs_need_works(python: Callable[[str], Any]) -> None:
    assert python("import tempfile\ntempfile.TemporaryFile().write(b'ab')") == "2"
    assert python("open('own', 'w').write('abc')") == "3"
    assert python("import subprocess, sys\nsubprocess.check_output(['true'])") == "b''"
    code = "subprocess.check_output([sys.executable, '-c', 'print(6 * 7)'])"
    assert python(code) == r"b'42\n'"
    code = "import asyncio, threading\nawait asyncio.to_thread(lambda: 5)"
    assert python(code) == "5"
    assert python("import multiprocessing.pool as p\np.ThreadPool(1).map(abs, [-1])")
    assert python("import sqlite3, ssl, ctypes, zoneinfo, json, decimal\n7") == "7"


def test_the_network_and_folders_can_be_allowed(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("data")
    flags = ("--languages", "python", "--python-network")
    server = servers(*flags, "--python-readable", str(tmp_path))
    with connect(server) as client:
        code = (
            "import urllib.request\n"
            f"urllib.request.urlopen('{server.url}/healthz').status"
        )
        here = client.create("python")
        assert client.text(code, context_id=here) == "200"
        code = f"open({str(tmp_path / 'data')!r}).read()"
        assert client.text(code, context_id=here) == "'data'"
        code = f"open({str(tmp_path / 'data')!r}, 'w')"
        failed = client.run(code, context_id=here)["error"]
        assert failed["name"] == ("PermissionError" if landlock.version() else "")


def test_without_the_sandbox_nothing_is_denied(servers: Callable[..., Server]) -> None:
    server = servers("--languages", "python", "--no-sandbox")
    with connect(server) as client:
        code = "len(open('/etc/passwd').read()) > 0"
        assert client.text(code, language="python") == "True"


def test_what_cannot_be_enforced_is_said_once(python_server: Server) -> None:
    said = python_server.log().count("as root")
    assert said == (1 if os.geteuid() == 0 else 0)


FIGURE = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(2, 2))
axes.plot([1, 3, 2])
plt.show()
"""


def test_figures_are_items(python_server: Server) -> None:
    pytest.importorskip("matplotlib")
    with connect(python_server) as client:
        answer = client.run(FIGURE + FIGURE + "'last'", language="python")
    assert answer["error"] is None, answer
    first, second, last = answer["items"]
    for item in (first, second):
        assert base64.b64decode(item["png"])[:8] == b"\x89PNG\r\n\x1a\n"
        assert item["svg"].lstrip().startswith("<?xml")
        assert "<svg" in item["svg"]
        assert item["text"].startswith("<Figure size")
        assert "is_primary" not in item
    assert last == {"is_primary": True, "text": "'last'"}


def test_its_python_is_the_servers(python: Callable[[str], Any]) -> None:
    assert python("import sys\nsys.prefix") == repr(sys.prefix)
