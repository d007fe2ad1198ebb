"""The folder that all processes share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from isokernel.errors import PackageCacheError, PackageDamagedError
from isokernel.packages.cache import Cache, digest_of, integrity_of
from isokernel.packages.packs import Analysis, Pack, build_pack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def pack_of(files: Mapping[str, str]) -> bytes:
    return build_pack(
        [(path, text.encode()) for path, text in files.items()],
        lambda _text, known: Analysis(known or "commonjs"),
    )


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache"), 1 << 20)


def put(cache: Cache, name: str, size: int = 100) -> str:
    integrity = integrity_of(name.encode())
    files = {"package.json": f'{{"name": "{name}"}}', "a.js": "x" * size}
    cache.put_pack(integrity, pack_of(files)).close()
    return integrity


def test_packs_are_kept_whole(cache: Cache) -> None:
    files = {
        "package.json": '{"name": "@a/b", "version": "1.0.0"}',
        "a.js": "\ufeffhällo",
        "sub/b.mjs": "",
        "a.d.ts": "left out",
        "sub/b.d.mts": "left out",
        "a.js.map": "left out",
        "add-on.node": "left out",
        "lib.d.ts": "export const of: 'a language'",
        "README.md": "kept",
        "data.arrow": "\0kept",
        "bin/run": "#!/usr/bin/env node",
    }
    integrity = integrity_of(b"tarball")
    assert cache.open_pack(integrity) is None
    pack = cache.put_pack(integrity, pack_of(files))
    assert (pack.header.name, pack.header.version) == ("@a/b", "1.0.0")
    kept = [
        "package.json",
        "a.js",
        "sub/b.mjs",
        "lib.d.ts",
        "README.md",
        "data.arrow",
        "bin/run",
    ]
    assert list(pack.header.files) == kept
    assert pack.header.files["lib.d.ts"].analysis.format == "text"
    assert pack.text("a.js") == "hällo"
    assert pack.folders == {"sub", "bin"}
    assert pack.header.files["sub/b.mjs"].analysis.format == "esm"
    pack.close()


def test_damaged_packs_are_made_anew(cache: Cache, tmp_path: Path) -> None:
    integrity = put(cache, "a")
    (path,) = (tmp_path / "cache" / "packs").rglob(digest_of(integrity))
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:30], b"x" + whole[1:], whole + b"x"):
        path.write_bytes(damaged)
        assert cache.open_pack(integrity) is None
        assert not path.exists()
    with pytest.raises(FileNotFoundError):
        Pack(str(path))


def test_the_cache_is_bounded(cache: Cache, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), 10_000)
    first, second, third = (put(cache, name, 4000) for name in "abc")
    assert [cache.has_pack(one) for one in (first, second, third)] == [
        False,
        True,
        True,
    ]
    big = put(cache, "big", 50_000)  # larger than all: it stays while it is used
    assert [cache.has_pack(one) for one in (second, third, big)] == [
        False,
        False,
        True,
    ]
    assert cache.collect(0) == 1


def test_packs_of_other_formats_go_too(cache: Cache, tmp_path: Path) -> None:
    integrity = put(cache, "a", 4000)
    (path,) = (tmp_path / "cache" / "packs").rglob(digest_of(integrity))
    old = tmp_path / "cache" / "packs" / "1" / path.parent.name / path.name
    old.parent.mkdir(parents=True)
    path.rename(old)
    assert [pack.path for pack in cache.packs()] == [str(old)]
    assert cache.collect(0) == 1
    assert not old.exists()


def test_what_was_used_last_stays(cache: Cache) -> None:
    first, second = put(cache, "a", 4000), put(cache, "b", 4000)
    for pack in cache.packs():
        os.utime(pack.path, (1, 2 if digest_of(first) in pack.path else 1))
    opened = cache.open_pack(second)
    assert opened is not None
    assert cache.collect(5000) == 1
    assert not cache.has_pack(first)
    assert opened.text("a.js") == "x" * 4000  # also if it had been removed
    opened.close()


def test_left_overs_of_a_crash_go(cache: Cache, tmp_path: Path) -> None:
    put(cache, "a")
    folder = next((tmp_path / "cache" / "packs").glob("*/*"))
    left = folder / ".abc-123"
    left.write_bytes(b"half")
    cache.packs()
    assert left.exists()  # it may be written now
    os.utime(left, (1, 1))
    cache.packs()
    assert not left.exists()


def test_claims_are_exclusive(cache: Cache) -> None:
    first = cache.try_claim("a@1.0.0")
    assert first is not None
    assert cache.try_claim("a@1.0.0") is None
    os.close(first)
    second = cache.try_claim("a@1.0.0")
    assert second is not None
    os.close(second)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file"), 1)
    with pytest.raises(PackageCacheError, match="or set package_cache_dir"):
        put(cache, "a")
    with pytest.raises(PackageCacheError):
        cache.try_claim("a")


@pytest.mark.parametrize(
    "integrity", ["", "sha1-abc", "sha512-../../../etc", f"sha512-{'A' * 86}"]
)
def test_only_hashes_name_files(integrity: str) -> None:
    with pytest.raises(PackageDamagedError):
        digest_of(integrity)


def test_names_of_packages_do_not_lead_out(cache: Cache, tmp_path: Path) -> None:
    cache.put_metadata("https://r/", "@a/../../../b", b"{}")
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent.parent for path in found] == [tmp_path / "cache" / "metadata"]
    assert cache.metadata("https://r/", "@a/../../../b") is not None
