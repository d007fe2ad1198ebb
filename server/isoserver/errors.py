"""Everything that the server itself can raise, and the status that HTTP gives it.

    ServerError
    ├── RequestError                    (ValueError) it can't be served as it is
    │   ├── InvalidRequestError         fields are missing, wrong or unknown
    │   ├── BodyTooLargeError
    │   ├── MediaTypeError              the body is of a kind that isn't taken
    │   ├── CredentialError             it isn't known who asks
    │   │   ├── KeyMissingError         no API key or token, or no known key
    │   │   └── TokenError              a bearer token that isn't valid here
    │   ├── AccessError                 who asks may not do that
    │   │   ├── AdminError              it takes an administrator
    │   │   ├── ScopeError              the token lacks a scope
    │   │   └── WorkspaceError          the workspace isn't the asker's
    │   ├── OriginError                 a Host or Origin that isn't allowed
    │   ├── RouteMissingError           no such path
    │   ├── ClientMissingError          there is no client for a platform
    │   └── MethodError                 the path has no such method
    ├── ContextError
    │   ├── ContextMissingError     (LookupError) no context has that id
    │   ├── ContextDeadError            its process is gone
    │   ├── ContextReplacedError        restarted or deleted while a request waited
    │   ├── ContextStartError           its process could not be started
    │   ├── ContextDeadlineError    (TimeoutError) it did not answer in time
    │   ├── ContextExistsError          there is one of that id
    │   ├── ForkError                   it can't be forked
    │   └── CheckpointMissingError      it has no checkpoint to go back to
    ├── HeapError
    │   ├── HeapMissingError        (LookupError) the workspace has no such heap
    │   ├── HeapUnsavableError          V8 can't save what a context holds
    │   ├── HeapDamagedError            what is stored isn't what was saved
    │   ├── HeapEngineError             another engine saved it
    │   └── HeapStoreError              the store can't be used
    ├── ExecutionError
    │   ├── ExecutionMissingError   (LookupError) no execution has that id
    │   └── NotRunningError             it has ended, so it can't be cancelled
    ├── LimitError                      a bound is reached; try again later
    │   ├── ContextLimitError           contexts in all
    │   ├── HibernatedLimitError        contexts that sleep
    │   ├── EphemeralLimitError         contexts that live for one execution
    │   ├── HeapLimitError              bytes of heaps that are needed
    │   ├── ExecutionLimitError         executions that wait in all
    │   ├── TaskLimitError              tasks that haven't ended
    │   ├── QueueLimitError             executions that wait in one context
    │   └── RateLimitError              it is done too often
    ├── IssuerError                     its keys, which tokens need, can't be had
    ├── ToolError                       a call of a tool failed: data for the context
    │   ├── ToolMissingError        (LookupError) no tool has that name
    │   ├── ToolArgumentsError      (ValueError) the input isn't what the tool takes
    │   ├── ToolFailedError             the tool, or the way to it
    │   └── ApprovalDeniedError         a policy or a reviewer says no
    ├── ToolAdministrationError         about sources, policies and approvals
    │   ├── SourceError                 a source can't be set up like that
    │   ├── SourceMissingError      (LookupError) no source has that name
    │   ├── SourceExistsError           one has that name already
    │   ├── PolicyMissingError      (LookupError) no rule has that id
    │   ├── ApprovalMissingError    (LookupError) no approval has that id
    │   └── ApprovalDecidedError        it is decided already, otherwise
    ├── TaskError
    │   ├── TaskMissingError        (LookupError) no task has that id
    │   ├── TaskEndedError              it has ended, so it can't be cancelled
    │   └── TypeCheckerError            types can't be checked, or not in time
    ├── DatabaseError                   it can't be opened or used
    └── StoppingError                   the server is about to end

The failure of the user's code is not here: it is an answer
(`isokernel.events.ErrorInfo`), also when it ran out of time or took its process along.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, NamedTuple

__all__ = [
    "STATUS",
    "AccessError",
    "AdminError",
    "ApprovalDecidedError",
    "ApprovalDeniedError",
    "ApprovalMissingError",
    "BodyTooLargeError",
    "CheckpointMissingError",
    "ClientMissingError",
    "ContextDeadError",
    "ContextDeadlineError",
    "ContextError",
    "ContextExistsError",
    "ContextLimitError",
    "ContextMissingError",
    "ContextReplacedError",
    "ContextStartError",
    "CredentialError",
    "DatabaseError",
    "EphemeralLimitError",
    "ExecutionError",
    "ExecutionLimitError",
    "ExecutionMissingError",
    "FieldProblem",
    "ForkError",
    "HeapDamagedError",
    "HeapEngineError",
    "HeapError",
    "HeapLimitError",
    "HeapMissingError",
    "HeapStoreError",
    "HeapUnsavableError",
    "HibernatedLimitError",
    "InvalidRequestError",
    "IssuerError",
    "KeyMissingError",
    "LimitError",
    "MediaTypeError",
    "MethodError",
    "NotRunningError",
    "OriginError",
    "PolicyMissingError",
    "QueueLimitError",
    "RateLimitError",
    "RequestError",
    "RouteMissingError",
    "ScopeError",
    "ServerError",
    "SourceError",
    "SourceExistsError",
    "SourceMissingError",
    "StoppingError",
    "TaskEndedError",
    "TaskError",
    "TaskLimitError",
    "TaskMissingError",
    "TokenError",
    "ToolAdministrationError",
    "ToolArgumentsError",
    "ToolError",
    "ToolFailedError",
    "ToolMissingError",
    "TypeCheckerError",
    "WorkspaceError",
    "in_words",
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


class ContextExistsError(ContextError):
    """There is a context of that id already."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"there is a context {context_id[:64]} already")


