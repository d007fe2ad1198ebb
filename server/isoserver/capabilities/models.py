"""Requests and answers about what code may do beyond its context."""

from __future__ import annotations

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
]


class CapabilitiesRequest(CapabilitiesModel):
    """What the context may do from now on, of what its workspace allows."""


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
    workspace: dict[str, Any] = Field(description="The workspace's policy.")
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
