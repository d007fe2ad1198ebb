"""Identification: the principal of a request, from its headers."""

from __future__ import annotations

import ipaddress
import re
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from isoserver.access.keys import Keys
from isoserver.access.rates import Buckets, SharedFailures
from isoserver.access.signins import SharedSignIns, SignIns
from isoserver.errors import (
    AccessError,
    AdminError,
    CredentialError,
    FieldProblem,
    InvalidRequestError,
    KeyMissingError,
    RateLimitError,
    ScopeError,
    ServerError,
    TokenError,
    WorkspaceError,
)
from isoserver.principal import DEFAULT_WORKSPACE, Principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger
    from tornado.httputil import HTTPServerRequest

    from isoserver.access.signins import SignInsHolder
    from isoserver.access.tokens import Tokens
    from isoserver.settings.access import AccessSettings
    from isoserver.storage.database import Database

__all__ = ["METADATA_PATH", "RESOURCES", "Access"]

METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
"""Where clients learn which issuer's tokens are accepted (RFC 9728)."""
RESOURCES: Final = ("/mcp", "/sse")
"""Paths that clients know as resources of their own."""
_Refusal = CredentialError | AccessError | RateLimitError
_HOST: Final = re.compile(r"[\w.:\[\]-]+", re.ASCII)
_IN_QUERY: Final = ("access_token", "api_key")


