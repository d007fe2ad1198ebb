"""A registry of npm packages on loopback, with packages that tests make."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "PackageRegistry",
    "Reply",
    "held_for",
    "make_tarball",
    "serve_registry",
]


class Reply(NamedTuple):
    """An answer in place of the registry's own."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    wait: threading.Event | None = None
    """It is answered when this is set."""
    asked: threading.Event | None = None
    """Set when it is asked for."""


def make_tarball(
    files: Mapping[str, str | bytes],
    change: Callable[[tarfile.TarFile], None] | None = None,
    folder: str = "package",
) -> bytes:
    """A package's tarball; `change` may add what no package should have."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if change is not None:
            change(archive)
    return gzip.compress(buffer.getvalue(), mtime=0)


class PackageRegistry:
    """What is published, and what was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.packages: dict[str, dict[str, Any]] = {}
        self.tarballs: dict[str, bytes] = {}
        self.replies: dict[str, Reply] = {}
        """By path; instead of what would be answered."""
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self._installed: dict[str, dict[str, Path]] = {}

    def write_npmrc(self, folder: Path) -> Path:
        """Write the file in a folder by which packages are had from here."""
        file = folder / "npmrc"
        file.write_text(f"registry={self.url}\n")
        return file

    def publish(
        self,
        name: str,
        version: str = "1.0.0",
        files: Mapping[str, str | bytes] | None = None,
        **manifest: Any,
    ) -> bytes:
        """Publish a version; its package.json is made of the keywords."""
        content = {"name": name, "version": version, **manifest}
        files = {"package.json": json.dumps(content), **(files or {})}
        tarball = make_tarball(files)
        self.publish_tarball(name, version, tarball)
        return tarball

    def publish_tarball(
        self, name: str, version: str, tarball: bytes, /, **dist: Any
    ) -> None:
        """Publish a tarball as it is; keywords replace what is said about it."""
        digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.tarballs[path] = tarball
        entry = {
            "tarball": f"{self.url}{path}",
            "integrity": f"sha512-{digest}",
            "shasum": hashlib.sha1(tarball, usedforsecurity=False).hexdigest(),
        }
        document = self.packages.setdefault(
            name, {"name": name, "dist-tags": {}, "versions": {}}
        )
        document["versions"][version] = {
            "name": name,
            "version": version,
            "dist": {**entry, **dist},
        }
        document["dist-tags"]["latest"] = version

    def offer(self, node_modules: Path) -> None:
        """Offer what npm has installed in a folder; it is packed when asked for."""
        for manifest in node_modules.rglob("package.json"):
            folder = manifest.parent
            above = folder.parent
            if above.name.startswith("@"):
                above = above.parent
            if above.name != "node_modules":
                continue
            content = json.loads(manifest.read_text(encoding="utf-8"))
            if "name" in content and "version" in content:
                versions = self._installed.setdefault(content["name"], {})
                versions[content["version"]] = folder

    def _pack_installed(self, name: str) -> None:
        for version, folder in self._installed.pop(name, {}).items():
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
                and "node_modules" not in path.relative_to(folder).parts
            }
            self.publish_tarball(name, version, make_tarball(files))
            manifest = json.loads(files["package.json"])
            entry = self.packages[name]["versions"][version]
            entry["dependencies"] = manifest.get("dependencies", {})
        latest = sorted(self.packages.get(name, {"versions": {}})["versions"])
        if latest:
            self.packages[name]["dist-tags"]["latest"] = latest[-1]

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.requests]

    def reply(self, path: str) -> Reply:
        """What a path is answered with."""
        if path in self.replies:
            return self.replies[path]
        if path in self.tarballs:
            return Reply(body=self.tarballs[path])
        name = path.removeprefix("/")
        self._pack_installed(name)
        document = self.packages.get(name)
        if document is None:
            return Reply(404, b"{}")
        body = json.dumps(document).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        return Reply(body=body, headers={"ETag": tag})


@contextmanager
def held_for(registry: PackageRegistry, path: str, seconds: float) -> Iterator[None]:
    """Have what is at a path come so long after it was asked for."""
    reply = registry.reply(path)
    come = threading.Event()
    asked = threading.Event()
    registry.replies[path] = reply._replace(wait=come, asked=asked)

    def let_come() -> None:
        asked.wait(30)
        come.wait(seconds)
        come.set()

    thread = threading.Thread(target=let_come)
    thread.start()
    try:
        yield
    finally:
        asked.set()
        thread.join()
        del registry.replies[path]


@contextmanager
def serve_registry() -> Iterator[PackageRegistry]:
    """A registry, for as long as the block lasts."""
    registry = PackageRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            registry.requests.append((path, dict(self.headers)))
            reply = registry.reply(path)
            if reply.asked is not None:
                reply.asked.set()
            if reply.wait is not None:
                reply.wait.wait(30)
            if reply.headers.get("ETag", "-") == self.headers.get("If-None-Match"):
                reply = Reply(304)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # of what comes beyond 5 at a time, some is lost

    server = Listener(("127.0.0.1", 0), Handler)
    # By default it looks every half second whether it shall end, and each test that has
    # a registry would wait for it.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
