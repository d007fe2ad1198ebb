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

COMMANDS = {"client", "heaps", "mcp", "serve"}
"""Of the kernel's command line; they lead to the server's."""

LAYERS = (
    # Lowest first; a module may import from its own layer and those before it.
    {"errors", "logs", "principal", "turns"},
    {"tool_settings", "access_settings"},
    {"agent_settings"},
    {"settings"},
    {"access"},
    {"database", "folders", "ownership", "retention"},
    {"contexts", "client", "tools"},
    {"heaps"},
    {"executions"},
    {"results", "metrics", "guards", "models", "page"},
    {"tasks"},
    {"api_models", "heap_models", "tool_models"},
    {"task_models"},
    {"service", "feeds"},
    {"handlers"},
    {"mcp"},
    {"operations"},
    {"api_routes", "heap_routes", "tool_routes"},
    {"task_routes"},
    {"bodies"},
    {"routes"},
    {"openapi"},
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


def test_the_kernel_knows_the_server_in_commands_only() -> None:
    for path in KERNEL.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if path == KERNEL / "cli.py":
            tree = ast.Module(
                [
                    node
                    for node in tree.body
                    if getattr(node, "name", "") not in COMMANDS
                ],
                [],
            )
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert "isoserver" not in ast.unparse(node), path


def test_modules_stay_small() -> None:
    for path in MODULES:
        lines = len(path.read_text().splitlines())
        large = {"context.py", "hibernation.py", "pool.py", "routes.py"}
        allowed = 480 if path.name in large else 400
        assert lines <= allowed, f"{path.relative_to(SERVER)} has {lines} lines"


def test_pydantic_stays_at_the_border() -> None:
    for folder in ("access", "contexts", "executions", "tasks", "tools"):
        for path in (SERVER / folder).rglob("*.py"):
            # The MCP SDK raises its errors.
            if path != SERVER / "tools" / "sources" / "mcp.py":
                assert "pydantic" not in path.read_text(), path
