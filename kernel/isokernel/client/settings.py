"""Which server, with which key: what is given, else what the environment says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from isokernel._version import __version__
from isokernel.client.errors import ClientSettingsError

if TYPE_CHECKING:
    import ssl

__all__ = [
    "ANSWER_BYTES_MAX",
    "DEFAULT_LANGUAGE",
    "DEFAULT_URL",
    "OUTPUT_BYTES_MAX",
    "RETRIES_MAX",
    "TIMEOUT_SECONDS",
    "ClientSettings",
]

DEFAULT_LANGUAGE: Final = "typescript"
"""Of contexts that neither a language nor a heap is named for."""
DEFAULT_URL: Final = "http://127.0.0.1:3000"
TIMEOUT_SECONDS: Final = 120.0
"""Seconds that a server may say nothing; streams have a heartbeat every 15."""
RETRIES_MAX: Final = 2
ANSWER_BYTES_MAX: Final = 1 << 30
OUTPUT_BYTES_MAX: Final = 64 << 20
_SCHEMES: Final = {"http", "https"}


@dataclass(frozen=True)
class ClientSettings:
    """How a client reaches its server.

    Attributes:
        url: The server's URL, with the prefix of its paths if there is one.
        headers: What is sent with every request.
        timeout: Seconds that a server may say nothing.
        retries_max: How often a request that failed is sent again.
        answer_bytes_max: Bytes of an answer that is held in memory.
        output_bytes_max: Bytes of output that an `Execution` keeps.
        trust_outputs: Whether notebooks show outputs as they are.
        ssl_context: Whom to trust; the system's authorities if None.
    """

    url: str
    headers: dict[str, str]
    timeout: float
    retries_max: int
    answer_bytes_max: int
    output_bytes_max: int
    trust_outputs: bool
    ssl_context: ssl.SSLContext | None

    @classmethod
    def read(  # noqa: PLR0913 -- the parameters of both clients
        cls,
        url: str | None,
        api_key: str | None,
        *,
        workspace: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries_max: int = RETRIES_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
        trust_outputs: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> ClientSettings:
        """Take what is given, and the rest from ISOKERNEL_URL and ISOKERNEL_API_KEY.

        Raises:
            ClientSettingsError: The URL isn't one of HTTP, or the key can't be sent.
        """
        url = (url or os.environ.get("ISOKERNEL_URL") or DEFAULT_URL).rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname or parts.query:
            message = f"{url!r} is no URL of a server, such as {DEFAULT_URL}"
            raise ClientSettingsError(message)
        headers = {
            "Accept": "application/json",
            "User-Agent": f"isokernel-python/{__version__}",
        }
        key = api_key or os.environ.get("ISOKERNEL_API_KEY")
        if key:
            headers["Authorization"] = f"Bearer {_sendable('api_key', key)}"
        if workspace:
            headers["X-Workspace-Id"] = _sendable("workspace", workspace)
        return cls(
            url=url,
            headers=headers,
            timeout=timeout,
            retries_max=retries_max,
            answer_bytes_max=answer_bytes_max,
            output_bytes_max=output_bytes_max,
            trust_outputs=trust_outputs,
            ssl_context=ssl_context,
        )


def _sendable(name: str, text: str) -> str:
    """Refuse what a header can't have, without quoting it: it may be a secret."""
    if not text.isascii() or not text.isprintable() or text != text.strip():
        message = f"{name} must have printable ASCII characters only"
        raise ClientSettingsError(message)
    return text
