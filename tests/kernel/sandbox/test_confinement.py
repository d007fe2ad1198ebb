"""The sandbox, from inside: what is denied is denied, what is needed works."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.confined import LIBC, confined, libc
from tests.support.workers import WorkerClient

from isokernel.context import Context
from isokernel.errors import SnapshotFailedError
from isokernel.forkserver import ForkServer
from isokernel.runtime import scripts
from isokernel.sandbox import SandboxSettings, landlock, missing, seccomp
from isokernel.settings import ContextSettings
from isokernel.v8 import writer
from isokernel.v8.children import Children

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext

MIB = 1 << 20
NOTHING = SandboxSettings(seccomp=False, landlock=False, own_user=False)
SECCOMP = NOTHING._replace(seccomp=True)
LANDLOCK = NOTHING._replace(landlock=True)
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
with_seccomp = pytest.mark.skipif(not seccomp.supported(), reason="no seccomp here")
with_landlock = pytest.mark.skipif(
    landlock.version() < landlock.TCP_VERSION, reason="no Landlock of this age here"
)
SANDBOXES = [
    pytest.param(SandboxSettings(), id="all", marks=with_seccomp),
    pytest.param(SECCOMP, id="seccomp", marks=with_seccomp),
    pytest.param(LANDLOCK, id="landlock", marks=with_landlock),
]
FILTERED = SANDBOXES[:2]


# -- what is denied ----------------------------------------------------------------


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize(
    "path",
    ["/etc/hostname", "/proc/self/maps", "/dev/null", "/tmp"],  # noqa: S108
)
def test_no_file_can_be_opened(sandbox: SandboxSettings, path: str) -> None:
    found = confined(libc("open", path.encode(), os.O_RDONLY), sandbox)
    assert found in {"EPERM", "EACCES"}


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_no_file_can_be_made(sandbox: SandboxSettings, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "made"
    flags = os.O_CREAT | os.O_WRONLY
    found = confined(libc("open", os.fsencode(target), flags, 0o600), sandbox)
    assert found in {"EPERM", "EACCES"}
    assert not target.exists()


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_nothing_can_be_executed(sandbox: SandboxSettings) -> None:
    arguments = (ctypes.c_char_p * 2)(b"true", None)
    environment = (ctypes.c_char_p * 1)(None)
    attempt = libc("execve", b"/bin/true", arguments, environment)
    assert confined(attempt, sandbox) in {"EPERM", "EACCES"}


@pytest.mark.parametrize("sandbox", FILTERED)
@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6])
def test_no_socket_can_be_made(sandbox: SandboxSettings, family: int) -> None:
    attempt = libc("socket", family, socket.SOCK_STREAM, 0)
    assert confined(attempt, sandbox) == "EPERM"


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_socket_that_was_left_open_leads_nowhere(sandbox: SandboxSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as left:
        address = listening.getsockname()
        found = confined(lambda: left.connect(address), sandbox)
        assert found in {"EPERM", "EACCES"}


@pytest.mark.parametrize("sandbox", FILTERED)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ptrace", (16, 1, 0, 0)),
        ("mount", (b"none", b"/", b"tmpfs", 0, None)),
        ("umount", (b"/",)),
        ("chroot", (b"/",)),
        ("unshare", (0x10000000,)),
        ("setuid", (0,)),
        ("setsid", ()),
        ("stat", (b"/etc/hostname", ctypes.create_string_buffer(512))),
        ("lstat", (b"/etc/hostname", ctypes.create_string_buffer(512))),
        ("fstatat", (0, b"/etc/hostname", ctypes.create_string_buffer(512), 0)),
        ("statx", (0, b"/etc/hostname", 0, 1, ctypes.create_string_buffer(512))),
        ("access", (b"/etc/hostname", 0)),
        ("unlink", (b"/etc/hostname",)),
        ("rename", (b"/etc/hostname", b"/etc/other")),
        ("chmod", (b"/", 0o777)),
        ("readlink", (b"/proc/self/exe", ctypes.create_string_buffer(64), 64)),
        ("prctl", (4, 1, 0, 0, 0)),
        ("socketpair", (1, 1, 0, (ctypes.c_int * 2)())),
        ("listen", (0, 1)),
        ("getpriority", (0, 1)),
        ("sethostname", (b"x", 1)),
        ("shmget", (0, 4096, 0o600)),
        ("inotify_init", ()),
        ("personality", (0xFFFFFFFF,)),
    ],
)
def test_what_is_not_needed_is_denied(
    sandbox: SandboxSettings, name: str, arguments: tuple[Any, ...]
) -> None:
    assert confined(libc(name, *arguments), sandbox) == "EPERM"


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_no_other_process_can_be_signalled(sandbox: SandboxSettings) -> None:
    parent = os.getpid()
    assert confined(libc("kill", parent, 0), sandbox) == "EPERM"


@with_seccomp
def test_no_namespace_comes_with_a_fork() -> None:
    for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x00008000):
        attempt = libc("syscall", seccomp._LOOKED_AT["clone"][0], flag | 17, 0, 0, 0, 0)
        if seccomp._COLUMNS.get(os.uname().machine, (1,))[0] == 0:
            assert confined(attempt) == "EPERM"


@with_seccomp
def test_no_parent_is_chosen_but_for_a_plain_clone() -> None:
    clone, sibling = seccomp._LOOKED_AT["clone"][0], seccomp._CLONE_SIBLING
    for flag in (0x00000100, 0x00002000, 0x00800000, 0x10000000, signal.SIGKILL):
        attempt = libc("syscall", clone, sibling | flag, 0, 0, 0, 0)
        if seccomp._COLUMNS.get(os.uname().machine, (1,))[0] == 0:
            assert confined(attempt) == "EPERM"


@pytest.mark.parametrize("sandbox", FILTERED)
def test_bounds_cannot_be_raised(sandbox: SandboxSettings) -> None:
    def attempt() -> str:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
        except (ValueError, PermissionError) as error:
            return type(error).__name__
        return "raised"

    assert confined(attempt, sandbox) != "raised"


@root
def test_each_process_has_a_user_of_its_own() -> None:
    first, second = confined(os.getuid), confined(os.getuid)
    assert first != second
    assert 0 not in {first, second}


@root
def test_forks_are_bounded() -> None:
    def forks() -> int:
        reader, writer = os.pipe()
        made = 0
        try:
            while made < 100:
                if os.fork() == 0:
                    os.close(writer)
                    os.read(reader, 1)
                    os._exit(0)
                made += 1
        except BlockingIOError:
            return made
        finally:
            os.close(writer)
            for _ in range(made):
                os.wait()
        return made

    assert confined(forks, SandboxSettings(processes_max=10)) == 9


def test_descriptors_are_bounded() -> None:
    def pipes() -> int:
        made = 0
        try:
            while made < 1000:
                os.pipe()
                made += 1
        except OSError:
            return made
        return made

    # Other tests' servers may have some open here; the one that lists them is closed.
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    most = max(numbers) + 40
    made = confined(pipes, SandboxSettings(descriptors_max=most))
    assert 18 <= made <= (most - len(numbers)) // 2 + 1


def test_files_in_memory_are_bounded() -> None:
    def write() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        return os.pwrite(os.memfd_create("x"), b"x", 2 * MIB)

    assert confined(write, SandboxSettings(file_bytes_max=MIB)) == "EFBIG"
    assert confined(write) == 1


def test_memory_is_bounded() -> None:
    def allocate() -> str:
        try:
            bytearray(256 * MIB)
        except MemoryError:
            return "MemoryError"
        return "enough"

    settings = SandboxSettings(extra_memory_bytes=64 * MIB)
    assert confined(allocate, settings, 64 * MIB) == "MemoryError"
    assert confined(allocate, settings, 512 * MIB) == "enough"
    assert confined(allocate, settings._replace(extra_memory_bytes=None), 1) == "enough"


def test_the_environment_is_empty() -> None:
    def environment() -> list[Any]:
        LIBC.getenv.restype = ctypes.c_char_p
        return [dict(os.environ), LIBC.getenv(b"PATH")]

    assert confined(environment) == [{}, None]


def test_nobody_may_look_into_it() -> None:
    def flags() -> list[int]:
        return [LIBC.prctl(3, 0, 0, 0, 0), LIBC.prctl(39, 0, 0, 0, 0)]

    assert confined(flags, LANDLOCK) == [0, 1]


# -- what works --------------------------------------------------------------------


def test_threads_forks_time_and_chance_work() -> None:
    def work() -> list[Any]:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append("thread"))
        thread.start()
        thread.join()
        if (pid := os.fork()) == 0:
            os._exit(7)
        seen.append(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
        time.sleep(0.001)
        seen.append(str(len(os.urandom(4))))
        return seen

    assert confined(work) == ["thread", "7", "4"]


def run(context: Context, session: LocalContext, code: str) -> str:
    """The text of a cell's result, in a process that was forked with its session."""
    context.after_fork(ContextSettings(), session.events.append, on_stuck=os.abort)
    return str(session.value(code))


