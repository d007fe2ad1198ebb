"""Everything that the server itself can raise.

Each class states once what the borders need of it: its HTTP status, what the body of a
response has beside the message (`body_fields`), when to try again (`retry_after`), and
what a model should do next (`advice`). What a class doesn't state, it inherits.

    ServerError
    ├── RequestError                    (ValueError) it can't be served as it is
    │   ├── InvalidRequestError         fields are missing, wrong or unknown
    │   ├── BodyTooLargeError           more bytes than the server accepts
    │   ├── HeadersTooLargeError        more bytes than the server accepts
    │   ├── MediaTypeError              a content type that isn't accepted
    │   ├── OriginError                 a Host or Origin that isn't allowed
    │   ├── RouteMissingError           no such path
    │   ├── MethodError                 the path has no such method
    │   ├── ClientMissingError          no client for that platform
    │   ├── ConnectionEndedError        (LookupError) a connection of MCP has just ended
    │   ├── CredentialError             the caller is unknown
    │   │   ├── KeyMissingError         no API key or token, or an unknown one
    │   │   └── TokenError              a bearer token that isn't valid here
    │   └── AccessError                 the caller is known, and not allowed to do that
    │       ├── AdminError              it takes an administrator
    │       ├── ScopeError              the token lacks a scope
    │       └── WorkspaceError          the workspace isn't the caller's
    ├── LimitError                      a limit is reached; try again later
    │   ├── ConnectionLimitError        connections of clients
    │   │   └── AddressConnectionLimitError  those from one address
    │   ├── ContextLimitError           live contexts
    │   ├── EphemeralLimitError         contexts that live for one execution
    │   ├── QueueLimitError             cells that wait in one context
    │   ├── HeapLimitError              bytes of heaps that are needed
    │   ├── ExecutionLimitError         executions that wait
    │   ├── TaskLimitError              tasks that haven't ended
    │   └── RateLimitError              requests a minute
    ├── ContextError
    │   ├── ContextMissingError         (LookupError) no context has that id
    │   ├── ContextExistsError          the id is taken
    │   ├── ContextDeadError            its process is gone
    │   ├── ContextReplacedError        restarted or deleted while a request waited
    │   ├── ContextStartError           its process could not be started
    │   ├── ContextDeadlineError        (TimeoutError) it did not answer in time
    │   ├── ForkError                   it can't be forked
    │   └── CheckpointMissingError      it has no checkpoint to go back to
    ├── HeapError
    │   ├── HeapMissingError            (LookupError) the workspace has no such heap
    │   ├── HeapUnsavableError          V8 can't save what a context holds
    │   ├── HeapDamagedError            what is stored isn't what was saved
    │   ├── HeapEngineError             another engine saved it
    │   └── HeapStoreError              the store can't be used
    ├── ExecutionError
    │   ├── ExecutionMissingError       (LookupError) no execution has that id
    │   └── NotRunningError             it has ended and can't be cancelled
    ├── TaskError
    │   ├── TaskMissingError            (LookupError) no task has that id
    │   ├── TaskEndedError              it has ended and can't be cancelled
    │   └── TypeCheckerError            types can't be checked, or not in time
    ├── ToolError                       a tool call failed: data for the calling code
    │   ├── ToolMissingError            (LookupError) no tool has that name
    │   ├── ToolArgumentsError          (ValueError) the input doesn't fit the tool
    │   ├── ToolFailedError             the tool failed, or the way to it
    │   └── ApprovalDeniedError         a policy or a reviewer says no
    ├── ToolAdministrationError         about sources, policies and approvals
    │   ├── SourceError                 a source can't be set up like that
    │   ├── SourceMissingError          (LookupError) no source has that name
    │   ├── SourceExistsError           the name is taken
    │   ├── PolicyMissingError          (LookupError) no rule has that id
    │   ├── ApprovalMissingError        (LookupError) no approval has that id
    │   └── ApprovalDecidedError        it is already decided otherwise
    ├── IssuerError                     the keys for checking tokens can't be had
    ├── DatabaseError                   it can't be opened or used
    ├── FolderError                     a folder of the server can't be used
    ├── LanguageError                   a language of the settings isn't available
    ├── TakenError                      another server uses the folder or the database
    └── StoppingError                   the server is stopping

The failure of the user's code is not here: it is an answer
(`isokernel.context.events.ErrorInfo`), also when it ran out of time or took its
process along.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple


class ServerError(Exception):
    """Root of all errors of the server.

    Attributes:
        http_status: The status of the HTTP response.
        retry_after: Seconds after which trying again makes sense, where it does.
        advice: What a model that got the error over MCP should do next.
        code: Its name for programs and the log, such as `context_missing`.
    """

    code: str = "server"
    http_status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: int | None = None
    advice: ClassVar[str] = ""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Derive the code from the class's name."""
        super().__init_subclass__(**arguments)
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Error"))
        cls.code = words.lower()

    def body_fields(self) -> dict[str, Any]:
        """Return what the body of an HTTP response has beside the message."""
        return {}

    def in_words(self) -> str:
        """Return the whole error in one line, for borders that have only text."""
        return str(self)


