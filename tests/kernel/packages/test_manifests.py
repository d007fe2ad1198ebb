"""package.json as Node.js reads it: what its own tests and documentation have."""

from __future__ import annotations

from typing import Any

import pytest

from isokernel.errors import ModuleSpecifierError, PackageExportError
from isokernel.packages.manifests import Manifest, match, overridden, target_path

PATTERNS = {
    "./*": "./*.js",
    "./a/*": "./lib/a/*.mjs",
    "./a/*.json": "./data/*.json",
    "./a/private/*": None,
    "./exact": {"require": "./exact.cjs", "default": "./exact.mjs"},
}


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("./x", "./x.js"),
        ("./x/y", "./x/y.js"),
        ("./a/x", "./lib/a/x.mjs"),
        ("./a/x.json", "./data/x.json"),
        ("./a/private/x", None),
        ("./exact", "./exact.mjs"),
        ("./", None),
        (".", None),
    ],
)
def test_the_most_specific_pattern_wins(key: str, target: str | None) -> None:
    assert match(PATTERNS, key, {"import"}) == target


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ({"import": "./a", "default": "./b"}, "./a"),
        ({"default": "./b", "import": "./a"}, "./b"),
        ({"node": {"import": "./n"}, "default": "./b"}, "./b"),
        ({"import": {"node": "./n"}, "default": "./b"}, "./b"),
        ({"import": None, "default": "./b"}, None),
        (["./a", "./b"], "./a"),
        ([{"node": "./n"}, "./b"], "./b"),
        ([], None),
        ({}, None),
        (1, None),
        (None, None),
    ],
)
def test_conditions_are_taken_in_the_order_of_the_package(
    target: Any, found: str | None
) -> None:
    assert match({".": target}, ".", {"import", "browser"}) == found


@pytest.mark.parametrize(
    "filled", ["../x", "a/../../x", "node_modules/x", "a/%2e%2e/x", "a\\..\\x", "."]
)
def test_what_a_star_stands_for_stays_in_the_package(filled: str) -> None:
    with pytest.raises(PackageExportError):
        match({"./*": "./lib/*"}, f"./{filled}", {"import"})


@pytest.mark.parametrize(
    "target",
    ["../x.js", "./../x.js", "./a/../../x.js", "/x.js", "x.js", "./node_modules/x.js"],
)
def test_a_target_is_in_the_package(target: str) -> None:
    with pytest.raises(PackageExportError):
        target_path(target)


def test_conditions_are_not_nested_for_ever() -> None:
    target: Any = "./x.js"
    for _ in range(100):
        target = {"import": target}
    with pytest.raises(PackageExportError, match="50 deep"):
        match({".": target}, ".", {"import"})


@pytest.mark.parametrize(
    ("exports", "read"),
    [
        ("./x.js", {".": "./x.js"}),
        ({"import": "./x.js"}, {".": {"import": "./x.js"}}),
        ({"./a": "./a.js"}, {"./a": "./a.js"}),
        (None, None),
    ],
)
def test_exports_have_short_forms(exports: Any, read: Any) -> None:
    assert Manifest({"exports": exports}).exports == read


@pytest.mark.parametrize("text", ["", "[]", "{", "1", "null", "[" * 100_000])
def test_an_unusable_manifest_says_nothing(text: str) -> None:
    manifest = Manifest.parse(text)
    assert (manifest.name, manifest.exports, manifest.dependencies) == ("", None, {})


def test_optional_peers_are_known() -> None:
    manifest = Manifest(
        {
            "dependencies": {"a": "1"},
            "optionalDependencies": {"b": "2"},
            "peerDependencies": {"c": "3", "d": "4"},
            "peerDependenciesMeta": {"d": {"optional": True}},
        }
    )
    assert manifest.dependencies == {"a": "1", "b": "2", "c": "3", "d": "4"}
    assert manifest.optional == {"b", "d"}


@pytest.mark.parametrize(
    ("overrides", "wanted", "chain", "found"),
    [
        ({"a": "1.0.0"}, "^2", "root@1.0.0", "1.0.0"),
        ({"b": "1.0.0"}, "^2", "root@1.0.0", "^2"),
        ({"a@^2": "2.0.1"}, "^2.0.0", "root@1.0.0", "2.0.1"),
        ({"a@^2": "2.0.1"}, "~2.3", "root@1.0.0", "2.0.1"),
        ({"a@^2": "2.0.1"}, "^3.0.0", "root@1.0.0", "^3.0.0"),
        ({"root": {"a": "5"}, "a": "1"}, "^2", "root@1.0.0", "5"),
        ({"root": {"a": "5"}, "a": "1"}, "^2", "root@1.0.0 mid@1.0.0", "5"),
        ({"root@2": {"a": "5"}}, "^2", "root@1.0.0", "^2"),
        ({"root": {"mid": {"a": "5"}}}, "^2", "root@1.0.0 mid@1.0.0", "5"),
        ({"mid": {"root": {"a": "5"}}}, "^2", "root@1.0.0 mid@1.0.0", "^2"),
        ({"a": {".": "4", "x": "1"}}, "^2", "root@1.0.0", "4"),
        ({"a": "$c"}, "^2", "root@1.0.0", "~7.1"),
        ({"a": 3}, "^2", "root@1.0.0", "^2"),
        ([], "^2", "root@1.0.0", "^2"),
        ({"a": "npm:other@1"}, "^2", "@s/root@1.0.0", "npm:other@1"),
        ({"@s/root": {"a": "9"}}, "^2", "@s/root@1.0.0", "9"),
    ],
)
def test_overrides_of_a_project(
    overrides: Any, wanted: str, chain: str, found: str
) -> None:
    """As npm documents them; a project's `$name` is its own range of that."""
    project = Manifest({"overrides": overrides, "devDependencies": {"c": "~7.1"}})
    pairs = [each.rpartition("@") for each in chain.split()]
    led = [(name, version) for name, _, version in pairs]
    assert overridden(project, "a", wanted, led) == found


def test_an_override_of_nothing_is_refused() -> None:
    with pytest.raises(ModuleSpecifierError, match="none of its dependencies"):
        overridden(Manifest({"overrides": {"a": "$d"}}), "a", "1", [])
