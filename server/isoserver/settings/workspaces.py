"""Workspaces and their keys: tables of the configuration file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from isoserver.errors import InvalidSettingsError
from isoserver.settings.webhooks import SECRET_LENGTH_MIN

__all__ = [
    "NAME",
    "KeySettings",
    "SecretSettings",
    "WorkspaceSettings",
    "read_workspaces",
]

KEY_LENGTH_MIN: Final = 16
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_KEY: Final = re.compile(r"[!-~]+")
_CLIENT: Final = re.compile(r"[!-~][ -~]{0,99}")
_FIELD: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`")

Rate = Annotated[float, Meta(ge=0)]


class SecretSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret: as it is, in a variable, or in a file.

    Attributes:
        key: The secret itself, wherever it was.
        env: The environment variable that holds it.
        file: The file that holds it.
    """

    length_min: ClassVar[int] = SECRET_LENGTH_MIN
    word: ClassVar[str] = "secret"

    key: str | None = None
    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        """Find the secret, and check it."""
        if sum(given is not None for given in (self.key, self.env, self.file)) != 1:
            message = "set exactly one of key, env and file"
            raise ValueError(message)
        secret = self._find().strip()
        if len(secret) < self.length_min or not _KEY.fullmatch(secret):
            message = (
                f"a {self.word} needs {self.length_min} or more ASCII characters, no "
                "spaces"
            )
            raise ValueError(message)
        msgspec.structs.force_setattr(self, "key", secret)

    def _find(self) -> str:
        if self.env is not None:
            if self.env not in os.environ:
                message = f"the environment variable {self.env} is not set"
                raise ValueError(message)
            return os.environ[self.env]
        if self.file is None:
            return self.key or ""
        try:
            return Path(self.file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            message = f"the {self.word}'s file can't be read: {reason}"
            raise ValueError(message) from None

    @property
    def secret(self) -> str:
        """The secret."""
        return self.key or ""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show nothing of it."""
        return []

    def __repr__(self) -> str:
        """Show nothing of it."""
        return f"{type(self).__name__}()"


class KeySettings(SecretSettings, frozen=True, forbid_unknown_fields=True):
    """One API key: as it is, in a variable, or in a file.

    Attributes:
        client: The client's name in policies and the audit.
        admin: Whether it may manage approvals, sources and policies.
    """

    length_min: ClassVar[int] = KEY_LENGTH_MIN
    word: ClassVar[str] = "key"

    client: str = ""
    admin: bool = False

    def __post_init__(self) -> None:
        """Find the key, and check it."""
        if self.client and not _CLIENT.fullmatch(self.client):
            message = "client must be 1 to 100 printable ASCII characters"
            raise ValueError(message)
        SecretSettings.__post_init__(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show all but the key."""
        return [("client", self.client), ("admin", self.admin)]

    def __repr__(self) -> str:
        """Show all but the key."""
        return f"KeySettings(client={self.client!r}, admin={self.admin})"


class WorkspaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One workspace.

    Attributes:
        name: Its name.
        api_keys: Its keys.
        execute_rate_per_minute: Like the server's, for this workspace.
        request_rate_per_minute: Like the server's, for this workspace.
        webhook_secrets: What signs its webhooks.
    """

    name: Annotated[str, Meta(pattern=NAME)]
    api_keys: list[KeySettings] = []
    execute_rate_per_minute: Rate | None = None
    request_rate_per_minute: Rate | None = None
    webhook_secrets: list[SecretSettings] = []


def read_workspaces(tables: list[Any]) -> list[WorkspaceSettings]:
    """Return the workspaces that tables describe.

    Args:
        tables: As TOML has them.

    Raises:
        InvalidSettingsError: Some are wrong; the values aren't quoted.
    """
    found: list[WorkspaceSettings] = []
    problems: list[str] = []
    for number, table in enumerate(tables):
        try:
            found.append(msgspec.convert(table, WorkspaceSettings))
        except msgspec.ValidationError as error:  # noqa: PERF203 - there are few
            problems.append(f"{number}{_told(error)}")
    if problems:
        raise InvalidSettingsError(*problems)
    return found


def _told(error: msgspec.ValidationError) -> str:
    """Return where something is wrong, and what."""
    text, _, place = str(error).partition(" - at `$")
    place = re.sub(r"\[(\d+)\]", r".\1", place.removesuffix("`"))
    field = _FIELD.fullmatch(text)
    if field is None:
        return f"{place}: {text}"
    reason = "is missing" if field[1].startswith("missing") else "is unknown"
    return f"{place}.{field[2]}: {reason}"
