"""Odd paths against an independent oracle: nothing outside of the folder is reached.

The oracle resolves a path by itself, name by name in a dictionary of what there is, and
knows nothing of descriptors or of the system's own look-up.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import FileError
from isokernel.files.folder import Folder

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"file": "1", "d/file": "2", "d/e/file": "3", "d/é": "4", "d. /…": "5"}
LINKS = {
    "in": "d",
    "d/up": "..",
    "d/e/top": "../..",
    "file2": "file",
    "d/loop": "loop",
    "out": "..",
    "d/far": "../../outside",
    "abs": "/etc",
    "deep": "d/e/../e/../up/d",
    "escape": "d/../../outside/secret",
    "chain": "in/e/top/in",
    "dots": "./d/./.",
}
_NAMES = [
    *(
        "file",
        "d",
        "e",
        "é",
        "d. ",
        "…",
        "in",
        "up",
        "top",
        "out",
        "far",
        "abs",
        "deep",
    ),
    *("loop", "escape", "chain", "dots", "file2", "outside", "secret", "etc", "passwd"),
    *("..", "..", "..", ".", "", "...", ".. ", " ..", "%2e%2e", "..\\", "FILE", "D"),
    *(
        "\0",
        "\u202e",
        "\ud800",
        "n" * 255,
        "n" * 256,
        "~",
        "$HOME",
        "*",
        "proc",
        "self",
    ),
    *(
        "e\u0301",
        "file.",
        "file ",
        "CON",
        "NUL:",
        "a:b",
        "\n",
        "\u2025",
        "\uff0e\uff0e",
    ),
]
_TURNS_MAX = 40


class OutsideError(Exception):
    """The path leads out of the folder, or to nothing that may be opened."""


def resolved(path: str) -> tuple[str, ...]:
    """Where a path leads, by the oracle: names from the folder's top.

    Raises:
        OutsideError: It leads out, loops, or can't be a path.
        KeyError: There is nothing.
    """
    if "\0" in path or any("\ud800" <= each <= "\udfff" for each in path):
        raise OutsideError
    depth = 0
    for name in path.split("/"):
        if len(name.encode()) > 255:
            raise OutsideError
        depth += {"..": -1, ".": 0, "": 0}.get(name, 1)
        if depth < 0:
            raise OutsideError
    return walked((), path.lstrip("/"), [0])


_PARTS = [tuple(path.split("/")) for path in FILES]
_FOLDERS = {parts[:length] for parts in _PARTS for length in range(len(parts))}


def walked(at: tuple[str, ...], path: str, turns: list[int]) -> tuple[str, ...]:
    """Where a path leads from a folder."""
    for name in path.split("/"):
        if at not in _FOLDERS:  # a file is no folder
            raise KeyError(path)
        if name in {"", "."}:
            continue
        if name == "..":
            if not at:
                raise OutsideError
            at = at[:-1]
            continue
        link = LINKS.get("/".join((*at, name)))
        if link is None:
            at = (*at, name)
            if at not in _FOLDERS and at not in _PARTS:
                raise KeyError(path)
            continue
        turns[0] += 1
        if turns[0] > _TURNS_MAX or link.startswith("/"):
            raise OutsideError
        at = walked(at, link, turns)
    return at


def made(place: Path) -> Folder:
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    inside = place / "inside"
    inside.mkdir()
    for path, text in FILES.items():
        file = inside / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for path, target in LINKS.items():
        (inside / path).symlink_to(target)
    return Folder(inside)


def paths(seed: int, number: int) -> list[str]:
    chosen = random.Random(seed)  # noqa: S311
    found = []
    for _ in range(number):
        names = chosen.choices(_NAMES, k=chosen.randint(1, 7))
        path = "/".join(names)
        found.append(chosen.choice(["", "", "/", "//", "./"]) + path)
    return found


@pytest.mark.parametrize("number", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_paths_lead_where_the_oracle_says(tmp_path: Path, number: int) -> None:
    folder = made(tmp_path)
    seen = {"file": 0, "folder": 0, "nothing": 0, "outside": 0}
    for path in paths(number, number):
        expected: Any
        try:
            at = resolved(path)
            expected = FILES.get("/".join(at))
        except OutsideError:
            expected = OutsideError
        except KeyError:
            expected = KeyError
        try:
            got: Any = folder.read(path).decode()
        except FileError as error:
            got = error.code
        if expected is OutsideError:
            seen["outside"] += 1
            refused = {"EACCES", "EINVAL", "EILSEQ", "ENAMETOOLONG", "ELOOP"}
            # What isn't there on the way out is said first.
            assert got in {*refused, "ENOENT", "ENOTDIR"}, (path, got)
        elif expected is KeyError:
            seen["nothing"] += 1
            assert got in {"ENOENT", "ENOTDIR", "EACCES", "ELOOP"}, (path, got)
        elif expected is None:
            seen["folder"] += 1
            assert got == "EISDIR", (path, got)
        else:
            seen["file"] += 1
            assert got == expected, (path, got)
    assert min(seen.values()) > number // 400, seen
    folder.close()


@pytest.mark.parametrize("number", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_change_reaches_out(tmp_path: Path, number: int) -> None:
    folder = made(tmp_path)
    before = (tmp_path / "outside").stat().st_mtime_ns
    chosen = random.Random(number)  # noqa: S311
    odd = iter(paths(number + 1, 2 * number))
    for path in odd:
        try:
            match chosen.randrange(7):
                case 0:
                    folder.write(path, b"x")
                case 1:
                    folder.make(path, parents=chosen.random() < 0.5)
                case 2:
                    folder.move(path, next(odd))
                case 3:
                    folder.copy(path, next(odd))
                case 4:
                    folder.delete(path)
                case 5:
                    folder.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC).close()
                case 6:
                    folder.delete_folder(path, recursive=chosen.random() < 0.1)
        except (FileError, StopIteration):  # noqa: PERF203
            continue
    folder.close()
    assert {each.name for each in tmp_path.iterdir()} == {"inside", "outside"}
    assert [each.name for each in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside" / "secret").read_text() == "secret"
    assert (tmp_path / "outside").stat().st_mtime_ns == before
