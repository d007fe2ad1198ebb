"""Registries that are down, slow, wrong or hostile; and one that works, offline."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import tarfile
import termios
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.packages import read_graph
from tests.support.registry import Reply, make_tarball, serve_registry
from tests.support.waiting import wait_for

from isokernel.errors import (
    CapabilityDeniedError,
    CapabilityError,
    ModuleMissingError,
    PackageDamagedError,
    PackageError,
    PackageLimitError,
    PackageOfflineError,
    RegistryError,
)
from isokernel.packages.graphs import Source
from isokernel.packages.npmrc import Npmrc
from isokernel.packages.packer import Packer
from isokernel.packages.service import Packages
from isokernel.sandbox import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.packages.conftest import Loader
    from tests.support.registry import PackageRegistry

    from isokernel.packages.answers import GraphAnswer
    from isokernel.packages.progress import Progress

TARBALL = "/a/-/a-1.0.0.tgz"


def publish(registry: PackageRegistry) -> bytes:
    return registry.publish("a", files={"index.js": "exports.a = 1"})


# -- down, slow ----------------------------------------------------------------------


def test_a_registry_that_is_down(loader: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    npmrc = Npmrc({"registry": f"http://127.0.0.1:{port}"})
    loader.settings = loader.settings._replace(npmrc=npmrc)
    with pytest.raises(RegistryError, match=r"can't be reached .*: check the network"):
        loader.load("npm:a")


def test_what_is_kept_is_used_while_it_is_down(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    loader.load("npm:a")
    loader.lock.clear()
    registry.replies["/a"] = Reply(503)
    loader.settings = loader.settings._replace(metadata_fresh_seconds=0)
    assert loader.urls("npm:a") == {"npm:a": "npm:/a@1.0.0/index.js"}


def test_a_registry_that_says_nothing(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    answer = threading.Event()
    registry.replies["/a"] = Reply(wait=answer)
    loader.settings = loader.settings._replace(request_timeout_seconds=0.2)
    try:
        with pytest.raises(RegistryError, match=r"0\.2 s .*package_request_timeout"):
            loader.load("npm:a")
    finally:
        answer.set()


def test_a_download_that_takes_too_long(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    answer = threading.Event()
    registry.replies[TARBALL] = Reply(wait=answer)
    loader.settings = loader.settings._replace(download_timeout_seconds=0.5)
    try:
        with pytest.raises(RegistryError, match="package_download_timeout_seconds"):
            loader.load("npm:a")
    finally:
        answer.set()


def test_what_fails_once_is_tried_again(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    served = registry.reply

    def reply(path: str) -> Reply:
        first = path not in registry.paths()[:-1]
        return Reply(503, headers={"Retry-After": "0"}) if first else served(path)

    registry.reply = reply  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="status 503: try again later"):
        loader.load("npm:a")
    loader.settings = loader.settings._replace(retries_max=1)
    assert loader.load("npm:a")["modules"]


# -- wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply(404), ModuleMissingError, "check its spelling"),
        (Reply(401), RegistryError, r"into .npmrc, as //127.0.0.1:\d+/:_authToken"),
        (Reply(403), RegistryError, "into .npmrc"),
        (Reply(500), RegistryError, "status 500"),
        (Reply(body=b"<html>"), RegistryError, "isn't JSON"),
        (Reply(body=b"[" * 100_000), RegistryError, "isn't JSON"),
        (Reply(body=b"{}"), RegistryError, "isn't about that package"),
        (Reply(body=b'{"name": "b", "versions": {}}'), RegistryError, "isn't about"),
        (
            Reply(body=b'{"name": "a", "versions": {}}'),
            ModuleMissingError,
            "no version",
        ),
        (Reply(body=b" " * (1 + (1 << 17))), PackageLimitError, "metadata_bytes_max"),
        (Reply(302, headers={"Location": "/a"}), RegistryError, "more than 5 times"),
        (
            Reply(302, headers={"Location": "http://169.254.169.254/"}),
            RegistryError,
            "isn't public",
        ),
        (
            Reply(body=b"x", headers={"Content-Length": "5", "Connection": "close"}),
            RegistryError,
            "can't be reached",
        ),
        (
            Reply(body=b"x", headers={"Content-Encoding": "gzip"}),
            RegistryError,
            "isn't JSON",
        ),
    ],
)
def test_answers_that_are_of_no_use(
    registry: PackageRegistry,
    loader: Loader,
    reply: Reply,
    error: type[Exception],
    says: str,
) -> None:
    registry.replies["/a"] = reply
    loader.settings = loader.settings._replace(metadata_bytes_max=1 << 17)
    with pytest.raises(error, match=says):
        loader.load("npm:a")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/a.tgz",
        "http://10.0.0.1/a.tgz",
        "http://[::1]/a.tgz",
        "http://metadata.internal/",
        "file:///etc/passwd",
    ],
)
def test_a_registry_sends_nobody_into_our_network(
    registry: PackageRegistry, loader: Loader, url: str
) -> None:
    registry.publish_tarball("a", "1.0.0", make_tarball({"index.js": ""}), tarball=url)
    with pytest.raises(RegistryError, match="isn't public"):
        loader.load("npm:a")


def test_urls_of_npm_are_those_of_its_copy(
    registry: PackageRegistry, loader: Loader
) -> None:
    url = "https://registry.npmjs.org/a/-/a-1.0.0.tgz"
    tarball = make_tarball({"package.json": "{}", "index.js": ""})
    registry.publish_tarball("a", "1.0.0", tarball, tarball=url)
    assert loader.load("npm:a")["modules"]
    assert registry.paths() == ["/a", TARBALL]


@pytest.mark.parametrize("kind", ["integrity", "shasum", "none"])
def test_a_tarball_is_what_the_registry_says(
    registry: PackageRegistry, loader: Loader, kind: str
) -> None:
    given = {
        "integrity": {"integrity": f"sha512-{'A' * 86}=="},
        "shasum": {"integrity": "", "shasum": "0" * 40},
        "none": {"integrity": "", "shasum": ""},
    }[kind]
    tarball = make_tarball({"package.json": "{}", "index.js": ""})
    registry.publish_tarball("a", "1.0.0", tarball, **given)
    with pytest.raises(PackageDamagedError, match=r"has the hash|no hash"):
        loader.load("npm:a")
    assert loader.lock["packages"] == {}


def test_old_packages_have_sha1_only(registry: PackageRegistry, loader: Loader) -> None:
    tarball = make_tarball({"package.json": "{}", "index.js": ""})
    registry.publish_tarball("a", "1.0.0", tarball, integrity="")
    loader.load("npm:a")
    assert loader.lock["packages"]["a@1.0.0"].startswith("sha512-")


def test_a_version_that_was_exchanged_is_refused(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    loader.load("npm:a")
    registry.publish("a", files={"index.js": "evil()"})
    loader.settings = loader.settings._replace(
        cache_dir=f"{loader.settings.cache_dir}-other"
    )
    with pytest.raises(PackageDamagedError, match="has another package by"):
        loader.load("npm:a")


def test_large_tarballs_are_not_downloaded(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    loader.settings = loader.settings._replace(tarball_bytes_max=10)
    with pytest.raises(
        PackageLimitError, match=r"a@1\.0\.0 .*package_tarball_bytes_max"
    ):
        loader.load("npm:a")


# -- hostile tarballs, through all of it ---------------------------------------------


def link(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("package/l.js")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(member)


@pytest.mark.parametrize(
    ("tarball", "says"),
    [
        (make_tarball({"a.js": ""}, link), r"a@1\.0\.0 can't be used: .*a link"),
        (make_tarball({"../../x.js": ""}), "out of the package"),
        (make_tarball({"a.js": bytes(20 << 20)}), "package_unpacked_bytes_max"),
        (b"nothing", "damaged"),
    ],
)
def test_hostile_tarballs_are_refused(
    registry: PackageRegistry, loader: Loader, tarball: bytes, says: str
) -> None:
    registry.publish_tarball("a", "1.0.0", tarball)
    with pytest.raises(PackageError, match=says):
        loader.load("npm:a")
    registry.publish("b", files={"index.js": ""})
    assert loader.load("npm:b")["modules"]  # the process that refused it goes on


def test_install_scripts_are_not_run(
    registry: PackageRegistry, loader: Loader, tmp_path: Path
) -> None:
    trace = tmp_path / "was-here"
    scripts = dict.fromkeys(
        ("preinstall", "install", "postinstall", "prepare"), f"touch {trace}"
    )
    registry.publish("a", files={"index.js": ""}, scripts=scripts)
    assert loader.load("npm:a")["modules"]
    assert not trace.exists()


# -- once, progress, credentials -----------------------------------------------------


def test_two_imports_at_once_download_once(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)

    async def load() -> list[Any]:
        packages = Packages(loader.settings, loader.packer)
        other = Packages(loader.settings, loader.packer)  # as another process would
        try:
            one = [packages.answer([("npm:a", {})], loader.access()) for _ in range(3)]
            return await asyncio.gather(
                *one, other.answer([("npm:a", {})], loader.access())
            )
        finally:
            await packages.close()
            await other.close()

    graphs = [read_graph(answer) for answer in asyncio.run(load())]
    assert graphs == [graphs[0]] * 4
    assert registry.paths().count(TARBALL) == 1


def test_who_is_cancelled_takes_nothing_from_the_others(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    answer, asked = threading.Event(), threading.Event()
    registry.replies[TARBALL] = Reply(
        body=registry.tarballs[TARBALL], wait=answer, asked=asked
    )

    async def load() -> GraphAnswer:
        packages = Packages(loader.settings, loader.packer)
        try:
            first = asyncio.create_task(
                packages.answer([("npm:a", {})], loader.access())
            )
            await asyncio.to_thread(asked.wait, 30)
            second = asyncio.create_task(
                packages.answer([("npm:a", {})], loader.access())
            )
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            answer.set()
            return await second
        finally:
            await packages.close()

    assert read_graph(asyncio.run(load()))["modules"]
    assert registry.paths().count(TARBALL) == 1


def test_the_packer_starts_while_the_registry_is_asked(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    answer = threading.Event()
    registry.replies["/a"] = registry.reply("/a")._replace(wait=answer)

    async def load() -> bool:
        """Whether the packer was started."""
        packages = Packages(loader.settings._replace(code_cache=False))
        try:
            task = asyncio.create_task(
                packages.answer([("npm:a", {})], loader.access())
            )
            if not answer.is_set():
                await asyncio.to_thread(
                    wait_for, lambda: packages._packer._process is not None
                )
                answer.set()
            await task
            return packages._packer._process is not None
        finally:
            await packages.close()

    assert asyncio.run(load())
    assert not asyncio.run(load())  # all is in the cache


def test_progress_is_told(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish("a", files={"index.js": "require('b')"}, dependencies={"b": "1"})
    registry.publish("b", files={"index.js": "x" * 100_000})
    told: list[Progress] = []

    async def progress(step: Progress) -> None:
        told.append(step)

    loader.more["progress"] = progress
    loader.load("npm:a")
    assert (told[-1].packages_done, told[-1].packages_total) == (2, 2)
    assert told[-1].bytes_done == told[-1].bytes_total > 0
    told.clear()
    loader.load("npm:a")
    assert not told


def test_tokens_go_to_their_registry(registry: PackageRegistry, loader: Loader) -> None:
    publish(registry)
    place = registry.url.removeprefix("http:")
    npmrc = Npmrc({"registry": registry.url, f"{place}/:_authToken": "t0k"})
    loader.settings = loader.settings._replace(npmrc=npmrc)
    loader.load("npm:a")
    sent = [headers.get("Authorization") for _, headers in registry.requests]
    assert sent == ["Bearer t0k"] * 2


def test_metadata_is_asked_for_anew_when_it_is_old(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    loader.load("npm:a")
    loader.lock.clear()
    loader.load("npm:a")
    assert registry.paths() == ["/a", TARBALL]
    loader.lock.clear()
    loader.settings = loader.settings._replace(metadata_fresh_seconds=0)
    loader.load("npm:a")
    assert registry.paths() == ["/a", TARBALL, "/a"]
    assert registry.requests[-1][1]["If-None-Match"]


def test_a_new_version_is_found_though_metadata_is_young(
    registry: PackageRegistry, loader: Loader
) -> None:
    publish(registry)
    loader.load("npm:a@1")
    registry.publish("a", "2.0.0", {"index.js": ""})
    assert loader.urls("npm:a@2") == {"npm:a@2": "npm:/a@2.0.0/index.js"}


# -- offline -------------------------------------------------------------------------


def test_offline_all_comes_from_the_cache(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", files={"index.js": "require('b')"}, dependencies={"b": "1"})
    registry.publish("b", "1.5.0", {"index.js": ""})
    graph = loader.load("npm:a")
    lock = json.dumps(loader.lock)
    registry.requests.clear()
    loader.settings = loader.settings._replace(offline=True)
    assert loader.load("npm:a") == graph
    loader.lock.clear()  # and without a lock
    assert loader.load("npm:a") == graph
    assert json.dumps(loader.lock) == lock
    assert registry.requests == []


def test_offline_an_older_version_is_better_than_none(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", "1.0.0", {"index.js": ""})
    registry.publish("a", "1.1.0", {"index.js": ""})
    loader.load("npm:a@1.0.0")
    loader.lock.clear()
    loader.settings = loader.settings._replace(offline=True)
    assert loader.urls("npm:a@1") == {"npm:a@1": "npm:/a@1.0.0/index.js"}


def test_offline_what_is_not_there_is_told(loader: Loader) -> None:
    loader.settings = loader.settings._replace(offline=True)
    with pytest.raises(PackageOfflineError, match="isokernel packages add nosuch"):
        loader.load("npm:nosuch")


# -- the packer ----------------------------------------------------------------------


def test_a_packer_that_was_ended_is_started_again(registry: PackageRegistry) -> None:
    packer = Packer(
        sandbox=SandboxSettings(),
        seconds_max=30,
        unpacked_bytes_max=1 << 20,
        files_max=10,
    )
    tarball = publish(registry)
    try:
        packed = packer.pack(tarball)
        assert packer._process is not None
        os.kill(packer._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, packer._process.pid, os.WEXITED | os.WNOWAIT)
        assert packer.pack(tarball) == packed
    finally:
        packer.close()


def test_a_package_that_ends_the_packer_is_told(registry: PackageRegistry) -> None:
    packer = Packer(
        sandbox=SandboxSettings(),
        seconds_max=30,
        unpacked_bytes_max=1 << 20,
        files_max=10,
    )
    tarball = publish(registry)
    try:
        packed = packer.pack(tarball)
        assert packer._process is not None
        assert packer._socket is not None
        process, sock = packer._process, packer._socket
        process.send_signal(signal.SIGSTOP)

        def end() -> None:
            wait_for(lambda: any(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))))
            process.kill()

        ending = threading.Thread(target=end)
        ending.start()
        with pytest.raises(PackageDamagedError, match="has ended"):
            packer.pack(tarball)
        ending.join()
        assert packer.pack(tarball) == packed
    finally:
        packer.close()


def test_a_packer_has_a_deadline(registry: PackageRegistry) -> None:
    packer = Packer(
        sandbox=None, seconds_max=0.0001, unpacked_bytes_max=1 << 20, files_max=10
    )
    try:
        with pytest.raises(PackageLimitError, match="package_pack_timeout_seconds"):
            packer.pack(publish(registry))
        assert packer._process is None
    finally:
        packer.close()


# -- a project's own registry ----------------------------------------------------------


class ContextNetwork:
    """The network of a context: what it reaches, and with which headers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.denied: Exception | None = None

    async def get_module(self, url: str) -> Any:
        raise AssertionError(url)

    async def fetch(
        self, url: str, headers: list[tuple[str, str]], bytes_max: int
    ) -> tuple[int, dict[str, str], bytes]:
        self.sent.append((url, dict(headers).get("Authorization", "")))
        if self.denied is not None:
            raise self.denied
        async with httpx.AsyncClient() as client:
            answer = await client.get(url, headers=headers)
        assert len(answer.content) <= bytes_max
        return answer.status_code, dict(answer.headers), answer.content