# -- requests --------------------------------------------------------------------------


class RequestError(ServerError, ValueError):
    """The request can't be served as it is."""

    http_status = HTTPStatus.BAD_REQUEST


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

    def body_fields(self) -> dict[str, Any]:
        """Return the problem of each field."""
        return {"errors": [problem._asdict() for problem in self.problems]}

    def in_words(self) -> str:
        """Return the message and the problem of each field."""
        problems = (f"{problem.field}: {problem.error}" for problem in self.problems)
        return f"{self}: {'; '.join(problems)}"


class BodyTooLargeError(RequestError):
    """The body has more bytes than the server accepts."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, limit: int) -> None:
        """Name the limit."""
        super().__init__(f"the body is larger than {limit} bytes")


class HeadersTooLargeError(RequestError):
    """The headers have more bytes than the server accepts."""

    http_status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def __init__(self, limit: int) -> None:
        """Name the limit."""
        super().__init__(f"the headers are larger than {limit} bytes")


class MediaTypeError(RequestError):
    """The body has a content type that isn't accepted here."""

    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class OriginError(RequestError):
    """A Host or Origin header names what isn't allowed."""

    http_status = HTTPStatus.FORBIDDEN


class RouteMissingError(RequestError):
    """There is no such path."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Not found")


class MethodError(RequestError):
    """The path has no such method."""

    http_status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Method not allowed")


class ClientMissingError(RequestError):
    """There is no client for a platform."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, platform: str, known: tuple[str, ...]) -> None:
        """Name the platform, and those that there are."""
        super().__init__(
            f"Unknown platform {platform[:64]!r}. Valid platforms: {', '.join(known)}"
        )


class ConnectionEndedError(RequestError, LookupError):
    """The connection of MCP that a request belongs to has just ended."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("the connection has ended; initialize a new one")


class CredentialError(RequestError):
    """The caller is unknown.

    Attributes:
        counted_as: The reason by which metrics count it.
    """

    http_status = HTTPStatus.UNAUTHORIZED
    counted_as: ClassVar[str] = "key"


class KeyMissingError(CredentialError):
    """The request has no API key or token, or no known key."""

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

    counted_as = "token"

    def __init__(self, reason: str, *, signed: bool = False) -> None:
        """Say why, without anything of the token."""
        self.signed = signed
        super().__init__(f"the bearer token isn't valid: {reason}")


class AccessError(RequestError):
    """The caller is known, and isn't allowed to do that.

    Attributes:
        counted_as: The reason by which metrics count it.
    """

    http_status = HTTPStatus.FORBIDDEN
    counted_as: ClassVar[str] = "admin"


class AdminError(AccessError):
    """The request needs the key or token of an administrator."""

    def __init__(self) -> None:
        """State what is needed."""
        super().__init__("only an administrator's key or token may do that")


class ScopeError(AccessError):
    """The token lacks a scope that every token must have."""

    counted_as = "scope"

    def __init__(self, scope: str) -> None:
        """Name the scope."""
        super().__init__(f"the token lacks the scope {scope}")


class WorkspaceError(AccessError):
    """The workspace isn't one of the caller's."""

    counted_as = "workspace"

    def __init__(self) -> None:
        """State what happened; the same whether there is such a workspace or not."""
        super().__init__("the key or token doesn't open that workspace")


# -- limits ----------------------------------------------------------------------------


class LimitError(ServerError):
    """A limit is reached.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
        counted: What there is too much of.
        setting: The setting that limits it.
    """

    http_status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after: int = 1
    counted: ClassVar[str] = ""
    setting: ClassVar[str] = ""

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the limit, and whether it is one workspace's share."""
        if shared:
            text = f"the workspace's share of {limit} {self.counted} is used up"
            super().__init__(f"{text} (workspace_share)")
        else:
            text = f"the limit of {limit} {self.counted} is reached"
            super().__init__(f"{text} ({self.setting})")


