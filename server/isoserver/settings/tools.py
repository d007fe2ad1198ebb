"""Sources and rules, as in the configuration file and REST."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from isoserver.errors import InvalidSettingsError
from isoserver.principal import DEFAULT_WORKSPACE

__all__ = [
    "Effect",
    "GraphqlSettings",
    "McpSettings",
    "OpenapiSettings",
    "PolicySettings",
    "RuleModel",
    "SecretReference",
    "SecretValue",
    "SourceModel",
    "SourceSettings",
    "read_source",
    "read_tables",
]

_NAME: Final = r"^[a-z][a-z0-9_]{0,63}$"
_RESERVED: Final = frozenset(
    {"discover", "search", "catalog", "describe", "then", "constructor", "prototype"}
)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_URL: Final = r"^https?://[^\s@/]+(/\S*)?$"

Effect = Literal["allow", "require_approval", "deny"]
Url = Annotated[str, StringConstraints(pattern=_URL, max_length=2048)]
Text = Annotated[str, StringConstraints(max_length=2048, pattern=r"^[^\x00]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, defer_build=True
    )

    def as_data(self) -> dict[str, Any]:
        """Return this as plain data, secrets and all, without what is a default."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


class SecretReference(_Model):
    """Where a secret is found on the server's host."""

    env: str | None = Field(None, description="An environment variable.")
    file: str | None = Field(None, description="A file that holds it.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            message = "must have either env or file"
            raise ValueError(message)
        return self


SecretValue = Annotated[str, StringConstraints(max_length=8192)] | SecretReference


class AuthModel(_Model):
    """How the server authenticates to a source."""

    type: Literal["none", "bearer", "basic", "api_key"] = "none"
    token: SecretValue | None = Field(default=None, description="For bearer.")
    username: SecretValue | None = Field(default=None, description="For basic.")
    password: SecretValue | None = Field(default=None, description="For basic.")
    value: SecretValue | None = Field(default=None, description="For api_key.")
    header: str | None = Field(
        default=None, description="For api_key: the header, X-API-Key if omitted."
    )
    query: str | None = Field(
        default=None, description="For api_key: the query argument."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"bearer": "token", "basic": "password", "api_key": "value"}
        name = needed.get(self.type)
        if name is not None and getattr(self, name) is None:
            message = f"{self.type} needs {name}"
            raise ValueError(message)
        if self.header is not None and self.query is not None:
            message = "must have either header or query"
            raise ValueError(message)
        return self


class _SourceModel(_Model):
    """What all kinds of sources have in common."""

    name: Annotated[str, StringConstraints(pattern=_NAME)] = Field(
        description="The first segment of its tools' names."
    )
    auth: AuthModel = AuthModel()
    headers: dict[str, SecretValue] = Field(
        {}, description="Headers sent with every request."
    )
    reads: Effect = Field("allow", description="The default for tools that only read.")
    writes: Effect = Field(
        "require_approval", description="The default for all other tools."
    )
    call_deadline: PositiveFloat | None = Field(
        None, description="Seconds for a call; the server's setting if omitted."
    )
    response_max: PositiveInt | None = Field(
        None, description="Bytes of an answer; the server's setting if omitted."
    )
    concurrency: PositiveInt | None = Field(
        None, description="Calls at a time; the server's setting if omitted."
    )

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in _RESERVED:
            message = f"{value} is reserved for discovery"
            raise ValueError(message)
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _HEADER.fullmatch(name):
                message = f"{name[:64]!r} isn't a valid header name"
                raise ValueError(message)
        return value


class McpModel(_SourceModel):
    """An MCP server."""

    type: Literal["mcp"]
    command: Text | None = Field(None, description="The program, for stdio.")
    args: list[Text] = Field([], description="Its arguments.")
    env: dict[str, SecretValue] = Field(
        {}, description="Environment variables besides PATH, HOME and the like."
    )
    cwd: Text | None = Field(None, description="Its working folder.")
    url: Url | None = Field(None, description="The endpoint, for HTTP.")
    transport: Literal["http", "sse"] = Field(
        "http", description="The endpoint's transport."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.command is None) == (self.url is None):
            message = "must have either command or url"
            raise ValueError(message)
        return self


class OpenapiModel(_SourceModel):
    """A service that an OpenAPI document describes."""

    type: Literal["openapi"]
    document: Text = Field(description="The document's file or URL; JSON or YAML.")
    base_url: Url | None = Field(
        None, description="The service's URL; the document's if omitted."
    )


class GraphqlModel(_SourceModel):
    """A GraphQL endpoint."""

    type: Literal["graphql"]
    url: Url = Field(description="The endpoint.")
    schema_: Text | None = Field(
        None,
        alias="schema",
        description="A file in the schema language; the endpoint is asked if omitted.",
    )
    depth: int = Field(
        2, ge=1, le=5, description="Levels of objects that are selected by default."
    )


SourceModel = Annotated[
    McpModel | OpenapiModel | GraphqlModel, Field(discriminator="type")
]


class _OfWorkspace(_Model):
    workspace: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        DEFAULT_WORKSPACE, description="The workspace that owns it."
    )


class McpSettings(McpModel, _OfWorkspace):
    """An MCP server, of a workspace."""


class OpenapiSettings(OpenapiModel, _OfWorkspace):
    """A service that an OpenAPI document describes, of a workspace."""


class GraphqlSettings(GraphqlModel, _OfWorkspace):
    """A GraphQL endpoint, of a workspace."""


SourceSettings = Annotated[
    McpSettings | OpenapiSettings | GraphqlSettings, Field(discriminator="type")
]


@cache
def _source_adapter() -> TypeAdapter[SourceSettings]:
    return TypeAdapter(SourceSettings)


def read_source(data: Any) -> SourceSettings:
    """Return the source that plain data describes, as `as_data` has it.

    Raises:
        ValueError: The data isn't valid.
    """
    return _source_adapter().validate_python(data)


class ConditionModel(_Model):
    """A condition on an argument."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Which argument; dots between levels."
    )
    operator: Literal["equals", "not_equals", "contains", "starts_with", "matches"]
    value: Any = Field(None, description="The value to compare with.")


class RuleModel(_Model):
    """A rule of the policy."""

    effect: Effect
    tool: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_*.\-]+$", max_length=256)
    ] = Field(
        "**",
        description="Tools: * is one segment or a part of it, ** any number of them.",
    )
    source: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="Only tools of this source."
    )
    session: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Only calls of this session; not in rules that allow."
    )
    client: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Only calls of this client."
    )
    conditions: list[ConditionModel] = Field(
        [], max_length=32, description="Conditions on the arguments; all must hold."
    )

    @model_validator(mode="after")
    def _of_those_who_are_known(self) -> Self:
        if self.effect == "allow" and self.session is not None:
            message = "a rule that allows can't have a session: clients choose its name"
            raise ValueError(message)
        return self


class PolicySettings(RuleModel, _OfWorkspace):
    """A rule of the policy, of a workspace."""


def read_tables(kind: Any, tables: list[Any]) -> list[Any]:
    """Return what tables of the configuration file describe.

    Args:
        kind: A model here, or a union of some.
        tables: As TOML has them.

    Raises:
        InvalidSettingsError: One is wrong; the values aren't quoted.
    """
    try:
        return TypeAdapter(list[kind]).validate_python(tables)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        lines = (
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in details
        )
        raise InvalidSettingsError(*lines) from None
