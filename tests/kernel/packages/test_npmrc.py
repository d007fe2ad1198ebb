from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from isokernel.errors import PackageError
from isokernel.packages.npmrc import Npmrc, load_npmrc, read_npmrc

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
; a comment
# another one
registry = https://example.org/npm
@own:registry="https://own.example.org/"
//example.org/npm/:_authToken=${TOKEN}
//own.example.org/:username=ann
//own.example.org/:_password=c2VjcmV0
//basic.example.org/:_auth=YTpi
cafile = ${NOT_THERE}
[section]
novalue
"""


def test_registries_by_scope() -> None:
    npmrc = read_npmrc(TEXT, {"TOKEN": "t0k"})
    assert npmrc.registry("d3") == "https://example.org/npm/"
    assert npmrc.registry("@own/x") == "https://own.example.org/"
    assert npmrc.registry("@other/x") == "https://example.org/npm/"
    assert npmrc.registry("@jsr/std__path") == "https://npm.jsr.io/"
    assert Npmrc().registry("d3") == "https://registry.npmjs.org/"


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://example.org/npm/d3", "Bearer t0k"),
        ("https://example.org/npm/d3/-/d3-1.tgz", "Bearer t0k"),
        ("https://example.org/npm", "Bearer t0k"),
        ("https://example.org/other", None),
        ("https://example.org/npmx/d3", None),
        ("https://example.org.evil.org/npm/d3", None),
        (
            "https://own.example.org/x",
            "Basic " + base64.b64encode(b"ann:secret").decode(),
        ),
        ("https://basic.example.org/x", "Basic YTpi"),
    ],
)
def test_credentials_are_for_their_place(url: str, header: str | None) -> None:
    assert read_npmrc(TEXT, {"TOKEN": "t0k"}).authorization(url) == header


def test_others_files_get_no_variables() -> None:
    text = "registry=https://evil.org/${TOKEN}\n@${TOKEN}:registry=https://evil.org"
    assert read_npmrc(text).settings == {}


def test_later_files_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_REGISTRY", "https://one.example.org")
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("registry=${OWN_REGISTRY}\nx=1")
    second.write_text("x=2")
    npmrc = load_npmrc(str(first), str(second), str(tmp_path / "none"))
    assert npmrc.settings == {"registry": "https://one.example.org", "x": "2"}
    second.write_bytes(b"\xff")
    with pytest.raises(PackageError, match="can't be read"):
        load_npmrc(str(second))


@pytest.mark.parametrize(
    ("own", "base", "name", "named"),
    [
        ({"registry": "https://a/"}, {"registry": "https://b/"}, "x", True),
        ({}, {"registry": "https://b/"}, "x", False),
        ({"registry": "https://a/"}, {"@s:registry": "https://b/"}, "@s/x", False),
        ({"@s:registry": "https://a/"}, {"@s:registry": "https://b/"}, "@s/x", True),
        ({"@s:registry": "https://a/"}, {}, "@t/x", False),
        ({"registry": "https://a/"}, {}, "@jsr/std__path", False),
    ],
)
def test_whose_registry_it_is(
    own: dict[str, str], base: dict[str, str], name: str, *, named: bool
) -> None:
    """As if one file was added to the other, line by line."""
    assert Npmrc(own).names(name, Npmrc(base)) is named
