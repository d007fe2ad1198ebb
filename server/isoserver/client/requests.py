"""Requests to a server, as JSON."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from isoserver.client.errors import ClientError, RefusedError, UnreachableError

__all__ = ["Connection", "quote"]

_SCHEMES = {"http", "https"}
_SECONDS = 60.0


class Connection:
    """Where a server is, and the key that it asks for."""

    def __init__(self, url: str, api_key: str | None) -> None:
        """Take both.

        Args:
            url: The server's, with what its paths begin with.
            api_key: A key, if the server asks for one.

        Raises:
            ClientError: That is no URL.
        """
        self._url = url.rstrip("/")
        parts = urllib.parse.urlsplit(self._url)
        if parts.scheme not in _SCHEMES or not parts.netloc:
            message = f"{url!r} is no URL of a server: http://HOST:PORT is one"
            raise ClientError(message)
        self._headers = {"Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def get(self, path: str, **query: Any) -> Any:
        """GET; arguments that are None are left out."""
        return self.ask("GET", path, query)

    def ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request and give the answer.

        Args:
            method: The method.
            path: From the server's URL on.
            query: Arguments in the query; those that are None are left out.
            body: What is sent, as JSON.

        Raises:
            RefusedError: The answer is an error.
            UnreachableError: There is none.
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
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, _said(error.read())) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            message = f"there is no answer from {self._url}: {reason}"
            raise UnreachableError(message) from error
        except ValueError as error:
            message = f"what is at {self._url} does not answer in JSON"
            raise ClientError(message) from error


def quote(name: str) -> str:
    """Make a name part of a path."""
    return urllib.parse.quote(name, safe="")


def _said(body: bytes) -> str:
    """Give the error in an answer's body."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[:200].decode("utf-8", "replace").strip() or "no reason given"
    if isinstance(answer, dict):
        return str(answer.get("error") or answer.get("message") or answer)
    return str(answer)
