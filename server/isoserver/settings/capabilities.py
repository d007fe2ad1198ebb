"""Settings of what code may do beyond its context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from isokernel.errors import SettingsError
from isoserver.errors import InvalidSettingsError
from isoserver.settings.fields import Limits, PositiveInt, Settings, setting

if TYPE_CHECKING:
    from isoserver.settings.rules import CapabilityRuleSettings, SecretSettings

__all__ = ["CapabilitySettings"]

_MIB = 1 << 20


def _read_rules(tables: list[Any]) -> list[CapabilityRuleSettings]:
    from isoserver.settings.rules import (  # noqa: PLC0415 - pydantic, if there are any
        CapabilityRuleSettings,
    )
    from isoserver.settings.tools import read_tables  # noqa: PLC0415 - as above

    return read_tables(CapabilityRuleSettings, tables)


def _read_secrets(tables: list[Any]) -> list[SecretSettings]:
    from isoserver.settings.rules import SecretSettings  # noqa: PLC0415 - as above
    from isoserver.settings.tools import read_tables  # noqa: PLC0415 - as above

    return read_tables(SecretSettings, tables)


class CapabilitySettings(Settings):
    """What code may do beyond its context, and limits of calls. Sizes are in bytes."""

    modules: list[str] = setting(
        ["off"],
        "What code may import: on, off, or packages and URLs, such as "
        "npm:d3, npm:@scope/*, https://example.com/**.",
    )
    net: list[str] = setting(
        ["off"],
        "Where code may send requests: on for all public addresses, off, "
        "or hosts, URLs and addresses.",
    )
    files: list[str] = setting(
        ["on"],
        "What code may do with the files of its context: on, read, off, or paths.",
    )
    env: list[str] = setting(
        ["off"], "Variables of the server that code may see: on, off, or names."
    )
    capability_mode: Literal["enforce", "audit"] = setting(
        "enforce",
        "audit lets pass what would be denied, and notes it; addresses "
        "that aren't public stay denied.",
    )
    capability_rules: list[CapabilityRuleSettings] = setting(
        [],
        "Rules about modules, net, files and env: tables of the file.",
        read=_read_rules,
    )
    secrets: list[SecretSettings] = setting(
        [],
        "Secrets for requests of code: tables of the file.",
        shown=False,
        read=_read_secrets,
    )
    capability_calls_max: PositiveInt = setting(
        64,
        "Calls of one context to the server, for modules, files or the "
        "network, that wait for answers at a time; others wait for their turn.",
    )
    capability_call_bytes_max: Annotated[int, Limits(ge=1 * _MIB, le=24 * _MIB)] = (
        setting(16 * _MIB, "Bytes that go with one such call, and with one answer.")
    )
    capability_unread_bytes_max: PositiveInt = setting(
        64 * _MIB, "Bytes of answers that a context hasn't read yet."
    )

    def check_capabilities(self) -> None:
        """Check that what holds for every workspace can be understood.

        Raises:
            InvalidSettingsError: It can't.
        """
        names = ("modules", "net", "files", "env")
        if all(getattr(self, name) == self.fields[name].default for name in names):
            return  # so what understands it isn't imported
        from isokernel.capabilities.policy import (  # noqa: PLC0415 - see above
            read_policy,
        )

        try:
            read_policy(self.chosen())
        except SettingsError as error:
            raise InvalidSettingsError(str(error)) from error

    def chosen(self) -> dict[str, list[str]]:
        """Return what holds for every workspace, by capability."""
        names = ("modules", "net", "files", "env")
        return {name: getattr(self, name) for name in names}
