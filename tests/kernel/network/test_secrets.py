"""Secrets are put into requests to their hosts, and to no other."""

from __future__ import annotations

import base64
import random
from itertools import pairwise

import pytest

from isokernel.network.exchange import Request
from isokernel.network.secrets import Redaction, forms_of, with_secrets
from isokernel.network.targets import read_url

TOKEN = "{{secret:TOKEN}}"  # noqa: S105 - what code has in its place


def _secrets(host: str) -> dict[str, str]:
    return {TOKEN: "value"} if host in {"api.example.com", "127.0.0.1"} else {}


def _sent(url: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    request = Request(read_url(url), "GET", headers, None, streaming=False, size=None)
    return with_secrets(request, _secrets(request.target.host)).headers


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("https://api.example.com/", True),
        ("https://API.example.com:8443/", True),
        ("http://api.example.com/", False),
        ("https://api.example.com.evil.net/", False),
        ("https://evil.net/api.example.com", False),
        ("http://127.0.0.1:8000/", True),
        ("http://127.0.0.2:8000/", False),
    ],
)
def test_a_secret_goes_to_its_hosts(url: str, *, has: bool) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("X", "{{secret:OTHER}}")]
    assert _sent(url, headers) == [
        ("Authorization", "Bearer value" if has else f"Bearer {TOKEN}"),
        ("X", "{{secret:OTHER}}"),
    ]


def test_basic_authentication_has_the_secret() -> None:
    def basic(text: str) -> list[tuple[str, str]]:
        return [("Authorization", f"Basic {base64.b64encode(text.encode()).decode()}")]

    url = "https://api.example.com/"
    assert _sent(url, basic(f"me:{TOKEN}")) == basic("me:value")
    assert _sent("https://evil.net/", basic(f"me:{TOKEN}")) == basic(f"me:{TOKEN}")
    for other in ([("Authorization", "Basic ?")], [("Authorization", "Basic a")]):
        assert _sent(url, other) == other


SECRET = "s3cret/of+the host=\u00e9"  # noqa: S105 - of nobody
OTHER = "s3cret"


@pytest.mark.parametrize("form", sorted(forms_of(SECRET)))
def test_no_border_of_pieces_lets_a_form_through(form: str) -> None:
    """A secret is found wherever the body is cut, also where another begins alike."""
    text = f"before s3cre {form}{form} s3cret s3crets3cre".encode()
    whole = Redaction([SECRET, OTHER])
    expected = whole.feed(text) + whole.finish()
    assert form.encode() not in expected
    assert OTHER.encode() not in expected
    for cut in range(len(text) + 1):
        made = Redaction([SECRET, OTHER])
        got = made.feed(text[:cut]) + made.feed(text[cut:]) + made.finish()
        assert got == expected, cut
    single = Redaction([SECRET, OTHER])
    pieces = [single.feed(bytes([byte])) for byte in text]
    assert b"".join([*pieces, single.finish()]) == expected


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_base64_of_more_is_found(before: int, after: int) -> None:
    text = "x" * before + "a-long-secret" + "y" * after
    coded = base64.b64encode(text.encode()).decode()
    left = Redaction(["a-long-secret"]).text(coded)
    assert "[redacted]" in left
    assert len(left) - len("[redacted]") <= before * 2 + after * 2 + 8


def test_what_is_no_secret_passes_at_once() -> None:
    made = Redaction([OTHER])
    assert made.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert made.feed(b"data: s3") == b"data: "
    assert made.feed(b"x\n") == b"s3x\n"


def test_random_bodies_are_as_if_they_came_whole() -> None:
    """Secrets of few letters overlap each other and themselves."""
    source = random.Random(12)  # noqa: S311 - no secret
    for _ in range(500):
        secrets = ["".join(source.choices("ab", k=source.randint(4, 7))) for _ in "12"]
        text = "".join(source.choices("ab", k=60)).encode()
        made = Redaction(secrets)
        cuts = [0, *sorted(source.choices(range(61), k=5)), 60]
        pieces = [made.feed(text[start:end]) for start, end in pairwise(cuts)]
        whole = Redaction(secrets)
        expected = whole.feed(text) + whole.finish()
        assert b"".join([*pieces, made.finish()]) == expected
        assert not any(secret.encode() in expected for secret in secrets)