class Access:
    """Identifies who makes a request; used from the event loop only.

    Attributes:
        guarded: Whether requests must bring a key or a token.
        signins: Who has signed in with a browser, for the UI.
    """

    def __init__(
        self,
        settings: AccessSettings,
        log: FilteringBoundLogger,
        refused: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        shared: Database | None = None,
    ) -> None:
        """Read which keys and tokens are accepted.

        Args:
            settings: Keys, workspaces, and what tokens must be like.
            log: Told that the issuer can't be reached.
            refused: Called with the reason of each refusal, for the metrics.
            clock: Returns the time in seconds.
            shared: The database of several servers, of which any may be asked.
        """
        self._settings = settings
        self._refused = refused
        self._keys = Keys(settings)
        self._tokens = _make_tokens(settings, log)
        self._failures = (
            Buckets(clock) if shared is None else SharedFailures(shared, clock)
        )
        self.signins: SignInsHolder = (
            SignIns(clock) if shared is None else SharedSignIns(shared)
        )
        self.guarded = bool(self._keys) or self._tokens is not None

    async def identify(
        self, request: HTTPServerRequest, *, in_query: bool = False
    ) -> Principal:
        """Return the principal of a request.

        Args:
            request: The request.
            in_query: Whether a key may be in the URL as `token`, as Jupyter's fronts
                write it who can't set headers.

        Raises:
            CredentialError: A key or token is needed, and the request has no valid one.
            AccessError: The principal may do nothing here, or not in that workspace.
            RateLimitError: Too many wrong keys or tokens came from its address.
            InvalidRequestError: A key is in the URL, or the workspace isn't clear.
            IssuerError: Its token can't be checked now.
        """
        workspace = _workspace(request)
        if not self.guarded:
            if workspace not in (None, DEFAULT_WORKSPACE):
                self.refuse(WorkspaceError())
            return Principal()
        try:
            return await self._identify(request, workspace, in_query=in_query)
        except (CredentialError, AccessError, RateLimitError) as error:
            self.refuse(error)

    async def close(self) -> None:
        """Stop fetching the issuer's keys, and telling other servers of failures."""
        if isinstance(self._failures, SharedFailures):
            await self._failures.close()
        if self._tokens is not None:
            await self._tokens.close()

    def refuse(self, error: _Refusal) -> NoReturn:
        """Count a refusal, and raise it."""
        self._refused(error.counted_as)
        raise error from None

    async def _identify(
        self, request: HTTPServerRequest, workspace: str | None, *, in_query: bool
    ) -> Principal:
        for name in _IN_QUERY:
            if name in request.query_arguments:
                text = "keys and tokens belong into the header, not into the URL"
                raise InvalidRequestError(FieldProblem(name, text))
        key, bearer = _credentials(request, in_query=in_query)
        if not key and not bearer:
            raise KeyMissingError
        network = _network(request.remote_ip)
        self._check_failures(network)
        for each in (key, bearer):
            principal = self._keys.find(each) if each else None
            if principal is not None:
                if workspace not in (None, principal.workspace):
                    raise WorkspaceError
                return principal
        if key:
            # Also when a token comes along: else whoever has one could guess keys.
            self._count_failure(network)
        try:
            return await self._check_token(bearer, workspace)
        except CredentialError as error:
            if bearer and not (isinstance(error, TokenError) and error.signed):
                self._count_failure(network)
            raise

    async def _check_token(self, token: str, workspace: str | None) -> Principal:
        if self._tokens is None or not token:
            raise KeyMissingError
        return await self._tokens.check(token, workspace)

    def _check_failures(self, network: str) -> None:
        rate = self._settings.failure_rate_per_minute
        seconds = self._failures.wait(network, rate) if rate else 0.0
        if seconds:
            what = "wrong keys or tokens"
            raise RateLimitError(what, seconds)

    def _count_failure(self, network: str) -> None:
        if self._settings.failure_rate_per_minute:
            self._failures.take(network, self._settings.failure_rate_per_minute)

    # -- what is answered --------------------------------------------------------------

    def challenge(self, error: ServerError, request: HTTPServerRequest) -> str | None:
        """Return the WWW-Authenticate header for an error; None if it has none."""
        if self._tokens is None:
            return "Bearer" if isinstance(error, CredentialError) else None
        parts = []
        if isinstance(error, TokenError):
            parts = ['error="invalid_token"', f'error_description="{error}"']
        elif isinstance(error, (AdminError, ScopeError)):
            scope = self._settings.oauth_required_scope
            if isinstance(error, AdminError):
                scope = self._settings.oauth_admin_scope
            parts = ['error="insufficient_scope"', f'scope="{scope}"']
        elif not isinstance(error, CredentialError):
            return None
        place = f"{self._base(request)}{METADATA_PATH}{_resource(request.path)}"
        return "Bearer " + ", ".join([*parts, f'resource_metadata="{place}"'])

    def metadata(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Say whose tokens are accepted; None if no tokens are."""
        if self._tokens is None:
            return None
        settings = self._settings
        scopes = [settings.oauth_required_scope, settings.oauth_admin_scope]
        resource = request.path.removeprefix(METADATA_PATH)
        return {
            "resource": self._base(request) + resource,
            "authorization_servers": [settings.oauth_issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [scope for scope in scopes if scope],
            "resource_name": "isokernel",
        }

    def _base(self, request: HTTPServerRequest) -> str:
        if self._settings.public_url is not None:
            return self._settings.public_url.rstrip("/")
        host = request.host if _HOST.fullmatch(request.host) else "localhost"
        return f"{request.protocol}://{host}"


def _make_tokens(settings: AccessSettings, log: FilteringBoundLogger) -> Tokens | None:
    if settings.oauth_issuer is None:
        return None
    # 60 ms that servers without an issuer save.
    from isoserver.access.tokens import Tokens  # noqa: PLC0415

    return Tokens(settings, settings.oauth_issuer, log)


def _workspace(request: HTTPServerRequest) -> str | None:
    """Return the workspace that a request names; None if it names none."""
    named = request.headers.get("X-Workspace-Id")
    asked = request.query_arguments.get("workspaceId") if request.query else None
    if not asked:
        return named
    names = {each.decode("utf-8", "replace") for each in asked}
    names |= set() if named is None else {named}
    if len(names) > 1:
        text = "names another workspace than the rest of the request"
        raise InvalidRequestError(FieldProblem("workspaceId", text))
    return names.pop()


def _credentials(request: HTTPServerRequest, *, in_query: bool) -> tuple[str, str]:
    """Return a request's API key, and its bearer key or token; empty if none."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    # Jupyter's clients say `token`.
    given = bearer.strip() if scheme.lower() in {"bearer", "token"} else ""
    if in_query and not given and "token" in request.query_arguments:
        given = request.query_arguments["token"][-1].decode("utf-8", "replace")
    return request.headers.get("X-API-Key", ""), given


def _resource(path: str) -> str:
    """Return the resource that a path belongs to; empty for the server itself."""
    for resource in RESOURCES:
        if path == resource or path.startswith(f"{resource}/"):
            return resource
    return ""


def _network(remote: str | None) -> str:
    """Return what wrong keys are counted for: an IPv4 address, or an IPv6 /64."""
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return ""
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
