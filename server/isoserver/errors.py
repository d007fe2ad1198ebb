"""Everything that the server itself can raise.

Each class states once what HTTP and MCP need from it: its HTTP status, the fields of a
response's body besides the message (`body_fields`), when to try again (`retry_after`),
and what a model should do next (`advice`). Anything a class doesn't state, it inherits.

    ServerError
    ├── RequestError                    (ValueError) the request can't be served
    │   ├── InvalidRequestError         fields are missing, wrong or unknown
    │   ├── BodyTooLargeError           more bytes than the server accepts
    │   ├── HeadersTooLargeError        more bytes than the server accepts
    │   ├── MediaTypeError              the content type isn't accepted
    │   ├── OriginError                 the Host or Origin isn't allowed
    │   ├── RouteMissingError           no such path
    │   ├── MethodError                 the path doesn't support the method
    │   ├── ClientMissingError          no client for that platform
    │   ├── ConnectionEndedError        (LookupError) an MCP connection has just ended
    │   ├── CredentialError             the caller is unknown
    │   │   ├── KeyMissingError         no API key or token, or an unknown one
    │   │   └── TokenError              a bearer token that isn't valid here
    │   └── AccessError                 the caller is known but not allowed to do this
    │       ├── AdminError              an administrator is needed
    │       ├── ScopeError              the token lacks a scope
    │       └── WorkspaceError          the workspace isn't the caller's
    ├── LimitError                      a limit is reached; try again later
    │   ├── ConnectionLimitError        connections of clients
    │   │   └── AddressConnectionLimitError  connections from one address
    │   ├── ContextLimitError           live contexts
    │   ├── EphemeralLimitError         contexts of single executions
    │   ├── FrontLimitError             fronts that are attached
    │   │   └── ContextFrontLimitError  those of one context
    │   ├── QueueLimitError             cells waiting in one context
    │   ├── HeapLimitError              bytes of heaps in use
    │   ├── ExecutionLimitError         executions waiting
    │   ├── TaskLimitError              unfinished tasks
    │   ├── WebhookLimitError           webhooks that aren't delivered
    │   └── RateLimitError              requests per minute
    ├── ContextError
    │   ├── ContextMissingError         (LookupError) no context has that id
    │   ├── SessionMissingError         (LookupError) no session of fronts has that id
    │   ├── SessionGoneError            its context was deleted before
    │   ├── ContextExistsError          the id is taken
    │   ├── ForeignContextError         a front may not do that to what it hasn't made
    │   ├── ContextDeadError            its process is gone
    │   ├── ContextReplacedError        restarted or deleted while a request waited
    │   ├── CellAbortedError            the cell of its front before it has failed
    │   ├── ContextStartError           its process could not be started
    │   ├── ContextDeadlineError        (TimeoutError) it didn't answer in time
    │   ├── ForkError                   it can't be forked
    │   ├── PackagesError               it can't begin with its packages
    │   │   └── PackagesDeniedError     a policy doesn't allow them
    │   └── CheckpointMissingError      it has no checkpoint to go back to
    ├── ContextFileError                a file of a context can't be used like that
    │   ├── ContextFileMissingError     (LookupError) there is no such file
    │   ├── ContextFilePathError        the path is none, or leads out of the folder
    │   ├── ContextFileLimitError       a limit of the folder is reached
    │   └── ContextFileChangedError     it isn't in the state that a request named
    ├── RangeError                      a file has no such part
    ├── HeapError
    │   ├── HeapMissingError            (LookupError) the workspace has no such heap
    │   ├── HeapUnsavableError          V8 can't save what a context holds
    │   ├── HeapDamagedError            the stored bytes aren't those saved
    │   ├── HeapEngineError             another engine saved it
    │   └── HeapStoreError              the store can't be used
    ├── ExecutionError
    │   ├── ExecutionMissingError       (LookupError) no execution has that id
    │   ├── ExecutionNamedError         its id names another request
    │   ├── ExecutionForgottenError     it is over, and no longer kept
    │   ├── ExecutionEndedError         it is over and can't be cancelled
    │   └── NotRunningError             it has ended and can't be cancelled
    ├── TaskError
    │   ├── TaskMissingError            (LookupError) no task has that id
    │   ├── TaskEndedError              it has ended and can't be cancelled
    │   └── TypeCheckerError            types can't be checked, or not in time
    ├── ToolError                       a tool call failed; calling code gets data
    │   ├── ToolMissingError            (LookupError) no tool has that name
    │   ├── ToolArgumentsError          (ValueError) the input doesn't fit the tool
    │   ├── ToolFailedError             the tool failed or couldn't be reached
    │   └── ApprovalDeniedError         a policy or a reviewer denied the call
    ├── ToolAdministrationError         about sources, policies and approvals
    │   ├── SourceError                 a source can't be set up like that
    │   ├── SourceMissingError          (LookupError) no source has that name
    │   ├── SourceExistsError           the name is taken
    │   ├── PolicyMissingError          (LookupError) no rule has that id
    │   ├── ApprovalMissingError        (LookupError) no approval has that id
    │   └── ApprovalDecidedError        it has already been decided differently
    ├── IssuerError                     the keys for checking tokens are unavailable
    ├── DatabaseError                   it can't be opened or used
    │   └── FencedError                 others have taken over what would be written
    ├── ClusterError                    about servers on one database
    │   ├── LeaseError                  this one may not serve now
    │   ├── ElsewhereError              another one has what is asked for
    │   ├── MovingError                 it is on its way to another one
    │   ├── UnmovableError              it has to stay where it is, at least for now
    │   ├── ServerMissingError          (LookupError) no server has that id
    │   ├── PeerUnreachableError        the one that has it can't be reached
    │   ├── PeerLostError               the one that has it was lost amid the request
    │   └── PeerMarkError               what passes for another one's isn't
    ├── FolderError                     one of the server's folders can't be used
    ├── InvalidSettingsError            (ValueError) settings are unknown or wrong
    ├── LanguageError                   a language in the settings isn't available
    ├── RayError                        Ray can't be reached, or does nothing
    ├── TakenError                      another server uses the folder or the database
    └── StoppingError                   the server is stopping

A failure of the user's code is not here. It is an answer
(`isokernel.context.events.ErrorInfo`), even when the code ran out of time or
brought its process down.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from isokernel.errors import FileLimitError

if TYPE_CHECKING:
    from isokernel.errors import FileError


class ServerError(Exception):
    """Root of all errors of the server.

    Attributes:
        http_status: The status of the HTTP response.
        retry_after: Seconds to wait before trying again, if that makes sense.
        advice: What a model that gets the error over MCP should do next.
        code: The error's name for programs and the log, such as `context_missing`.
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
        """Return the fields of an HTTP response's body besides the message."""
        return {}

    def in_words(self) -> str:
        """Return the whole error in one line, for callers that take only text."""
        return str(self)


