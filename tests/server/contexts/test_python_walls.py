"""Python contexts: what they can't reach, what they still can, and figures."""

from __future__ import annotations

import base64
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.server import BOUNDS, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def python_server() -> Iterator[Server]:
    """A server with Python alone."""
    with run_server("--languages", "python", *BOUNDS) as server:
        yield server


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


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open('/etc/shadow')", "FileNotFoundError"),
        ("open('/dev/mem')", "FileNotFoundError"),
        ("open('/dev/tty')", "OSError"),
        ("open('/usr/made', 'w')", "OSError"),
        ("open('/made', 'w')", "OSError"),
        ("len(open('/etc/passwd').readlines())", "3"),
        ("__import__('os').listdir('/home')", "['user']"),
        ("__import__('os').listdir('/sys')", "['devices']"),
    ],
)
def test_files_are_its_own_or_the_systems(
    python: Callable[[str], Any], code: str, found: str
) -> None:
    assert python(code) == found


def test_a_file_beside_it_is_not_there(
    python: Callable[[str], Any], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    assert python(f"open({str(secret)!r}).read()") == "FileNotFoundError"
    assert python(f"open({str(tmp_path / 'made')!r}, 'w')") == "FileNotFoundError"
    command = f"__import__('subprocess').check_output(['cat', {str(secret)!r}])"
    assert python(command) == "CalledProcessError"


def test_the_server_is_not_there(
    python_server: Server, python: Callable[[str], Any]
) -> None:
    pid = python_server.process.pid
    for what in ("environ", "cmdline", "mem"):
        assert python(f"open('/proc/{pid}/{what}')") == "FileNotFoundError"
    assert python(f"import os\nos.kill({pid}, 0)") == "ProcessLookupError"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("socket.create_connection(('127.0.0.1', {port}))", "ConnectionRefusedError"),
        ("socket.create_connection(('192.0.2.1', 80))", "OSError"),
        ("socket.getaddrinfo('example.com', 80)", "gaierror"),
        ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "OSError"),
        ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "OSError"),
        ("urllib.request.urlopen('http://127.0.0.1:{port}/healthz')", "URLError"),
    ],
)
def test_there_is_no_network(
    python_server: Server, python: Callable[[str], Any], code: str, found: str
) -> None:
    port = python_server.url.rpartition(":")[2]
    code = "import socket, urllib.request\n" + code.format(port=port)
    assert python(code) == found


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


def test_folders_can_be_allowed(servers: Callable[..., Server], tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # read by a user of its own
    (tmp_path / "data").write_text("data")
    (tmp_path / "keys.toml").write_text("languages = ['python']")
    flags = ("--config", str(tmp_path / "keys.toml"))
    server = servers(*flags, "--python-readable", str(tmp_path))
    with connect(server) as client:
        here = client.create("python")
        code = f"open({str(tmp_path / 'data')!r}).read()"
        assert client.text(code, context_id=here) == "'data'"
        code = f"open({str(tmp_path / 'data')!r}, 'w')"
        assert client.run(code, context_id=here)["error"]["name"] == "OSError"
        # But for the file with the keys.
        code = f"open({str(tmp_path / 'keys.toml')!r}).read()"
        assert client.run(code, context_id=here)["error"]["name"] == "PermissionError"


def _wheel(folder: Path, name: str, requires: str) -> None:
    """Write a wheel with one module, which has a number."""
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "number = 7\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        f"Requires-Dist: {requires}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = [*files, f"{about}/RECORD"]
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in record)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def test_wheels_that_are_allowed_can_be_installed(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)  # read by a user of its own
    # That one is there: what the environment has isn't looked for in the folder.
    _wheel(tmp_path, "numbered", requires="ipykernel")
    server = servers("--languages", "python", "--python-wheels", str(tmp_path))
    with connect(server) as client:
        here = client.create("python")
        for name, said in (("numbered", "Successfully"), ("six-more", "No matching")):
            code = f"%pip install {name}"
            answer = client.run(code, context_id=here, timeout_ms=40_000)
            logs = answer["logs"]
            assert said in "".join(logs["stdout"] + logs["stderr"]), logs
        assert client.text("import numbered; numbered.number", context_id=here) == "7"
        # In other processes of the context too, and not among its files.
        code = "import subprocess, sys\nsubprocess.check_output([sys.executable, '-c',"
        code += " 'import numbered; print(numbered.number)'])"
        assert client.text(code, context_id=here) == r"b'7\n'"
        assert client.get(f"/contexts/{here}/files").json()["files"] == []
        code = "import numbered"
        assert client.run(code, language="python")["error"]["name"] == (
            "ModuleNotFoundError"
        )


def test_without_the_sandbox_nothing_is_denied(servers: Callable[..., Server]) -> None:
    server = servers("--languages", "python", "--no-sandbox")
    with connect(server) as client:
        code = f"open('/proc/{server.process.pid}/environ').close()"
        assert client.run(code, language="python")["error"] is None


NO_BWRAP = ("--languages", "python", "--container-program", "/bin/false")


def test_without_a_container_nothing_starts(servers: Callable[..., Server]) -> None:
    server = servers(*NO_BWRAP)
    with connect(server) as client:
        answer = client.post("/execute", json={"code": "1", "language": "python"})
        assert answer.status_code == 503
        assert "--insecure-kernels" in answer.json()["message"]
    assert server.log().count("Python contexts don't start here") == 1


def test_kernels_without_a_container_can_be_allowed(
    servers: Callable[..., Server],
) -> None:
    server = servers(*NO_BWRAP, "--insecure-kernels")
    with connect(server) as client:
        assert client.text("6 * 7", language="python") == "42"
        code = "while True: pass"
        here = client.create("python")
        answer = client.run(code, context_id=here, timeout_ms=500)
        assert answer["error"]["name"] == "TimeoutError"
        assert client.text("6 * 7", context_id=here) == "42"
    assert server.log().count("Python contexts have no container") == 1


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
