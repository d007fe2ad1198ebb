"""The policy: what fits, and that the most restrictive wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoserver.errors import SourceError
from isoserver.settings.tools import RuleModel
from isoserver.tools.calls import Call
from isoserver.tools.rules import Rule, Verdict, decide, hides, read_rule, strictest

if TYPE_CHECKING:
    from isoserver.settings.tools import Effect


def denying(**fields: Any) -> Rule:
    """A rule that denies, as REST gives it."""
    return read_rule(RuleModel.model_validate({"effect": "deny", **fields}))


CALL = Call("default", "s1", "ada", "t", "c", "", {})


GLOBS: list[tuple[str, str, bool]] = [
    ("**", "github.issues.create", True),
    ("github.**", "github.issues.create", True),
    ("github.**", "github", True),
    ("github.**", "githubs.issues", False),
    ("github.*", "github.issues.create", False),
    ("github.*", "github.search", True),
    ("github.*.create", "github.issues.create", True),
    ("github.*.create", "github.issues.deep.create", False),
    ("**.create", "github.issues.create", True),
    ("**.create", "create", True),
    ("**.create", "github.recreate", False),
    ("github.**.create", "github.create", True),
    ("github.**.create", "github.a.b.create", True),
    ("*.issues.*", "github.issues.create", True),
    ("github.issues.delete*", "github.issues.delete_all", True),
    ("github.issues.delete*", "github.issues.delete.all", False),
    ("github.issues.*ea*", "github.issues.create", True),
    ("github.issues.createIssue", "github.issues.create_issue", True),
    ("GitHub.Issues.create-issue", "github.issues.create_issue", True),
    ("github.issues", "github.issues.create", False),
    ("github.iss.es", "github.issues", False),
    ("*", "github", True),
    ("*", "github.issues", False),
]
"""Glob, path, covered."""


def test_globs() -> None:
    # Tables in one test each: what is checked after each test takes longer than they.
    seen = [(glob, path, Rule("deny", glob).covers(path)) for glob, path, _ in GLOBS]
    assert seen == GLOBS


INPUT = {
    "repo": {"name": "core", "private": True},
    "count": 5,
    "labels": ["bug", "ui"],
    "text": "drop table",
    "none": None,
}


CONDITIONS: list[tuple[str, str, Any, bool]] = [
    ("count", "equals", 5, True),
    ("count", "equals", "5", True),
    ("count", "equals", 6, False),
    ("repo.name", "equals", "core", True),
    ("repo.private", "equals", True, True),
    ("repo.private", "equals", "true", True),
    ("none", "equals", None, True),
    ("missing", "equals", None, False),
    ("missing", "not_equals", 1, True),
    ("missing.deep", "contains", "x", False),
    ("count", "not_equals", 5, False),
    ("labels", "contains", "bug", True),
    ("labels", "contains", "ug", False),
    ("labels.1", "equals", "ui", True),
    ("labels.2", "equals", "ui", False),
    ("repo", "contains", "private", True),
    ("text", "contains", "table", True),
    ("text", "starts_with", "drop", True),
    ("text", "starts_with", "table", False),
    ("text", "matches", "^drop\\s", True),
    ("text", "matches", "table$", True),
    ("text", "matches", "^table", False),
    ("count", "matches", "^[0-9]+$", True),
    ("missing", "matches", ".*", False),
]
"""Key, operator, value, whether it holds for the input."""


def test_conditions() -> None:
    seen = []
    for key, operator, value, _ in CONDITIONS:
        condition = {"key": key, "operator": operator, "value": value}
        rule = denying(conditions=[condition])
        seen.append((key, operator, value, rule.fits(CALL, "a.b", INPUT)))
    assert seen == CONDITIONS


def test_all_conditions_must_hold() -> None:
    both: list[dict[str, Any]] = [
        {"key": "count", "operator": "equals", "value": 5},
        {"key": "text", "operator": "contains", "value": "drop"},
    ]
    assert denying(conditions=both).fits(CALL, "a.b", INPUT)
    both[1]["value"] = "select"
    rule = denying(conditions=both)
    assert not rule.fits(CALL, "a.b", INPUT)


SCOPES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"session": "s1"}, True),
    ({"session": "s2"}, False),
    ({"client": "ada"}, True),
    ({"client": "bob"}, False),
    ({"source": "a"}, True),
    ({"source": "b"}, False),
    ({"source": "a", "session": "s1", "client": "ada"}, True),
    ({"source": "a", "session": "s1", "client": "bob"}, False),
]
"""Scope, whether it fits the call."""


def test_scopes() -> None:
    seen = [(s, Rule("deny", "**", **s).fits(CALL, "a.b", {})) for s, _ in SCOPES]
    assert seen == SCOPES


@pytest.mark.parametrize("text", ["(?=a)b", "(a)\\1", "((("])
def test_patterns_that_could_take_long_are_refused(text: str) -> None:
    condition = {"key": "a", "operator": "matches", "value": text}
    with pytest.raises(SourceError, match="can't be compiled"):
        denying(conditions=[condition])


def test_a_pattern_takes_linear_time() -> None:
    condition = {"key": "a", "operator": "matches", "value": "^(a+)+$"}
    rule = denying(conditions=[condition])
    assert not rule.fits(CALL, "a.b", {"a": "a" * 50_000 + "b"})


def test_only_what_is_denied_whatever_its_input_is_hidden() -> None:
    condition = {"key": "a", "operator": "equals", "value": 1}
    some = denying(tool="a.b", conditions=[condition])
    assert not hides([some], CALL, "a.b")
    assert hides([some, Rule("deny", "a.*")], CALL, "a.b")
    assert not hides([Rule("require_approval", "a.*")], CALL, "a.b")


EFFECTS = st.sampled_from(["allow", "require_approval", "deny"])
RULES = st.builds(
    Rule,
    effect=EFFECTS,
    tool=st.sampled_from(["**", "a.*", "a.b", "a.c", "*.b", "b.**", "**.b"]),
    source=st.sampled_from([None, "a", "b"]),
    session=st.sampled_from([None, "s1", "s2"]),
    client=st.sampled_from([None, "ada", "bob"]),
    id=st.text("abc", max_size=3),
)
ORDER = ["allow", "require_approval", "deny"]


@given(st.lists(RULES, max_size=8), EFFECTS, st.randoms())
def test_the_most_restrictive_wins(
    rules: list[Rule], default: Any, random: Any
) -> None:
    verdict = decide(rules, CALL, "a.b", {}, default)
    fitting = [rule for rule in rules if rule.fits(CALL, "a.b", {})]
    effects = [rule.effect for rule in fitting if rule.session is None]
    bound = [rule.effect for rule in fitting if rule.session is not None]
    assert verdict.effect == max([*(effects or [default]), *bound], key=ORDER.index)
    # No order counts, and one more rule makes nothing laxer that a rule has decided.
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert decide(shuffled, CALL, "a.b", {}, default).effect == verdict.effect
    for effect in ("allow", "require_approval", "deny"):
        more = decide([*rules, Rule(effect, "**")], CALL, "a.b", {}, default)
        if effects:
            assert ORDER.index(more.effect) >= ORDER.index(verdict.effect)


def test_a_session_makes_nothing_laxer() -> None:
    laxer: list[tuple[Effect, Effect]] = [
        ("allow", "require_approval"),
        ("allow", "deny"),
        ("require_approval", "deny"),
    ]
    for effect, default in laxer:
        rule = Rule(effect, "**", session=CALL.session)
        assert rule.fits(CALL, "a.b", {})
        assert decide([rule], CALL, "a.b", {}, default).effect == default
    rule = Rule("deny", "**", session=CALL.session, id="r")
    assert decide([rule, Rule("allow", "**")], CALL, "a.b", {}, "allow") == (
        "deny",
        "r",
    )
    # A client's name is that of its key.
    rule = Rule("allow", "**", client=CALL.client)
    assert decide([rule], CALL, "a.b", {}, "deny").effect == "allow"


def test_the_strictest_names_its_rule() -> None:
    verdicts = [Verdict("allow", "1"), Verdict("deny", "2"), Verdict("deny", "3")]
    assert strictest(verdicts) == Verdict("deny", "2")
