"""The client's commands for what a server has: heaps, tags, sessions, contexts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from isokernel._version import __version__
from isoserver.client.requests import Connection, quote

if TYPE_CHECKING:
    import argparse

__all__ = [
    "show_contexts",
    "show_heaps",
    "show_sessions",
    "show_tags",
    "show_version",
]


def show_heaps(server: Connection, given: argparse.Namespace) -> int:
    """List heaps, with the tags that are named, or show one."""
    if given.key is not None:
        _print_json(server.get(f"/api/heaps/{quote(given.key)}"))
        return 0
    tags = [f"{name}:{value}" for name, value in given.tag]
    found = server.get("/api/heaps", tag=tags or None, limit=given.limit)
    for heap in found["heaps"]:
        _print(heap["heap"], heap["created_at"], _joined(heap["tags"]))
    return 0


def show_tags(server: Connection, given: argparse.Namespace) -> int:
    """Show the tags of a heap, after the changes asked for."""
    path = f"/api/heaps/{quote(given.key)}"
    tags = server.get(path)["tags"]
    changed = {**tags, **dict(given.set)}
    for name in tags if given.clear else given.delete:
        changed.pop(name, None)
    if changed != tags:
        server.ask("PUT", f"{path}/tags", body={"tags": changed})
    for name, value in sorted(changed.items()):
        _print(f"{name}={value}")
    return 0


def show_sessions(server: Connection, given: argparse.Namespace) -> int:
    """List sessions, or the history of one: what led from which heap to which."""
    if given.name is None:
        for name in server.get("/api/sessions")["sessions"]:
            _print(name)
        return 0
    path = f"/api/sessions/{quote(given.name)}/snapshots"
    _print_json(server.get(path)["entries"])
    return 0


def show_contexts(server: Connection, _given: argparse.Namespace) -> int:
    """List contexts, one on each line."""
    for one in server.get("/contexts")["items"]:
        _print(one["id"], one["language_name"], one["state"], one["last_used"])
    return 0


def show_version(server: Connection, _given: argparse.Namespace) -> int:
    """Print the versions of client and server."""
    _print(f"client {__version__}")
    sys.stdout.flush()
    _print(f"server {server.get('/api/version')['version']}")
    return 0


def _joined(tags: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(tags.items()))


def _print(*fields: str) -> None:
    sys.stdout.write("  ".join(fields).rstrip() + "\n")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
