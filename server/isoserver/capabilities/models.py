"""Requests and answers about what code may do beyond its context."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations
from typing import Any, Literal

from pydantic import Field

from isoserver.http.models import AnswerModel
from isoserver.settings.rules import CapabilitiesModel

__all__ = [
    "AddressModel",
    "AskedModel",
    "CapabilitiesAnswer",
    "CapabilitiesRequest",
    "PackageModel",
    "PackagesAnswer",
    "WorkspaceCapabilitiesAnswer",
    "WorkspaceCapabilitiesRequest",
]


class CapabilitiesRequest(CapabilitiesModel):
    """What the context may do from now on, of what its workspace allows."""


class WorkspaceCapabilitiesRequest(CapabilitiesModel):
    """What the code of the workspace may do from now on, of what the server allows."""


class WorkspaceCapabilitiesAnswer(AnswerModel):
    """What the code of a workspace may do beyond its contexts."""

    narrowed: dict[str, Any] = Field(
        description="What its administrator has narrowed that to; empty if to nothing."
    )
    changed_at: datetime | None = Field(description="When; null if never.")
    changed_by: str = Field(description="By whom.")
    workspace: dict[str, Any] = Field(
        description="The server's policy for the workspace."
    )
    mode: Literal["enforce", "audit"]


class AskedModel(AnswerModel):
    """Something that code of the context has asked for."""

    capability: Literal["modules", "net", "files", "env"]
    target: str = Field(description="A pattern that fits it.")
    outcome: Literal["allowed", "approved", "denied", "passed"] = Field(
        description="passed: it would have been denied, but the mode is audit."
    )


class CapabilitiesAnswer(AnswerModel):
    """What the code of a context may do beyond it, and what it has asked for."""

    context: dict[str, Any] = Field(
        description="What narrows the workspace's policy; empty if nothing does."
    )
    narrowed: dict[str, Any] = Field(
        description="What the workspace's administrator has narrowed it to."
    )
    workspace: dict[str, Any] = Field(
        description="The server's policy for the workspace."
    )
    mode: Literal["enforce", "audit"]
    asked: list[AskedModel] = Field(description="What was asked for, the oldest first.")
    suggested: dict[str, list[str]] = Field(
        description="The policy that allows all of that, for a request or a context."
    )


class PackageModel(AnswerModel):
    """A package that a context has loaded."""

    name: str
    version: str
    integrity: str = Field(description="The SHA-512 of its tarball, in npm's form.")
    dependent: str | None = Field(
        description="The package that brought it, as name@version; null if it was the "
        "code itself."
    )
    ranges: list[str] = Field(
        description="The ranges and tags by which it was asked for; none is empty."
    )


class AddressModel(AnswerModel):
    """A module at an address that a context has loaded."""

    url: str
    integrity: str = Field(description="Its SHA-512, in the same form.")


class PackagesAnswer(AnswerModel):
    """The lock of a context: its packages, in the order in which they came."""

    packages: list[PackageModel]
    addresses: list[AddressModel]