def test_cells_run_and_heaps_are_saved(context: LocalContext) -> None:
    context.run("let n = 41")

    def work() -> list[Any]:
        text = run(
            context.context, context, "await new Promise(r => setTimeout(r, 5)); ++n"
        )
        saved = writer.save(context.context.bridge.isolate)
        restored = Context(ContextSettings(), lambda _event: None, snapshot=saved)
        value = restored.evaluate("n + Math.random() * 0")
        return [text, len(saved.blob) > 1000, value[0]]

    assert confined(work) == ["42", True, {"text/plain": "42"}]


@pytest.fixture(scope="session")
def _preloaded() -> None:
    """What the fork server does before it is confined; it holds the texts for good."""
    scripts.preload()


@pytest.mark.usefixtures("_preloaded")
def test_a_heap_that_cannot_be_saved_is_told(context: LocalContext) -> None:
    context.run("const held = new Intl.Segmenter().segment('a')")

    def work() -> str:
        heaps = context.context.heaps
        try:
            heaps.save()
        except SnapshotFailedError as error:
            told = f"{error.reason}, {error.kind}, {error.path}"
            if error.kind is None:  # seen twice on a busy machine; why isn't known
                with Children(heaps._isolate) as children:
                    told += f": {children.run(heaps._print_unsavable, 30.0)}"
            return told
        return "saved"

    assert confined(work) == (
        "V8 can't write objects of Intl.Segments, Intl.Segments, held"
    )


