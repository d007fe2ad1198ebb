"""Code that tries to leave its Python context: as root and not, with cgroups and not.

Everything that policies can allow is allowed, but for one kind of server.

Every attempt runs in a context of each kind of server. One that succeeds returns; one
that is refused raises what its wall makes of it, or finds nothing.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psutil
import pytest
from tests.support.client import connect
from tests.support.server import MIB, Server
from tests.support.users import started_as
from tests.support.waiting import wait_for
from tests.support.walls import CALLS, tell, wall_of, without_filter

from isokernel.sandbox.container import find_bwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client

FLAGS: Final = (
    *("--languages", "python", "--python-memory-bytes-max", str(768 * MIB)),
    *("--python-files-bytes-max", str(64 * MIB), "--python-processes-max", "100"),
    *("--python-spares", "0"),  # test_spares has them; here processes are counted
)
ALL: Final = ("--modules", "on", "--net", "on", "--files", "on")
"""What policies may allow: it changes nothing of the walls."""
KINDS: Final = ("root", "root without cgroups", "user")


def quick(*kinds: str) -> pytest.MarkDecorator:
    """Run a test on some kinds of servers each time, and on the others when all run."""
    chosen = kinds if os.geteuid() == 0 else ("user",)
    marks = {kind: () if kind in chosen else (pytest.mark.slow,) for kind in KINDS}
    values = [pytest.param(kind, marks=marks[kind]) for kind in KINDS]
    return pytest.mark.parametrize("prison", values, indirect=True)


class Prison(NamedTuple):
    """A server and what tests put around it.

    Attributes:
        server: The server.
        client: A client of it.
        kind: Which user it has.
        outside: A folder that every user may write to.
        socket: A Unix socket in it, that every user may connect to.
    """

    server: Server
    client: Client
    kind: str
    outside: Path
    socket: str


@pytest.fixture(scope="module", params=KINDS)
def prison(request: pytest.FixtureRequest) -> Iterator[Prison]:
    kind: str = request.param
    if os.geteuid() != 0 and kind != "user":
        pytest.skip("wants root")
    if os.geteuid() == 0 and not shutil.which("unshare"):
        pytest.skip("wants unshare")
    with _prison(kind) as made:
        yield made


@contextmanager
def _prison(kind: str, *, is_filtered: bool = True) -> Iterator[Prison]:
    with ExitStack() as stack:
        outside = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outside.chmod(0o777)
        (outside / "file").write_text("secret")
        (outside / "file").chmod(0o666)
        path = str(outside / "socket")
        for name in (path, f"\0{path}"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(name)
            listener.listen()
        Path(path).chmod(0o666)
        keep = outside / "keep"
        keep.mkdir()
        flags: tuple[str, ...] = FLAGS if "without" in kind else (*FLAGS, *ALL)
        if not is_filtered:
            program = find_bwrap(None, (sys.prefix, sys.base_prefix))
            flags += ("--container-program", without_filter(outside, program))
        server = Server(*flags, before=started_as(kind, keep))
        stack.callback(server.stop)
        with connect(server) as client:
            client.get("/healthz")
            yield Prison(server, client, kind, outside, path)


@pytest.fixture(scope="module")
def inmate(prison: Prison) -> str:
    """A Python context, with what attempts need."""
    return _inmate(prison)


def _inmate(prison: Prison) -> str:
    here = prison.client.create("python")
    names = {
        "SERVER": prison.server.process.pid,
        "PORT": int(prison.server.url.rpartition(":")[2]),
        "OUTSIDE": str(prison.outside),
        "SOCKET": prison.socket,
    }
    prison.client.text(PREAMBLE + f"globals().update({names!r})\n1", context_id=here)
    return here


@pytest.fixture(scope="module")
def attempt(prison: Prison, inmate: str) -> Callable[[str], Any]:
    """Runs an attempt; the name of the error that it ended with, or its result."""

    def run(code: str) -> Any:
        answer = prison.client.run(code, context_id=inmate)
        error = answer["error"]
        return answer["items"][-1]["text"] if error is None else error["name"]

    return run


class Outcome(NamedTuple):
    """What an attempt ended with.

    Attributes:
        text: The name of the error, or the result.
        errno: The error's number.
    """

    text: str
    errno: int | None


@pytest.fixture(scope="module")
def outcomes(prison: Prison, inmate: str) -> dict[str, Outcome]:
    """What each of the attempts that are an expression ended with, made in one cell."""
    return _outcomes(prison, inmate, "outcome")


def _outcomes(prison: Prison, inmate: str, function: str) -> dict[str, Outcome]:
    codes = [*REACHES, *AS_USER, *map(_call, CALLS)]
    cell = f"import json; json.dumps([{function}(code) for code in {codes!r}])"
    answer = prison.client.run(cell, context_id=inmate, timeout_ms=20_000)
    assert answer["error"] is None, answer["error"]
    said = json.loads(ast.literal_eval(answer["items"][-1]["text"]))
    return {code: Outcome(*one) for code, one in zip(codes, said, strict=True)}


@pytest.fixture(scope="module")
def walls(
    prison: Prison, outcomes: dict[str, Outcome], pytestconfig: pytest.Config
) -> dict[str, str]:
    """Which wall refuses each attempt, if that is asked for; else nothing.

    What succeeds without the filter of system calls is refused by the filter; else the
    error tells it. Each attempt is made in a process of its own there.
    """
    if not pytestconfig.getoption("walls"):
        return {}
    with _prison(prison.kind, is_filtered=False) as other:
        alone = _outcomes(other, _inmate(other), "outcome_apart")
    found = {}
    for code, outcome in outcomes.items():
        wanted = REACHES.get(code, {outcome.text})
        freed = alone[code]
        is_call = code.startswith("system(")
        is_free = freed.errno not in {1, 38} if is_call else freed.text not in wanted
        found[code] = "seccomp" if is_free else wall_of(freed.text, freed.errno)
    return found


def _call(name: str) -> str:
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    *numbers, arguments = CALLS[name]
    return f"system({numbers[column]}, {arguments})"


PREAMBLE: Final = """
import array, ctypes, errno, fcntl, json, mmap, os, pty, resource, signal, socket, stat
import struct, subprocess, sys, time, urllib.request
libc = ctypes.CDLL(None, use_errno=True)
def system(number, *arguments):
    done = libc.syscall(number, *arguments)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done
