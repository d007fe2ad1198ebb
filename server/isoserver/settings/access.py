"""What can be set about who may ask: keys, workspaces, tokens, rates.

A part of the server's settings. Secrets are in no representation and in no message.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from isoserver.principal import DEFAULT_WORKSPACE

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "ALGORITHMS",
    "CONFINED",
    "ISSUER_VARIABLE",
    "AccessSettings",
    "KeySettings",
    "WorkspaceSettings",
    "is_loopback",
]

ALGORITHMS: Final = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
"""What tokens may be signed with, and the kind of key of each. No secret is shared with
the issuer, so that whoever can check a token can't make one."""

ISSUER_VARIABLE: Final = "MCP_AUTHORIZATION_SERVER"
"""Names the issuer, unless a setting does."""
CONFINED: Final = frozenset({"javascript", "js", "node", "typescript", "ts", "bun"})
"""Names of languages whose processes are confined: those of V8."""
KEY_LENGTH_MIN: Final = 16
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SCOPE: Final = r"^[!#-\[\]-~]+$"
_ERROR: Final = "access"
_KEY: Final = re.compile(r"[!-~]+")
_CLIENT: Final = r"^[!-~][ -~]{0,99}$"

Names = Annotated[list[str], NoDecode]


def _refuse(text: str) -> NoReturn:
    """Say what is wrong, and nothing of what was given."""
    raise PydanticCustomError(_ERROR, "{text}", {"text": text})


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own, out of others' reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(value: str) -> str:
    """Accept https, or http on this machine: an issuer must be what it says."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        _refuse("must be a URL")
    if not host or parts.username or parts.query or parts.fragment:
        _refuse("must be a URL without user, query and fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return value
    _refuse("must begin with https://, but for loopback")


Url = Annotated[str, AfterValidator(_check_url)]


class _Table(BaseModel):
    """A table in the TOML file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


class KeySettings(_Table):
    """One API key: as it is, in a variable, or in a file."""

    key: SecretStr | None = Field(None, description="The key itself.")
    env: str | None = Field(None, description="The variable that has it.")
    file: Path | None = Field(None, description="The file that has it.")
    client: str = Field("", description="Whose it is, for policies and the audit.")
    admin: bool = Field(
        default=False,
        description="Whether it may decide about approvals, sources and policies.",
    )
    _secret: str = PrivateAttr("")

    @model_validator(mode="after")
    def _read(self) -> Self:
        if sum(given is not None for given in (self.key, self.env, self.file)) != 1:
            _refuse("give one of key, env and file")
        if self.client and not re.fullmatch(_CLIENT, self.client):
            _refuse("client must be up to 100 printable characters")
        self._secret = self._find().strip()
        if len(self._secret) < KEY_LENGTH_MIN or not _KEY.fullmatch(self._secret):
            text = f"a key has at least {KEY_LENGTH_MIN} characters, ASCII, no spaces"
            _refuse(text)
        return self

    def _find(self) -> str:
        if self.key is not None:
            return self.key.get_secret_value()
        if self.env is not None:
            if self.env not in os.environ:
                _refuse(f"there is no variable {self.env}")
            return os.environ[self.env]
        try:
            return Path(self.file or "").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            _refuse(f"the key's file can't be read: {reason}")

    @property
    def secret(self) -> str:
        """The key."""
        return self._secret


class WorkspaceSettings(_Table):
    """One workspace: who may use it, and how often."""

    name: str = Field(pattern=NAME, description="Its name.")
    api_keys: list[KeySettings] = Field([], description="Its keys.")
    execute_rate_per_minute: NonNegativeFloat | None = Field(
        None, description="As the setting of that name, for this workspace."
    )
    request_rate_per_minute: NonNegativeFloat | None = Field(
        None, description="As the setting of that name, for this workspace."
    )


