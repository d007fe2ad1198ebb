"""What a source is, as the configuration file, the REST API and the database have it.

The border has checked it (`isoserver.settings.tools`); this is its plain form.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from isoserver.errors import SourceError
from isoserver.tools.redaction import SECRET_MIN
from isoserver.tools.rules import ALLOW, REQUIRE_APPROVAL, Effect

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Auth",
    "GraphqlSource",
    "Limits",
    "McpSource",
    "OpenapiSource",
    "Reference",
    "Secret",
    "SourceConfiguration",
    "is_local",
    "read",
    "resolve",
    "write",
]

_SECRET_MAX: Final = 64 * 1024


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a value is found on the server's host.

    Attributes:
        env: A variable of the server's environment.
        file: A file, whose last newline doesn't count.
    """

    env: str | None = None
    file: str | None = None


Secret = str | Reference


class Auth(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a source is told who asks.

    Attributes:
        type: The kind.
        token: For bearer.
        username: For basic.
        password: For basic.
        value: For api_key.
        header: For api_key: the header that has it.
        query: For api_key: the query argument that has it.
    """

    type: Literal["none", "bearer", "basic", "api_key"] = "none"
    token: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None
    value: Secret | None = None
    header: str | None = None
    query: str | None = None


class _Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all kinds of sources have.

    Attributes:
        name: The first segment of its tools' paths.
        workspace: Whose it is.
        auth: How it is told who asks.
        headers: Headers that are always sent.
        reads: The default for tools that change nothing.
        writes: The default for all others.
        call_deadline: Seconds that a call may take; None for the server's setting.
        response_max: Bytes of one answer; None for the server's setting.
        concurrency: Calls at a time; None for the server's setting.
    """

    name: str
    workspace: str
    auth: Auth = Auth()
    headers: dict[str, Secret] = {}
    reads: Effect = ALLOW
    writes: Effect = REQUIRE_APPROVAL
    call_deadline: float | None = None
    response_max: int | None = None
    concurrency: int | None = None


class McpSource(_Source, frozen=True, kw_only=True, tag_field="type", tag="mcp"):
    """An MCP server: a command of ours, or a URL.

    Attributes:
        command: The program, for stdio.
        args: Its arguments.
        env: Variables that it gets besides PATH, HOME and the like.
        cwd: Its working folder.
        url: The endpoint, for HTTP.
        transport: How the endpoint speaks.
    """

    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, Secret] = {}
    cwd: str | None = None
    url: str | None = None
    transport: Literal["http", "sse"] = "http"


class OpenapiSource(
    _Source, frozen=True, kw_only=True, tag_field="type", tag="openapi"
):
    """A service that an OpenAPI document describes.

    Attributes:
        document: Its file or URL.
        base_url: Where the service is; else the document says it.
    """

    document: str
    base_url: str | None = None


class GraphqlSource(
    _Source, frozen=True, kw_only=True, tag_field="type", tag="graphql"
):
    """A GraphQL endpoint.

    Attributes:
        url: The endpoint.
        schema: A file in the schema language; the endpoint is asked if None.
        depth: Levels of objects whose scalar fields are selected by default.
    """

    url: str
    schema: str | None = None
    depth: int = 2


SourceConfiguration = McpSource | OpenapiSource | GraphqlSource


class Limits(NamedTuple):
    """Bounds of one source, of its configuration or else the server's settings.

    Attributes:
        start_deadline: Seconds to connect and to list the tools.
        call_deadline: Seconds for one call.
        response_max: Bytes of one answer.
        document_max: Bytes of a document or a schema.
        concurrency: Calls at a time.
        tools_max: Tools at most; the rest is left out.
        private: Whether it may be at an address that isn't public.
    """

    start_deadline: float
    call_deadline: float
    response_max: int
    document_max: int
    concurrency: int
    tools_max: int
    private: bool = True

    def of(self, source: SourceConfiguration) -> Limits:
        """Give them with what a source has of its own."""
        return self._replace(
            call_deadline=source.call_deadline or self.call_deadline,
            response_max=source.response_max or self.response_max,
            concurrency=source.concurrency or self.concurrency,
        )


def read(data: Any) -> SourceConfiguration:
    """Read a configuration from plain data.

    Raises:
        SourceError: It isn't one.
    """
    try:
        made: SourceConfiguration = msgspec.convert(data, SourceConfiguration)
    except msgspec.ValidationError as error:
        raise SourceError(str(error)) from error
    return made


def write(source: SourceConfiguration) -> dict[str, Any]:
    """Give a configuration as plain data, secrets and all: for the database."""
    made: dict[str, Any] = msgspec.to_builtins(source)
    return made


def secrets_of(source: SourceConfiguration) -> Iterator[Secret]:
    """Give everything in a configuration that may be secret."""
    auth = source.auth
    for value in (auth.token, auth.username, auth.password, auth.value):
        if value is not None:
            yield value
    yield from source.headers.values()
    if isinstance(source, McpSource):
        yield from source.env.values()


def is_local(source: SourceConfiguration) -> bool:
    """Tell whether it runs or reads something on the server's host."""
    if any(isinstance(value, Reference) for value in secrets_of(source)):
        return True
    if isinstance(source, McpSource):
        return source.command is not None
    if isinstance(source, OpenapiSource):
        return not source.document.startswith(("http://", "https://"))
    return source.schema is not None


def resolve(secret: Secret, *, short: bool = False) -> str:
    """Give the value of a secret.

    Args:
        secret: The value itself, or where it is.
        short: Whether it may be short, because it isn't secret.

    Raises:
        SourceError: It isn't there, or it is too short to be kept out of results.
    """
    if isinstance(secret, str):
        value, place = secret, "a secret"
    elif secret.env is not None:
        value, place = os.environ.get(secret.env, ""), f"the variable {secret.env}"
    else:
        value, place = _read(Path(secret.file or "")), f"the file {secret.file}"
    if not value and not short:
        message = f"{place} is empty or isn't there"
        raise SourceError(message)
    if len(value) < SECRET_MIN and not short:
        message = f"{place} has fewer than {SECRET_MIN} characters"
        raise SourceError(message)
    return value


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_SECRET_MAX).removesuffix("\n")
    except (OSError, ValueError) as error:
        message = f"the file {path} can't be read"
        raise SourceError(message) from error