# -- requests --------------------------------------------------------------------------


class RequestError(ServerError, ValueError):
    """The request can't be served."""

    http_status = HTTPStatus.BAD_REQUEST


class FieldProblem(NamedTuple):
    """What is wrong with one field of a request.

    Attributes:
        field: Its JSON name, dots between levels; `body` for the whole body.
        error: What is wrong, for people.
    """

    field: str
    error: str


class InvalidRequestError(RequestError):
    """Fields are missing, wrong or unknown.

    Attributes:
        problems: One per field.
    """

    def __init__(self, *problems: FieldProblem) -> None:
        """Keep what is wrong."""
        self.problems = problems
        super().__init__("Invalid request")

    def body_fields(self) -> dict[str, Any]:
        """Return each field's problem."""
        return {"errors": [problem._asdict() for problem in self.problems]}

    def in_words(self) -> str:
        """Return the message and each field's problem."""
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
    """The body's content type isn't accepted here."""

    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class OriginError(RequestError):
    """The Host or Origin header isn't allowed."""

    http_status = HTTPStatus.FORBIDDEN


class RouteMissingError(RequestError):
    """There is no such path."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Not found")


class MethodError(RequestError):
    """The path doesn't support the method."""

    http_status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("Method not allowed")


class ClientMissingError(RequestError):
    """There is no client for a platform."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, platform: str, known: tuple[str, ...]) -> None:
        """Name the platform and the valid ones."""
        super().__init__(
            f"Unknown platform {platform[:64]!r}. Valid platforms: {', '.join(known)}"
        )


class ConnectionEndedError(RequestError, LookupError):
    """The MCP connection that a request belongs to has just ended."""

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
            "an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY"
        )


class TokenError(CredentialError):
    """The bearer token isn't valid here.

    Attributes:
        signed: Whether the issuer signed it, so that it can't be a guess.
    """

    counted_as = "token"

    def __init__(self, reason: str, *, signed: bool = False) -> None:
        """Say why, without quoting the token."""
        self.signed = signed
        super().__init__(f"the bearer token isn't valid: {reason}")


class AccessError(RequestError):
    """The caller is known but not allowed to do this.

    Attributes:
        counted_as: The reason by which metrics count it.
    """

    http_status = HTTPStatus.FORBIDDEN
    counted_as: ClassVar[str] = "admin"


class AdminError(AccessError):
    """The request needs an administrator's key or token."""

    def __init__(self) -> None:
        """State what is needed."""
        super().__init__("this needs an administrator's key or token")


