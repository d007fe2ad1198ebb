"""The authorization server's signing keys, fetched and cached."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from isokernel.timeouts import timeout
from isoserver.errors import IssuerError
from isoserver.settings.access import ALGORITHMS, is_loopback
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.access import AccessSettings

__all__ = ["Issuer"]

DOCUMENT_MAX: Final = 1 << 20
"""Bytes of an answer of the issuer."""
KEYS_MAX: Final = 100
_OK: Final = 200


class Issuer:
    """An authorization server's keys; used from the event loop only.

    They are fetched when the first token comes, when they are old, and when a token
    names a key that isn't among them; never more often than the interval says, and once
    for all who wait. While the issuer can't be reached, the known keys stay in use.
    """

    def __init__(
        self, settings: AccessSettings, url: str, log: FilteringBoundLogger
    ) -> None:
        """Keep what is needed; nothing is fetched yet.

        Args:
            settings: Timeouts and ages.
            url: The issuer's identifier.
            log: Told why the issuer can't be reached.
        """
        self._settings = settings
        self._url = url
        self._log = log
        self._keys_url: str | None = settings.oauth_jwks_url
        self._keys: list[dict[str, Any]] = []
        self._known = False
        self._fetched_at = 0.0
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def keys(self, key_id: str | None, algorithm: str) -> list[PyJWK]:
        """Return the keys that a token may be signed with.

        Args:
            key_id: The key that the token names; None if it names none.
            algorithm: How it is signed; one of the allowed ones.

        Returns:
            Those that fit; none if the issuer, asked again unless that was a moment
            ago, has none.

        Raises:
            IssuerError: No keys are known, and the issuer can't be reached.
        """
        settings, asked = self._settings, False
        if self._age() > settings.oauth_keys_ttl_seconds:
            before = self._fetched_at
            asked = await self._fetch_once()
            stale = settings.oauth_keys_ttl_seconds + settings.oauth_keys_stale_seconds
            if self._fetched_at == before and self._age() > stale:
                raise IssuerError
        found = self._fitting(key_id, algorithm)
        if not found and not asked and await self._fetch_once():
            found = self._fitting(key_id, algorithm)
        return found

    async def close(self) -> None:
        """Stop fetching."""
        await end_tasks(self._fetching)

    def _age(self) -> float:
        """Return the seconds since the keys were fetched, infinity if never."""
        return time.monotonic() - self._fetched_at if self._known else float("inf")

    def _fitting(self, key_id: str | None, algorithm: str) -> list[PyJWK]:
        fitting = [
            key
            for key in self._keys
            if _fits(key, algorithm) and key_id in (None, key.get("kid"))
        ]
        if key_id is None and len(fitting) > 1:
            return []  # whose signature it is must not be a matter of trying
        return list(_made(fitting, algorithm))

    async def _fetch_once(self) -> bool:
        """Fetch the keys, or wait for whoever does; return whether anybody did."""
        if self._fetching is None:
            now = time.monotonic()
            if now - self._tried_at < self._settings.oauth_keys_interval_seconds:
                return False
            self._tried_at = now
            self._fetching = asyncio.create_task(self._refresh())
        # The client that waits may go; others wait for the same answer.
        await asyncio.shield(self._fetching)
        return True

    async def _refresh(self) -> None:
        import httpx  # noqa: PLC0415 - 100 ms that servers without an issuer spare

        try:
            async with timeout(self._settings.oauth_keys_timeout_seconds):
                await self._fetch()
        except IssuerError as error:
            self._complain(error.reason)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._complain(f"{type(error).__name__}: {error}")
        except asyncio.TimeoutError:
            self._complain("it did not answer in time")
        finally:
            self._fetching = None

    def _complain(self, reason: str) -> None:
        # Its keys may have moved: next time it is asked for their place again.
        self._keys_url = self._settings.oauth_jwks_url
        self._log.warning("no keys from the issuer", url=self._url, reason=reason)

    async def _fetch(self) -> None:
        import httpx  # noqa: PLC0415

        # Where the issuer's documents are is known; nobody else is to be followed.
        async with httpx.AsyncClient(
            follow_redirects=False, timeout=self._settings.oauth_keys_timeout_seconds
        ) as client:
            if self._keys_url is None:
                self._keys_url = await self._discover(client)
            document = await _get(client, self._keys_url)
        keys = document.get("keys")
        if not isinstance(keys, list):
            reason = "its key set has no keys"
            raise IssuerError(reason)
        self._keys = [key for key in keys[:KEYS_MAX] if isinstance(key, dict)]
        self._known, self._fetched_at = True, time.monotonic()

    async def _discover(self, client: httpx.AsyncClient) -> str:
        """Find where the keys are: RFC 8414, and OpenID Connect's way."""
        reasons = []
        for url in _metadata_urls(self._url):
            try:
                return _keys_url(await _get(client, url), self._url)
            except IssuerError as error:  # noqa: PERF203 - there are three
                reasons.append(f"{error.reason} at {urlsplit(url).path}")
        raise IssuerError("; ".join(reasons))


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    body = bytearray()
    async with client.stream("GET", url, headers={"Accept": "application/json"}) as got:
        if got.status_code != _OK:
            reason = f"it answered {got.status_code}"
            raise IssuerError(reason)
        async for part in got.aiter_bytes():
            body += part
            if len(body) > DOCUMENT_MAX:
                reason = "its answer is too large"
                raise IssuerError(reason)
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        reason = "its answer is no JSON object"
        raise IssuerError(reason)
    return document


def _keys_url(document: dict[str, Any], issuer: str) -> str:
    """Return the URL that metadata name for the keys."""
    if str(document.get("issuer")).rstrip("/") != issuer.rstrip("/"):
        reason = "metadata are another issuer's"
        raise IssuerError(reason)
    place = document.get("jwks_uri")
    if isinstance(place, str) and _is_safe(place, issuer):
        return place
    reason = "metadata have no jwks_uri that is safe"
    raise IssuerError(reason)


def _metadata_urls(issuer: str) -> list[str]:
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = [
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}/.well-known/openid-configuration{path}",
        f"{base}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(places))


def _is_safe(place: str, issuer: str) -> bool:
    """Tell whether keys from a URL are the issuer's: https, or both on this machine."""
    try:
        to, by = urlsplit(place), urlsplit(issuer)
        hosts = (to.hostname or "", by.hostname or "")
    except ValueError:
        return False
    if to.scheme == "https":
        return bool(hosts[0])
    return to.scheme == "http" and all(is_loopback(host) for host in hosts)


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    """Tell whether a key is for checking signatures of that kind."""
    operations = key.get("key_ops")
    return (
        key.get("kty") == ALGORITHMS[algorithm]
        and key.get("alg") in (None, algorithm)
        and key.get("use") in (None, "sig")
        and (not isinstance(operations, list) or "verify" in operations)
    )


def _made(keys: list[dict[str, Any]], algorithm: str) -> Iterator[PyJWK]:
    for key in keys:
        # One that is broken is as good as none.
        with suppress(PyJWTError, ValueError, TypeError, KeyError):
            yield PyJWK(key, algorithm)