class ConnectionLimitError(LimitError):
    """There are as many connections as may be, and all of them are in use."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    counted = "connections"
    setting = "connections_max"


class AddressConnectionLimitError(ConnectionLimitError):
    """One address has as many connections as it may have, and all are in use."""

    counted = "connections from one address"
    setting = "connections_per_address_max"


class ContextLimitError(LimitError):
    """There are as many contexts as the server may have."""

    retry_after = 10
    counted = "contexts"
    setting = "contexts_max"


class EphemeralLimitError(LimitError):
    """As many contexts live for one execution each as may."""

    counted = "contexts of single executions"
    setting = "executions_running_max and tasks_unfinished_max"


class QueueLimitError(LimitError):
    """As many cells wait in the context as may."""

    counted = "waiting cells in this context"
    setting = "cells_queued_max"


class HeapLimitError(LimitError):
    """The store is full of heaps that are needed."""

    retry_after = 60
    counted = "bytes of heaps"
    setting = "heaps_total_bytes_max"


class ExecutionLimitError(LimitError):
    """As many executions wait as may."""

    counted = "executions"
    setting = "executions_queued_max"


class TaskLimitError(LimitError):
    """As many tasks as may be haven't ended."""

    retry_after = 5
    counted = "tasks"
    setting = "tasks_unfinished_max"


class RateLimitError(LimitError):
    """Something is done more often than it may be.

    Attributes:
        counted_as: The reason by which metrics count wrong keys and tokens.
    """

    counted_as: ClassVar[str] = "failure_rate"

    def __init__(self, what: str, seconds: float) -> None:
        """Say of what there is too much, and when the next one may come.

        Args:
            what: What is counted.
            seconds: Until the next one.
        """
        self.retry_after = max(1, math.ceil(seconds))
        ServerError.__init__(
            self, f"too many {what}: try again in {self.retry_after} s"
        )


# -- contexts --------------------------------------------------------------------------


class ContextError(ServerError):
    """Something about one context."""

    http_status = HTTPStatus.CONFLICT


class ContextMissingError(ContextError, LookupError):
    """No context has that id."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"Context {context_id[:64]} not found")


class ContextExistsError(ContextError):
    """There is a context of that id already."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"there is a context {context_id[:64]} already")


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

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class ContextDeadlineError(ContextError, TimeoutError):
    """The context did not answer a question in time."""

    http_status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(self, seconds: float) -> None:
        """Say how long was waited."""
        super().__init__(f"the context did not answer within {seconds:g} s")


class ForkError(ContextError):
    """The context can't be forked."""


class CheckpointMissingError(ContextError):
    """The context has no checkpoint that it could go back to."""

    def __init__(self) -> None:
        """State what is missing."""
        super().__init__("the context has no checkpoint")


# -- heaps -----------------------------------------------------------------------------


class HeapError(ServerError):
    """Something about one heap."""

    http_status = HTTPStatus.CONFLICT


class HeapMissingError(HeapError, LookupError):
    """The workspace has no heap of that key."""

    http_status = HTTPStatus.NOT_FOUND
    advice = (
        "query_heaps_by_tags and list_session_snapshots show those that there are; "
        "get_execution tells the heap of an execution."
    )

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

    def body_fields(self) -> dict[str, Any]:
        """Return what is in the way."""
        return {"reason": self.reason, "kind": self.kind, "path": self.path}


class HeapDamagedError(HeapError):
    """What is stored under a heap's key isn't what was saved."""

    advice = "It can't be used any more: run its code again."


class HeapEngineError(HeapError):
    """A heap was saved by another engine, and only that one can read it.

    Attributes:
        saved: The engine that saved it.
        engine: The engine of this server.
    """

    advice = "It can't be used here: run its code again."

    def __init__(self, saved: str, engine: str) -> None:
        """Name both."""
        self.saved, self.engine = saved, engine
        super().__init__(
            f"the heap was saved by the engine {saved!r}; this is {engine!r}"
        )


class HeapStoreError(HeapError):
    """The store of heaps can't be used."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


# -- executions and tasks --------------------------------------------------------------


class ExecutionError(ServerError):
    """Something about one execution."""

    http_status = HTTPStatus.BAD_REQUEST


class ExecutionMissingError(ExecutionError, LookupError):
    """No execution of the workspace has that id."""

    http_status = HTTPStatus.NOT_FOUND
    advice = "list_executions shows those that there are."

    def __init__(self, execution_id: str) -> None:
        """Name the id."""
        super().__init__(f"Execution {execution_id[:64]!r} not found")


class NotRunningError(ExecutionError):
    """The execution has ended, so that it can't be cancelled."""

    advice = "There is nothing to cancel; get_execution has its result."

    def __init__(self, execution_id: str, status: str) -> None:
        """Name the id and the status."""
        super().__init__(
            f"Execution {execution_id[:64]!r} is not running (status: {status})"
        )


