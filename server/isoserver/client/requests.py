"""Requests to a server in JSON, and what can go wrong, with its exit status.

    ClientError             anything else: 3
    ├── RefusedError        the server answers with an error: 3
    └── UnreachableError    no server answers: 4

1 is for code that failed, 2 for a command line that can't be understood.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

__all__ = [
    "ClientError",
    "Connection",
    "RefusedError",
    "UnreachableError",
    "quote",
]

_SCHEMES = {"http", "https"}
_TIMEOUT_SECONDS = 60.0


class ClientError(Exception):
    """Root of all errors of the client.

    Attributes:
        exit_status: What the program ends with.
    """

    exit_status = 3


class RefusedError(ClientError):
    """The server answers with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, text: str) -> None:
        """Keep the status, and what the server says."""
        self.status = status
        super().__init__(f"{text} (HTTP {status})")


class UnreachableError(ClientError):
    """No server answers."""

    exit_status = 4


class Connection:
    """A server's address, and the key to send to it."""

    def __init__(self, url: str, api_key: str | None) -> None:
        """Check the address; nothing is sent.

        Args:
            url: The server's URL, with the prefix of its paths if there is one.
            api_key: A key, if the server asks for one.

        Raises:
            ClientError: The URL isn't one of HTTP.
        """
        self._url = url.rstrip("/")
        parts = urllib.parse.urlsplit(self._url)
        if parts.scheme not in _SCHEMES or not parts.netloc:
            message = f"{url!r} is no URL of a server, such as http://HOST:PORT"
            raise ClientError(message)
        self._headers = {"Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET request; see `ask`."""
        return self.ask("GET", path, query)

    def ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request, and return the answer.

        Args:
            method: The HTTP method.
            path: The path below the server's URL.
            query: Arguments for the query; those that are None are left out.
            body: What to send as JSON; None sends no body.

        Raises:
            RefusedError: The server answers with an error.
            UnreachableError: No server answers.
            ClientError: The answer isn't JSON.
        """
        given = {
            name: value for name, value in (query or {}).items() if value is not None
        }
        url = f"{self._url}{path}"
        if given:
            url += f"?{urllib.parse.urlencode(given, doseq=True)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - http or https, see above
            url, data, dict(self._headers), method=method
        )
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, _error_text(error.read())) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            message = f"there is no answer from {self._url}: {reason}"
            raise UnreachableError(message) from error
        except ValueError as error:
            message = f"the answer from {self._url} is not JSON"
            raise ClientError(message) from error


def quote(name: str) -> str:
    """Return a name as a segment of a path."""
    return urllib.parse.quote(name, safe="")


def _error_text(body: bytes) -> str:
    """Return the error in the body of an answer."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[:200].decode("utf-8", "replace").strip() or "no reason given"
    if isinstance(answer, dict):
        return str(answer.get("error") or answer.get("message") or answer)
    return str(answer)
