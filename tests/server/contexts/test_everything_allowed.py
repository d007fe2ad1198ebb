"""Contexts that may have modules, network and files: the walls are the same.

What runs here is what code could do if it had found a way past the runtime's own
modules: it makes the calls itself, with whatever arguments it likes. At the end it has
found a way past V8 as well: the attempts of `kernel/sandbox/test_walls.py` are made by
the processes of contexts, with nothing allowed and with everything.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from tests.support import programs
from tests.support.attempts import ATTEMPTS, USER
from tests.support.client import Client, connect
from tests.support.networks import Site, serve_site
from tests.support.programs.taken import MARK
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.users import started_as
from tests.support.walls import CALLS, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM: Final = Path(programs.__file__).parent / "capabilities.py"
TAKEN: Final = PROGRAM.with_name("taken.py")
ALL: Final = ("--modules", "on", "--net", "on", "--files", "on")
SECRET: Final = "what-only-the-server-knows"  # noqa: S105 - it is none
TRY: Final = """
globalThis.attempt = (name, args, data) => {
  try {
    const {value, data: bytes} = callNow(name, args, data);
    const text = bytes ? new TextDecoder().decode(bytes) : '';
    return ['done', JSON.stringify(value ?? null), text];
  } catch (error) {
    return ['failed', String(error.code), error.message];
  }
};
globalThis.attempts = (all) => {
  console.log(JSON.stringify(all.map((one) => attempt(...one))));
};
0
"""


class Prison(NamedTuple):
    """A server on which everything is allowed, and what nobody is to reach.

    Attributes:
        client: A client of it.
        heap: The key of one whose code can make calls.
        data: The folder of the server.
        outside: A file that every user may read.
        site: A site on loopback.
    """

    server: Server
    client: Client
    heap: str
    data: Path
    outside: Path
    site: Site

    def context(self) -> str:
        """A context whose code makes calls."""
        answer = self.client.post("/contexts", json={"heap": self.heap})
        context_id: str = answer.json()["id"]
        self.client.text(TRY, context_id=context_id)
        return context_id

    def attempts(self, context_id: str, *calls: list[Any]) -> list[list[str]]:
        """What comes of some calls: done or failed, value or code, data or message."""
        code = f"attempts({json.dumps(calls)})"
        answer = self.client.run(code, context_id=context_id, timeout_ms=20_000)
        assert answer["error"] is None, answer["error"]
        said: list[list[str]] = json.loads("".join(answer["logs"]["stdout"]))
        return said


@pytest.fixture(scope="module")
def prison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prison]:
    folder = tmp_path_factory.mktemp("everything")
    folder.chmod(0o755)
    outside = folder / "outside"
    outside.write_text(SECRET)
    outside.chmod(0o644)
    with (
        serve_site() as site,
        run_server(
            *V8_FLAGS,
            *ALL,
            *("--data-dir", str(folder / "data")),
            *("--package-cache-dir", str(folder / "packages"), "--package-offline"),
            program=(str(PROGRAM), str(folder)),
            env={"A_SECRET": SECRET, "PYTHONPATH": str(PROGRAM.parents[3])},
        ) as server,
        connect(server) as client,
    ):
        heap = (folder / "heap").read_text()
        client.get("/healthz")  # its connection stays, and is no test's own
        yield Prison(server, client, heap, folder / "data", outside, site)


@pytest.fixture(scope="module")
def inmate(prison: Prison) -> str:
    return prison.context()


def _paths(prison: Prison) -> list[str]:
    up = "../" * 12
    return [
        *(str(prison.outside), up + str(prison.outside), f"{up}etc/passwd"),
        *("/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/proc/self/mem"),
        *(f"/proc/{prison.server.process.pid}/environ", "/dev/null", "/proc/self/root"),
        *(
            "a/../../b",
            "./../x",
            "..",
            "../",
            "/..",
            "file:///etc/passwd",
            "//etc/passwd",
        ),
        *(str(prison.data), str(next(prison.data.iterdir())), "\0", "a\0b", "~/.npmrc"),
        *(
            "npm:/../../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "..\\..\\etc\\passwd",
        ),
    ]


def test_files_are_the_contexts_own(prison: Prison) -> None:
    inmate = prison.context()
    calls = [
        [f"files.{name}", {"path": path, "to": "mine", "size": 9, **more}]
        for path in _paths(prison)
        for name, more in (
            *(("load", {}), ("open", {"flags": 0}), ("stat", {}), ("list", {})),
            *(("real_path", {}), ("copy", {}), ("move", {}), ("access", {"mode": 4})),
            ("stat", {"link": True}),
        )
    ]
    found = dict(
        zip(map(json.dumps, calls), prison.attempts(inmate, *calls), strict=True)
    )
    done = [call for call, (end, _, _) in found.items() if end == "done"]
    # What leads up leads to the root of its own folder, which is empty.
    for call in done:
        name, given = json.loads(call)
        assert given["path"] in {"..", "../", "/.."}, call
        assert name in {"files.stat", "files.list", "files.real_path", "files.access"}
    assert SECRET not in json.dumps(list(found.values()))
    assert "root:" not in json.dumps(list(found.values()))


def test_nothing_is_written_elsewhere(prison: Prison, inmate: str) -> None:
    calls = [
        [f"files.{name}", {"path": path, "mode": 0o777, "size": 0, "parents": False}]
        for path in _paths(prison)
        for name in ("store", "append", "make", "truncate", "delete", "make_temporary")
        if "/" in path or "\0" in path
    ]
    calls += [["files.move", {"path": "own", "to": path}] for path in _paths(prison)]
    folder = prison.outside.parent
    before = sorted(path.name for path in folder.iterdir())
    prison.attempts(inmate, ["files.store", {"path": "own", "mode": 0o644}], *calls)
    assert prison.outside.read_text() == SECRET
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_others_hold_is_not_there(prison: Prison, inmate: str) -> None:
    """Handles of files and requests belong to the context that opened them."""
    other = prison.context()
    opened = prison.attempts(
        other,
        ["files.store", {"path": "a", "mode": 0o644}],
        ["files.open", {"path": "a", "flags": 0, "mode": 0o644}],
    )
    assert opened[1][0] == "done", opened
    handles = [*range(12), -1, 2**31, 2**53, "1", None, 1.5]
    calls = [
        [f"{kind}.{name}", {"handle": handle, "size": 9, "last": True}]
        for handle in handles
        for kind, name in (
            *(("files", "read"), ("files", "write"), ("files", "sync")),
            *(("net", "read"), ("net", "head"), ("net", "write")),
        )
    ]
    found = prison.attempts(inmate, *calls)
    assert {end for end, _, _ in found} == {"failed"}


def test_no_address_within_is_reached(prison: Prison, inmate: str) -> None:
    ports = [prison.site.port, int(prison.server.url.rpartition(":")[2])]
    hosts = [
        *("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]", "127.1", "127.9.9.9"),  # noqa: S104
        *("2130706433", "0x7f000001", "017700000001", "[::ffff:127.0.0.1]"),
        *("[::ffff:7f00:1]", "a.localhost", "LOCALHOST", "localhost.", "127.0.0.1."),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[fe80::1]"),
        *("10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fc00::1]"),
    ]
    urls = [f"http://{host}:{port}/healthz" for host in hosts for port in ports]
    urls += [f"http://good.com@127.0.0.1:{ports[0]}/", f"https://127.0.0.1:{ports[0]}/"]
    urls += ["file:///etc/passwd", f"ws://127.0.0.1:{ports[0]}/", "unix:///run/x", ""]
    before = len(prison.site.seen)
    calls = [
        ["net.open", {"handle": 100 + at, "method": "GET", "headers": [], "url": url}]
        for at, url in enumerate(urls)
    ]
    found = prison.attempts(inmate, *calls)
    ends = {url: one[:2] for url, one in zip(urls, found, strict=True)}
    wrong = {
        url: end
        for url, end in ends.items()
        if end not in (["failed", "capability_denied"], ["failed", "invalid_url"])
        and end != ["failed", "host_not_found"]
    }
    assert not wrong
    assert len(prison.site.seen) == before


def test_modules_are_no_way_to_files_or_addresses(prison: Prison, inmate: str) -> None:
    port = prison.site.port
    specifiers = [
        *_paths(prison),
        *("file:///etc/passwd", "file:///proc/self/environ", "./../../../etc/passwd"),
        *(f"http://127.0.0.1:{port}/a.js", f"https://127.0.0.1:{port}/a.js"),
        *(
            "npm:../../etc",
            "npm:/a@1.0.0/../../../etc/passwd",
            "npm:@a/../../b",
            "npm:",
        ),
        *("jsr:@std/../../x", "node:nosuch", "data:text/javascript,1", "npm:file:/etc"),
    ]
    before = len(prison.site.seen)
    calls = [
        ["modules.graph", {"specifiers": [wanted], "referrer": referrer}]
        for specifier in specifiers
        for wanted in (
            {"specifier": specifier},
            {"specifier": specifier, "attributes": {"type": "text"}},
        )
        for referrer in ("", "file:///etc/x.js")
    ]
    calls += [["modules.read", {"url": specifier}] for specifier in specifiers]
    found = prison.attempts(inmate, *calls)
    assert SECRET not in json.dumps(found)
    assert "root:" not in json.dumps(found)
    assert len(prison.site.seen) == before


@pytest.mark.parametrize(
    "call",
    [
        ["files.load", {"path": {}}],
        ["files.load", []],
        ["files.load", None],
        ["files.nosuch", {}],
        ["env.get", {"name": "A_SECRET"}],
        ["env.list", {}],
        ["net.open", {"handle": {}, "url": [], "method": 1, "headers": {}}],
        [
            "net.open",
            {"handle": 7, "url": "http://a.b/", "headers": [["Host", "c"]] * 9},
        ],
        ["modules.graph", {"specifiers": "x"}],
        ["modules.graph", {"specifiers": [{}] * 5000}],
        ["modules.graph", {"specifiers": [], "known": ["x"] * 500_000}],
        ["modules.list", {"context": "another"}],
        ["__proto__.x", {}],
        ["", {}],
        ["small.secrets", {"host": "a.com"}],
    ],
    ids=lambda call: call[0] or "none",
)
def test_odd_calls_are_answered(prison: Prison, inmate: str, call: list[Any]) -> None:
    """Whatever is asked, the server goes on, and tells nothing of its own."""
    answer = prison.client.run(
        f"attempts([{json.dumps(call)}])", context_id=inmate, timeout_ms=20_000
    )
    assert SECRET not in json.dumps(answer)
    assert "Traceback" not in prison.server.log()
    assert prison.client.get("/healthz").status_code == 200


def test_no_variable_is_seen(prison: Prison, inmate: str) -> None:
    assert (
        prison.client.text("JSON.stringify(process.env)", context_id=inmate) == "'{}'"
    )


def test_its_process_has_what_any_has(prison: Prison, inmate: str) -> None:
    """The filters are on, and it holds its two sockets and what it woke up with."""
    assert prison.client.show(inmate)["state"] == "idle"
    confined = []
    for pid in prison.server.children():
        status = Path(f"/proc/{pid}/status").read_text()
        facts = dict(
            line.split(":\t", 1) for line in status.splitlines() if ":\t" in line
        )
        if facts["Seccomp"] != "2":
            continue
        confined.append(pid)
        assert facts["NoNewPrivs"] == "1"
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
        folder = Path(f"/proc/{pid}/fd")
        open_ = {os.readlink(one) for one in folder.iterdir()}  # noqa: PTH115
        kinds = {name.partition(":")[0] for name in open_} - {
            *("socket", "pipe", "anon_inode", "/dev/null", "/dev/urandom"),
            *("/memfd", f"/proc/{pid}/smaps_rollup"),  # its heap, its memory
        }
        assert not kinds, open_
        assert Path(f"/proc/{pid}/environ").read_bytes().find(SECRET.encode()) < 0
    assert confined


# -- the attempts of kernel/sandbox/test_walls.py, in contexts of a server -------------

POLICIES: Final = {"nothing": (), "everything": ALL}
USED: Final = """
const fs = await import('node:fs');
fs.writeFileSync('mine', 'text');
const tried = await Promise.allSettled([
  fetch('http://127.0.0.1:1/'), import('npm:nothing-of-this-name'), fetch('mine'),
]);
[fs.readFileSync('mine', 'utf8'), ...tried.map(({status}) => status)].join()
"""
"""What a policy allows is used before, by the same process."""


class Tried(NamedTuple):
    """What came of the attempts in a context.

    Attributes:
        suite: What was allowed, and whose the server is.
        refused: The names of those that were.
        denied: Of calls into the system.
    """

    suite: str
    refused: list[str]
    denied: list[str]


@pytest.fixture(
    scope="module",
    params=[
        "nothing, root",
        "everything, root",
        pytest.param("nothing, user", marks=pytest.mark.slow),
        pytest.param("everything, user", marks=pytest.mark.slow),
    ],
)
def tried(request: pytest.FixtureRequest) -> Tried:
    """All attempts, made by the process of a context that a policy allows something.

    What may be different in the two: nothing. What policies allow, the server does; the
    process asks for it on a socket that it has in any case.
    """
    policy, _, kind = request.param.partition(", ")
    if os.geteuid() != 0 and kind == "root":
        kind = "user"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "keep").mkdir()
        for path in (folder, folder / "keep"):
            path.chmod(0o777)
        for name in ("file", "other"):
            (folder / name).write_text("secret")
            (folder / name).chmod(0o666)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        user = USER if kind == "user" and os.geteuid() == 0 else None
        victim = subprocess.Popen(["/bin/sleep", "600"], user=user)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        server = Server(
            *(*V8_FLAGS, *POLICIES[policy], "--package-offline"),
            program=(str(TAKEN),),
            # Not forked with a fork server that is there already.
            before=started_as(kind, folder / "keep") if user else ("env",),
        )
        stack.callback(server.stop)
        given = {
            "folder": str(folder),
            "victim": victim.pid,
            "port": listener.getsockname()[1],
        }
        with connect(server) as client:
            context_id = client.create("javascript")
            used = client.run(USED, context_id=context_id)
            if policy == "everything":
                assert used["error"] is None, used["error"]
                said = used["items"][-1]["text"]
                assert said == "'text,rejected,rejected,fulfilled'"
            answer = client.run(MARK + json.dumps(given), context_id=context_id)
            assert answer["error"] is None, answer["error"]
            suite = f"V8 context of a server, {policy} allowed, {kind}"
            tried = Tried(suite, **json.loads("".join(answer["logs"]["stdout"])))
            # The context goes on: nothing of it was ended by what it tried.
            assert client.text("1 + 1", context_id=context_id) == "2"
        assert victim.poll() is None
        assert (folder / "file").read_text() == "secret"
        assert sorted(path.name for path in folder.iterdir()) == [
            "file",
            "keep",
            "other",
        ]
    return tried


@pytest.mark.parametrize("name", ATTEMPTS)
def test_each_attempt_is_refused(
    tried: Tried, name: str, record_property: Callable[[str, object], None]
) -> None:
    tell(record_property, tried.suite, ())
    assert name in tried.refused


@pytest.mark.parametrize("name", CALLS)
def test_calls_into_the_system_are_denied(
    tried: Tried, name: str, record_property: Callable[[str, object], None]
) -> None:
    tell(record_property, tried.suite, ())
    assert name in tried.denied
