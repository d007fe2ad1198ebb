"""Kernels that were started ahead: who gets them, who doesn't, and when they end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.client import connect
from tests.support.server import AT_REST, MIB, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client

PYTHON = ("--languages", "python", "--interrupt-grace-seconds", "1")
BEGAN = """
import os
fields = open('/proc/self/stat').read().rpartition(') ')[2].split()
int(fields[19]) / os.sysconf('SC_CLK_TCK')
"""
"""When the kernel's process has begun, by the clock of `BOOTTIME`."""
NAME = "get_ipython().kernel.session.key.decode()"
"""Another one in each kernel."""
METRIC = re.compile(r"^isokernel_spare_kernels (\S+)$", re.MULTILINE)
FILL = """
globalThis.kept = Array.from({length: %d}, () => new Uint8Array(2**20).fill(1)); 0
"""


def waiting(client: Client) -> int:
    """How many spare kernels a server has."""
    found = METRIC.search(client.get("/metrics").text)
    assert found is not None
    return int(float(found[1]))


def wait_spares(client: Client, number: int) -> None:
    wait_for(lambda: waiting(client) == number)


def now() -> float:
    """The clock of `BEGAN`, which is in hundredths of a second, rounded down."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - 0.02


def is_older(client: Client, make: Callable[[], str]) -> bool:
    """Whether a context's kernel had begun before the context was asked for."""
    asked = now()
    return float(client.text(BEGAN, context_id=make())) < asked


def is_kernel(pid: int) -> bool:
    """Whether a process is a kernel itself, and not what is around it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(pid).cmdline()
        runs_python = Path(command[0]).name.startswith("python")
        return runs_python and "ipykernel_launcher" in command
    return False


@pytest.fixture(scope="module")
def one() -> Iterator[Server]:
    """A server with one spare kernel."""
    with run_server(*PYTHON, "--python-spares", "1") as server:
        yield server


@pytest.fixture
def client(one: Server) -> Iterator[Client]:
    with connect(one) as made:
        made.clean()
        wait_spares(made, 1)
        yield made


def test_who_makes_no_python_context_has_none(servers: Callable[..., Server]) -> None:
    server = servers("--languages", "python,javascript")
    with connect(server) as client:
        client.run("1")
        client.clean()
        wait_for(lambda: len(server.children()) <= AT_REST)
        assert waiting(client) == 0
        assert not is_older(client, lambda: client.create("python"))
        wait_spares(client, 1)
        assert is_older(client, lambda: client.create("python"))


def test_none_is_kept_where_the_setting_says_so(servers: Callable[..., Server]) -> None:
    server = servers(*PYTHON, "--python-spares", "0")
    with connect(server) as client:
        for _ in range(2):
            assert not is_older(client, lambda: client.create("python"))
        assert waiting(client) == 0


def test_each_is_handed_out_once(servers: Callable[..., Server]) -> None:
    server = servers(*PYTHON, "--python-spares", "2")
    with connect(server) as client, ThreadPoolExecutor(5) as pool:
        wait_spares(client, 2)
        asked = now()
        here = list(pool.map(lambda _: client.create("python"), range(5)))
        began = [float(client.text(BEGAN, context_id=one)) for one in here]
        assert sum(each < asked for each in began) == 2
        assert len({client.text(NAME, context_id=one) for one in here}) == 5


def test_what_one_context_has_done_no_other_sees(client: Client) -> None:
    here = client.create("python")
    client.run("import os; os.environ['LEFT'] = 'x'; left = 1", context_id=here)
    client.run("open('left', 'w').close()", context_id=here)
    assert client.delete(f"/contexts/{here}").status_code == 204
    wait_spares(client, 1)
    there = client.create("python")
    code = "import os; 'LEFT' in os.environ, 'left' in globals(), os.listdir()"
    assert client.text(code, context_id=there) == "(False, False, [])"


def test_it_counts_from_one(client: Client) -> None:
    here = client.create("python")
    assert client.run("1", context_id=here)["execution_count"] == 1
    assert client.text("In, Out", context_id=here).startswith("(['', '1', 'In, Out']")


def test_it_has_the_files_of_its_context(client: Client) -> None:
    here = client.create("python")
    place = f"/contexts/{here}/files"
    assert client.put(f"{place}/data.csv", content=b"a,b").status_code == 201
    code = "open('more', 'w').write('1'); open('/home/user/data.csv').read()"
    assert client.text(code, context_id=here) == "'a,b'"
    assert client.get(f"{place}/more").text == "1"
    code = "import mine; mine.value"
    assert client.put(f"{place}/mine.py", content=b"value = 7").status_code == 201
    assert client.text(code, context_id=here) == "7"


def test_whoever_has_files_gets_a_new_one(client: Client) -> None:
    """A kernel may begin with what is there, such as a user's own packages."""
    here = client.create("python")
    wait_spares(client, 1)

    def restart() -> str:
        assert client.post(f"/contexts/{here}/restart").status_code == 200
        return here

    assert is_older(client, restart)
    wait_spares(client, 1)
    place = f"/contexts/{here}/files/.local/x"
    assert client.put(place, content=b"1").status_code == 201
    assert not is_older(client, restart)
    assert client.text("open('.local/x').read()", context_id=here) == "'1'"


