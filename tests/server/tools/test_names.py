"""Names of tools, in all spellings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isoserver.tools.names import camel, distinct, key, nearest, snake

SPELLINGS = [
    ("createIssue", "create_issue", "createIssue"),
    ("create_issue", "create_issue", "createIssue"),
    ("create-issue", "create_issue", "createIssue"),
    ("getUserByID", "get_user_by_id", "getUserById"),
    ("HTTPServer", "http_server", "httpServer"),
    ("list", "list", "list"),
    ("2fa", "_2fa", "_2fa"),
    ("größe", "gr_e", "grE"),
    ("✓", "tool", "tool"),
    ("a  b", "a_b", "aB"),
]
"""Given, canonical, camelCase."""


def test_spellings() -> None:
    seen = [(name, snake(name), camel(snake(name))) for name, _, _ in SPELLINGS]
    assert seen == SPELLINGS
    assert all(key(one) == key(other) for _, one, other in SPELLINGS)


@given(st.text(max_size=200))
def test_every_name_becomes_an_identifier(name: str) -> None:
    made = snake(name)
    assert made.isidentifier()
    assert made.isascii()
    assert camel(made).isidentifier()
    assert key(camel(made)) == key(made)


def test_twins_are_numbered() -> None:
    names = ["a.create_issue", "a.createIssue", "a.create_issue", "a.create_issue_2"]
    assert distinct(names) == [
        "a.create_issue",
        "a.createIssue_2",
        "a.create_issue_3",
        "a.create_issue_2_2",
    ]


@given(st.lists(st.text("ab_1", min_size=1, max_size=4), max_size=20))
def test_numbered_names_are_distinct(names: list[str]) -> None:
    made = distinct(names)
    assert len({key(name) for name in made}) == len(names)


def test_the_nearest() -> None:
    known = ["github.issues.create", "github.issues.list", "slack.post_message"]
    assert nearest("github.issue.create", known)[0] == "github.issues.create"
    assert nearest("slack.postMesage", known) == ["slack.post_message"]
    assert nearest("create", known)[0] == "github.issues.create"
    assert nearest("zzzz", known) == []