def outcome(code):
    try:
        return repr(eval(code)), None
    except OSError as error:
        if code.startswith("system(") and error.errno in (1, 38):
            return "denied", error.errno
        return type(error).__name__, error.errno
    except BaseException as error:
        return type(error).__name__, None
def outcome_apart(code):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(outcome(code)).encode())
        os._exit(0)
    os.close(writer)
    said = open(reader, "rb").read()
    os.waitpid(child, 0)
    # What it has cloned says something too.
    return json.JSONDecoder().raw_decode(said.decode() or '["ended", null]')[0]
def ended_by(run):
    child = os.fork()
    if not child:
        run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

GONE: Final = {"FileNotFoundError"}
NOBODY: Final = {"ProcessLookupError"}
DENIED: Final = {"PermissionError"}
READ_ONLY: Final = {"OSError", "PermissionError"}

REACHES: Final[dict[str, set[str]]] = {
    # W1: Unix sockets
    "socket.socket(socket.AF_UNIX).connect(SOCKET)": GONE,
    "socket.socket(socket.AF_UNIX).connect('\\0' + SOCKET)": {"ConnectionRefusedError"},
    "socket.socket(socket.AF_UNIX).connect('/proc/1/root' + SOCKET)": {*GONE, *DENIED},
    "socket.socket(socket.AF_UNIX).connect('/proc/self/root' + SOCKET)": GONE,
    "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')": GONE,
    "socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')": GONE,
    "sorted(os.listdir('/run'))": {"['connection.json', 'sockets']"},
    # W2: kernels of others
    "[l for l in open('/proc/net/unix') if '@' in l or '/tmp' in l]": {"[]"},
    "len([l for l in open('/proc/1/net/unix') if 'kernel-1' in l]) < 4": {"True"},
    # W3: processes of others
    "resource.prlimit(SERVER, resource.RLIMIT_CPU, (1, 1))": NOBODY,
    "resource.prlimit(SERVER, resource.RLIMIT_NOFILE, (1, 1))": NOBODY,
    "os.setpriority(os.PRIO_PROCESS, SERVER, 19)": NOBODY,
    "os.sched_setscheduler(SERVER, os.SCHED_FIFO, os.sched_param(1))": NOBODY,
    "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))": DENIED,
    "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))": DENIED,
    "os.sched_setaffinity(SERVER, {0})": NOBODY,
    "os.nice(-5)": DENIED,
    "os.kill(SERVER, 9)": NOBODY,
    "os.killpg(SERVER, 9)": NOBODY,
    "signal.pidfd_send_signal(os.pidfd_open(SERVER), 9)": NOBODY,
    "open(f'/proc/{SERVER}/environ')": GONE,
    "open(f'/proc/{SERVER}/mem')": GONE,
    "open('/proc/1/mem', 'r+b')": DENIED,
    "open('/proc/1/environ')": DENIED,
    "max(int(p) for p in os.listdir('/proc') if p.isdigit()) < 100000": {"True"},
    "len([p for p in os.listdir('/proc') if p.isdigit()]) < 5": {"True"},
    "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))": {"ValueError"},
    "resource.setrlimit(resource.RLIMIT_NPROC, (-1, -1))": {"ValueError"},
    "os.write(os.open('/proc/self/oom_score_adj', 1), b'-1000')": DENIED,
    # W4: what it may do
    "[l for l in open('/proc/self/status') if l[:6] in ('CapEff', 'CapPrm', 'CapInh')"
    " and int(l.split()[1], 16)]": {"[]"},
    "[l.split()[1] for l in open('/proc/self/status') if l[:6] == 'NoNewP']": {"['1']"},
    "[l.split()[1] for l in open('/proc/1/status') if l[:8] == 'Seccomp:']": {"['2']"},
    "os.getuid()": {"1000"},
    "os.setuid(0)": READ_ONLY,
    "os.setgroups([0])": DENIED,
    "os.setresuid(0, 0, 0)": READ_ONLY,
    "os.write(os.open('/proc/self/uid_map', 1), b'0 0 1')": DENIED,
    "open(OUTSIDE + '/file').read()": GONE,
    "open(OUTSIDE + '/made', 'w')": GONE,
    "os.chmod(OUTSIDE, 0)": GONE,
    "os.chmod('/usr/bin/env', 0o4777)": READ_ONLY,
    "os.chown('/usr/bin/env', 1000, 1000)": READ_ONLY,
    "os.utime('/usr/bin/env')": READ_ONLY,
    "os.setxattr('/usr/bin/env', 'user.a', b'b')": READ_ONLY,
    "os.chmod(sys.executable, 0o777)": READ_ONLY,
    "open(sys.prefix + '/made', 'w')": READ_ONLY,
    "os.unlink(os.__file__)": READ_ONLY,
    "os.rename('/etc/passwd', '/etc/other')": READ_ONLY,
    "open('/etc/passwd', 'a')": READ_ONLY,
    "os.link('/usr/bin/env', '/tmp/env')": {"OSError"},
    "subprocess.run(['su', '-c', 'true'], input=b'', check=True)": {
        "CalledProcessError",
        "FileNotFoundError",
        "PermissionError",
    },
    "os.mknod('/tmp/disk', stat.S_IFBLK | 0o666, os.makedev(8, 0))": DENIED,
    "os.mknod('/tmp/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))": DENIED,
    "open('/dev/kvm')": GONE,
    "open('/dev/mem')": GONE,
    "open('/dev/fuse')": GONE,
    "open('/dev/made', 'w')": READ_ONLY,
    "os.listdir('/sys')": {"['devices']"},
    "os.listdir('/home')": {"['user']"},
    # /proc and /sys
    "open('/proc/sys/kernel/hostname', 'w').write('a')": READ_ONLY,
    "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/a')": READ_ONLY,
    "open('/proc/sys/vm/overcommit_memory', 'w').write('1')": READ_ONLY,
    "open('/proc/sysrq-trigger', 'w').write('h')": {*READ_ONLY, *GONE},
    "open('/proc/kcore', 'rb').read(1)": {*READ_ONLY, *GONE},
    "open('/proc/kmsg')": DENIED,
    "open('/sys/fs/cgroup/cgroup.procs')": GONE,
    "open('/sys/kernel/debug')": GONE,
    # W6, W7: networks and kinds of sockets
    "urllib.request.urlopen(f'http://127.0.0.1:{PORT}/healthz')": {"URLError"},
    "socket.create_connection(('127.0.0.1', PORT))": {"ConnectionRefusedError"},
    "socket.create_connection(('::1', PORT))": {"ConnectionRefusedError", "OSError"},
    "socket.create_connection(('192.0.2.1', 80))": {"OSError"},
    "socket.create_connection(('169.254.169.254', 80))": {"OSError"},
    "socket.getaddrinfo('example.com', 80)": {"gaierror"},
    "socket.gethostname()": {"'context'"},
    "sorted(name for _, name in socket.if_nameindex())": {"['lo']", "OSError"},
    **{
        f"socket.socket({family}, {kind})": {"OSError"}
        for family, kind in (
            ("socket.AF_PACKET", "socket.SOCK_RAW"),
            ("socket.AF_NETLINK", "socket.SOCK_RAW"),
            *((family, "socket.SOCK_STREAM") for family in (40, 38, 43)),
            *((family, "socket.SOCK_DGRAM") for family in (15, 29, 30, 31, 44)),
        )
    },
    "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)": DENIED,
    # what tells of others
    "fcntl.ioctl(os.open('/proc/self/ns/user', 0), 0xb701)": DENIED,
    "fcntl.ioctl(os.open('/proc/self/ns/pid', 0), 0xb702)": DENIED,
    "fcntl.ioctl(pty.openpty()[1], 0x5412, b'a')": DENIED,
    "libc.mlock(ctypes.create_string_buffer(4096), 4096)": {"-1"},
    "libc.mlockall(1)": {"-1"},
    "libc.mq_open(b'/a', os.O_CREAT, 0o600, None)": {"-1"},
    "libc.inotify_add_watch(libc.inotify_init(), OUTSIDE.encode(), 0xfff)": {"-1"},
    "resource.getrlimit(resource.RLIMIT_CORE)": {"(0, 0)"},
}

