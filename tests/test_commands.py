"""The commands of the `justfile`, of which CONTRIBUTING.md tells."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPES = {
    name: needs.split()
    for name, needs in re.findall(
        r"^([a-z][a-z-]*)(?: \*args)?:(.*)$",
        (ROOT / "justfile").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}


def test_contributors_are_told_of_each() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^\| `just ([a-z-]+)` \|", text, re.MULTILINE)} == {*RECIPES}


def test_what_must_hold_before_a_commit_has_all_tests() -> None:
    tests = {name for name in RECIPES if name.startswith("test-")}
    assert {"lint", "type", *tests} == {*RECIPES["check"]}
