"""Secrets nowhere, and inputs as reviewers see them."""

from __future__ import annotations

import base64
import json
from typing import Any

from isoserver.tools.redaction import HIDDEN, Redactor, excerpt

SECRET = 'k"ey/with+odd=chars'  # noqa: S105 - it is none


def test_secrets_are_found_in_every_form() -> None:
    redactor = Redactor(SECRET, "abc")
    coded = base64.b64encode(SECRET.encode()).decode()
    for form in (SECRET, coded, "k%22ey%2fwith%2bodd%3dchars", 'k\\"ey/with+odd=chars'):
        assert redactor.text(f"<{form}>") == f"<{HIDDEN}>"
    data = {"a": [SECRET, {SECRET: 1}], "b": 2, "c": None, "d": "abc"}
    assert redactor.data(data) == {
        "a": [HIDDEN, {HIDDEN: 1}],
        "b": 2,
        "c": None,
        "d": "abc",
    }


def test_what_is_nested_too_deep_is_hidden() -> None:
    data: list[object] = [SECRET]
    for _ in range(100):
        data = [data]
    assert SECRET not in str(Redactor(SECRET).data(data))


TELLING = [
    "Authorization",
    "api_key",
    "apiKey",
    "X-API-Key",
    "accessToken",
    "client_secret",
    "password",
    "Cookie",
    "credentials",
]


def test_values_of_telling_keys_are_hidden() -> None:
    for name in TELLING:
        text = excerpt({"a": [{name: "hunter2"}], "b": "seen"}, 1000).text
        assert "hunter2" not in text
        assert "seen" in text


def test_inputs_are_cut() -> None:
    # Whatever comes first or is long, every field is there.
    value = {"a": "x" * 9000, "to": "mallory", "b": ["y" * 50] * 3, "n": 12}
    text, complete = excerpt(value, 400)
    assert complete
    assert len(text) <= 400
    seen = json.loads(text)
    assert seen["a"] == "x" * 128 + "… [8872 more characters]"
    assert (seen["to"], seen["n"]) == ("mallory", 12)
    assert seen["b"] == ["y" * 50] * 3
    assert excerpt(value, 10_000) == (json.dumps(value), True)


def test_what_can_not_be_shown_is_said() -> None:
    text, complete = excerpt({f"field{number}": 1 for number in range(100)}, 100)
    assert not complete
    assert text.startswith('{"field0": 1, ')
    assert text.endswith(" more characters]")


def test_what_is_hidden_is_described() -> None:
    deep: Any = "bottom"
    for _ in range(70):
        deep = [deep]
    seen = json.loads(
        excerpt(
            {
                "token": "hunter2",
                "secret": {"to": "mallory"},
                "password": 12,
                "cookie": True,
                "credential": None,
                "deep": deep,
            },
            2000,
        ).text
    )
    deep = json.dumps(seen.pop("deep"))
    assert "[too deep: list of 1, " in deep
    assert "bottom" not in deep
    assert seen == {
        "token": "[redacted: text of 7 characters]",
        "secret": "[redacted: object of 1, 17 characters]",
        "password": "[redacted: number]",
        "cookie": "[redacted: true or false]",
        "credential": "[redacted: null]",
    }


def test_what_turns_text_around_is_seen() -> None:
    text = excerpt({"to": "a\u202eb\u200bc"}, 100).text
    assert text == r'{"to": "a\u202eb\u200bc"}'