AS_USER: Final[dict[str, set[str]]] = {
    # There the first process has the program's user, the same rights (none), the same
    # filter and the same variables.
    "open('/proc/1/mem', 'r+b')": {"<_io.BufferedRandom name='/proc/1/mem'>"},
    "open('/proc/1/environ')": {
        "<_io.TextIOWrapper name='/proc/1/environ' mode='r' encoding='UTF-8'>"
    },
    "[l for l in open('/proc/1/status') if l[:6] in ('CapEff', 'CapPrm', 'CapInh')"
    " and int(l.split()[1], 16)]": {"[]"},
    "[os.readlink(f'/proc/1/fd/{n}') for n in os.listdir('/proc/1/fd') if not"
    " os.readlink(f'/proc/1/fd/{n}').startswith(('pipe:', '/dev/null', 'anon'))]": {
        "[]"
    },
}


@pytest.fixture
def told(
    prison: Prison,
    walls: dict[str, str],
    record_property: Callable[[str, object], None],
) -> Callable[[str], None]:
    """Tells which wall refuses an attempt, for the report of all."""

    def told(code: str) -> None:
        if code in walls:
            tell(record_property, f"Python, {prison.kind}", [walls[code]])

    return told


@pytest.mark.parametrize("code", REACHES)
def test_nothing_outside_is_reached(
    prison: Prison,
    outcomes: dict[str, Outcome],
    told: Callable[[str], None],
    code: str,
) -> None:
    if prison.kind == "user" and code in AS_USER:
        pytest.skip("see the next test")
    told(code)
    assert outcomes[code].text in REACHES[code]
    assert prison.server.process.poll() is None