class ScopeError(AccessError):
    """The token lacks a required scope."""

    counted_as = "scope"

    def __init__(self, scope: str) -> None:
        """Name the scope."""
        super().__init__(f"the token lacks the scope {scope}")


class WorkspaceError(AccessError):
    """The workspace isn't one of the caller's."""

    counted_as = "workspace"

    def __init__(self) -> None:
        """Use the same words whether or not the workspace exists."""
        super().__init__("the key or token doesn't give access to that workspace")


# -- limits ----------------------------------------------------------------------------


class LimitError(ServerError):
    """A limit is reached.

    Attributes:
        retry_after: Seconds to wait before trying again.
        counted: What is limited.
        setting: The setting that sets the limit.
    """

    http_status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after: int = 1
    counted: ClassVar[str] = ""
    setting: ClassVar[str] = ""

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the limit, and say whether it is one workspace's share."""
        if shared:
            text = f"the workspace's share of {limit} {self.counted} is used up"
            super().__init__(f"{text} (workspace_share)")
        else:
            text = f"the limit of {limit} {self.counted} is reached"
            super().__init__(f"{text} ({self.setting})")


class ConnectionLimitError(LimitError):
    """The server has its maximum of connections, and all are in use."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    counted = "connections"
    setting = "connections_max"


class AddressConnectionLimitError(ConnectionLimitError):
    """One address has its maximum of connections, and all are in use."""

    counted = "connections from one address"
    setting = "connections_per_address_max"


class ContextLimitError(LimitError):
    """The server has its maximum of contexts."""

    retry_after = 10
    counted = "contexts"
    setting = "contexts_max"


class FrontLimitError(LimitError):
    """The server has its maximum of attached fronts."""

    retry_after = 10
    counted = "attached fronts"
    setting = "fronts_max"


class ContextFrontLimitError(FrontLimitError):
    """A context has its maximum of attached fronts."""

    counted = "attached fronts of one context"
    setting = "context_fronts_max"


class EphemeralLimitError(LimitError):
    """The server has its maximum of contexts for single executions."""

    counted = "contexts of single executions"
    setting = "executions_running_max and tasks_unfinished_max"


class QueueLimitError(LimitError):
    """The context has its maximum of waiting cells."""

    counted = "waiting cells in this context"
    setting = "cells_queued_max"


class HeapLimitError(LimitError):
    """The store is full, and every heap in it is in use."""

    retry_after = 60
    counted = "bytes of heaps"
    setting = "heaps_total_bytes_max"


class ExecutionLimitError(LimitError):
    """The maximum of waiting executions is reached."""

    counted = "executions"
    setting = "executions_queued_max"


class WebhookLimitError(LimitError):
    """The maximum of webhooks that aren't delivered is reached."""

    retry_after = 30
    counted = "webhooks"
    setting = "webhooks_pending_max"


