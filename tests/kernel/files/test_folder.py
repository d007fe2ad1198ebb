"""A context's folder: what is done in it, its limits, and that nothing leads out."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from isokernel.errors import FileError, FileLimitError
from isokernel.files.folder import Folder, FolderLimits, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREATE = os.O_CREAT | os.O_RDWR


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a file beside it, which nothing may reach."""
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    return inside


@pytest.fixture
def folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """The folder, without limits; the tests are in it."""
    monkeypatch.chdir(place)
    opened = Folder(place)
    yield opened
    opened.close()


def code_of(error: pytest.ExceptionInfo[FileError]) -> str:
    return error.value.code


def test_files_are_written_read_listed_moved_copied_and_deleted(folder: Folder) -> None:
    assert folder.make("a/b", parents=True) == "a"
    folder.write("/a/b/one.txt", b"one")
    folder.copy("a/b/one.txt", "two.txt")
    folder.move("/two.txt", "/a/three.txt")
    assert folder.read("a/three.txt") == b"one"
    assert [each.path for each in folder.list(recursive=True)] == [
        "a",
        "a/b",
        "a/b/one.txt",
        "a/three.txt",
    ]
    assert folder.stat("a/b/../three.txt").st_size == 3
    folder.delete("a/three.txt")
    folder.delete_folder("a", recursive=True)
    assert folder.list() == []


def test_a_handle_reads_writes_and_appends_at_positions(folder: Folder) -> None:
    with folder.open("x", _CREATE) as handle:
        assert handle.write(b"hello") == 5
        assert handle.write(b"J", 0) == 1
        assert handle.write(b"!") == 1  # the position stays after a write at a place
        assert handle.read(100, 0) == b"Jello!"
        handle.truncate(2)
        assert handle.read(10, 0) == b"Je"
    with folder.open("x", os.O_WRONLY | os.O_APPEND) as handle:
        handle.write(b"..", 0)
        with pytest.raises(FileError, match="EBADF"):
            handle.read(1)
    assert folder.read("x") == b"Je.."
    with pytest.raises(FileError, match="EBADF"):
        handle.write(b"")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../secret", "EACCES"),
        ("/../secret", "EACCES"),
        ("a/../../secret", "EACCES"),
        ("out", "EACCES"),
        ("outside/secret", "EACCES"),
        ("up/secret", "EACCES"),
        ("magic", "EACCES"),
        ("loop", "ELOOP"),
        ("a\0b", "EINVAL"),
        ("\ud800", "EILSEQ"),
        ("n" * 256, "ENAMETOOLONG"),
        ("a/" * 3000, "ENAMETOOLONG"),
        ("a/x" * 101, "ENAMETOOLONG"),
        ("pipe", "EACCES"),
        ("socket", "EACCES"),
        ("file/", "ENOTDIR"),
        ("file/x", "ENOTDIR"),
        ("FILE", "ENOENT"),
        ("file.", "ENOENT"),
        ("file ", "ENOENT"),
        ("%2e%2e/secret", "ENOENT"),
        ("..\\secret", "ENOENT"),
    ],
)
@pytest.mark.parametrize("way", ["openat2", "walk"])
def test_odd_paths_are_refused(folder: Folder, path: str, code: str, way: str) -> None:
    place = Path()
    folder._beneath = way == "openat2"
    (place / "a").mkdir()
    (place / "file").write_text("x")
    (place / "out").symlink_to("../secret")
    (place / "outside").symlink_to("..")
    (place / "up").symlink_to("a/../..")
    (place / "magic").symlink_to("/proc/self/cwd")
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(FileError) as error:
            folder.read(path)
    followed = path in {"out", "outside/secret", "up/secret", "magic"}
    assert code_of(error) == ("ELOOP" if followed and way == "walk" else code)


@pytest.mark.parametrize("path", ["/", ".", "a/..", "a/."])
def test_the_folder_itself_is_neither_deleted_nor_moved(
    folder: Folder, path: str
) -> None:
    folder.make("a")
    with pytest.raises(FileError, match="EBUSY"):
        folder.delete_folder(path, recursive=True)
    with pytest.raises(FileError, match="EBUSY"):
        folder.move(path, "b")


def test_links_inside_are_followed_and_deleted_as_links(
    place: Path, folder: Folder
) -> None:
    folder.make("a")
    folder.write("a/x", b"1")
    (place / "link").symlink_to("a/x")
    (place / "linked").symlink_to("a")
    (place / "nowhere").symlink_to("missing")
    assert folder.read("link") == b"1"
    assert folder.real_path("linked/x") == "/a/x"
    folder.write("link", b"2")
    assert folder.read("a/x") == b"2"
    assert (place / "link").is_symlink()
    with pytest.raises(FileError, match="ENOENT"):
        folder.open("nowhere", _CREATE)
    with pytest.raises(FileError, match="ENOTDIR"):
        folder.delete_folder("linked", recursive=True)
    folder.delete("link")
    assert folder.read("a/x") == b"2"
    kinds = {each.path: each.kind for each in folder.list(recursive=True)}
    assert kinds == {"a": "folder", "a/x": "file", "linked": "link", "nowhere": "link"}


SWAPPING = """
import os, sys
os.chdir(sys.argv[1])
os.symlink("..", "to")
while True:
    for source, goal in (("a", "b"), ("to", "a"), ("a", "to"), ("b", "a")):
        try:
            os.rename(source, goal)
        except OSError:
            pass
"""