_NO_IMPORTS = r"""
import json, os, socket, sys
from isokernel.protocol.frames import encode
from isokernel.sandbox import SandboxSettings, confine
from isokernel.settings import ContextSettings
from isokernel.worker.loop import Sockets, Worker
from isokernel.forkserver.contexts import ContextTemplate
from isokernel.forkserver.process import load

class Finder:
    def find_spec(self, name, *_):
        asked.append(name)

base, asked = load(ContextTemplate).base, []
pairs = [socket.socketpair() for _ in range(2)]
confine(SandboxSettings())
sys.meta_path.insert(0, Finder())
sockets = Sockets(*(p[1] for p in pairs))
worker = Worker(base, ContextSettings(), sockets, origin="blank")
requests = [
    ("execute_request", {"code": code, "language": language, "env": {"A": "1"}})
    for language in ("javascript", "typescript")
    for code in (
        "1", "[{ a: 1n }, new Map([[1, 2]]), Symbol('x'), new Proxy({}, {})]",
        "console.log('\\ud800', 'wide \u3042', '\\u{1f600}'); console.table([1])",
        "throw new TypeError('x')", "let a: = 1", "enum E { a } E.a",
        "function f<T>(x: T): T { throw x } f<number>(1)", "let b = 1", "const b = 2",
        "null.x", "await Promise.reject(new Error('y'))", "Promise.reject(1); 0",
        "setTimeout(() => { throw new Error('late') }, 1); 0", "prompt('x')",
        "new Intl.DateTimeFormat('de').format(0)", "structuredClone(new Date(0))",
        "Jupyter.display({ 'text/html': '<b>' })", "new URL('a', 'https://x')",
        "[1, 2].toSorted()", "1e999", "10n ** 400n", "({ x: '\\udfff' })",
    )
] + [
    ("execute_request", {"code": "2", "user_expressions": {"a": "b", "c": "nope"}}),
    ("execute_request", {"code": 3}),
    ("complete_request", {"code": "Math.", "cursor_pos": 5}),
    ("inspect_request", {"code": "Math.max", "cursor_pos": 8, "detail_level": 1}),
    ("is_complete_request", {"code": "function f() {"}),
    ("comm_info_request", {}), ("comm_open", {"comm_id": "a", "target_name": "b"}),
    ("comm_msg", {"comm_id": "a"}), ("comm_close", {"comm_id": "a"}), ("x_request", {}),
    ("fork_request", {}),
]
pairs[0][0].setblocking(False)
for number, (kind, content) in enumerate(requests, 1):
    pairs[0][0].sendall(encode(kind, content, id=number))
    worker._channel.fill()
    worker._serve()
    worker._context.step()
    worker._serve()
    worker._channel.flush()
    try:
        pairs[0][0].recv(1 << 20)
    except BlockingIOError:
        pass  # a message that has no answer
worker._memory.content()
os.write(1, json.dumps(asked).encode())
os._exit(0)
"""


def test_nothing_is_imported_once_confined() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _NO_IMPORTS], capture_output=True, check=False
    )
    assert ran.stdout == b"[]", ran.stderr.decode()


# -- what is said ------------------------------------------------------------------


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(seccomp, "supported", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = missing(SandboxSettings())
    assert len(said) == 3
    assert all(sentence.endswith(".") for sentence in said)
    assert missing(NOTHING) == []
    monkeypatch.setattr(landlock, "version", lambda: 3)
    assert "TCP" in missing(LANDLOCK)[0]


def test_a_processor_that_the_filter_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seccomp, "_MACHINE", "riscv64")
    seccomp.supported.cache_clear()
    try:
        assert not seccomp.supported()
    finally:
        seccomp.supported.cache_clear()


# -- a real context ----------------------------------------------------------------


def test_a_context_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY_OF_THE_SERVER", "secret")
    server = ForkServer(sandbox=SandboxSettings())
    try:
        client = WorkerClient(*server.spawn(ContextSettings()))
        client.run("1")
        process = Path(f"/proc/{client.pid}")
        status = dict(
            line.split(":\t", 1)
            for line in (process / "status").read_text().splitlines()
        )
        if seccomp.supported():
            assert status["Seccomp"] == "2"
        assert status["NoNewPrivs"] == "1"
        if os.geteuid() == 0:
            assert "0" not in status["Uid"].split()
            assert status["Groups"].strip() == ""
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
            kinds = sorted(link.partition(":")[0] for link in links)
            rollup = f"/proc/{client.pid}/smaps_rollup"
            assert kinds == sorted(
                ["/dev/null"] * 3 + [rollup] + ["pipe"] * 2 + ["socket"] * 2
            )
            assert b"secret" not in (process / "environ").read_bytes()
            assert os.getsid(client.pid) == client.pid
        client.close()
    finally:
        server.close()