class Files:
    """The folder of a context with one file."""

    def __init__(self, npmrc: str) -> None:
        self.npmrc = npmrc

    async def read_module(self, path: str) -> Source | bool:
        return Source(self.npmrc.encode()) if path == ".npmrc" else False


@pytest.fixture
def project(registry: PackageRegistry, loader: Loader) -> Iterator[ContextNetwork]:
    """A context whose folder names a registry, with a token, for one scope."""
    with serve_registry() as own:
        own.publish(
            "@own/a",
            files={"index.js": "import b from 'b'"},
            type="module",
            dependencies={"b": "1"},
        )
        registry.publish("b", files={"index.js": ""})
        registry.publish("@own/a", "9.0.0", files={"index.js": "exports.wrong = 1"})
        place = own.url.removeprefix("http:")
        npmrc = f"@own:registry={own.url}\n{place}/:_authToken=t0k\n"
        network = ContextNetwork()
        loader.more |= {"files": Files(npmrc), "addresses": network}
        yield network


def test_a_project_names_a_registry(
    registry: PackageRegistry, loader: Loader, project: ContextNetwork
) -> None:
    graph = loader.load("@own/a")
    assert graph["roots"]["@own/a"] == "npm:/@own/a@1.0.0/index.js"
    assert [token for _, token in project.sent] == ["Bearer t0k"] * 2
    assert registry.paths() == ["/b", "/b/-/b-1.0.0.tgz"]
    assert not any("Authorization" in headers for _, headers in registry.requests)
    # What it said to somebody with a token is kept for nobody.
    loader.lock.clear()
    capability, target = "net", "x"
    project.denied = CapabilityDeniedError(capability, target, "--net x")
    with pytest.raises(CapabilityDeniedError, match="--net x would allow it"):
        loader.load("@own/a")


def test_a_lock_needs_no_registry(loader: Loader, project: ContextNetwork) -> None:
    loader.load("@own/a")
    message = "gone"
    project.denied = CapabilityError(message, code="net_error")
    assert loader.load("@own/a")["modules"]
    loader.lock.clear()
    with pytest.raises(RegistryError, match=r"can't be reached \(gone\)"):
        loader.load("@own/a")


@pytest.mark.parametrize("lends", [False, True])
def test_whose_tokens_a_project_uses(
    loader: Loader, project: ContextNetwork, *, lends: bool
) -> None:
    """A server's are for registries that the server names."""
    files: Files = loader.more["files"]
    where, _, token = files.npmrc.partition("\n")
    files.npmrc = where
    key, _, value = token.strip().partition("=")
    base = Npmrc({**loader.settings.npmrc.settings, key: value})
    loader.settings = loader.settings._replace(npmrc=base, lends_credentials=lends)
    loader.load("@own/a")
    assert {sent for _, sent in project.sent} == {"Bearer t0k" if lends else ""}