class TaskLimitError(LimitError):
    """The maximum of unfinished tasks is reached."""

    retry_after = 5
    counted = "tasks"
    setting = "tasks_unfinished_max"


class RateLimitError(LimitError):
    """Something was done more often than allowed.

    Attributes:
        counted_as: The reason under which metrics count wrong keys and tokens.
    """

    counted_as: ClassVar[str] = "failure_rate"

    def __init__(self, what: str, seconds: float) -> None:
        """Say what there was too much of, and when to try again.

        Args:
            what: What is counted.
            seconds: Until the next one is allowed.
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

    def __init__(self, context_id: str, reason: str = "") -> None:
        """Name the id and, if known, why the context is gone."""
        why = f": it was deleted, as {reason}" if reason else ""
        super().__init__(f"Context {context_id[:64]} not found{why}")


class SessionMissingError(ContextError, LookupError):
    """No session of Jupyter's fronts has that id."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, session_id: str) -> None:
        """Name the id."""
        super().__init__(f"session {session_id[:64]} not found")


class SessionGoneError(ContextError):
    """The context of a session was deleted first, and the session with it."""

    http_status = HTTPStatus.GONE

    def __init__(self, session_id: str) -> None:
        """Name the id."""
        message = f"the context of session {session_id[:64]} was deleted before"
        super().__init__(message)


class ForeignContextError(ContextError):
    """A front may not restart a context that no front has made."""

    http_status = HTTPStatus.FORBIDDEN

    def __init__(self, context_id: str) -> None:
        """Name the context, and what restarts it."""
        super().__init__(
            "the context was not made by a front, and others may need its state; "
            f"POST /contexts/{context_id}/restart restarts it"
        )


class ContextExistsError(ContextError):
    """A context with that id already exists."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"context {context_id[:64]} already exists")


class ContextDeadError(ContextError):
    """The context's process is gone; a restart starts a new one.

    Attributes:
        reason: Why it is gone.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(f"the context is dead ({reason}): restart or delete it")


class ContextReplacedError(ContextError):
    """The context was restarted or deleted while a request waited for its turn."""


class CellAbortedError(ContextError):
    """A cell waited for one of its front's that failed, and never ran."""

    def __init__(self) -> None:
        """Say why it didn't run."""
        super().__init__("a cell that was sent before it has failed")


class ContextStartError(ContextError):
    """A new context's process could not be started."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class ContextDeadlineError(ContextError, TimeoutError):
    """The context didn't answer a request in time."""

    http_status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(self, seconds: float) -> None:
        """Say how long the server waited."""
        super().__init__(f"the context did not answer within {seconds:g} s")


class ForkError(ContextError):
    """The context can't be forked."""


class PackagesError(ContextError):
    """The packages that a context is to begin with can't be loaded."""

    http_status = HTTPStatus.UNPROCESSABLE_ENTITY


class PackagesDeniedError(PackagesError):
    """A policy doesn't allow the packages that a context is to begin with."""

    http_status = HTTPStatus.FORBIDDEN


class CheckpointMissingError(ContextError):
    """The context has no checkpoint to go back to."""

    def __init__(self) -> None:
        """State what is missing."""
        super().__init__("the context has no checkpoint")


# -- files of contexts -----------------------------------------------------------------