class ForkError(ContextError):
    """The context can't be forked."""


class CheckpointMissingError(ContextError):
    """The context has no checkpoint that it could go back to."""

    def __init__(self) -> None:
        """State what is missing."""
        super().__init__("the context has no checkpoint")


class HeapError(ServerError):
    """Something about one heap."""


class HeapMissingError(HeapError, LookupError):
    """The workspace has no heap of that key."""

    def __init__(self, key: str) -> None:
        """Name the key."""
        super().__init__(f"Heap {key[:64]!r} not found")


class HeapUnsavableError(HeapError):
    """V8 can't save what a context holds.

    Attributes:
        reason: Why, in V8's words or ours.
        kind: What kind of object is in the way; None if that isn't known.
        path: What leads to it, from `globalThis`; None if that wasn't found.
    """

    def __init__(
        self, reason: str, kind: str | None = None, path: str | None = None
    ) -> None:
        """Keep what is known."""
        self.reason, self.kind, self.path = reason, kind, path
        found = "" if kind is None else f" ({kind}{f' at {path}' if path else ''})"
        super().__init__(f"the heap can't be saved: {reason}{found}")


class HeapDamagedError(HeapError):
    """What is stored under a heap's key isn't what was saved."""


class HeapEngineError(HeapError):
    """A heap was saved by another engine, and none else can read it.

    Attributes:
        saved: The engine that has saved it.
        engine: The engine of this server.
    """

    def __init__(self, saved: str, engine: str) -> None:
        """Name both."""
        self.saved, self.engine = saved, engine
        super().__init__(
            f"the heap was saved by the engine {saved!r}; this is {engine!r}"
        )


class HeapStoreError(HeapError):
    """The store of heaps can't be used."""


class ExecutionError(ServerError):
    """Something about one execution."""


class ExecutionMissingError(ExecutionError, LookupError):
    """No execution of the workspace has that id."""

    def __init__(self, execution_id: str) -> None:
        """Name the id."""
        super().__init__(f"Execution {execution_id[:64]!r} not found")


class NotRunningError(ExecutionError):
    """The execution has ended, so that it can't be cancelled."""

    def __init__(self, execution_id: str, status: str) -> None:
        """Name the id, and what it is at."""
        super().__init__(
            f"Execution {execution_id[:64]!r} is not running (status: {status})"
        )


class LimitError(ServerError):
    """A bound of the server is reached.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    retry_after = 1


class ContextLimitError(LimitError):
    """There are as many contexts as the server may have."""

    retry_after = 10

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        text = f"there are {limit} contexts, which is all that may be"
        super().__init__(
            f"the workspace has {limit} contexts, which is its share"
            if shared
            else text
        )


class HibernatedLimitError(LimitError):
    """As many contexts sleep as may."""

    retry_after = 10

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} contexts sleep, which is all that may")


class EphemeralLimitError(LimitError):
    """As many contexts live for one execution each as may."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} executions run, which is all that may")


class HeapLimitError(LimitError):
    """The store is full of heaps that are needed."""

    retry_after = 60

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"the heaps have {limit} bytes, which is all that may be")


class ExecutionLimitError(LimitError):
    """As many executions wait as may."""

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        text = f"{limit} executions wait, no more may"
        super().__init__(
            f"the workspace has {limit} executions, which is its share"
            if shared
            else text
        )


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


