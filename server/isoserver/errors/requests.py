"""What is wrong with a request, or with who sends it."""

from __future__ import annotations

import math
from typing import NamedTuple

from isoserver.errors.base import LimitError, ServerError

__all__ = [
    "AccessError",
    "AdminError",
    "BodyTooLargeError",
    "ClientMissingError",
    "ConnectionEndedError",
    "CredentialError",
    "FieldProblem",
    "HeadersTooLargeError",
    "InvalidRequestError",
    "IssuerError",
    "KeyMissingError",
    "MediaTypeError",
    "MethodError",
    "OriginError",
    "RateLimitError",
    "RequestError",
    "RouteMissingError",
    "ScopeError",
    "TokenError",
    "WorkspaceError",
]


class RequestError(ServerError, ValueError):
    """The request can't be served as it is."""


class FieldProblem(NamedTuple):
    """What is wrong with one field of a request.

    Attributes:
        field: Its JSON name, dots between levels; `body` for the whole.
        error: What is wrong, for people.
    """

    field: str
    error: str


class InvalidRequestError(RequestError):
    """Fields are missing, wrong or unknown.

    Attributes:
        problems: One for each field.
    """

    def __init__(self, *problems: FieldProblem) -> None:
        """Keep what is wrong."""
        self.problems = problems
        super().__init__("Invalid request")


class BodyTooLargeError(RequestError):
    """The body has more bytes than the server takes."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"the body is larger than {limit} bytes")


class HeadersTooLargeError(RequestError):
    """The headers have more bytes than the server takes."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"the headers are larger than {limit} bytes")


class ConnectionEndedError(RequestError, LookupError):
    """The connection of MCP that a request is for has ended, a moment ago."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("the connection has ended; initialize a new one")


class MediaTypeError(RequestError):
    """The body is of a kind that isn't taken here."""


class CredentialError(RequestError):
    """It isn't known who asks."""


class KeyMissingError(CredentialError):
    """There is no API key or token in the request, or no key that is known."""

    def __init__(self) -> None:
        """Say how a key is sent."""
        super().__init__(
            "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        )


class TokenError(CredentialError):
    """The bearer token isn't valid here.

    Attributes:
        signed: Whether the issuer has signed it, so that it is no guess.
    """

    def __init__(self, reason: str, *, signed: bool = False) -> None:
        """Say why, without anything of the token."""
        self.signed = signed
        super().__init__(f"the bearer token isn't valid: {reason}")


class AccessError(RequestError):
    """Who asks is known, and may not do that."""


class AdminError(AccessError):
    """It takes an administrator's key or token."""

    def __init__(self) -> None:
        """State what is needed."""
        super().__init__("only an administrator's key or token may do that")


class ScopeError(AccessError):
    """The token lacks a scope that every token must have."""

    def __init__(self, scope: str) -> None:
        """Name the scope."""
        super().__init__(f"the token lacks the scope {scope}")


class WorkspaceError(AccessError):
    """The workspace isn't one of the asker's."""

    def __init__(self) -> None:
        """State what happened; the same whether there is such a workspace or not."""
        super().__init__("the key or token doesn't open that workspace")


class OriginError(RequestError):
    """A Host or Origin header names what isn't allowed."""


class RouteMissingError(RequestError):
    """There is no such path."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Not found")


class ClientMissingError(RequestError):
    """There is no client for a platform."""

    def __init__(self, platform: str, known: tuple[str, ...]) -> None:
        """Name it, and those that there are."""
        super().__init__(
            f"Unknown platform {platform[:64]!r}. Valid platforms: {', '.join(known)}"
        )


class MethodError(RequestError):
    """The path has no such method."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Method not allowed")


class RateLimitError(LimitError):
    """It is done more often than it may be."""

    def __init__(self, what: str, seconds: float) -> None:
        """Say of what there is too much, and when the next one may come.

        Args:
            what: What is counted.
            seconds: Until the next one.
        """
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"too many {what}: try again in {self.retry_after} s")


class IssuerError(ServerError):
    """The authorization server doesn't give the keys that tokens are checked with.

    Attributes:
        reason: Why, for the log.
    """

    def __init__(self, reason: str = "") -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__("tokens can't be checked now: their issuer can't be reached")
