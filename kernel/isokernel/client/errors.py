"""Everything that the client raises.

    ClientError
    ├── ClientSettingsError             (ValueError) an address or an argument is wrong
    ├── ContextStateError               the context isn't started, or is closed
    ├── NetworkError                    there is no answer
    │   └── NetworkTimeoutError         (TimeoutError) not in time
    ├── ProtocolError                   the answer isn't what the API says
    ├── StreamError                     a stream ended before its execution did
    ├── WaitTimeoutError                (TimeoutError) a run hasn't ended in time
    ├── StatusError                     the server answers with an error
    │   ├── BadRequestError             400: a field is wrong, missing or unknown
    │   ├── AuthenticationError         401: no key, or an unknown one
    │   ├── PermissionDeniedError       403: the key or a policy doesn't allow it
    │   ├── NotFoundError               (LookupError) 404: there is no such thing
    │   ├── ConflictError               409: not in the state that things are in
    │   ├── GoneError                   410: what was named is no longer kept
    │   ├── TooLargeError               413, 431: larger than the server accepts
    │   ├── RangeNotSatisfiableError    416: a file has no such part
    │   ├── UnprocessableError          422: packages can't be loaded
    │   ├── LimitReachedError           429: a limit is reached; try again later
    │   └── ServerFailedError           500 and above
    │       └── UnavailableError        502, 503, 504: try again later
    └── ExecutionError                  code failed, and `raise_for_error` was called

Code that fails is data: an `Execution` whose `error` says how. Only its
`raise_for_error` makes an exception of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isokernel.client.codes import ErrorCode
    from isokernel.client.executions import Failure

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "ClientError",
    "ClientSettingsError",
    "ConflictError",
    "ContextStateError",
    "ExecutionError",
    "GoneError",
    "LimitReachedError",
    "NetworkError",
    "NetworkTimeoutError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "RangeNotSatisfiableError",
    "ServerFailedError",
    "StatusError",
    "StreamError",
    "TooLargeError",
    "UnavailableError",
    "UnprocessableError",
    "WaitTimeoutError",
    "status_error",
]

_SERVER_ERRORS = 500
_TEXT_MAX = 500
"""Characters of a body that isn't JSON, in a message."""


class ClientError(Exception):
    """Root of all errors of the client."""


class ClientSettingsError(ClientError, ValueError):
    """An address or an argument is wrong; nothing was sent."""


class ContextStateError(ClientError):
    """The context hasn't been made yet, or is closed."""


class NetworkError(ClientError):
    """There is no answer: the connection couldn't be made, or broke.

    Attributes:
        sent: Whether the server may have got the request.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        """Keep what is known."""
        self.sent = sent
        super().__init__(message)


class NetworkTimeoutError(NetworkError, TimeoutError):
    """There was no answer, and no sign of life, in time."""


class ProtocolError(ClientError):
    """The answer isn't what the API says: something else answers at that address."""


class StreamError(ClientError):
    """A stream ended before its execution did, which may go on."""


class WaitTimeoutError(ClientError, TimeoutError):
    """A run hasn't ended in time; it goes on."""


class StatusError(ClientError):
    """The server answers with an error.

    Attributes:
        status: The HTTP status.
        code: The server's name for the error, such as `context_missing`; None if what
            answered is no isokernel server, or an older one.
        message: What the server says.
        body: The answer's JSON; None if it has none.
        request_id: What the server's log calls the request; None if unknown.
        retry_after: Seconds after which the server wants to be asked again.
    """

    def __init__(  # noqa: PLR0913 -- what answers have
        self,
        message: str,
        *,
        status: int,
        code: ErrorCode | None = None,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep what is known."""
        self.status = status
        self.code = code
        self.message = message
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(f"{message} (HTTP {status}{f', {code}' if code else ''})")


class BadRequestError(StatusError):
    """A field is wrong, missing or unknown."""


class AuthenticationError(StatusError):
    """The server wants a key, or doesn't know this one."""


class PermissionDeniedError(StatusError):
    """The key, the workspace or a policy doesn't allow it."""


class NotFoundError(StatusError, LookupError):
    """The workspace has no such context, file, heap or run."""


class ConflictError(StatusError):
    """It can't be done in the state that things are in, such as a dead context."""


class GoneError(StatusError):
    """What was named is over, and no longer kept."""


class TooLargeError(StatusError):
    """Something is larger than the server accepts."""


class RangeNotSatisfiableError(StatusError):
    """A file has no such part."""


class UnprocessableError(StatusError):
    """What was asked for can't be loaded."""


class LimitReachedError(StatusError):
    """A limit of the server is reached; the message names the setting."""


class ServerFailedError(StatusError):
    """The server failed."""


class UnavailableError(ServerFailedError):
    """The server is stopping, or can't use something that it needs now."""


class ExecutionError(ClientError):
    """Code failed, and `raise_for_error` was called.

    Attributes:
        error: How it failed.
    """

    def __init__(self, error: Failure) -> None:
        """Keep how it failed."""
        self.error = error
        super().__init__(
            error.traceback.rstrip("\n") or f"{error.name}: {error.message}"
        )


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    412: ConflictError,
    413: TooLargeError,
    416: RangeNotSatisfiableError,
    422: UnprocessableError,
    429: LimitReachedError,
    431: TooLargeError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def status_error(
    status: int, headers: Mapping[str, str], body: Any, text: str
) -> StatusError:
    """Make the error of an answer.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: Its JSON; None if it has none.
        text: Its body as text.
    """
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = ServerFailedError if status >= _SERVER_ERRORS else StatusError
    return kind(
        _message(body) or text[:_TEXT_MAX].strip() or "no reason given",
        status=status,
        code=headers.get("X-Error-Code") or None,  # type: ignore[arg-type]  # newer ones
        body=body,
        request_id=headers.get("X-Request-Id"),
        retry_after=_seconds(headers.get("Retry-After", "")),
    )


def _message(body: Any) -> str:
    """Return what the server says, with what is wrong with each field."""
    if not isinstance(body, dict):
        return ""
    message = str(body.get("message") or body.get("error") or "")
    problems = body.get("errors")
    if isinstance(problems, list):
        fields = [
            f"{problem.get('field')}: {problem.get('error')}"
            for problem in problems
            if isinstance(problem, dict)
        ]
        message = ": ".join([message, "; ".join(fields)])
    return message


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None