class ContextFileError(ServerError):
    """What was asked of a file of a context can't be done.

    Attributes:
        reason: Its POSIX name, such as `ENOTEMPTY`.
    """

    http_status = HTTPStatus.CONFLICT

    def __init__(self, message: str, reason: str = "") -> None:
        """Keep what is known."""
        self.reason = reason
        super().__init__(message)

    @classmethod
    def of(cls, error: FileError) -> ContextFileError:
        """Return what a failure in a context's folder is to clients."""
        text = str(error)
        if error.code == "ENOSPC":
            text += "; a Python context has as much as python_files_bytes_max says"
        kind: type[ContextFileError] = ContextFileError
        if isinstance(error, FileLimitError):
            kind = ContextFileLimitError
        elif error.code in {"EACCES", "EINVAL", "EILSEQ", "ENAMETOOLONG", "ELOOP"}:
            kind = ContextFilePathError
        elif error.code == "ENOENT":
            kind = ContextFileMissingError
        return kind(text, error.code)

    def body_fields(self) -> dict[str, Any]:
        """Return the reason."""
        return {"code": self.reason} if self.reason else {}


class ContextFileMissingError(ContextFileError, LookupError):
    """The context has no such file."""

    http_status = HTTPStatus.NOT_FOUND


class ContextFilePathError(ContextFileError):
    """No file of a context can have that path, or it leads out of its folder."""

    http_status = HTTPStatus.BAD_REQUEST


class ContextFileLimitError(ContextFileError):
    """A limit of the context's folder is reached."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ContextFileChangedError(ContextFileError):
    """The file isn't in the state that If-Match or If-None-Match names."""

    http_status = HTTPStatus.PRECONDITION_FAILED

    def __init__(self, path: str) -> None:
        """Name the file."""
        super().__init__(f"{path[:200]!r} isn't in the state that the request names")


class RangeError(ServerError):
    """A file has no such part.

    Attributes:
        size: How many bytes it has.
    """

    http_status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

    def __init__(self, size: int) -> None:
        """Say how much there is."""
        self.size = size
        super().__init__(f"the file has {size} bytes, and none of those asked for")


# -- heaps -----------------------------------------------------------------------------


class HeapError(ServerError):
    """Something about one heap."""

    http_status = HTTPStatus.CONFLICT


class HeapMissingError(HeapError, LookupError):
    """The workspace has no heap with that key."""

    http_status = HTTPStatus.NOT_FOUND
    advice = (
        "query_heaps_by_tags and list_session_snapshots list the heaps; "
        "get_execution returns the heap of an execution."
    )

    def __init__(self, key: str) -> None:
        """Name the key."""
        super().__init__(f"Heap {key[:64]!r} not found")


class HeapUnsavableError(HeapError):
    """V8 can't save what a context holds.

    Attributes:
        reason: Why, in V8's words or ours.
        kind: The kind of object that can't be saved; None if unknown.
        path: An expression that leads to it, or the names by which its holder has it;
            None if neither was found.
        holder: The URL of the module that holds it, or `a function`; None if unknown,
            or if the session itself does.
    """

    def __init__(
        self,
        reason: str,
        kind: str | None = None,
        path: str | None = None,
        holder: str | None = None,
    ) -> None:
        """Keep what is known."""
        self.reason, self.kind, self.path, self.holder = reason, kind, path, holder
        found = ""
        if kind is not None:
            at = f" at {path}" if path else ""
            told = holder is None or holder in at
            found = f" ({kind}{at}{'' if told else f' in {holder}'})"
        super().__init__(f"the heap can't be saved: {reason}{found}")

    def body_fields(self) -> dict[str, Any]:
        """Return which object can't be saved, why, and what holds it."""
        names = ("reason", "kind", "path", "holder")
        return {name: getattr(self, name) for name in names}


class HeapDamagedError(HeapError):
    """The bytes stored under a heap's key aren't those that were saved."""

    advice = "The heap can no longer be used. Run its code again."


class HeapEngineError(HeapError):
    """The heap was saved by another engine, which alone can read it.

    Attributes:
        saved: The engine that saved it.
        engine: The engine of this server.
    """

    advice = "The heap can't be used here. Run its code again."

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
    """The workspace has no execution with that id."""

    http_status = HTTPStatus.NOT_FOUND
    advice = "list_executions lists the executions."

    def __init__(self, execution_id: str) -> None:
        """Name the id."""
        super().__init__(f"Execution {execution_id[:64]!r} not found")


