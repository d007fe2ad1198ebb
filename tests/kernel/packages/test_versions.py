"""Which version is taken; the ranges themselves are node-semver's."""

from __future__ import annotations

import pytest

from isokernel.errors import ModuleSpecifierError
from isokernel.packages.versions import newest, pick, satisfies

VERSIONS = ["0.9.0", "1.0.0", "1.2.0", "1.10.0", "2.0.0-beta.1", "2.0.0", "3.0.0-rc.1"]
TAGS = {"latest": "2.0.0", "next": "3.0.0-rc.1", "gone": "9.9.9"}


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("", "2.0.0"),
        ("*", "2.0.0"),
        ("latest", "2.0.0"),
        ("next", "3.0.0-rc.1"),
        ("1", "1.10.0"),
        ("^1.0.0", "1.10.0"),
        ("~1.2", "1.2.0"),
        ("1.2.0", "1.2.0"),
        (">=1 <1.5 || 0.9", "1.2.0"),
        ("0.x - 1.0", "1.0.0"),
        ("^2.0.0-beta.0", "2.0.0"),
        ("^3", None),
        ("9.9.9", None),
        ("gone", None),
        ("nosuchtag", None),
    ],
)
def test_the_version_that_npm_takes(wanted: str, version: str | None) -> None:
    assert pick("x", wanted, VERSIONS, TAGS) == version


def test_latest_is_preferred_to_newer_ones() -> None:
    assert pick("x", "1", VERSIONS, {"latest": "1.2.0"}) == "1.2.0"


def test_deprecated_versions_come_last() -> None:
    assert pick("x", "1", VERSIONS, {}, ["1.10.0"]) == "1.2.0"
    assert pick("x", "1", VERSIONS, {}, VERSIONS) == "1.10.0"


@pytest.mark.parametrize(
    "wanted", ["git+https://a/b.git", "file:../x", "https://a/b.tgz", "a b c", "%%"]
)
def test_what_is_no_range(wanted: str) -> None:
    with pytest.raises(ModuleSpecifierError):
        pick("x", wanted, VERSIONS, TAGS)


def test_the_newest_of_many() -> None:
    many = [f"1.{minor}.{patch}" for minor in range(50) for patch in range(50)]
    assert newest(many, "^1.3.0") == "1.49.49"
    assert newest(many, "~1.3.0") == "1.3.49"
    assert newest(many, "2") is None


def test_any_is_no_prerelease() -> None:
    assert not satisfies("1.0.0-a", "")
    assert satisfies("1.0.0", "*")
    assert not satisfies("1.0", "")


def test_carets_are_those_of_npm() -> None:
    """Read by ourselves, for speed: just as node-semver reads them."""
    import nodesemver  # noqa: PLC0415 - 60 ms

    numbers = (0, 1, 2, 10)
    versions = [f"{a}.{b}.{c}" for a in numbers for b in numbers for c in numbers]
    for wanted in versions:
        test = nodesemver.make_range(f"^{wanted}", loose=True).test
        fitting = [version for version in versions if satisfies(version, f"^{wanted}")]
        assert fitting == [version for version in versions if test(version)]
