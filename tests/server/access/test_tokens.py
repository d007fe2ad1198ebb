"""Bearer tokens over HTTP: what is taken, what is refused, and how it is said."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from tests.support.client import CLIENT
from tests.support.issuer import AUDIENCE, make_key, part, public_pem, trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.issuer import Issuer
    from tests.support.server import Server


def _get(server: Server, token: str, path: str = "/contexts", **headers: str) -> Any:
    headers["Authorization"] = f"Bearer {token}"
    return CLIENT.get(server.url + path, headers=headers)


def _hmac_signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """A token as an attacker makes it, whom no library stops."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), hashlib.sha256))}"


@pytest.mark.parametrize("key_id", ["first", "curve", "edwards"])
def test_tokens_of_the_issuer_are_taken(
    trusting: Server, issuer: Issuer, key_id: str
) -> None:
    for kind in ("JWT", "at+jwt"):
        answer = _get(trusting, issuer.token(key_id, {"typ": kind}))
        assert (answer.status_code, answer.json()) == (200, {"items": []})


def test_names_of_issuer_and_audience_may_be_among_others(
    trusting: Server, issuer: Issuer
) -> None:
    for changed in (
        {"iss": f"{issuer.url}/"},
        {"aud": ["https://a.example", AUDIENCE]},
    ):
        assert _get(trusting, issuer.token(**changed)).status_code == 200


def _now(seconds: float) -> int:
    return int(time.time() + seconds)


REFUSED: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "expired": (lambda i: i.token(exp=_now(-60)), "has expired"),
    "no end": (lambda i: i.token(exp=None), "lacks a claim"),
    "an end that is no time": (lambda i: i.token(exp="soon"), "no key"),
    "not yet": (lambda i: i.token(nbf=_now(120)), "has not come"),
    "made tomorrow": (lambda i: i.token(iat=_now(86_400)), "has not come"),
    "wrong audience": (lambda i: i.token(aud="https://b.example"), "another audience"),
    "no audience": (lambda i: i.token(aud=None), "lacks a claim"),
    "audience in part": (lambda i: i.token(aud=AUDIENCE[:-1]), "another audience"),
    "wrong issuer": (lambda i: i.token(iss="https://b.example"), "another issuer"),
    "no issuer": (lambda i: i.token(iss=None), "lacks a claim"),
    "issuer in a list": (lambda i: i.token(iss=[i.url]), "another issuer"),
    "a number as subject": (lambda i: i.token(sub=5), "a claim"),
    "for something else": (lambda i: i.token(header={"typ": "dpop+jwt"}), "else"),
    "extensions": (lambda i: i.token(header={"crit": ["x"], "x": 1}), "header"),
    "unknown key": (lambda i: i.token(header={"kid": "nobody"}), "no key"),
    "another's key": (lambda i: i.token(header={"kid": "curve"}), "no key"),
    "no key named": (lambda i: i.token(header={"kid": None}), "header"),
    "key with a path": (lambda i: i.token(header={"kid": "../../dev/null"}), "no key"),
    "text": (lambda _: "text", "no JSON Web Token"),
    "three words": (lambda _: "a.b.c", "header can't be read"),
    "too long": (lambda i: i.token(filling="x" * 20_000), "no JSON Web Token"),
    "deep header": (
        lambda _: f"{part(b'[' * 9000 + b']' * 9000)[:15_000]}.e30.AA",
        "header can't be read",
    ),
    "header of a list": (lambda _: f"{part([1])}.e30.AA", "header can't be read"),
}


def test_what_is_refused(trusting: Server, issuer: Issuer) -> None:
    place = f'{trusting.url}/.well-known/oauth-protected-resource"'
    for case, (make, reason) in REFUSED.items():
        answer = _get(trusting, make(issuer))
        assert answer.status_code == 401, case
        assert reason in answer.json()["message"], case
        challenge = answer.headers["WWW-Authenticate"]
        assert challenge.startswith('Bearer error="invalid_token", error_descr'), case
        assert challenge.endswith(f'resource_metadata="{place}'), case


def test_unsigned_tokens_are_refused(trusting: Server, issuer: Issuer) -> None:
    algorithms: list[Any] = ["none", "None", "NONE", "nOnE", "", None, 5, []]
    for algorithm in algorithms:
        header = {"alg": algorithm, "typ": "JWT", "kid": "first"}
        for signature in ("", "AA"):
            token = f"{part(header)}.{part(issuer.claims())}.{signature}"
            assert _get(trusting, token).status_code == 401, algorithm


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_the_public_key_is_no_secret(
    trusting: Server, issuer: Issuer, algorithm: str
) -> None:
    _, key = issuer.keys["first"]
    published = issuer.key_set()["keys"][0]
    secrets = [
        public_pem(key),
        public_pem(key).strip(),
        json.dumps(published).encode(),
        published["n"].encode(),
        b"",
    ]
    header = {"alg": algorithm, "typ": "JWT", "kid": "first"}
    for secret in secrets:
        token = _hmac_signed(header, issuer.claims(), secret)
        assert _get(trusting, token).status_code == 401


def test_keys_that_a_token_brings_along_count_for_nothing(
    trusting: Server, issuer: Issuer, issuers: Callable[..., Issuer]
) -> None:
    own = make_key("RS256")
    other = issuers()
    published = other.key_set()["keys"][0]
    for extra in (
        {"jwk": published, "kid": "first"},
        {"jwk": published, "kid": "mine"},
        {"jku": f"{other.url}/keys", "kid": "mine"},
        {"x5u": f"{other.url}/keys", "kid": "first"},
    ):
        for key in (own, other.keys["first"][1]):
            token = jwt.encode(issuer.claims(), key, "RS256", headers=extra)
            assert _get(trusting, token).status_code == 401
    assert other.asked == []


