"""What code may do beyond its context, as in the configuration file and REST."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from typing_extensions import Self

from isokernel.capabilities.policy import read_policy, read_rule
from isokernel.capabilities.targets import read_pattern
from isoserver.principal import DEFAULT_WORKSPACE
from isoserver.settings.tools import (  # noqa: TC001 - pydantic reads annotations
    ConditionModel,
    Effect,
    SecretValue,
)

__all__ = [
    "BriefCapabilities",
    "CapabilitiesModel",
    "CapabilityRuleModel",
    "CapabilityRuleSettings",
    "SecretSettings",
    "policy_of",
]

_RULES_MAX = 100
Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Chosen = (
    Annotated[str, StringConstraints(max_length=4096)]
    | Annotated[list[Text], Field(max_length=1000)]
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class CapabilityRuleModel(_Model):
    """A rule about what code may do beyond its context."""

    effect: Effect
    capability: Literal["modules", "net", "files", "env"]
    target: Text = Field(
        "*",
        description="What it is about: npm:NAME@VERSION, a host or URL, a path, or the "
        "name of a variable; * stands for any part.",
    )
    networks: list[
        Literal["public", "loopback", "private", "link-local", "metadata", "reserved"]
    ] = Field(
        [],
        description="Of a rule that allows the network: what the address may be "
        "besides public.",
    )
    conditions: list[ConditionModel] = Field(
        [],
        max_length=32,
        description="Conditions on the facts (method, host, port, address, access, "
        "name, version); all must hold.",
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        read_rule(self.as_rule())  # a SettingsError is a ValueError
        return self

    def as_rule(self) -> dict[str, Any]:
        """Return the rule as the kernel reads it."""
        names = {"effect", "capability", "target", "networks", "conditions"}
        return self.model_dump(include=names)


class CapabilityRuleSettings(CapabilityRuleModel):
    """A rule, of a workspace."""

    workspace: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        DEFAULT_WORKSPACE, description="Whose code it is about; * for everybody's."
    )


class CapabilitiesModel(_Model):
    """What code may do beyond its context, of what its workspace allows."""

    modules: Chosen | None = Field(
        None, description="on, off, or packages: npm:NAME, npm:@SCOPE/*, npm:NAME@7."
    )
    net: Chosen | None = Field(
        None, description="on, off, or hosts and URLs: example.com, *.example.com."
    )
    files: Chosen | None = Field(
        None, description="on, off, read, or paths in the context's folder: data/**."
    )
    env: Chosen | None = Field(
        None, description="on, off, or names of variables: NAME, PREFIX_*."
    )
    rules: list[CapabilityRuleModel] = Field(
        [], max_length=_RULES_MAX, description="Rules; the most restrictive one wins."
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        read_policy(self.as_policy())
        return self

    def as_policy(self) -> dict[str, Any]:
        """Return it as plain data, as the kernel reads it, without what isn't set."""
        names = ("modules", "net", "files", "env")
        chosen = {name: getattr(self, name) for name in names}
        made: dict[str, Any] = {n: v for n, v in chosen.items() if v is not None}
        if self.rules:
            made["rules"] = [rule.as_rule() for rule in self.rules]
        return made


BriefCapabilities = Annotated[
    CapabilitiesModel, WithJsonSchema({"type": "object", "additionalProperties": True})
]
"""The same for tools of MCP, whose schemas models pay for by the word."""


def policy_of(given: CapabilitiesModel | None) -> dict[str, Any] | None:
    """Return the policy that a request asks for, if it does."""
    return None if given is None else given.as_policy()


class SecretSettings(_Model):
    """A secret that the server puts into requests to some hosts."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    value: SecretValue
    hosts: list[Text] = Field(
        min_length=1,
        description="Hosts that get it, at any port or at one: example.com, "
        "*.example.com, localhost:8000.",
    )
    workspace: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        DEFAULT_WORKSPACE, description="Whose code may use it."
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        for host in self.hosts:
            if "://" in host:
                message = (
                    f"{host!r} is a URL: hosts takes names, with or without a port"
                )
                raise ValueError(message)
            read_pattern("net", host)
        return self