@pytest.mark.parametrize("code", AS_USER)
def test_the_first_process_has_nothing_to_give(
    prison: Prison, outcomes: dict[str, Outcome], code: str
) -> None:
    if prison.kind != "user":
        pytest.skip("is another user's")
    assert outcomes[code].text in AS_USER[code]


@pytest.mark.parametrize("name", CALLS)
def test_calls_into_the_kernel_are_denied(
    outcomes: dict[str, Outcome], told: Callable[[str], None], name: str
) -> None:
    told(_call(name))
    assert outcomes[_call(name)].text == "denied"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86_64's other numbers")
def test_other_tables_of_calls_are_closed(attempt: Callable[[str], Any]) -> None:
    x32 = "try: system(0x40000027)\nexcept OSError as e: n = e.errno\nn"
    assert attempt(x32) == "38"
    code = """
def old():
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CFUNCTYPE(ctypes.c_int)(place)()
ended_by(old)"""
    assert attempt(code) == "-31"  # SIGSYS


# -- how much ----------------------------------------------------------------------


FOLDERS: Final = ("/tmp", "/home/user", "/dev/shm", "/run/sockets")  # noqa: S108


@pytest.fixture
def bounded(prison: Prison, record_property: Callable[[str, object], None]) -> None:
    """Count an attempt that a limit refuses."""
    tell(record_property, f"Python, {prison.kind}", ["limits"])


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_bounded(attempt: Callable[[str], Any], folder: str) -> None:
    code = f"""
try:
    with open('{folder}/big', 'wb') as file:
        for _ in range(65): file.write(bytes(1 << 20))
finally:
    os.unlink('{folder}/big')"""
    assert attempt(code) == "OSError"