def test_another_folder_gets_a_new_one(client: Client) -> None:
    assert not is_older(client, lambda: create_at_work(client))
    assert waiting(client) == 1


def test_another_limit_gets_a_new_one(client: Client) -> None:
    code = "import resource; resource.getrlimit(resource.RLIMIT_AS)[0]"
    for memory in (256, 300):
        limit = client.result(code, language="python", heap_memory_max_mb=memory)
        assert int(limit) == (memory << 20) + (1 << 30)
    assert waiting(client) == 1


def test_a_change_of_packages_gets_a_new_one(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    server = servers(*PYTHON, "--python-spares", "1", env={"PYTHONPATH": str(tmp_path)})
    tmp_path.chmod(0o755)
    with connect(server) as client:
        wait_spares(client, 1)
        (tmp_path / "installed_now.py").write_text("value = 7")
        asked = now()
        here = client.create("python")
        assert float(client.text(BEGAN, context_id=here)) > asked
        wait_spares(client, 1)
        assert is_older(client, lambda: client.create("python"))


def test_one_that_has_ended_is_not_handed_out(servers: Callable[..., Server]) -> None:
    server = servers(*PYTHON, "--python-spares", "1")
    with connect(server) as client:
        wait_spares(client, 1)
        (kernel,) = filter(is_kernel, server.children())
        os.kill(kernel, signal.SIGKILL)
        wait_spares(client, 0)
        wait_for(lambda: not any(map(is_kernel, server.children())))
        assert client.text("1 + 1", language="python") == "2"
        wait_spares(client, 1)


def test_all_end_with_the_server(servers: Callable[..., Server]) -> None:
    server = servers(*PYTHON, "--python-spares", "3")
    with connect(server) as client:
        wait_for(lambda: waiting(client) >= 1)  # the next one is being started
        processes = [psutil.Process(pid) for pid in server.children()]
        assert processes
    assert server.stop() == 0
    wait_for(lambda: not any(each.is_running() for each in processes))


def test_they_end_before_a_context_does(servers: Callable[..., Server]) -> None:
    server = servers(
        *("--languages", "python,javascript", "--python-spares", "2"),
        *("--contexts-memory-bytes-max", str(250 * MIB)),
    )
    with connect(server) as client:
        wait_spares(client, 2)
        here = client.run(FILL % 180)["context_id"]
        wait_spares(client, 0)
        assert client.text("kept.length", context_id=here) == "180"


NAMESPACES = ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")
SAID = ("Seccomp", "NoNewPrivs", "Groups", "Cap")


def facts(pid: int) -> dict[str, object]:
    """What confines a process, as the system tells it."""
    proc = Path(f"/proc/{pid}")
    status = (proc / "status").read_text().splitlines()
    mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    return {
        "users": [line for line in status if line.startswith(("Uid", "Gid"))],
        "status": [line for line in status if line.startswith(SAID)],
        "limits": (proc / "limits").read_text(),
        "niceness": os.getpriority(os.PRIO_PROCESS, pid),
        "oom": (proc / "oom_score_adj").read_text(),
        "mounts": sorted(line[3:6] + line[-3:] for line in mounts),
        "shared with the server": [
            name
            for name in NAMESPACES
            if (proc / "ns" / name).readlink() == Path("/proc/self/ns", name).readlink()
        ],
        "cgroups": (proc / "cgroup").read_text().count("isokernel-"),
        "variables": (proc / "environ").read_bytes().replace(b"/user/work", b"/user"),
    }


WORK = {"language": "python", "cwd": "/home/user/work"}
"""Asks for a context in another folder than that of spare kernels."""


def create_at_work(client: Client) -> str:
    context_id: str = client.post("/contexts", json=WORK).json()["id"]
    return context_id


def test_its_walls_are_those_of_a_new_one(client: Client, one: Server) -> None:
    (kernel,) = filter(is_kernel, one.children())
    assert is_older(client, lambda: client.create("python"))
    taken = facts(kernel)
    client.clean()
    wait_spares(client, 1)
    others = one.children()
    assert not is_older(client, lambda: create_at_work(client))
    (kernel,) = filter(is_kernel, one.children() - others)
    new = facts(kernel)
    if os.geteuid() == 0:  # each has a user of its own then
        users = [each.pop("users") for each in (taken, new)]
        assert users[0] != users[1]
    assert taken == new
