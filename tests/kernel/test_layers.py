"""The structure: imports go one way, modules stay small, errors form one tree."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import isokernel
from isokernel import errors

PACKAGE = Path(isokernel.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "vendor" not in path.parts)

LAYERS = (
    # Lowest first; a module may import from its own layer and those before it.
    {"_version", "errors", "exit_codes", "settings"},
    {"v8"},
    {"runtime", "sandbox"},
    {"typescript"},
    {"compiler", "context", "protocol"},
    {"worker", "jupyter"},
    {"forkserver", "typecheck"},
    {"commands", "__main__"},
)


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Names under `isokernel` that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "isokernel":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "isokernel":
                found.add(parts[1])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "isokernel" and len(parts) > 1:
                    found.add(parts[1])
    return found - {"__version__"}


def _layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    pytest.fail(f"the module {name} is in no layer")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    own = _layer(_name(path))
    above = {name for name in _imports(path) if _layer(name) > own}
    assert above == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_ctypes_stays_in_v8(path: Path) -> None:
    # Python has no prctl, seccomp and Landlock: a dozen calls, in one module.
    if _name(path) != "v8" and path != PACKAGE / "sandbox" / "syscalls.py":
        assert not re.search(
            r"^\s*(import|from) ctypes", path.read_text(), re.MULTILINE
        )


def test_the_engine_starts_without_heavy_packages() -> None:
    """The kernel must start fast: no module imports any of these at its top."""
    heavy = {"asyncio", "tornado", "jupyter_client", "traitlets", "pydantic", "typer"}
    for path in MODULES:
        if _name(path) in {"commands", "forkserver"}:
            continue
        for node in ast.parse(path.read_text()).body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not heavy & {name.split(".")[0] for name in names}, path


def _errors() -> list[type]:
    return [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if item.__module__ == errors.__name__
    ]


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    defined = [error.__name__ for error in _errors()]
    assert sorted([*drawn, "IsokernelError"]) == sorted(defined)


def test_errors_have_one_root_and_one_suffix() -> None:
    for error in _errors():
        assert issubclass(error, errors.IsokernelError)
        assert error.__name__.endswith("Error")
        assert error.__doc__