class TaskError(ServerError):
    """Something about one task."""

    http_status = HTTPStatus.CONFLICT


class TaskMissingError(TaskError, LookupError):
    """No task has that id."""

    http_status = HTTPStatus.NOT_FOUND
    advice = "execute tells the taskId of each task that it begins."

    def __init__(self, task_id: str) -> None:
        """Name the id."""
        super().__init__(f"Task {task_id[:64]} not found")


class TaskEndedError(TaskError):
    """The task has ended, so it can't be cancelled."""

    advice = "There is nothing to cancel; get_task has its result."

    def __init__(self, task_id: str, status: str) -> None:
        """Name the id and the status."""
        super().__init__(f"Task {task_id[:64]} is {status}")


class TypeCheckerError(TaskError):
    """The types of some code can't be checked, or not in time."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


# -- tools -----------------------------------------------------------------------------


class ToolError(ServerError):
    """A call of a tool failed; the code that called it gets this as data.

    Attributes:
        code: Which kind of failure, for programs.
        status: The HTTP status of whoever answered, where there is one.
        details: More about it, plain data.
        retryable: Whether the same call may succeed later.
    """

    http_status = HTTPStatus.BAD_GATEWAY

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
        """Return it as plain data."""
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

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, path: str, nearest: list[str]) -> None:
        """Name the path, and the names that are most like it."""
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(
            f"there is no tool {path[:200]}{hint} (tools.discover finds tools)",
            code="tool_not_found",
            details={"nearest": nearest},
        )


class ToolArgumentsError(ToolError, ValueError):
    """The input isn't what the tool takes."""

    http_status = HTTPStatus.BAD_REQUEST

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

    http_status = HTTPStatus.FORBIDDEN

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
        """Return it as plain data, with the reason."""
        return {**super().as_data(), "denied": True, "reason": self.reason}


class ToolAdministrationError(ServerError):
    """Something about sources, policies and approvals."""

    http_status = HTTPStatus.CONFLICT


class SourceError(ToolAdministrationError):
    """A source can't be set up as it is described."""

    http_status = HTTPStatus.BAD_REQUEST


class SourceMissingError(ToolAdministrationError, LookupError):
    """The workspace has no source of that name."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        """Name what is missing."""
        super().__init__(f"Source {name[:64]} not found")


class SourceExistsError(ToolAdministrationError):
    """The name is taken, or belongs to a source of the configuration file."""


class PolicyMissingError(ToolAdministrationError, LookupError):
    """The workspace has no rule of that id."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, policy_id: str) -> None:
        """Name what is missing."""
        super().__init__(f"Policy {policy_id[:64]} not found")


class ApprovalMissingError(ToolAdministrationError, LookupError):
    """The workspace has no approval of that id."""

    http_status = HTTPStatus.NOT_FOUND
    advice = "get_task shows the approvals that a task waits for."

    def __init__(self, approval_id: str) -> None:
        """Name what is missing."""
        super().__init__(f"Approval {approval_id[:64]} not found")


class ApprovalDecidedError(ToolAdministrationError):
    """The approval was decided otherwise, or is no longer waited for.

    Attributes:
        state: What it is now.
    """

    advice = "Nothing is left to decide; get_task shows how its task stands."

    def __init__(self, state: str) -> None:
        """Name the state."""
        self.state = state
        super().__init__(f"the approval is already {state}")


# -- the server ------------------------------------------------------------------------


class IssuerError(ServerError):
    """The authorization server doesn't give the keys that tokens are checked with.

    Attributes:
        reason: Why, for the log.
    """

    http_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, reason: str = "") -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__("tokens can't be checked now: their issuer can't be reached")


class DatabaseError(ServerError):
    """The database can't be opened or used."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class FolderError(ServerError):
    """A folder of the server can't be made or used."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class LanguageError(ServerError):
    """A language that the settings name isn't available."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class TakenError(ServerError):
    """Another server uses the data folder or the database; ours doesn't start."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, what: str, process: str = "") -> None:
        """Name what is taken, and the process that has it, where that is known."""
        other = f"another isokernel server{process and f' (process {process})'}"
        super().__init__(f"{what} is used by {other}, which must end first")


class StoppingError(ServerError):
    """The server is stopping and accepts no new work."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    advice = "Connect again in a few seconds."

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("the server is stopping")