class ExecutionNamedError(ExecutionError):
    """The id that a request gives its execution is that of another request's."""

    http_status = HTTPStatus.CONFLICT

    def __init__(self, execution_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"Execution {execution_id[:64]!r} is of another request: name this one's "
            "otherwise"
        )


class ExecutionForgottenError(ExecutionError):
    """The execution is over, and its context no longer remembers it."""

    http_status = HTTPStatus.GONE

    def __init__(self, execution_id: str, context_id: str) -> None:
        """Name the ids."""
        super().__init__(
            f"Execution {execution_id[:64]!r} of context {context_id[:64]} has run, "
            "and is no longer kept (notebook_cells_max, notebook_characters_max, or "
            "the context was restarted)"
        )


class ExecutionEndedError(ExecutionError):
    """An execution of a context is over, so it can't be cancelled."""

    http_status = HTTPStatus.CONFLICT

    def __init__(self, execution_id: str, status: str) -> None:
        """Name the id and the status."""
        super().__init__(f"Execution {execution_id[:64]!r} is over (status: {status})")


class NotRunningError(ExecutionError):
    """The execution has ended, so it can't be cancelled."""

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
    advice = "execute returns the taskId of each task that it starts."

    def __init__(self, task_id: str) -> None:
        """Name the id."""
        super().__init__(f"Task {task_id[:64]} not found")


class TaskEndedError(TaskError):
    """The task has ended, so it can't be cancelled."""

    advice = "There is nothing to cancel; get_task has its result."

    def __init__(self, task_id: str, status: str) -> None:
        """Name the id and the status."""
        super().__init__(f"Task {task_id[:64]} has already ended (status: {status})")


class TypeCheckerError(TaskError):
    """The types of some code can't be checked, or not in time."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


# -- tools -----------------------------------------------------------------------------


class ToolError(ServerError):
    """A tool call failed; the code that made it gets this as data.

    Attributes:
        code: The kind of failure, for programs.
        status: The HTTP status of the service's answer, if there is one.
        details: More about the failure, as plain data.
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
        """Name the path and the most similar names."""
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(
            f"there is no tool {path[:200]}{hint} (tools.discover finds tools)",
            code="tool_not_found",
            details={"nearest": nearest},
        )


class ToolArgumentsError(ToolError, ValueError):
    """The input doesn't fit the tool."""

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
    """The tool failed or couldn't be reached."""


class ApprovalDeniedError(ToolError):
    """A policy or a reviewer denied the call, or nobody approved it in time.

    Attributes:
        reason: The reviewer's reason, or the server's if there is none.
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
    """A source can't be set up as described."""

    http_status = HTTPStatus.BAD_REQUEST


class SourceMissingError(ToolAdministrationError, LookupError):
    """The workspace has no source with that name."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        """Name what is missing."""
        super().__init__(f"Source {name[:64]} not found")


class SourceExistsError(ToolAdministrationError):
    """The name is taken, or belongs to a source of the configuration file."""


class PolicyMissingError(ToolAdministrationError, LookupError):
    """The workspace has no rule with that id."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, policy_id: str) -> None:
        """Name what is missing."""
        super().__init__(f"Policy {policy_id[:64]} not found")


class ApprovalMissingError(ToolAdministrationError, LookupError):
    """The workspace has no approval with that id."""

    http_status = HTTPStatus.NOT_FOUND
    advice = "get_task shows the approvals that a task is waiting for."

    def __init__(self, approval_id: str) -> None:
        """Name what is missing."""
        super().__init__(f"Approval {approval_id[:64]} not found")


class ApprovalDecidedError(ToolAdministrationError):
    """The approval was decided differently, or is no longer pending.

    Attributes:
        state: Its current state.
    """

    advice = "There is nothing left to decide; get_task shows the state of its task."

    def __init__(self, state: str) -> None:
        """Name the state."""
        self.state = state
        super().__init__(f"the approval is already {state}")


# -- the server ------------------------------------------------------------------------


