"""Every error that can reach a client, and the status that HTTP gives it."""

from __future__ import annotations

from http import HTTPStatus

from isoserver.errors.base import (
    DatabaseError,
    FolderError,
    LanguageError,
    ServerError,
    StoppingError,
    TakenError,
)
from isoserver.errors.contexts import (
    CheckpointMissingError,
    ContextDeadError,
    ContextDeadlineError,
    ContextExistsError,
    ContextLimitError,
    ContextMissingError,
    ContextReplacedError,
    ContextStartError,
    EphemeralLimitError,
    ForkError,
    HibernatedLimitError,
    QueueLimitError,
)
from isoserver.errors.executions import (
    ExecutionLimitError,
    ExecutionMissingError,
    NotRunningError,
    TaskEndedError,
    TaskLimitError,
    TaskMissingError,
    TypeCheckerError,
)
from isoserver.errors.heaps import (
    HeapDamagedError,
    HeapEngineError,
    HeapLimitError,
    HeapMissingError,
    HeapStoreError,
    HeapUnsavableError,
)
from isoserver.errors.requests import (
    AdminError,
    BodyTooLargeError,
    ClientMissingError,
    ConnectionEndedError,
    HeadersTooLargeError,
    InvalidRequestError,
    IssuerError,
    KeyMissingError,
    MediaTypeError,
    MethodError,
    OriginError,
    RateLimitError,
    RouteMissingError,
    ScopeError,
    TokenError,
    WorkspaceError,
)
from isoserver.errors.tools import (
    ApprovalDecidedError,
    ApprovalDeniedError,
    ApprovalMissingError,
    PolicyMissingError,
    SourceError,
    SourceExistsError,
    SourceMissingError,
    ToolArgumentsError,
    ToolFailedError,
    ToolMissingError,
)

__all__ = ["STATUS", "in_words", "status_of"]

STATUS: dict[type[ServerError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ConnectionEndedError: HTTPStatus.NOT_FOUND,
    HeadersTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    MediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    KeyMissingError: HTTPStatus.UNAUTHORIZED,
    TokenError: HTTPStatus.UNAUTHORIZED,
    AdminError: HTTPStatus.FORBIDDEN,
    ScopeError: HTTPStatus.FORBIDDEN,
    WorkspaceError: HTTPStatus.FORBIDDEN,
    OriginError: HTTPStatus.FORBIDDEN,
    RouteMissingError: HTTPStatus.NOT_FOUND,
    ClientMissingError: HTTPStatus.NOT_FOUND,
    MethodError: HTTPStatus.METHOD_NOT_ALLOWED,
    ContextMissingError: HTTPStatus.NOT_FOUND,
    ContextDeadError: HTTPStatus.CONFLICT,
    ContextReplacedError: HTTPStatus.CONFLICT,
    ContextStartError: HTTPStatus.SERVICE_UNAVAILABLE,
    ContextDeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
    ContextExistsError: HTTPStatus.CONFLICT,
    ForkError: HTTPStatus.CONFLICT,
    CheckpointMissingError: HTTPStatus.CONFLICT,
    HeapMissingError: HTTPStatus.NOT_FOUND,
    HeapUnsavableError: HTTPStatus.CONFLICT,
    HeapDamagedError: HTTPStatus.CONFLICT,
    HeapEngineError: HTTPStatus.CONFLICT,
    HeapStoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    ExecutionMissingError: HTTPStatus.NOT_FOUND,
    NotRunningError: HTTPStatus.BAD_REQUEST,
    ExecutionLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    ContextLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    HibernatedLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    EphemeralLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    HeapLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    QueueLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    RateLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    IssuerError: HTTPStatus.SERVICE_UNAVAILABLE,
    ToolMissingError: HTTPStatus.NOT_FOUND,
    ToolArgumentsError: HTTPStatus.BAD_REQUEST,
    ToolFailedError: HTTPStatus.BAD_GATEWAY,
    ApprovalDeniedError: HTTPStatus.FORBIDDEN,
    TaskMissingError: HTTPStatus.NOT_FOUND,
    TaskEndedError: HTTPStatus.CONFLICT,
    TypeCheckerError: HTTPStatus.SERVICE_UNAVAILABLE,
    TaskLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    SourceError: HTTPStatus.BAD_REQUEST,
    SourceMissingError: HTTPStatus.NOT_FOUND,
    SourceExistsError: HTTPStatus.CONFLICT,
    PolicyMissingError: HTTPStatus.NOT_FOUND,
    ApprovalMissingError: HTTPStatus.NOT_FOUND,
    ApprovalDecidedError: HTTPStatus.CONFLICT,
    DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    FolderError: HTTPStatus.SERVICE_UNAVAILABLE,
    LanguageError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoppingError: HTTPStatus.SERVICE_UNAVAILABLE,
    TakenError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Every error that can reach a client, and its status; nothing else maps errors."""


def status_of(error: BaseException) -> HTTPStatus:
    """Give the status of an error; what isn't in the table is a defect of ours."""
    if isinstance(error, ServerError):
        return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return HTTPStatus.INTERNAL_SERVER_ERROR


def in_words(error: ServerError) -> str:
    """Give all that an error says in one line, problems with fields included."""
    if not isinstance(error, InvalidRequestError):
        return str(error)
    problems = "; ".join(
        f"{problem.field}: {problem.error}" for problem in error.problems
    )
    return f"{error}: {problems}"
