"""Everything that the server itself can raise, and the status that HTTP gives it.

    ServerError
    ├── RequestError                    (ValueError) it can't be served as it is
    │   ├── InvalidRequestError         fields are missing, wrong or unknown
    │   ├── BodyTooLargeError
    │   ├── CredentialError             it isn't known who asks
    │   │   ├── KeyMissingError         no API key or token, or no known key
    │   │   └── TokenError              a bearer token that isn't valid here
    │   ├── AccessError                 who asks may not do that
    │   │   ├── AdminError              it takes an administrator
    │   │   ├── ScopeError              the token lacks a scope
    │   │   └── WorkspaceError          the workspace isn't the asker's
    │   ├── OriginError                 a Host or Origin that isn't allowed
    │   ├── RouteMissingError           no such path
    │   └── MethodError                 the path has no such method
    ├── ContextError
    │   ├── ContextMissingError     (LookupError) no context has that id
    │   ├── ContextDeadError            its process is gone
    │   ├── ContextReplacedError        restarted or deleted while a request waited
    │   ├── ContextStartError           its process could not be started
    │   ├── ContextDeadlineError    (TimeoutError) it did not answer in time
    │   └── ForkError                   it can't be forked
    ├── LimitError                      a bound is reached; try again later
    │   ├── ContextLimitError           contexts in all
    │   ├── QueueLimitError             executions that wait in one context
    │   └── RateLimitError              it is done too often
    ├── IssuerError                     its keys, which tokens need, can't be had
    ├── DatabaseError                   it can't be opened or used
    └── StoppingError                   the server is about to end

The failure of the user's code is not here: it is an answer
(`isokernel.events.ErrorInfo`), also when it ran out of time or took its process along.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import NamedTuple

__all__ = [
    "STATUS",
    "AccessError",
    "AdminError",
    "BodyTooLargeError",
    "ContextDeadError",
    "ContextDeadlineError",
    "ContextError",
    "ContextLimitError",
    "ContextMissingError",
    "ContextReplacedError",
    "ContextStartError",
    "CredentialError",
    "DatabaseError",
    "FieldProblem",
    "ForkError",
    "InvalidRequestError",
    "IssuerError",
    "KeyMissingError",
    "LimitError",
    "MethodError",
    "OriginError",
    "QueueLimitError",
    "RateLimitError",
    "RequestError",
    "RouteMissingError",
    "ScopeError",
    "ServerError",
    "StoppingError",
    "TokenError",
    "WorkspaceError",
    "status_of",
]


class ServerError(Exception):
    """Root of all errors of the server."""


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


class MethodError(RequestError):
    """The path has no such method."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Method not allowed")


class ContextError(ServerError):
    """Something about one context."""


class ContextMissingError(ContextError, LookupError):
    """No context has that id."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"Context {context_id[:64]} not found")


class ContextDeadError(ContextError):
    """The context's process is gone; a restart brings a new one.

    Attributes:
        reason: Why it is gone.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(f"the context is dead ({reason}): restart or delete it")


class ContextReplacedError(ContextError):
    """The context was restarted or deleted while a request waited for its turn."""


class ContextStartError(ContextError):
    """The process of a new context could not be started."""


class ContextDeadlineError(ContextError, TimeoutError):
    """The context did not answer a question in time."""

    def __init__(self, seconds: float) -> None:
        """Say how long was waited."""
        super().__init__(f"the context did not answer within {seconds:g} s")


class ForkError(ContextError):
    """The context can't be forked."""


class LimitError(ServerError):
    """A bound of the server is reached.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    retry_after = 1


class ContextLimitError(LimitError):
    """There are as many contexts as the server may have."""

    retry_after = 10

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"there are {limit} contexts, which is all that may be")


class QueueLimitError(LimitError):
    """As many executions wait in the context as may."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} executions wait in this context, no more may")


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


class DatabaseError(ServerError):
    """The database can't be opened or used."""


class StoppingError(ServerError):
    """The server is about to end and takes no new work."""

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("the server is stopping")


STATUS: dict[type[ServerError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    KeyMissingError: HTTPStatus.UNAUTHORIZED,
    TokenError: HTTPStatus.UNAUTHORIZED,
    AdminError: HTTPStatus.FORBIDDEN,
    ScopeError: HTTPStatus.FORBIDDEN,
    WorkspaceError: HTTPStatus.FORBIDDEN,
    OriginError: HTTPStatus.FORBIDDEN,
    RouteMissingError: HTTPStatus.NOT_FOUND,
    MethodError: HTTPStatus.METHOD_NOT_ALLOWED,
    ContextMissingError: HTTPStatus.NOT_FOUND,
    ContextDeadError: HTTPStatus.CONFLICT,
    ContextReplacedError: HTTPStatus.CONFLICT,
    ContextStartError: HTTPStatus.SERVICE_UNAVAILABLE,
    ContextDeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
    ForkError: HTTPStatus.CONFLICT,
    ContextLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    QueueLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    RateLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    IssuerError: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoppingError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Every error that can reach a client, and its status; nothing else maps errors."""


def status_of(error: BaseException) -> HTTPStatus:
    """Give the status of an error; what isn't in the table is a defect of ours."""
    if isinstance(error, ServerError):
        return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return HTTPStatus.INTERNAL_SERVER_ERROR