@pytest.mark.usefixtures("bounded")
def test_a_file_is_bounded_by_its_length(attempt: Callable[[str], Any]) -> None:
    code = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfile = open('a', 'wb')\n"
    assert attempt(code + "file.truncate(1 << 30)") == "OSError"


@pytest.mark.usefixtures("bounded")
def test_forks_are_bounded(prison: Prison) -> None:
    code = """
import os, time
n = 0
try:
    while n < 2000:
        if os.fork() == 0:
            time.sleep(60); os._exit(0)
        n += 1
except BlockingIOError: pass
n"""
    here = prison.client.create("python")
    assert 20 < int(prison.client.text(code, context_id=here)) < 100
    prison.client.delete(f"/contexts/{here}")
    assert prison.client.text("7", language="python") == "7"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "take",
    [
        "held = [os.memfd_create('a') for _ in range(40)]\n"
        "for f in held: os.write(f, bytes(64 << 20))",
        "for _ in range(20):\n"
        " if os.fork() == 0:\n"
        "  a = bytearray(100 << 20); time.sleep(60); os._exit(0)\n"
        "signal.alarm(15); os.wait()",  # until the first of them is ended
        "libc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\n"
        "for _ in range(40):\n"
        " n = libc.shmget(0, 64 << 20, 0o1600)\n"
        " assert n >= 0\n"
        " p = libc.shmat(n, None, 0); ctypes.memset(p, 1, 64 << 20)\n"
        " libc.shmdt(ctypes.c_void_p(p))",
    ],
    ids=["memfd", "many", "SysV"],
)
@quick("root", "root without cgroups")  # which a user's server is like: it has none
def test_memory_is_bounded(prison: Prison, take: str) -> None:
    here = prison.client.create("python")
    code = "import ctypes, os, signal, time\n" + take
    body = {"code": code, "context_id": here, "timeout_ms": 20_000}
    answer = prison.client.post("/execute", json=body)
    if answer.status_code == 200 and answer.json()["error"] is None:
        left = prison.client.text("len(os.listdir('/proc'))", context_id=here)
        assert int(left), "its children were ended"
    assert _memory(prison.server) < 1400 * MIB
    prison.client.delete(f"/contexts/{here}")
    assert prison.client.text("7", language="python") == "7"


def test_what_all_on_the_machine_share_is_not_used_up(
    prison: Prison, attempt: Callable[[str], Any]
) -> None:
    """Watches of files, and waiting signals, which are the server's user's too."""
    assert attempt("libc.inotify_init1(0), ctypes.get_errno()") == "(-1, 38)"
    code = """
reader, writer = os.pipe()
if not os.fork():
    signal.pthread_sigmask(signal.SIG_BLOCK, [40])
    n = 0
    while n < 200_000 and libc.sigqueue(os.getpid(), 40, None) == 0: n += 1
    os.write(writer, b'%d' % n)
    os._exit(0)
int(os.read(reader, 99))"""
    assert int(attempt(code)) <= 1024
    assert prison.client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.usefixtures("bounded")
