"""Tarballs that anybody may have made: what is refused, and how it is said."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from typing import TypeAlias

import pytest
from tests.support.registry import make_tarball

from isokernel.errors import PackageDamagedError, PackageError, PackageLimitError
from isokernel.packages.tarballs import read_tarball

MIB = 1 << 20
Change: TypeAlias = Callable[[tarfile.TarFile], None]


def read(
    tarball: bytes, bytes_max: int = MIB, files_max: int = 100
) -> dict[str, bytes]:
    return dict(read_tarball(tarball, bytes_max=bytes_max, files_max=files_max))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Change:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info, io.BytesIO())

    return add


def test_files_by_path_in_the_package() -> None:
    tarball = make_tarball({"a.js": "1", "b/c.js": "2"}, member("package/d", b"5"))
    assert read(tarball) == {"a.js": b"1", "b/c.js": b"2"}


def test_the_first_folder_may_have_any_name() -> None:
    assert read(make_tarball({"a.js": "1"}, folder="./node v1")) == {"a.js": b"1"}


def test_a_path_may_say_where_it_is() -> None:
    tarball = make_tarball({}, member("./package/./dist/./a.js"))
    assert list(read(tarball)) == ["dist/a.js"]


def test_long_paths_are_read_whole() -> None:
    path = f"{'x' * 200}/{'y' * 100}.js"
    assert list(read(make_tarball({path: ""}))) == [path]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (member("/etc/passwd"), "out of the package"),
        (member("package/../../x"), "out of the package"),
        (member("../x"), "out of the package"),
        (member("package//x"), "out of the package"),
        (member("package/./../../x"), "out of the package"),
        (member("./x"), "outside of a folder"),
        (member("package/a\\..\\x"), "out of the package"),
        (member("x"), "outside of a folder"),
        (member("package/l", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
        (member("package/l", tarfile.LNKTYPE, "../x"), "a link"),
        (member("package/d", tarfile.CHRTYPE), "no plain file"),
        (member("package/d", tarfile.BLKTYPE), "no plain file"),
        (member("package/d", tarfile.FIFOTYPE), "no plain file"),
        (member(f"package/{'x' * 2000}"), "a path of 2008 characters"),
    ],
)
def test_what_no_package_may_have(change: Change, says: str) -> None:
    tarball = make_tarball({"a.js": "1"}, change)
    with pytest.raises(PackageDamagedError, match=says):
        read(tarball)


def test_a_bomb_is_not_unpacked() -> None:
    tarball = make_tarball({"a.js": bytes(50 * MIB)})
    assert len(tarball) < MIB
    with pytest.raises(PackageLimitError, match="package_unpacked_bytes_max"):
        read(tarball)


def test_a_claimed_size_is_not_believed() -> None:
    """A header that says a terabyte reserves none."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("package/x")
        info.size = 1 << 40
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))

    with pytest.raises(PackageError):
        read(make_tarball({"a.js": "1"}, add))


def test_files_are_counted() -> None:
    tarball = make_tarball({f"{number}.js": "" for number in range(101)})
    with pytest.raises(PackageLimitError, match="package_files_max"):
        read(tarball)
    assert len(read(tarball, files_max=101)) == 101


def test_damaged_ones_are_told_from_whole_ones() -> None:
    whole = make_tarball({"a.js": "x" * 10_000})
    for damaged in (
        b"",
        b"no tarball",
        whole[:-20],
        whole[: len(whole) // 2],
        whole[:40] + bytes(20) + whole[60:],
        gzip.compress(b"no archive" * 1000),
    ):
        with pytest.raises(PackageDamagedError):
            read(damaged)
