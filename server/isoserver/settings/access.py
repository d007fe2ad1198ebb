"""Settings of access: keys, workspaces, tokens and rates.

A part of the server's settings. Secrets never appear in a repr or a message.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from urllib.parse import urlsplit

from isoserver.errors import InvalidSettingsError
from isoserver.principal import DEFAULT_WORKSPACE
from isoserver.settings.fields import (
    Limits,
    NonNegativeFloat,
    PositiveFloat,
    Settings,
    setting,
)

if TYPE_CHECKING:
    from isoserver.settings.workspaces import WorkspaceSettings

__all__ = ["ALGORITHMS", "CONFINED", "ISSUER_VARIABLE", "AccessSettings", "is_loopback"]

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
"""Algorithms that may sign tokens, and the key type of each. No secret is shared with
the issuer, so whoever can check a token can't make one."""

ISSUER_VARIABLE: Final = "MCP_AUTHORIZATION_SERVER"
"""Names the issuer, unless a setting does."""
CONFINED: Final = frozenset({"javascript", "js", "node", "typescript", "ts", "bun"})
"""Names of languages whose processes are confined: those of V8."""
SCOPE: Final = Limits(
    pattern=r"[!#-\[\]-~]+",
    words="a scope, of ASCII characters without spaces, quotes and backslashes",
)


