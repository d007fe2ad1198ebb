"""The structure of the server: one-way imports, small modules, docs of all flags."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import isokernel
import isoserver

KERNEL = Path(isokernel.__file__).parent
SERVER = Path(isoserver.__file__).parent
MODULES = sorted(SERVER.rglob("*.py"))

LAYERS = (
    # Lowest first; a module may import from its own layer and those before it.
    {"errors", "principal", "client"},
    {"settings"},
    {"storage", "access"},
    {"contexts", "tools", "heaps", "runs", "http", "mcp"},
    {"app"},
    {"cli"},
)


def _imports(tree: ast.AST, package: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        names = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        for name in names:
            first, _, rest = name.partition(".")
            if first == package:
                tops = rest.split(".")[:1] if rest else []
                if isinstance(node, ast.ImportFrom) and not rest:
                    tops = [alias.name for alias in node.names]
                found.update(tops)
    return found


def _layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    pytest.fail(f"the module {name} is in no layer")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SERVER)))
def test_imports_go_one_way(path: Path) -> None:
    if path == SERVER / "__init__.py":
        return
    name = path.relative_to(SERVER).parts[0].removesuffix(".py")
    own = _layer(name)
    imported = _imports(ast.parse(path.read_text()), "isoserver")
    assert {other for other in imported if _layer(other) > own} == set()


def test_the_kernel_does_not_know_the_server() -> None:
    for path in KERNEL.rglob("*.py"):
        assert "isoserver" not in path.read_text(), path


def test_pydantic_stays_at_the_border() -> None:
    border = {"models", "handlers", "routes"}
    for folder in ("access", "contexts", "runs", "tools"):
        for path in (SERVER / folder).rglob("*.py"):
            # The MCP SDK raises its errors.
            if path != SERVER / "tools" / "sources" / "mcp.py":
                assert path.stem in border or "pydantic" not in path.read_text(), path
