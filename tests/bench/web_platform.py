"""How much of web-platform-tests holds: each `.any.js` file in a context of its own.

    python -m tests.bench.web_platform CHECKOUT [PART OF A FILE'S PATH [PORT]]

Prints what doesn't hold, and the sums. The checkout is one of
https://github.com/web-platform-tests/wpt, or a part of it with `resources`, `common`.
With the port of the checkout's own server (`./wpt serve`) on this machine, `fetch` asks
that; all of the tests' hosts are this machine then.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from tests.support.networks import LoopThread, NetContext

from isokernel.context.events import Stream
from isokernel.network.provider import Network

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 8  # for a file, and for a cell of it
SENTINEL = "web-platform-tests:"
META = re.compile(r"^// META: script=(.+)$", re.MULTILINE)
QUOTED = re.compile(r"""["'`]([\w./-]+\.\w+)["'`]""")

# What a test finds around it in a shell, and files of the checkout by way of fetch.
BEFORE = """
globalThis.self = globalThis;
globalThis.GLOBAL = {
  isWindow: () => false, isWorker: () => false, isShadowRealm: () => false,
};
globalThis.location = {
  href: "http://web-platform.test:8000" + PATH, pathname: PATH, search: "", hash: "",
  origin: "http://web-platform.test:8000", protocol: "http:", port: "8000",
  host: "web-platform.test:8000", hostname: "web-platform.test",
  toString() { return this.href; },
};
{
  const { fetch, Request, URL } = globalThis;
  const resolve = (input) =>
    (input instanceof Request ? input : new URL(input, location.href).href);
  globalThis.fetch = async (input, init) => (input in FILES
    ? new Response(Uint8Array.fromBase64(FILES[input])) : fetch(resolve(input), init));
  globalThis.Request = class extends Request {
    constructor(input, init) { super(resolve(input), init); }
  };
}
"""
# Cells are turns of their own: without `explicit_done` the first test would be the
# last one.
HARNESS = f"""
setup({{ explicit_done: true }});
add_completion_callback((tests, harness) => {{
  const results = tests.map(({{ name, status, message }}) => [name, status, message]);
  if (harness.status) results.push(["the harness", harness.status, harness.message]);
  console.log({SENTINEL!r} + JSON.stringify(results));
}});
"""


class Here:
    """Looks up names of the tests, all of which are this machine."""

    async def resolve(self, host: str, _port: int) -> list[str]:
        return ["127.0.0.1"] if host.endswith(".test") and "nonex" not in host else []


def cells(root: Path, file: Path, port: str) -> list[str]:
    """What runs for a test, in its order."""

    def text(path: Path) -> str:
        if not port:
            return path.read_text(encoding="utf-8")
        url = f"http://127.0.0.1:{port}/{path.resolve().relative_to(root.resolve())}"
        asked = Request(url, headers={"Host": f"web-platform.test:{port}"})
        with urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310 - on this machine
            made: str = answer.read().decode("utf-8")
        return made

    body = text(file)
    scripts = [
        text(root / name[1:] if name.startswith("/") else file.parent / name)
        for name in (found.strip() for found in META.findall(body))
    ]
    files = {}
    quoted = [] if port else QUOTED.findall("\n".join([body, *scripts]))
    for name in quoted:
        path = root / name[1:] if name.startswith("/") else file.parent / name
        if path.is_file():
            files[name] = base64.b64encode(path.read_bytes()).decode()
    path = json.dumps(f"/{file.relative_to(root).as_posix()}")
    return [
        f"var PATH = {path}, FILES = {json.dumps(files)};{BEFORE}",
        (root / "resources" / "testharness.js").read_text(encoding="utf-8"),
        HARNESS,
        *scripts,
        body,
        "done();",
    ]


def results(root: Path, file: Path, port: str, thread: LoopThread) -> list[Any]:
    """[name, status, message] of each test; a status of 0 is a success."""
    session = NetContext(thread, {"net": lambda: Network(resolver=Here())})
    context, events = session.context, session.events

    def printed() -> str:
        return "".join(event.text for event in events if isinstance(event, Stream))

    def wait(until: Callable[[], bool]) -> None:
        with suppress(AssertionError):
            session.wait(until, SECONDS)

    try:
        for number, code in enumerate(cells(root, file, port), start=1):
            context.begin(code, execution_id=number)
            wait(lambda: not context.busy)
        wait(lambda: SENTINEL in printed())
    finally:
        session.close()
    _, found, rest = printed().partition(SENTINEL)
    if not found:
        return [["all of it", 1, "there were no results"]]
    tests: list[Any] = json.loads(rest.partition("\n")[0])
    return tests


def main(checkout: str, part: str = "", port: str = "") -> None:
    """Run the files and print what doesn't hold."""
    root, thread = Path(checkout), LoopThread()
    files = sorted(file for file in root.rglob("*.any.js") if part in str(file))
    whole = tests = failed = 0
    for file in files:
        found = results(root, file, port, thread)
        bad = [test for test in found if test[1] != 0]
        tests += len(found)
        failed += len(bad)
        whole += not bad
        if bad:
            print(f"{file.relative_to(root)}: {len(bad)} of {len(found)}")
        for name, _, message in bad:
            print(f"    {name[:100]} | {(message or '')[:160]}")
    thread.close()
    print(f"{whole} of {len(files)} files, {tests - failed} of {tests} tests")


if __name__ == "__main__":
    main(*sys.argv[1:])
