"""The structure is what ARCHITECTURE.md draws: layers, rooms, the map, borders."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import isokernel
import isoserver

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = {
    name: Path(module.__file__ or "").parent
    for name, module in (("isokernel", isokernel), ("isoserver", isoserver))
}
BORDER = {"models", "handlers", "routes"}
"""Of each feature of the server; `*/models` in the picture."""


def block(kind: str) -> str:
    """The text of a fenced block of the document."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"ARCHITECTURE.md has no block {kind!r}"
    return found[1]


def layers(package: str) -> list[list[str]]:
    """The rooms of each layer, the lowest first."""
    lines = block(f"layers {package}").splitlines()
    return [line.split() for line in reversed(lines)]


class Module(NamedTuple):
    """A module of one of the packages, by its path under it."""

    package: str
    path: Path

    @property
    def parts(self) -> tuple[str, ...]:
        return self.path.with_suffix("").parts

    @property
    def room(self) -> str:
        return room(self.package, self.parts)

    def tree(self) -> ast.Module:
        return ast.parse((PACKAGES[self.package] / self.path).read_text("utf-8"))

    def imports(self) -> Iterator[tuple[str, ...]]:
        """What it imports of its own package, as parts of paths; all of it."""
        for node in ast.walk(self.tree()):
            if isinstance(node, ast.ImportFrom) and node.module:
                first, *rest = node.module.split(".")
                if first == self.package:
                    yield from ((*rest, name.name) for name in node.names)
            elif isinstance(node, ast.Import):
                for name in node.names:
                    first, *rest = name.name.split(".")
                    if first == self.package and rest:
                        yield tuple(rest)


def room(package: str, parts: tuple[str, ...]) -> str:
    """The name that the picture has for a module."""
    if package == "isoserver" and len(parts) > 1 and parts[1] in BORDER:
        return f"*/{parts[1]}"
    return parts[0]


MODULES = [
    Module(package, path.relative_to(folder))
    for package, folder in PACKAGES.items()
    for path in sorted(folder.rglob("*.py"))
    if "vendor" not in path.parts and path.parent / path.stem != folder / "__init__"
    if path.stem not in {"__main__", "_version"}
]


def layer_of(package: str, name: str) -> int:
    for number, names in enumerate(layers(package)):
        if name in names:
            return number
    pytest.fail(f"ARCHITECTURE.md draws no layer with {name} of {package}")


@pytest.mark.parametrize("module", MODULES, ids=lambda m: f"{m.package}/{m.path}")
def test_imports_go_down(module: Module) -> None:
    own = layer_of(module.package, module.room)
    above = {
        ".".join(parts)
        for parts in module.imports()
        if parts[0] != "_version"
        and layer_of(module.package, room(module.package, parts)) > own
    }
    assert not above


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_form_no_circle(package: str) -> None:
    """What a room needs doesn't need the room; the border modules are their own."""
    needs: dict[str, set[str]] = {}
    for module in MODULES:
        if module.package == package:
            wanted = needs.setdefault(module.room, set())
            wanted |= {room(package, parts) for parts in module.imports()}
    for name, wanted in needs.items():
        wanted -= {name, "_version"}
    border = {name for name in needs if name.startswith("*/")}
    border |= {"http", "mcp", "ui", "tracing", "app", "cli"}
    while free := [name for name, wanted in needs.items() if not wanted & set(needs)]:
        for name in free:
            del needs[name]
    # Handlers and routes use http, whose own routes are handled like theirs.
    assert set(needs) <= border


@pytest.mark.parametrize("package", PACKAGES)
def test_the_picture_has_every_room_and_no_other(package: str) -> None:
    drawn = {name for names in layers(package) for name in names}
    assert drawn == {module.room for module in MODULES if module.package == package}


def test_the_kernel_does_not_know_the_server() -> None:
    for path in PACKAGES["isokernel"].rglob("*.py"):
        assert "isoserver" not in path.read_text("utf-8"), path


def test_ctypes_is_in_the_engine_and_the_sandbox() -> None:
    for module in MODULES:
        if module.room != "v8" and module.parts != ("sandbox", "syscalls"):
            text = (PACKAGES[module.package] / module.path).read_text("utf-8")
            assert not re.search(r"^\s*(import|from) ctypes", text, re.MULTILINE), (
                module
            )


def test_pydantic_is_at_the_border() -> None:
    allowed = {"http", "mcp", *(f"*/{name}" for name in BORDER)}
    # The MCP SDK raises pydantic's errors; tables of the configuration file are REST's.
    allowed_parts = {
        ("tools", "sources", "mcp"),
        ("settings", "tools"),
        ("settings", "rules"),
    }
    for module in MODULES:
        if module.room in allowed or module.parts in allowed_parts:
            continue
        text = (PACKAGES[module.package] / module.path).read_text("utf-8")
        assert not re.search(r"^\s*(import|from) pydantic", text, re.MULTILINE), module


_LATER = {"capabilities", "commands", "files", "forkserver", "network", "packages"}
"""Rooms that aren't on the way; code's first call loads what it needs."""


def test_the_kernel_starts_without_heavy_packages() -> None:
    """No module on the way to a kernel's first reply imports any of these."""
    heavy = {"asyncio", "tornado", "jupyter_client", "traitlets", "pydantic", "typer"}
    for module in MODULES:
        if module.package != "isokernel" or module.room in _LATER:
            continue
        for node in module.tree().body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not heavy & {name.split(".")[0] for name in names}, module


def test_the_map_is_the_tree() -> None:
    """Every folder of the packages is on the map, and nothing that isn't there."""
    drawn: set[Path] = set()
    top = Path()
    for line in block("map").splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            top = Path(name)
            assert (ROOT / top).is_dir(), name
            continue
        assert (ROOT / top / name).exists(), name
        drawn.add(top / name)
    folders = {
        folder.relative_to(ROOT)
        for top in ("kernel/isokernel", "server/isoserver")
        for folder in (ROOT / top).iterdir()
        # Git leaves folders whose modules have moved, with nothing but bytecode.
        if folder.name != "__pycache__"
        and any(path.is_file() for path in folder.glob("*"))
    }
    assert drawn == folders


def test_paths_named_in_the_document_exist() -> None:
    """`room/module` and `room/module.Class.method` of the paths and tables."""
    for text in re.findall(
        r"`((?:isokernel/)?[a-z0-9_]+/[a-z0-9_]+)(?:\.[\w.…(]+)?`", DOCUMENT
    ):
        found = [
            folder / f"{text.removeprefix('isokernel/')}{ending}"
            for folder in (*PACKAGES.values(), ROOT, PACKAGES["isokernel"] / "runtime")
            for ending in ("", ".py", ".js", ".d.ts", ".md")
        ]
        assert any(path.exists() for path in found), text