class IssuerError(ServerError):
    """The authorization server doesn't provide the keys for checking tokens.

    Attributes:
        reason: Why, for the log.
    """

    http_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, reason: str = "") -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__("tokens can't be checked now: the issuer can't be reached")


class DatabaseError(ServerError):
    """The database can't be opened or used."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class FencedError(DatabaseError):
    """The database refuses what a server writes that others have taken over."""

    retry_after: int | None = 1

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("another server has taken over what would be written")


class ClusterError(ServerError):
    """About the servers on one database."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: int | None = 1
    advice = "Try again in a few seconds."


class LeaseError(ClusterError):
    """This server can't prove that it may serve."""

    retry_after: int | None = 2

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(
            f"this server may not serve now: {reason} (cluster_lease_seconds)"
        )


class ElsewhereError(ClusterError):
    """Another server has what is asked for.

    Attributes:
        server_id: Its id.
        url: Where it is, for other servers.
    """

    http_status = HTTPStatus.MISDIRECTED_REQUEST
    retry_after: int | None = None

    def __init__(self, server_id: str, url: str) -> None:
        """Name the server."""
        self.server_id = server_id
        self.url = url
        super().__init__(f"another server has it: {server_id}")


class MovingError(ClusterError):
    """What is asked for is on its way to another server."""

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("it is being moved to another server")


class UnmovableError(ClusterError):
    """A context has to stay where it is, at least for now."""

    http_status = HTTPStatus.CONFLICT
    retry_after: int | None = None
    advice = ""

    def __init__(self, reason: str) -> None:
        """State why."""
        super().__init__(f"the context can't be moved: {reason}")


class ServerMissingError(ClusterError, LookupError):
    """No server of the cluster has that id."""

    http_status = HTTPStatus.NOT_FOUND
    retry_after: int | None = None
    advice = ""

    def __init__(self, server_id: str) -> None:
        """Name it."""
        super().__init__(f"there is no server {server_id}")


class PeerUnreachableError(ClusterError):
    """The server that has what is asked for can't be reached; nothing was done."""

    def __init__(self) -> None:
        """State what happens."""
        super().__init__(
            "the server that has it can't be reached, so nothing was done; another one "
            "takes over when its lease is over (cluster_lease_seconds)"
        )


class PeerLostError(ClusterError):
    """The server that has what is asked for was lost before it had answered."""

    http_status = HTTPStatus.BAD_GATEWAY
    retry_after: int | None = None
    advice = "Look at what has been done before you ask again."

    def __init__(self) -> None:
        """State what is known."""
        super().__init__(
            "the server that has it was lost before it had answered: what was asked "
            "for may have been done, or not"
        )


class PeerMarkError(ClusterError):
    """A request seems to come from another server, but doesn't prove it."""

    http_status = HTTPStatus.FORBIDDEN
    retry_after: int | None = None
    advice = ""

    def __init__(self) -> None:
        """State what is wrong."""
        super().__init__(
            "the request isn't passed on by a server of this cluster (cluster_secret)"
        )


class FolderError(ServerError):
    """One of the server's folders can't be made or used."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class InvalidSettingsError(ServerError, ValueError):
    """Settings are unknown or wrong, or don't go together.

    Attributes:
        problems: A line for each, which names the setting and quotes no value.
    """

    http_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, *problems: str) -> None:
        """Keep what is wrong."""
        self.problems = problems
        super().__init__("; ".join(problems))


class LanguageError(ServerError):
    """A language in the settings isn't available."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class RayError(ServerError):
    """Ray can't be reached, or no server of ours answers there."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class TakenError(ServerError):
    """Another server uses the data folder or the database, so this one can't start."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, what: str, process: str = "") -> None:
        """Name what is taken and, if known, the process that has it."""
        other = f"another isokernel server{process and f' (process {process})'}"
        super().__init__(f"{what} is in use by {other}, which must end first")


class StoppingError(ServerError):
    """The server is stopping and accepts no new work."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: int | None = 1
    advice = "Reconnect in a few seconds."

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("the server is stopping")
