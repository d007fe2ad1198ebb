from __future__ import annotations

import pytest

from isokernel.errors import ModuleSpecifierError
from isokernel.packages.specifiers import (
    builtin_url,
    location_of,
    parse_bare,
    parse_request,
)


@pytest.mark.parametrize(
    ("specifier", "request_"),
    [
        ("npm:d3", ("d3", "", ".")),
        ("npm:d3@7", ("d3", "7", ".")),
        ("npm:/d3@7.9.0/src/index.js", ("d3", "7.9.0", "./src/index.js")),
        ("npm:d3@^7.1 || 6/x", ("d3", "^7.1 || 6", "./x")),
        ("npm:d3@%5E7/x", ("d3", "^7", "./x")),
        ("npm:@scope/name@next/sub/path", ("@scope/name", "next", "./sub/path")),
        ("npm:@scope/name", ("@scope/name", "", ".")),
        ("npm:JSONStream", ("JSONStream", "", ".")),
        ("jsr:@std/path@1/posix", ("@jsr/std__path", "1", "./posix")),
        ("jsr:@std/path", ("@jsr/std__path", "", ".")),
    ],
)
def test_requests(specifier: str, request_: tuple[str, str, str]) -> None:
    assert parse_request(specifier) == request_


@pytest.mark.parametrize(
    "specifier",
    [
        "npm:",
        "npm:@scope",
        "npm:../x",
        "npm:.x",
        "npm:a b",
        "npm:x@1@2/y@",
        f"npm:{'x' * 215}",
        f"npm:x@{'1' * 300}",
        f"npm:x/{'y' * 3000}",
        "jsr:name",
        "jsr:@Std/path",
        "npm:x\n",
    ],
)
def test_what_is_no_request(specifier: str) -> None:
    if specifier == "npm:x@1@2/y@":  # a range may have any characters but a slash
        assert parse_request(specifier) == ("x", "1@2", "./y@")
        return
    with pytest.raises(ModuleSpecifierError):
        parse_request(specifier)


def test_bare_names() -> None:
    assert parse_bare("lodash/fp") == ("lodash", "", "./fp")
    assert parse_bare("@a/b/c.js") == ("@a/b", "", "./c.js")
    for wrong in ("", "@a", "a b", "\\x", "ä"):
        with pytest.raises(ModuleSpecifierError):
            parse_bare(wrong)
    with pytest.raises(ModuleSpecifierError):
        parse_bare("a@1")
    assert parse_bare("a@1", versions=True) == ("a", "1", ".")
    assert parse_bare("@a/b@^2/c", versions=True) == ("@a/b", "^2", "./c")
    assert parse_bare("a/b", versions=True) == ("a", "", "./b")


def test_builtins_have_urls() -> None:
    assert builtin_url("fs") == builtin_url("node:fs") == "node:fs"
    assert builtin_url("fs/promises") == "node:fs/promises"
    assert builtin_url("node:made_up") == "node:made_up"
    assert builtin_url("lodash") is None


def test_locations_are_read_from_urls() -> None:
    location = location_of("npm:/@a/b@1.0.0/c/d.js#text")
    assert location == ("@a/b", "1.0.0", "c/d.js")
    assert location is not None
    assert location.url == "npm:/@a/b@1.0.0/c/d.js"
    assert location_of("file:///a.js") is None
    assert location_of("npm:/a@1.0.0") is None
