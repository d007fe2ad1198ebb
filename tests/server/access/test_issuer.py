"""The issuer's keys: remembered, renewed, and what happens when it is away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.issuer import AUDIENCE, Issuer

from isoserver.access.tokens import Tokens
from isoserver.errors import IssuerError, TokenError
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from isoserver.principal import Principal
    from isoserver.settings.server import ServerSettings

KEYS = "/keys"
OLD = 1e-9
"""Seconds after which keys are old, for tests in which they always are."""


def _settings(issuer: Issuer, **changed: Any) -> ServerSettings:
    return read_settings(oauth_issuer=issuer.url, oauth_audience=[AUDIENCE], **changed)


class Checker:
    """Tokens of an issuer, checked here."""

    def __init__(self, issuer: Issuer, **changed: Any) -> None:
        self.issuer = issuer
        settings = _settings(issuer, **changed)
        self.tokens = Tokens(settings, issuer.url, make_log("error"))

    async def check(self, token: str | None = None) -> Principal:
        return await self.tokens.check(token or self.issuer.token(), None)

    async def refused(self, token: str | None = None) -> str:
        with pytest.raises(TokenError) as caught:
            await self.check(token)
        return str(caught.value)


def _run(check: Callable[[Checker], Any], issuer: Issuer, **changed: Any) -> Checker:
    checker = Checker(issuer, **changed)

    async def run() -> None:
        try:
            await check(checker)
        finally:
            await checker.tokens.close()

    asyncio.run(run())
    return checker


def _asked(issuer: Issuer) -> int:
    return sum(path.endswith(KEYS) for path in issuer.asked)


def test_keys_are_asked_for_once(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        tokens = [checker.issuer.token() for _ in range(20)]
        await asyncio.gather(*(checker.check(token) for token in tokens))
        await checker.check()

    issuer = issuers()
    _run(check, issuer)
    assert issuer.asked == ["/.well-known/oauth-authorization-server", KEYS]


def test_a_new_key_is_found_at_once(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        await checker.check()
        checker.issuer.add("second")
        await checker.check(checker.issuer.token("second"))

    issuer = issuers()
    _run(check, issuer, oauth_keys_interval_seconds=0)
    assert _asked(issuer) == 2


def test_unknown_keys_do_not_make_the_issuer_be_asked_on_and_on(
    issuers: Callable[..., Issuer],
) -> None:
    async def check(checker: Checker) -> None:
        await checker.check()
        for number in range(50):
            token = checker.issuer.token(header={"kid": f"key-{number}"})
            assert "no key of the issuer" in await checker.refused(token)

    issuer = issuers()
    _run(check, issuer, oauth_keys_interval_seconds=3600)
    assert _asked(issuer) == 1


def test_a_key_that_is_taken_back_opens_nothing_once_keys_are_old(
    issuers: Callable[..., Issuer],
) -> None:
    async def check(checker: Checker) -> None:
        token = checker.issuer.token()
        await checker.check(token)
        del checker.issuer.keys["first"]
        checker.issuer.add("second")
        await checker.refused(token)
        await checker.check(checker.issuer.token("second"))

    _run(check, issuers(), oauth_keys_ttl_seconds=OLD, oauth_keys_interval_seconds=0)


def test_known_keys_serve_on_while_the_issuer_is_away(
    issuers: Callable[..., Issuer],
) -> None:
    async def check(checker: Checker) -> None:
        await checker.check()
        checker.issuer.down = True
        await checker.check()
        await checker.refused(checker.issuer.token(header={"kid": "nobody"}))

    _run(check, issuers(), oauth_keys_ttl_seconds=OLD, oauth_keys_interval_seconds=0)


def test_but_not_for_ever(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        await checker.check()
        checker.issuer.down = True
        with pytest.raises(IssuerError):
            await checker.check()
        checker.issuer.down = False
        await checker.check()

    _run(
        check,
        issuers(),
        oauth_keys_ttl_seconds=OLD,
        oauth_keys_stale_seconds=0,
        oauth_keys_interval_seconds=0,
    )


@pytest.mark.parametrize("trouble", ["down", "silent"])
def test_an_issuer_that_was_never_reached(
    issuers: Callable[..., Issuer], trouble: str
) -> None:
    async def check(checker: Checker) -> None:
        setattr(checker.issuer, trouble, True)
        for _ in range(3):
            with pytest.raises(IssuerError):
                await checker.check()

    issuer = issuers()
    _run(check, issuer, oauth_keys_timeout_seconds=0.3)
    # It is asked once; who comes while it may not be asked again waits for nothing.
    assert len(issuer.asked) == (2 if trouble == "down" else 1)


def test_a_client_that_goes_does_not_end_the_question(
    issuers: Callable[..., Issuer],
) -> None:
    async def check(checker: Checker) -> None:
        waiting = [asyncio.create_task(checker.check()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert (await waiting[1]).workspace == "default"
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]

    _run(check, issuers())


def test_without_a_key_id_there_must_be_one_key(issuers: Callable[..., Issuer]) -> None:
    import jwt  # noqa: PLC0415

    def anonymous(issuer: Issuer) -> str:
        return jwt.encode(issuer.claims(), issuer.keys["first"][1], "RS256")

    async def check(checker: Checker) -> None:
        await checker.check(anonymous(checker.issuer))
        checker.issuer.add("curve", "ES256")  # of another kind, so it is still clear
        await checker.check(anonymous(checker.issuer))
        checker.issuer.add("second")
        await checker.refused(anonymous(checker.issuer))

    _run(check, issuers(), oauth_keys_ttl_seconds=OLD, oauth_keys_interval_seconds=0)


def _secret_key() -> dict[str, Any]:
    return {"kty": "oct", "kid": "first", "k": "c2VjcmV0", "alg": "RS256"}


def _changed(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    key = {**issuer.key_set()["keys"][0], **changed}
    return {"keys": [{name: value for name, value in key.items() if value is not None}]}


UNFIT: dict[str, Callable[[Issuer], Any]] = {
    "for encryption": lambda issuer: _changed(issuer, use="enc"),
    "for signing only": lambda issuer: _changed(issuer, key_ops=["sign"]),
    "another algorithm's": lambda issuer: _changed(issuer, alg="RS512"),
    "a secret": lambda _: {"keys": [_secret_key()]},
    "broken": lambda issuer: _changed(issuer, n="!"),
    "without a number": lambda issuer: _changed(issuer, n=None),
    "odd names": lambda issuer: _changed(issuer, kid=["first"]),
    "not keys": lambda _: {"keys": [1, "first", None, []]},
    "none": lambda _: {"keys": []},
}


def test_keys_that_do_not_fit(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        await checker.check()
        for make in UNFIT.values():
            checker.issuer.document = make(checker.issuer)
            await checker.refused()
        checker.issuer.document = None
        await checker.check()

    issuer = issuers()
    _run(check, issuer, oauth_keys_ttl_seconds=OLD, oauth_keys_interval_seconds=0)
    assert _asked(issuer) == len(UNFIT) + 2


def test_a_key_needs_no_algorithm_of_its_own(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        checker.issuer.document = _changed(checker.issuer, alg=None, use=None)
        await checker.check()

    _run(check, issuers())


def test_short_keys_are_refused(issuers: Callable[..., Issuer]) -> None:
    async def check(checker: Checker) -> None:
        short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
        checker.issuer.keys["first"] = ("RS256", short)
        await checker.refused(_short_token(checker.issuer))

    _run(check, issuers())


def _short_token(issuer: Issuer) -> str:
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return issuer.token()


@pytest.mark.parametrize(
    "document",
    ["text", "[1]", '{"keys": 5}', "{}", "[" * 200_000, '{"a": "' + "x" * 2**21],
)
def test_answers_that_are_no_key_set(
    issuers: Callable[..., Issuer], document: str
) -> None:
    async def check(checker: Checker) -> None:
        checker.issuer.document = document
        with pytest.raises(IssuerError):
            await checker.check()

    _run(check, issuers())


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": None},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 5},
    ],
)
def test_metadata_that_lead_elsewhere(
    issuers: Callable[..., Issuer], metadata: dict[str, Any]
) -> None:
    async def check(checker: Checker) -> None:
        checker.issuer.metadata = metadata
        with pytest.raises(IssuerError):
            await checker.check()

    issuer = issuers()
    _run(check, issuer)
    assert _asked(issuer) == 0


def test_why_there_are_no_keys_is_logged(
    issuers: Callable[..., Issuer], tmp_path: Path
) -> None:
    issuer = issuers()
    issuer.down = True
    settings = _settings(issuer)
    token = issuer.token()

    async def check(file: Any) -> None:
        tokens = Tokens(settings, issuer.url, make_log("info", file))
        with pytest.raises(IssuerError):
            await tokens.check(token, None)

    with (tmp_path / "log").open("w+") as file:
        asyncio.run(check(file))
        file.seek(0)
        (entry,) = [json.loads(line) for line in file]
    assert entry["level"] == "warning"
    assert entry["url"] == issuer.url
    assert entry["reason"].startswith("it answered 503 at /.well-known/oauth-auth")
    assert token.rpartition(".")[2] not in json.dumps(entry)
