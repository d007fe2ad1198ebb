"""What a source is told about who asks; the values stay on this side."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.errors import SourceError
from isoserver.settings.tools import McpSettings, OpenapiSettings, SecretReference
from isoserver.tools.redaction import SECRET_MIN, is_secret

if TYPE_CHECKING:
    from isoserver.settings.tools import AuthModel, SecretValue, SourceSettings

__all__ = ["Credentials", "credentials", "is_local", "is_url", "resolve"]

_FILE_CHARACTERS_MAX: Final = 64 * 1024
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


def credentials(source: SourceSettings) -> Credentials:
    """Find the values that a source's configuration names.

    Raises:
        SourceError: One of them is missing, or too short.
    """
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    secrets: list[str] = []

    def find(value: SecretValue | None, what: str) -> str:
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
    env = _named(source.env, secrets) if isinstance(source, McpSettings) else {}
    return Credentials(headers, query, env, tuple(secrets))


def is_local(source: SourceSettings) -> bool:
    """Tell whether a source runs or reads something on the server's host."""
    auth = source.auth
    values = [auth.token, auth.username, auth.password, auth.value]
    values += source.headers.values()
    if isinstance(source, McpSettings):
        values += source.env.values()
    if any(isinstance(value, SecretReference) for value in values):
        return True
    if isinstance(source, McpSettings):
        return source.command is not None
    if isinstance(source, OpenapiSettings):
        return not is_url(source.document)
    return source.schema_ is not None


def is_url(place: str) -> bool:
    """Tell whether a document is fetched, and not a file."""
    return place.startswith(("http://", "https://"))


def _basic(auth: AuthModel, password: str) -> str:
    name = resolve(auth.username, short=True) if auth.username else ""
    coded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return f"Basic {coded}"


def _named(values: dict[str, SecretValue], secrets: list[str]) -> dict[str, str]:
    """Find values by name; also note those that are secret.

    Those that are found elsewhere are, and of those that are written here whatever
    looks like one: a version of an API, which results are full of, must not be hidden.
    """
    made = {}
    for name, value in values.items():
        referred = isinstance(value, SecretReference)
        found = made[name] = resolve(value, short=not referred)
        if referred or is_secret(name, found):
            # Also without its scheme, as in "Bearer …".
            secrets += (found, found.rpartition(" ")[2])
    return made


def resolve(value: SecretValue, *, short: bool = False) -> str:
    """Find a value, which may be short if it isn't secret.

    Raises:
        SourceError: It is missing, or too short to be kept out of results.
    """
    if isinstance(value, str):
        found, place = value, "a secret"
    elif value.env is not None:
        found, place = os.environ.get(value.env, ""), f"the variable {value.env}"
    else:
        found, place = _read(Path(value.file or "")), f"the file {value.file}"
    if not found and not short:
        message = f"{place} is empty or isn't there"
        raise SourceError(message)
    if len(found) < SECRET_MIN and not short:
        message = f"{place} has fewer than {SECRET_MIN} characters"
        raise SourceError(message)
    return found


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_FILE_CHARACTERS_MAX).removesuffix("\n")
    except (OSError, ValueError) as error:
        message = f"the file {path} can't be read"
        raise SourceError(message) from error