def test_a_token_that_was_changed_is_refused(trusting: Server, issuer: Issuer) -> None:
    header, _, signature = issuer.token().split(".")
    claims = part(issuer.claims(workspace="blue", scope="isokernel:admin"))
    assert _get(trusting, f"{header}.{claims}.{signature}").status_code == 401
    stripped = f"{header}.{part(issuer.claims())}."
    assert _get(trusting, stripped).status_code == 401


def test_a_token_in_the_url_is_refused(trusting: Server, issuer: Issuer) -> None:
    token = issuer.token()
    answer = CLIENT.get(f"{trusting.url}/contexts?access_token={token}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "access_token"
    assert _get(trusting, token, "/contexts?api_key=x").status_code == 400


def test_a_token_is_no_api_key(trusting: Server, issuer: Issuer) -> None:
    answer = CLIENT.get(
        f"{trusting.url}/contexts", headers={"X-API-Key": issuer.token()}
    )
    assert answer.status_code == 401


def test_who_has_a_token_cannot_guess_keys(
    servers: Callable[..., Server], issuer: Issuer
) -> None:
    flags = trust(
        issuer, "--failure-rate-per-minute", "3", "--api-key", "the-secret-key"
    )
    server = servers(*flags)
    token = issuer.token()
    statuses = [
        _get(server, token, **{"X-API-Key": f"guess-{number}"}).status_code
        for number in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]


def test_tokens_that_are_old_are_no_guesses(
    servers: Callable[..., Server], issuer: Issuer
) -> None:
    server = servers(*trust(issuer, "--failure-rate-per-minute", "3"))
    old, forged = issuer.token(exp=_now(-60)), issuer.token(header={"kid": "curve"})
    assert [_get(server, old).status_code for _ in range(9)] == [401] * 9
    statuses = [_get(server, forged).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def test_without_a_token_it_is_said_where_one_comes_from(
    trusting: Server, issuer: Issuer
) -> None:
    answer = CLIENT.get(f"{trusting.url}/contexts")
    assert answer.status_code == 401
    place = f"{trusting.url}/.well-known/oauth-protected-resource"
    assert answer.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{place}"'
    for suffix in ("", "/mcp", "/sse"):
        metadata = CLIENT.get(place + suffix).json()
        assert metadata["resource"] == trusting.url + suffix
        assert metadata["authorization_servers"] == [issuer.url]
        assert metadata["bearer_methods_supported"] == ["header"]
    assert CLIENT.get(f"{place}/other").status_code == 401
    named = CLIENT.get(f"{trusting.url}/mcp").headers["WWW-Authenticate"]
    assert named == f'Bearer resource_metadata="{place}/mcp"'


def test_scopes_make_administrators(trusting: Server, issuer: Issuer) -> None:
    def ask(scope: Any, workspace: str = "default") -> Any:
        token = issuer.token(scope=scope, workspace=workspace)
        return _get(trusting, token, "/metrics")

    plain = ask("mcp:tools")
    assert plain.status_code == 403
    challenge = plain.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope", scope="isokernel:admin"' in challenge
    for scope in ("mcp:tools isokernel:admin", ["isokernel:admin"]):
        assert ask(scope).status_code == 200
    assert ask("isokernel:admin", "red").status_code == 403
    for other in ("isokernel:administrator", "isokernel:admin,x", 5, {"a": 1}):
        assert ask(other).status_code == 403


def test_a_token_opens_its_workspaces(trusting: Server, issuer: Issuer) -> None:
    both = issuer.token(workspace=["red", "blue"])
    unclear = _get(trusting, both)
    assert unclear.status_code == 400
    assert unclear.json()["errors"][0]["field"] == "X-Workspace-Id"
    for name, status in (("red", 200), ("blue", 200), ("green", 403), ("", 403)):
        answer = _get(trusting, both, **{"X-Workspace-Id": name})
        assert answer.status_code == status
        asked = _get(trusting, both, f"/contexts?workspaceId={name or '%20'}")
        assert asked.status_code == status
    twice = _get(
        trusting, both, "/contexts?workspaceId=red", **{"X-Workspace-Id": "blue"}
    )
    assert twice.status_code == 400


def test_a_token_that_opens_nothing(trusting: Server, issuer: Issuer) -> None:
    claims: list[Any] = [None, [], "", 5, {"a": 1}, ["a/b"], [["red"]], " red", "red\n"]
    for claim in claims:
        answer = _get(trusting, issuer.token(workspace=claim))
        assert answer.status_code == 403, claim
        assert "workspace" in answer.json()["message"]


def test_the_seed_variable_names_the_issuer(
    servers: Callable[..., Server], issuers: Callable[..., Issuer]
) -> None:
    issuer = issuers("/realms/one")
    server = servers(
        *("--public-url", "https://isokernel.example/", "--languages", "javascript"),
        *("--default-language", "javascript", "--oauth-required-scope", "run"),
        env={"MCP_AUTHORIZATION_SERVER": issuer.url},
    )
    assert _get(server, issuer.token(scope="run", workspace=None)).status_code == 200
    lacking = _get(server, issuer.token())
    assert lacking.status_code == 403
    challenge = lacking.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope", scope="run"' in challenge
    assert challenge.endswith(
        'resource_metadata="https://isokernel.example/.well-known/'
        'oauth-protected-resource"'
    )
    assert _get(server, issuer.token(scope="run", workspace="red")).status_code == 200
    secret = issuer.token(scope="run", sub="the-secret-subject", exp=_now(-99))
    assert _get(server, secret).status_code == 401
    assert server.stop() == 0
    for piece in (*secret.split("."), "the-secret-subject"):
        assert piece not in server.said