def test_terminals_are_bounded(prison: Prison) -> None:
    """All containers of a machine share those that it has."""
    here = prison.client.create("python")
    code = "import os, time\nheld = [os.open('/dev/ptmx', 2) for _ in range(%d)]\n"
    prison.client.text(f"{code % 50}len(held)", context_id=here)
    answer = prison.client.run(f"{code % 80}time.sleep(60)", context_id=here)
    assert "it opened more than 64 terminals" in answer["error"]["value"]
    prison.client.delete(f"/contexts/{here}")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86_64's number")
def test_the_machines_contexts_of_io_are_not_used_up(
    attempt: Callable[[str], Any],
) -> None:
    code = "try: system(206, 1, ctypes.byref(ctypes.c_ulong())); n = 0\n"
    assert attempt(f"{code}except OSError as e: n = e.errno\nn") == "38"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86_64's numbers")
@pytest.mark.parametrize(
    "call", ["319, b'a', 0", "29, 0, 4096, 0o1600", "64, 0, 9, 0o1600", "68, 0, 0o1600"]
)
def test_what_only_a_cgroup_counts_wants_one(
    prison: Prison, attempt: Callable[[str], Any], call: str
) -> None:
    """memfd_create, shmget, semget and msgget."""
    code = f"try: system({call}); n = 0\nexcept OSError as e: n = e.errno\nn"
    assert attempt(code) == ("0" if prison.kind == "root" else "38")


FULL_SOCKETS: Final = """
import os, signal, socket, time
def stop(*_): raise TimeoutError
signal.signal(signal.SIGALRM, stop)
for _ in range(6):
    if os.fork() == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        held = []
        for _ in range(480):
            for end in (pair := socket.socketpair()):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SIZE)
                end.setblocking(False)
                try:
                    while True: end.send(bytes(1 << 15))
                except BlockingIOError: pass
            held.append(pair)
        time.sleep(60)
        os._exit(0)
signal.alarm(25)
os.WTERMSIG(os.wait()[1])  # of the first of them that is ended
"""


@pytest.mark.usefixtures("bounded")
def test_memory_of_sockets_is_bounded(prison: Prison) -> None:
    """It is the system's, and of no process."""
    here = prison.client.create("python")
    code = FULL_SOCKETS.replace("SIZE", "1 << 18")
    answer = prison.client.run(code, context_id=here, timeout_ms=40_000)
    if answer["error"] is None:  # by the cgroup, which chose one of its processes
        assert answer["items"][-1]["text"] == "9"
    else:
        assert "(python_memory_bytes_max)" in answer["error"]["value"]
    prison.client.delete(f"/contexts/{here}")
    assert prison.client.text("7", language="python") == "7"


FULL_CONNECTIONS: Final = """
import socket, time
listener = socket.create_server(('127.0.0.1', 0))
def held():
    text = open('/proc/net/sockstat').read()
    return int(text.split('TCP:')[1].split()[9]) * 4096
before, pairs = held(), []
for _ in range(60):
    sender = socket.create_connection(listener.getsockname())
    pairs.append((sender, listener.accept()))
    sender.settimeout(0.1)
    try:
        while True: sender.send(bytes(1 << 20))
    except TimeoutError: pass
held() - before < 128 << 20
"""


def test_memory_of_connections_is_bounded(prison: Prison) -> None:
    """All of a machine's share one bound, which is no cgroup's but in version 1."""
    if not Path("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes").exists():
        pytest.skip("wants cgroups of version 1, built with a limit of this")
    if prison.kind != "root":
        pytest.skip("wants a cgroup")
    here = prison.client.create("python")
    answer = prison.client.run(FULL_CONNECTIONS, context_id=here, timeout_ms=40_000)
    assert answer["error"] is None, answer["error"]
    assert answer["items"][-1]["text"] == "True"
    prison.client.delete(f"/contexts/{here}")


def _memory(server: Server) -> int:
    total = 0
    for pid in server.children():
        with suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_full_info().uss
    return total


