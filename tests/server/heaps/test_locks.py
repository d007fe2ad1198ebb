"""The versions of a context's packages: in its heaps, and wherever it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import Client, connect
from tests.support.registry import PackageRegistry, serve_registry
from tests.support.server import V8_FLAGS, Server

from isokernel.packages.lock import encode_lock
from isoserver.errors import HeapDamagedError
from isoserver.heaps.content import join, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSION = "import {version} from 'moving'; version"
AGAIN = "(await import('npm:moving@^1')).version"


def publish(registry: PackageRegistry, version: str, name: str = "moving") -> None:
    files = {
        "index.js": f"export const version = '{version}'",
        "later.js": f"export default 'later {version}'",
        "needed.cjs": f"exports.version = 'required {version}'",
    }
    exports = {".": "./index.js", "./*": "./*"}
    registry.publish(name, version, files, type="module", exports=exports)


@pytest.fixture
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        publish(registry, "1.0.0")
        yield registry


@pytest.fixture
def start(registry: PackageRegistry, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts a server on the same folder, after the last one has ended."""
    npmrc = registry.write_npmrc(tmp_path)
    started: list[tuple[Server, Any, Client]] = []

    def stop() -> None:
        server, connection, _ = started.pop()
        connection.__exit__(None, None, None)
        server.stop()
        assert not server.wrong()

    def start(*flags: str) -> Client:
        if started:
            stop()
        server = Server(
            *V8_FLAGS,
            *("--modules", "on", "--package-npmrc", str(npmrc)),
            *("--package-cache-dir", str(tmp_path / "cache")),
            *("--package-metadata-fresh-seconds", "0"),
            *("--data-dir", str(tmp_path / "data"), *flags),
        )
        connection = connect(server)
        started.append((server, connection, connection.__enter__()))
        return started[-1][2]

    yield start
    while started:
        stop()


def run(client: Client, context: str, code: str) -> Any:
    body = {"code": code, "context_id": context}
    answer = client.post("/execute", json=body).json()
    assert answer["error"] is None, answer["error"]
    return answer["items"][-1]["text"]


def packages(client: Client, context: str) -> list[tuple[str, list[str]]]:
    listed = client.get(f"/contexts/{context}/packages").json()["packages"]
    return [(f"{one['name']}@{one['version']}", one["ranges"]) for one in listed]


def test_a_lock_lives_in_heaps(
    start: Callable[..., Client], registry: PackageRegistry
) -> None:
    client = start()
    first = client.create()
    assert run(client, first, VERSION) == "'1.0.0'"
    assert run(client, first, AGAIN) == "'1.0.0'"
    key = client.post(f"/contexts/{first}/checkpoint").json()["heap"]
    publish(registry, "1.1.0")
    listed = [("moving@1.0.0", ["", "^1"])]

    def goes_on(context: str) -> None:
        assert packages(client, context) == listed
        assert run(client, context, VERSION) == "'1.0.0'"
        assert run(client, context, AGAIN) == "'1.0.0'"
        code = "(await import('moving/later.js')).default"
        assert run(client, context, code) == "'later 1.0.0'"
        code = "require('moving/needed.cjs').version"
        assert run(client, context, code) == "'required 1.0.0'"
        shown = run(client, context, "Jupyter.packages()[0].ranges.join()")
        assert shown == "',^1'"

    assert run(client, client.create(), VERSION) == "'1.1.0'"
    goes_on(client.post(f"/contexts/{first}/fork").json()["id"])
    client.post(f"/contexts/{first}/restart", json={"from": "checkpoint"})
    goes_on(first)
    # The same in another server without a network: from the heap, and awakened.
    registry.replies = {path: registry.reply("/no") for path in registry.tarballs}
    client = start("--package-offline", "on")
    goes_on(client.post("/contexts", json={"heap": key}).json()["id"])
    goes_on(first)


def test_begun_anew_a_context_has_no_lock(
    start: Callable[..., Client], registry: PackageRegistry
) -> None:
    client = start()
    context = client.create()
    run(client, context, VERSION)
    publish(registry, "1.1.0")
    client.post(f"/contexts/{context}/restart", json={})
    assert packages(client, context) == []
    assert run(client, context, VERSION) == "'1.1.0'"


def test_what_is_not_what_it_was_is_refused(
    start: Callable[..., Client], registry: PackageRegistry, tmp_path: Path
) -> None:
    client = start()
    context = client.create()
    run(client, context, VERSION)
    [before] = client.get(f"/contexts/{context}/packages").json()["packages"]
    key = client.post(f"/contexts/{context}/checkpoint").json()["heap"]
    registry.packages.clear()
    registry.publish("moving", "1.0.0", {"later.js": "exports.evil = 1"})
    client = start("--package-cache-dir", str(tmp_path / "another"))
    context = client.post("/contexts", json={"heap": key}).json()["id"]
    body = {"code": "import 'moving/later.js'", "context_id": context}
    text = client.post("/execute", json=body).json()["error"]["value"]
    found = registry.packages["moving"]["versions"]["1.0.0"]["dist"]["integrity"]
    for part in ("moving@1.0.0", before["integrity"], found, "import another version"):
        assert part in text
    assert run(client, context, "version") == "'1.0.0'", "what is loaded goes on"


def test_a_process_writes_no_lock_of_its_own() -> None:
    lock = {"requests": {"a@": "1.0.0"}}
    assert split(join(b"heap", None, lock)).lock == lock
    assert join(b"heap", None, {}) == b"heap"
    with pytest.raises(HeapDamagedError, match="begins with a list"):
        join(encode_lock(lock) + b"heap", None, None)
    for damaged in (encode_lock(lock)[:-1], encode_lock({"requests": {"a@": 1}})):
        with pytest.raises(HeapDamagedError, match="list of files or packages"):
            split(damaged)
