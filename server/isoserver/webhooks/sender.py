"""One attempt to deliver a webhook: signed as Standard Webhooks says, and sent."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx

from isokernel.timeouts import timeout
from isoserver.errors import ToolFailedError
from isoserver.tools.sources.addresses import keep_public
from isoserver.tools.sources.fetcher import trusted_authorities

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Outcome", "Sender", "sign"]

_PREFIX: Final = "whsec_"
_OK: Final = range(200, 300)
_GONE: Final = 410
_DIGITS_MAX: Final = 9


class Outcome(NamedTuple):
    """What became of an attempt.

    Attributes:
        delivered: Whether the receiver has taken it.
        final: Whether it shall not be sent again.
        reason: Why it was not delivered, for the log and the audit.
        wait_seconds: How long the receiver wants to be left alone.
    """

    delivered: bool = False
    final: bool = False
    reason: str = ""
    wait_seconds: float = 0.0


def sign(secrets: Iterable[str], webhook_id: str, moment: int, body: str) -> str:
    """Return the signatures by some secrets, as the header has them.

    Args:
        secrets: Each as `whsec_` and base64, or as text.
        webhook_id: The webhook's id.
        moment: When it is sent, in seconds since 1970.
        body: What is sent.
    """
    signed = f"{webhook_id}.{moment}.{body}".encode()
    found = []
    for secret in secrets:
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        found.append(f"v1,{base64.b64encode(digest).decode()}")
    return " ".join(found)


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass  # it is text that happens to begin so
    return secret.encode()


class Sender:
    """Sends webhooks; made without a client, which `close` closes."""

    def __init__(self, seconds: float, *, private: bool) -> None:
        """Keep what is needed.

        Args:
            seconds: How long an attempt may take.
            private: Whether it may go to addresses that aren't public.
        """
        self._seconds = seconds
        self._private = private

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(
            verify=trusted_authorities(),
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        if not self._private:
            keep_public(transport)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._seconds),
            transport=transport,
            headers={"User-Agent": "isokernel", "Content-Type": "application/json"},
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def send(self, url: str, headers: dict[str, str], body: str) -> Outcome:
        """Make one attempt; of the answer, only its head is read."""
        try:
            async with timeout(self._seconds):
                return await self._send(url, headers, body)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            return Outcome(reason=f"no answer within {self._seconds:g} s")
        except ToolFailedError as error:
            if error.code == "address_refused":
                reason = "its host is not at a public address (webhook_private)"
                return Outcome(final=True, reason=reason)
            return Outcome(reason="its host has no address that can be found")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Its text may have the URL, and with it what is secret there.
            return Outcome(reason=f"it can't be reached ({type(error).__name__})")

    async def _send(self, url: str, headers: dict[str, str], body: str) -> Outcome:
        request = self._client.build_request(
            "POST", url, headers=headers, content=body.encode()
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()
        status = response.status_code
        if status in _OK:
            return Outcome(delivered=True)
        if status == _GONE:
            return Outcome(final=True, reason="it answered 410: nobody is there now")
        wait = response.headers.get("Retry-After", "")
        seconds = wait.isdecimal() and len(wait) <= _DIGITS_MAX and float(wait)
        reason = f"it answered {status}"
        if response.is_redirect:
            reason = f"{reason}: redirects are not followed"
        return Outcome(reason=reason, wait_seconds=seconds or 0.0)