DOUBLE_FORK: Final = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
len([p for p in os.listdir('/proc') if p.isdigit()])"""


def test_what_is_left_behind_ends_with_the_context(prison: Prison) -> None:
    before = prison.server.children()
    here = prison.client.create("python")
    assert int(prison.client.text(DOUBLE_FORK, context_id=here)) >= 3
    assert prison.client.delete(f"/contexts/{here}").status_code == 204
    wait_for(lambda: prison.server.children() <= before)


def test_all_end_when_a_cell_ends_all(prison: Prison) -> None:
    before = prison.server.children()
    here = prison.client.create("python")
    code = f"{DOUBLE_FORK}\nos.kill(-1, 9)\nos._exit(3)"
    assert prison.client.run(code, context_id=here)["error"] is not None
    wait_for(lambda: prison.server.children() <= before)


def test_no_process_outlives_the_server() -> None:
    server = Server(*FLAGS)
    with connect(server) as client:
        here = client.create("python")
        client.text(DOUBLE_FORK, context_id=here)
        children = [psutil.Process(pid) for pid in server.children()]
        server.process.kill()
        wait_for(lambda: not any(child.is_running() for child in children))
    server.stop()


# -- what people need --------------------------------------------------------------

WORKS: Final = {
    "a command": ("!echo hi", "hi"),
    "a pipe": ("print(get_ipython().getoutput('echo a | tr a b')[0])", "b"),
    "a lock": (
        "lock = mp.Lock()\nwith lock: print('held')",
        "held",
    ),
    "a queue": (
        "queue = mp.Queue()\nchild = mp.Process(target=queue.put, args=(5,))\n"
        "child.start(); print(queue.get()); child.join()",
        "5",
    ),
    "a pool": ("with mp.Pool(2) as pool: print(pool.map(abs, [-1, -2]))", "[1, 2]"),
    "an executor": (
        "from concurrent.futures import ProcessPoolExecutor as P\n"
        "with P(2) as p: print(list(p.map(abs, [-3])))",
        "[3]",
    ),
    "shared memory": (
        "from multiprocessing.shared_memory import SharedMemory\n"
        "m = SharedMemory(create=True, size=9); print(m.size > 0)\n"
        "m.close(); m.unlink()",
        "True",
    ),
    "prints of children": (
        "child = mp.get_context('fork').Process(target=print, args=('child',))\n"
        "child.start(); child.join()\nimport time; time.sleep(0.5)",
        "child",
    ),
    "a server of its own": (
        "import http.server, threading, urllib.request\n"
        "from http.server import BaseHTTPRequestHandler as Handler\n"
        "s = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "threading.Thread(target=s.handle_request).start()\n"
        "import urllib.error\n"
        "try: urllib.request.urlopen(f'http://127.0.0.1:{s.server_port}')\n"
        "except urllib.error.HTTPError as e: print(e.code)",
        "501",
    ),
    "a user's name": ("import getpass; print(getpass.getuser())", "user"),
    "a home": ("import pathlib; print(pathlib.Path.home())", "/home/user"),
}


@pytest.fixture(scope="module")
def desk(prison: Prison) -> str:
    """A Python context as people have it."""
    here = prison.client.create("python")
    prison.client.run("import multiprocessing as mp", context_id=here)
    return here


@pytest.mark.parametrize("name", WORKS)
def test_what_people_need_works(prison: Prison, desk: str, name: str) -> None:
    code, said = WORKS[name]
    answer = prison.client.run(code, context_id=desk, timeout_ms=20_000)
    assert answer["error"] is None, answer["error"]
    assert said in "".join(answer["logs"]["stdout"])


@quick("root")  # pip is the same for all, and nobody has a network
def test_pip_says_at_once_that_it_finds_nothing(prison: Prison) -> None:
    answer = prison.client.run(
        "%pip install no-such-package", language="python", timeout_ms=20_000
    )
    said = "".join(answer["logs"]["stdout"] + answer["logs"]["stderr"])
    assert "No matching distribution found for no-such-package" in said


@quick("root")  # the kernel does it itself, which is the same for all
def test_it_can_be_interrupted(prison: Prison) -> None:
    here = prison.client.create("python")
    for code in ("while True: pass", "import time; time.sleep(60)"):
        answer = prison.client.run(code, context_id=here, timeout_ms=700)
        assert answer["error"]["name"] == "TimeoutError"
    prison.client.run("!sleep 60", context_id=here, timeout_ms=700)
    assert prison.client.text("7", context_id=here) == "7"