class AccessSettings(BaseSettings):
    """Who may ask, and how often."""

    model_config = SettingsConfigDict(hide_input_in_errors=True, defer_build=True)

    api_key: Names = Field(
        [],
        repr=False,
        description="A key that requests must bring; several may be. It opens the "
        "default workspace, as its administrator.",
    )
    workspaces: list[WorkspaceSettings] = Field(
        [],
        repr=False,
        description="Workspaces with keys and rates of their own; best in the file.",
    )
    insecure_no_auth: bool = Field(
        default=False,
        description="Let everybody in who can reach an address that isn't loopback.",
    )
    workspace_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share that one of several workspaces may have of contexts, and of "
        "executions and tasks that run or wait.",
    )
    insecure_kernels: bool = Field(
        default=False,
        description="Start Python and other kernels without a container where none can "
        "be made, as processes of the server's user; with --no-sandbox, also for "
        "several workspaces.",
    )
    public_url: Url | None = Field(
        None, description="Where clients find the server, when that isn't --host."
    )

    oauth_issuer: Url | None = Field(
        None,
        description="The authorization server whose bearer tokens (JWT) are taken; "
        f"else {ISSUER_VARIABLE} says it.",
    )
    oauth_audience: Names = Field(
        [],
        description="What tokens for this server have as their audience; the public "
        "URL, with and without /mcp, if unset.",
    )
    oauth_jwks_url: Url | None = Field(
        None, description="Where the issuer's keys are; asked of the issuer if unset."
    )
    oauth_algorithms: Names = Field(
        ["RS256", "PS256", "ES256", "EdDSA"],
        min_length=1,
        description="What tokens may be signed with; asymmetric ones only.",
    )
    oauth_leeway_seconds: float = Field(
        30.0, ge=0, le=300, description="Seconds that clocks may differ by."
    )
    oauth_client_claim: str = Field(
        "sub", description="The claim that names the client."
    )
    oauth_workspace_claim: str | None = Field(
        None,
        description="The claim that names the workspace, or several; every token "
        "opens the default one if unset.",
    )
    oauth_scope_claim: str = Field("scope", description="The claim that has scopes.")
    oauth_required_scope: str | None = Field(
        None, pattern=SCOPE, description="A scope that every token must have."
    )
    oauth_admin_scope: str = Field(
        "isokernel:admin",
        pattern=SCOPE,
        description="The scope that makes an administrator.",
    )
    oauth_keys_timeout_seconds: PositiveFloat = Field(
        5.0, description="Seconds that the issuer has to give its keys."
    )
    oauth_keys_ttl_seconds: PositiveFloat = Field(
        600.0, description="Seconds after which the issuer's keys are asked for anew."
    )
    oauth_keys_stale_seconds: NonNegativeFloat = Field(
        86_400.0,
        description="Seconds that keys serve on while the issuer can't be reached.",
    )
    oauth_keys_interval_seconds: NonNegativeFloat = Field(
        10.0, description="Seconds between two questions to the issuer, at least."
    )

    execute_rate_per_minute: NonNegativeFloat = Field(
        100.0,
        description="Calls of the `execute` tool and of POST /tasks a minute, for each "
        "workspace; 0 is no bound.",
    )
    request_rate_per_minute: NonNegativeFloat = Field(
        0.0, description="Requests a minute, for each workspace; 0 is no bound."
    )
    failure_rate_per_minute: NonNegativeFloat = Field(
        60.0,
        description="Wrong keys and forged tokens a minute, for each address that "
        "they come from; 0 is no bound.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_issuer(cls, given: Any) -> Any:
        named = os.environ.get(ISSUER_VARIABLE)
        if named and isinstance(given, dict) and not given.get("oauth_issuer"):
            return {**given, "oauth_issuer": named}
        return given

    @model_validator(mode="after")
    def _check_workspaces(self) -> Self:
        names = [workspace.name for workspace in self.workspaces]
        for name in names:
            if names.count(name) > 1:
                _refuse(f"there are two workspaces {name}")
        secrets = [key.secret for each in self.workspaces for key in each.api_keys]
        secrets += self.api_key
        if len(set(secrets)) < len(secrets):
            _refuse("one key is given twice: a key opens one workspace")
        return self

    @model_validator(mode="after")
    def _check_oauth(self) -> Self:
        for name in self.oauth_algorithms:
            if name not in ALGORITHMS:
                known = ", ".join(ALGORITHMS)
                _refuse(f"oauth-algorithms: {name[:16]} is none of {known}")
        if self.oauth_issuer is None:
            if self.oauth_jwks_url is not None or self.oauth_audience:
                _refuse("oauth-audience and oauth-jwks-url need oauth-issuer")
        elif not self.oauth_audience and self.public_url is None:
            text = "oauth-issuer needs oauth-audience or public-url: else tokens for "
            _refuse(text + "other servers would be taken here")
        return self

    @model_validator(mode="after")
    def _check_open(self) -> Self:
        host = str(getattr(self, "host", "localhost"))
        if self.guarded or is_loopback(host) or self.insecure_no_auth:
            return self
        text = f"others can reach {host or 'every address'} and would run code here: "
        text += "give --api-key, [[workspaces]] with api_keys, or --oauth-issuer; "
        _refuse(text + "or --insecure-no-auth, where something else guards it")

    @model_validator(mode="after")
    def _check_kernels(self) -> Self:
        languages: list[str] = getattr(self, "languages", [])
        kernels = [name for name in languages if name not in CONFINED]
        confined = getattr(self, "sandbox", True) or self.insecure_kernels
        if confined or not kernels or not self._separates:
            return self
        text = f"with --no-sandbox, {kernels[0][:64]} code can read what the server's "
        text += "user can, keys and other workspaces' files too: leave it out, set "
        text += "languages and default-language to javascript and typescript, "
        _refuse(text + "or give --insecure-kernels")

    @property
    def _separates(self) -> bool:
        """Whether there are several workspaces to keep apart."""
        names = {each.name for each in self.workspaces if each.api_keys}
        names |= {DEFAULT_WORKSPACE} if self.api_key else set()
        return len(names) > 1 or self.oauth_workspace_claim is not None

    def share_of(self, total: int) -> int:
        """Return the share of a total that one workspace may have."""
        if not self._separates:
            return total
        return max(1, int(total * self.workspace_share))

    @property
    def guarded(self) -> bool:
        """Whether requests must bring a key or a token."""
        keys = self.api_key or any(each.api_keys for each in self.workspaces)
        return bool(keys) or self.oauth_issuer is not None

    @property
    def audiences(self) -> list[str]:
        """Audiences that tokens for this server may have."""
        if self.oauth_audience or self.public_url is None:
            return self.oauth_audience
        base = self.public_url.rstrip("/")
        return [base, f"{base}/", f"{base}/mcp"]

    def rate_of(self, workspace: str, kind: str) -> float:
        """Return how often a minute a workspace may do something; 0: no limit.

        Args:
            workspace: Its name.
            kind: `execute` or `request`.
        """
        name = f"{kind}_rate_per_minute"
        own: Any = None
        for each in self.workspaces:
            if each.name == workspace:
                own = getattr(each, name)
        rate: float = getattr(self, name) if own is None else own
        return rate