class ToolError(ServerError):
    """A call of a tool failed; the code that called it gets this as data.

    Attributes:
        code: Which kind of failure, for programs.
        status: The HTTP status of whoever answered, where there is one.
        details: More about it, plain data.
        retryable: Whether the same call may succeed later.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        details: Any = None,
        retryable: bool = False,
    ) -> None:
        """Keep what is known."""
        self.code = code
        self.status = status
        self.details = details
        self.retryable = retryable
        super().__init__(message)

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "name": type(self).__name__,
            "code": self.code,
            "message": str(self),
            "status": self.status,
            "details": self.details,
            "retryable": self.retryable,
            "denied": False,
        }


class ToolMissingError(ToolError, LookupError):
    """No tool has that name."""

    def __init__(self, path: str, nearest: list[str]) -> None:
        """Name it, and the names that are most like it."""
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(
            f"there is no tool {path[:200]}{hint} (tools.discover finds tools)",
            code="tool_not_found",
            details={"nearest": nearest},
        )


class ToolArgumentsError(ToolError, ValueError):
    """The input isn't what the tool takes."""

    def __init__(self, path: str, problems: list[dict[str, str]]) -> None:
        """Say what is wrong with it."""
        first = problems[0] if problems else {"field": "input", "error": "is wrong"}
        super().__init__(
            f"{path}: {first['field']}: {first['error']}",
            code="invalid_arguments",
            details={"problems": problems},
        )


class ToolFailedError(ToolError):
    """The tool failed, or it could not be reached."""


class ApprovalDeniedError(ToolError):
    """A policy or a reviewer says no; or nobody said yes in time.

    Attributes:
        reason: The reviewer's, or what stands for it.
        approval_id: The approval; empty when a policy denies.
    """

    def __init__(
        self,
        path: str,
        reason: str,
        *,
        code: str = "approval_denied",
        approval_id: str = "",
    ) -> None:
        """Keep the reason."""
        self.reason = reason
        self.approval_id = approval_id
        details = {"reason": reason, "approval_id": approval_id or None, "path": path}
        super().__init__(f"{path} was denied: {reason}", code=code, details=details)

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data, with the reason."""
        return {**super().as_data(), "denied": True, "reason": self.reason}


class ToolAdministrationError(ServerError):
    """Something about sources, policies and approvals."""


class SourceError(ToolAdministrationError):
    """A source can't be set up as it is described."""


class SourceMissingError(ToolAdministrationError, LookupError):
    """The workspace has no source of that name."""

    def __init__(self, name: str) -> None:
        """Name it."""
        super().__init__(f"Source {name[:64]} not found")


class SourceExistsError(ToolAdministrationError):
    """The name is taken, or belongs to a source of the configuration file."""


class PolicyMissingError(ToolAdministrationError, LookupError):
    """The workspace has no rule of that id."""

    def __init__(self, policy_id: str) -> None:
        """Name it."""
        super().__init__(f"Policy {policy_id[:64]} not found")


class ApprovalMissingError(ToolAdministrationError, LookupError):
    """The workspace has no approval of that id."""

    def __init__(self, approval_id: str) -> None:
        """Name it."""
        super().__init__(f"Approval {approval_id[:64]} not found")


class ApprovalDecidedError(ToolAdministrationError):
    """The approval was decided otherwise, or isn't waited for any more.

    Attributes:
        state: How it stands.
    """

    def __init__(self, state: str) -> None:
        """Say how it stands."""
        self.state = state
        super().__init__(f"the approval is already {state}")


class TaskError(ServerError):
    """Something about one task."""


class TaskMissingError(TaskError, LookupError):
    """No task has that id."""

    def __init__(self, task_id: str) -> None:
        """Name the id."""
        super().__init__(f"Task {task_id[:64]} not found")


class TaskEndedError(TaskError):
    """The task has ended, so it can't be cancelled."""

    def __init__(self, task_id: str, status: str) -> None:
        """Say how it stands."""
        super().__init__(f"Task {task_id[:64]} is {status}")


class TypeCheckerError(TaskError):
    """The types of some code can't be checked, or not in time."""


class TaskLimitError(LimitError):
    """As many tasks as may be haven't ended."""

    retry_after = 5

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        text = f"{limit} tasks haven't ended, no more may be"
        super().__init__(
            f"the workspace has {limit} tasks, which is its share" if shared else text
        )


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
    SourceError: HTTPStatus.BAD_REQUEST,
    SourceMissingError: HTTPStatus.NOT_FOUND,
    SourceExistsError: HTTPStatus.CONFLICT,
    PolicyMissingError: HTTPStatus.NOT_FOUND,
    ApprovalMissingError: HTTPStatus.NOT_FOUND,
    ApprovalDecidedError: HTTPStatus.CONFLICT,
    TaskMissingError: HTTPStatus.NOT_FOUND,
    TaskEndedError: HTTPStatus.CONFLICT,
    TypeCheckerError: HTTPStatus.SERVICE_UNAVAILABLE,
    TaskLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoppingError: HTTPStatus.SERVICE_UNAVAILABLE,
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