def _refuse(text: str) -> NoReturn:
    """Say what is wrong without quoting the value."""
    raise InvalidSettingsError(text)


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is loopback, which other machines can't reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(flag: str, value: str) -> None:
    """Accept https, or http on this machine: an issuer must be what it says."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        _refuse(f"{flag}: must be a URL")
    if not host or parts.username or parts.query or parts.fragment:
        _refuse(f"{flag}: must be a URL without a user, query or fragment")
    local = parts.scheme == "http" and is_loopback(host)
    if parts.scheme != "https" and not local:
        _refuse(f"{flag}: must begin with https://, except on loopback")
    from isokernel.capabilities.hosts import read_origin  # noqa: PLC0415 - if needed

    try:
        read_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        _refuse(f"{flag}: {error}")


def _read_workspaces(tables: list[Any]) -> list[WorkspaceSettings]:
    from isoserver.settings.workspaces import (  # noqa: PLC0415 - msgspec, if needed
        read_workspaces,
    )

    return read_workspaces(tables)


class AccessSettings(Settings):
    """Who has access, and how often."""

    api_key: Annotated[
        list[str], Limits(empty=False, words="keys, none of them empty")
    ] = setting(
        [],
        "A key that requests must send; may be repeated. It gives "
        "administrator access to the default workspace.",
        shown=False,
    )
    workspaces: list[WorkspaceSettings] = setting(
        [],
        "Workspaces with their own keys and rates; best set in the file.",
        shown=False,
        read=_read_workspaces,
    )
    insecure_no_auth: bool = setting(
        False, "Serve an address that isn't loopback without keys or tokens."
    )
    workspace_share: Annotated[float, Limits(gt=0, le=1)] = setting(
        0.5,
        "The share of contexts, and of running and waiting executions and "
        "tasks, that one of several workspaces may have.",
    )
    insecure_kernels: bool = setting(
        False,
        "Start Python and other kernels as processes of the server's user "
        "where no container can be made; with --no-sandbox, also for several "
        "workspaces.",
    )
    public_url: str | None = setting(
        None, "The URL that clients use, if it differs from --host."
    )
    trusted_proxies: list[str] = setting(
        [],
        "An address or network of proxies, whose X-Forwarded-For or Forwarded says "
        "which address a request comes from; may be repeated.",
    )

    oauth_issuer: str | None = setting(
        None,
        "The authorization server whose bearer tokens (JWT) are accepted; "
        f"{ISSUER_VARIABLE} if unset.",
        variable=ISSUER_VARIABLE,
    )
    oauth_audience: list[str] = setting(
        [],
        "The audiences of tokens for this server; the public URL, with and "
        "without /mcp, if unset.",
    )
    oauth_jwks_url: str | None = setting(
        None, "The URL of the issuer's keys; the issuer is asked if unset."
    )
    oauth_algorithms: Annotated[list[str], Limits(items_min=1)] = setting(
        ["RS256", "PS256", "ES256", "EdDSA"],
        "Algorithms that may sign tokens; asymmetric only.",
    )
    oauth_leeway_seconds: Annotated[float, Limits(ge=0, le=300)] = setting(
        30.0, "Seconds by which clocks may differ."
    )
    oauth_client_claim: str = setting("sub", "The claim that names the client.")
    oauth_workspace_claim: str | None = setting(
        None,
        "The claim that names the workspace or workspaces; if unset, every "
        "token gives access to the default workspace.",
    )
    oauth_scope_claim: str = setting("scope", "The claim that lists the scopes.")
    oauth_required_scope: Annotated[str, SCOPE] | None = setting(
        None, "A scope that every token must have."
    )
    oauth_admin_scope: Annotated[str, SCOPE] = setting(
        "isokernel:admin", "The scope that makes an administrator."
    )
    oauth_keys_timeout_seconds: PositiveFloat = setting(
        5.0, "Seconds that the issuer has to send its keys."
    )
    oauth_keys_ttl_seconds: PositiveFloat = setting(
        600.0, "Seconds after which the issuer's keys are fetched again."
    )
    oauth_keys_stale_seconds: NonNegativeFloat = setting(
        86_400.0, "Seconds that known keys serve while the issuer can't be reached."
    )
    oauth_keys_interval_seconds: NonNegativeFloat = setting(
        10.0, "Minimum seconds between two requests to the issuer."
    )

    execute_rate_per_minute: NonNegativeFloat = setting(
        100.0,
        "Calls of the `execute` tool and POST /tasks per minute, for each "
        "workspace; 0 is no limit.",
    )
    request_rate_per_minute: NonNegativeFloat = setting(
        0.0, "Requests per minute, for each workspace; 0 is no limit."
    )
    failure_rate_per_minute: NonNegativeFloat = setting(
        60.0,
        "Wrong keys and forged tokens per minute, for each address that "
        "sends them; 0 is no limit.",
    )

    def check_access(self) -> None:
        """Check what depends on several of these settings.

        Raises:
            InvalidSettingsError: They don't go together.
        """
        for name in ("public_url", "oauth_issuer", "oauth_jwks_url"):
            url = getattr(self, name)
            if url is not None:
                _check_url(self.fields[name].flag, url)
        self._check_proxies()
        self._check_workspaces()
        self._check_oauth()
        self._check_open()
        self._check_kernels()

    def _check_proxies(self) -> None:
        flag = self.fields["trusted_proxies"].flag
        try:
            for text in self.trusted_proxies:
                ipaddress.ip_network(text)
        except ValueError as error:
            _refuse(f"{flag}: {error}")

    def _check_workspaces(self) -> None:
        names = [workspace.name for workspace in self.workspaces]
        for name in names:
            if names.count(name) > 1:
                _refuse(f"there are two workspaces {name}")
        secrets = [key.secret for each in self.workspaces for key in each.api_keys]
        secrets += self.api_key
        if len(set(secrets)) < len(secrets):
            _refuse("the same key is given twice; a key opens one workspace")

    def _check_oauth(self) -> None:
        for name in self.oauth_algorithms:
            if name not in ALGORITHMS:
                known = ", ".join(ALGORITHMS)
                _refuse(f"--oauth-algorithms: {name[:16]} is none of {known}")
        if self.oauth_issuer is None:
            if self.oauth_jwks_url is not None or self.oauth_audience:
                _refuse("--oauth-audience and --oauth-jwks-url need --oauth-issuer")
        elif not self.oauth_audience and self.public_url is None:
            text = "--oauth-issuer needs --oauth-audience or --public-url; without "
            _refuse(text + "them, this server would accept tokens for other servers")

    def _check_open(self) -> None:
        host = str(getattr(self, "host", "localhost"))
        if self.guarded or is_loopback(host) or self.insecure_no_auth:
            return
        place = host or "any address of this host"
        text = f"anyone who can reach {place} could run code here: "
        text += "set --api-key, [[workspaces]] with api_keys, or --oauth-issuer; "
        _refuse(text + "or --insecure-no-auth if something else controls access")

    def _check_kernels(self) -> None:
        languages: list[str] = getattr(self, "languages", [])
        kernels = [name for name in languages if name not in CONFINED]
        confined = getattr(self, "sandbox", True) or self.insecure_kernels
        if confined or not kernels or not self._separates:
            return
        text = f"with --no-sandbox, {kernels[0][:64]} code can read whatever the "
        text += "server's user can, including keys and other workspaces' files: remove "
        text += "--no-sandbox, set --languages and --default-language to javascript "
        _refuse(text + "and typescript, or set --insecure-kernels")

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
        """Return a workspace's rate per minute; 0 is no limit.

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
