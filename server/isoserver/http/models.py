"""Models that belong to no feature: roots, errors, the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AnswerModel",
    "ApiError",
    "CliAsset",
    "CliIndex",
    "ErrorModel",
    "FieldError",
    "Health",
    "IndexModel",
    "NextOffset",
    "Offset",
    "QueryModel",
    "RequestModel",
    "ResourceModel",
    "ValidationErrorModel",
    "VersionModel",
    "cut_page",
]

Listed = TypeVar("Listed")
Offset = Annotated[
    int, Field(ge=0, le=1 << 31, description="How many to pass over first.")
]
NextOffset = Annotated[
    int | None, Field(description="The offset of the next page; null on the last one.")
]


def cut_page(
    found: Sequence[Listed], limit: int, offset: int
) -> tuple[Sequence[Listed], int | None]:
    """Return a page, and the offset of the next one; None if it is the last.

    Args:
        found: What is at the offset: one more than the limit, if there are so many.
        limit: How many a page has.
        offset: The page's.
    """
    return found[:limit], offset + limit if len(found) > limit else None


class RequestModel(BaseModel):
    """What a client sends: unknown fields are refused, nothing is converted.

    Models are built when they are first used: all of them take 0.2 s of a start.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, defer_build=True
    )


class QueryModel(RequestModel):
    """Arguments in the query: text that is converted, unknown ones are ignored."""

    model_config = ConfigDict(
        extra="ignore", strict=False, frozen=True, defer_build=True
    )


class AnswerModel(BaseModel):
    """What the server sends."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ErrorModel(AnswerModel):
    """Why a request could not be served."""

    message: str


class FieldError(AnswerModel):
    """What is wrong with one field."""

    field: str = Field(description="JSON field name that failed validation.")
    error: str = Field(description="What is wrong, for people.")


class ValidationErrorModel(AnswerModel):
    """A request that isn't what the API takes."""

    message: str = Field(description="Summary message.", examples=["Invalid request"])
    errors: list[FieldError]


class ApiError(AnswerModel):
    """Why a request could not be served."""

    error: str


class IndexModel(AnswerModel):
    """What the server is, and the paths to go on from."""

    name: str
    version: str
    ui: str = Field(description="The path of the page for people.")
    documentation: str = Field(description="The path of the documentation.")
    openapi: str = Field(description="The path of this document.")
    health: str = Field(description="The path that tells whether it works.")
    mcp: str = Field(description="The path of MCP over streamable HTTP.")


class Health(AnswerModel):
    """The server works."""

    status: Literal["ok"]


class ResourceModel(AnswerModel):
    """What is guarded, and whose bearer tokens open it (RFC 9728)."""

    resource: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    scopes_supported: list[str]
    resource_name: str


class VersionModel(AnswerModel):
    """The server's version."""

    version: str


class CliAsset(AnswerModel):
    """A client that can be downloaded."""

    platform: str
    url: str
    available: bool


class CliIndex(AnswerModel):
    """The clients that can be downloaded."""

    version: str
    assets: list[CliAsset]
