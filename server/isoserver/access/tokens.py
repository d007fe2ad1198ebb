"""Bearer tokens: JSON Web Tokens of the issuer, and the principals they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt.exceptions import (
    DecodeError,
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidTokenError,
    MissingRequiredClaimError,
    PyJWTError,
)

from isoserver.access.issuer import Issuer
from isoserver.errors import (
    FieldProblem,
    InvalidRequestError,
    ScopeError,
    TokenError,
    WorkspaceError,
)
from isoserver.principal import DEFAULT_WORKSPACE, Principal
from isoserver.settings.workspaces import NAME

if TYPE_CHECKING:
    from jwt import PyJWK
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.access import AccessSettings

__all__ = ["Tokens", "looks_like_token"]

TOKEN_MAX: Final = 16 * 1024
"""Characters of a token."""
CLIENT_MAX: Final = 200
_FORM: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_TYPES: Final = {"jwt", "at+jwt", "application/at+jwt"}
_REASONS: Final = {
    ExpiredSignatureError: "it has expired",
    ImmatureSignatureError: "its time has not come",
    InvalidAudienceError: "it is for another audience",
    InvalidIssuerError: "it is another issuer's",
    MissingRequiredClaimError: "it lacks a claim",
}


def looks_like_token(text: str) -> bool:
    """Tell whether something has the form of a token."""
    return _FORM.fullmatch(text) is not None


class Tokens:
    """Checks tokens; used from the event loop only."""

    def __init__(
        self, settings: AccessSettings, issuer: str, log: FilteringBoundLogger
    ) -> None:
        """Keep the rules.

        Args:
            settings: Audiences, algorithms, claims and scopes.
            issuer: The issuer's identifier, a URL.
            log: Told that the issuer can't be reached.
        """
        self._settings = settings
        self._issuer = Issuer(settings, issuer, log)
        # Issuers are named with and without the slash at the end, for one and the same.
        self._names = [issuer.rstrip("/"), issuer.rstrip("/") + "/"]

    async def check(self, token: str, workspace: str | None) -> Principal:
        """Return the principal of a token.

        Args:
            token: The bearer token.
            workspace: The workspace that the request names; None if it names none.

        Raises:
            TokenError: It isn't valid here.
            ScopeError: It lacks the scope that every token needs.
            WorkspaceError: It doesn't open that workspace, or none at all.
            InvalidRequestError: It opens several, and the request names none.
            IssuerError: The keys to check it with can't be fetched.
        """
        claims = await self._verify(token)
        settings = self._settings
        scopes = _words(_claim(claims, settings.oauth_scope_claim))
        required = settings.oauth_required_scope
        if required is not None and required not in scopes:
            raise ScopeError(required)
        client = _claim(claims, settings.oauth_client_claim)
        return Principal(
            self._choose(claims, workspace),
            client[:CLIENT_MAX] if isinstance(client, str) else "",
            settings.oauth_admin_scope in scopes,
        )

    async def close(self) -> None:
        """Stop fetching keys."""
        await self._issuer.close()

    async def _verify(self, token: str) -> dict[str, Any]:
        """Check the signature, then times, issuer and audience; return the claims."""
        key_id, algorithm = self._read_header(token)
        for key in await self._issuer.keys(key_id, algorithm):
            claims = self._decode(token, key, algorithm)
            if claims is not None:
                return claims
        reason = "no key of the issuer has signed it"
        raise TokenError(reason)

    def _decode(self, token: str, key: PyJWK, algorithm: str) -> dict[str, Any] | None:
        """Check with one key; return None if another one has signed."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.audiences,
                issuer=self._names,
                leeway=self._settings.oauth_leeway_seconds,
                options={
                    "require": ["exp", "iss", "aud"],
                    "enforce_minimum_key_length": True,
                },
            )
        except (DecodeError, InvalidKeyError, InvalidAlgorithmError):
            return None
        except InvalidTokenError as error:
            # The signature is looked at first, so this one is the issuer's.
            reason = _REASONS.get(type(error), "a claim isn't as it must be")
            raise TokenError(reason, signed=True) from None
        return claims

    def _read_header(self, token: str) -> tuple[str | None, str]:
        """Return the key that the token names, and the algorithm.

        Nothing else of the header counts: keys that a token brings along, or says where
        to find, are its maker's.
        """
        if len(token) > TOKEN_MAX or not looks_like_token(token):
            reason = "it is no JSON Web Token"
            raise TokenError(reason)
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, TypeError, RecursionError):
            reason = "its header can't be read"
            raise TokenError(reason) from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.oauth_algorithms:
            reason = "its algorithm isn't allowed"
            raise TokenError(reason)
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            reason = "it is for something else"
            raise TokenError(reason)
        if "crit" in header or "b64" in header:
            reason = "its header has extensions"
            raise TokenError(reason)
        return key_id, algorithm

    def _choose(self, claims: dict[str, Any], workspace: str | None) -> str:
        name = self._settings.oauth_workspace_claim
        given = [DEFAULT_WORKSPACE] if name is None else _claim(claims, name)
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list):
            raise WorkspaceError
        opened = [
            each
            for each in listed
            if isinstance(each, str) and re.fullmatch(NAME, each)
        ]
        if workspace is not None:
            if workspace not in opened:
                raise WorkspaceError
            return workspace
        if len(set(opened)) > 1:
            text = "must name one of the workspaces that the token opens"
            raise InvalidRequestError(FieldProblem("X-Workspace-Id", text))
        if not opened:
            raise WorkspaceError
        return opened[0]


def _claim(claims: dict[str, Any], name: str) -> Any:
    """Return a claim; dots lead into objects, unless a claim has that very name."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _words(value: Any) -> list[str]:
    """Return scopes, which are words in a text, or a list."""
    if isinstance(value, str):
        return value.split()
    listed = value if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, str)]