def test_a_link_that_is_swapped_amid_calls_never_leads_out(
    place: Path, folder: Folder
) -> None:
    """By another process: a thread may swap in step with what is tried here."""
    (place / "a").mkdir()
    (place / "a" / "secret").write_text("inside")
    command = [sys.executable, "-S", "-I", "-c", SWAPPING, str(place)]
    seen: Counter[str | bytes] = Counter()
    with subprocess.Popen(command) as swapping:
        try:
            until = time.monotonic() + DEADLINE
            while seen.total() < 2000 or not {b"inside", "ENOENT", "EACCES"} <= {*seen}:
                assert time.monotonic() < until, seen
                made = f"a/made{seen.total()}"
                try:
                    seen[folder.read("a/secret")] += 1
                    folder.write("a/made", b"")
                    folder.move("a/made", made)
                    folder.delete(made)
                except FileError as error:
                    seen[error.code] += 1
        finally:
            swapping.kill()
    assert b"secret" not in seen
    assert {path.name for path in place.parent.iterdir()} == {"secret", "inside"}


def test_limits_name_what_they_limit_and_are_given_back(place: Path) -> None:
    (place / "before").write_bytes(b"x" * 30)
    limits = FolderLimits(bytes_max=100, files_max=4, file_bytes_max=60, open_max=2)
    folder = Folder(place, limits)
    with pytest.raises(FileLimitError, match=r"61 bytes.* 60 \(file_bytes_max\)"):
        folder.write("x", b"x" * 61)
    folder.write("x", b"x" * 60)
    with pytest.raises(FileLimitError, match=r"101 bytes.* 100 \(files_bytes_max\)"):
        folder.write("y", b"x" * 11)
    with pytest.raises(FileLimitError, match="files_bytes_max"):
        folder.truncate("before", 41)
    folder.make("d")
    folder.write("y", b"x" * 10)
    assert folder.usage() == Usage(100, 4)
    with pytest.raises(FileLimitError, match=r"5 files and folders.* 4 \(files_max\)"):
        folder.make("e")
    with pytest.raises(FileLimitError, match="files_max"):
        folder.open("z", _CREATE)
    first, second = folder.open("x", os.O_RDWR), folder.open("y", os.O_RDONLY)
    with pytest.raises(FileLimitError, match="files_open_max"):
        folder.open("y", os.O_RDONLY)
    folder.delete("x")  # is open, so its bytes are still there
    assert folder.usage() == Usage(100, 3)
    second.close()
    with pytest.raises(FileLimitError, match="files_bytes_max"):
        folder.truncate("y", 11)
    first.close()
    assert folder.usage() == Usage(40, 3)
    folder.move("before", "y")
    folder.delete_folder("d")
    assert folder.usage() == Usage(30, 1)
    folder.close()
    assert [each.name for each in place.iterdir()] == ["y"]


def test_a_file_is_replaced_as_a_whole(place: Path, folder: Folder) -> None:
    folder.write("x", b"old")
    (place / "x").chmod(0o640)
    with folder.replace("x") as replacement:
        replacement.write(b"new")
        assert folder.read("x") == b"old"
    assert folder.read("x") == b"old"
    with folder.replace("x") as replacement:
        replacement.write(b"new")
        replacement.commit()
    assert folder.read("x") == b"new"
    assert stat.S_IMODE((place / "x").stat().st_mode) == 0o640
    assert [each.path for each in folder.list()] == ["x"]
    with pytest.raises(FileError, match="EEXIST"):
        folder.replace("x", exclusive=True)


def test_a_read_only_folder_changes_nothing(place: Path) -> None:
    (place / "x").write_text("x")
    folder = Folder(place, writable=False)
    assert folder.read("x") == b"x"
    for attempt in (
        lambda: folder.write("x", b""),
        lambda: folder.open("y", _CREATE),
        lambda: folder.open("x", os.O_RDONLY | os.O_TRUNC),
        lambda: folder.make("d"),
        lambda: folder.move("x", "y"),
        lambda: folder.delete("x"),
        lambda: folder.copy("x", "y"),
        lambda: folder.access("x", os.W_OK),
    ):
        with pytest.raises(FileError, match="EROFS"):
            attempt()
    folder.close()
    assert (place / "x").read_text() == "x"


def test_folders_deeper_than_any_path_are_deleted(place: Path, folder: Folder) -> None:
    for _ in range(300):
        os.mkdir("d" * 200)  # noqa: PTH102 - deeper than a path can say
        os.chdir("d" * 200)
    os.chdir(place)
    with pytest.raises(FileError, match="ENAMETOOLONG"):
        folder.list(recursive=True)
    folder.delete_folder("d" * 200, recursive=True)
    assert folder.list() == []


def test_folders_can_not_be_moved_deeper_than_they_may_be(folder: Folder) -> None:
    folder.make("/".join("a" * 60), parents=True)
    folder.make("/".join("b" * 60), parents=True)
    with pytest.raises(FileError, match="ENAMETOOLONG"):
        folder.move("b", "/".join("a" * 60) + "/b")


def test_the_size_of_sparse_files_counts(place: Path) -> None:
    folder = Folder(place, FolderLimits(bytes_max=1000))
    with folder.open("x", _CREATE) as handle:
        with pytest.raises(FileLimitError, match="files_bytes_max"):
            handle.write(b"x", 10**12)
        with pytest.raises(FileLimitError, match="files_bytes_max"):
            handle.truncate(10**12)
    assert folder.usage() == Usage(0, 1)
    folder.close()


def test_what_nobody_has_any_more_is_closed_and_discarded(folder: Folder) -> None:
    folder.limits = FolderLimits(open_max=1)
    folder.open("x", _CREATE)
    folder.replace("y").write(b"1")
    folder.open("x", os.O_RDONLY)
    assert os.listdir(".") == ["x"]  # noqa: PTH208
