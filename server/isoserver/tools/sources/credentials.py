"""What a source is told about who asks; its values stay on this side."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.errors import SourceError
from isoserver.tools.configuration import McpSource, Reference, resolve

if TYPE_CHECKING:
    from isoserver.tools.configuration import Auth, Secret, SourceConfiguration

__all__ = ["Credentials", "credentials"]

_KEY_HEADER: Final = "X-API-Key"


class Credentials(NamedTuple):
    """What is sent with each request.

    Attributes:
        headers: Headers.
        query: Arguments in the query.
        env: Variables of the process, where the source is one.
        secrets: Every value that must not be seen.
    """

    headers: dict[str, str]
    query: dict[str, str]
    env: dict[str, str]
    secrets: tuple[str, ...]


def credentials(source: SourceConfiguration) -> Credentials:
    """Find the values that a configuration names.

    Raises:
        SourceError: One of them isn't there, or is too short.
    """
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    secrets: list[str] = []

    def find(value: Secret | None, what: str) -> str:
        if value is None:
            message = f"auth lacks its {what}"
            raise SourceError(message)
        secrets.append(resolve(value))
        return secrets[-1]

    auth = source.auth
    if auth.type == "bearer":
        headers["Authorization"] = f"Bearer {find(auth.token, 'token')}"
    elif auth.type == "basic":
        headers["Authorization"] = _basic(auth, find(auth.password, "password"))
        secrets.append(headers["Authorization"].partition(" ")[2])
    elif auth.type == "api_key":
        value = find(auth.value, "value")
        if auth.query is not None:
            query[auth.query] = value
        else:
            headers[auth.header or _KEY_HEADER] = value
    headers.update(_named(source.headers, secrets))
    env = _named(source.env, secrets) if isinstance(source, McpSource) else {}
    return Credentials(headers, query, env, tuple(secrets))


def _basic(auth: Auth, password: str) -> str:
    name = resolve(auth.username, short=True) if auth.username else ""
    coded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return f"Basic {coded}"


def _named(values: dict[str, Secret], secrets: list[str]) -> dict[str, str]:
    """Give values by name; those that are found elsewhere are secret."""
    made = {}
    for name, value in values.items():
        secret = isinstance(value, Reference)
        made[name] = resolve(value, short=not secret)
        if secret:
            secrets.append(made[name])
    return made
