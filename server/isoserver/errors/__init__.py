"""Everything that the server itself can raise, and the status that HTTP gives it.

    ServerError
    ├── RequestError                    (ValueError) it can't be served as it is
    │   ├── InvalidRequestError         fields are missing, wrong or unknown
    │   ├── BodyTooLargeError
    │   ├── ConnectionEndedError    (LookupError) a connection of MCP, a moment ago
    │   ├── HeadersTooLargeError
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
    ├── TaskError
    │   ├── TaskMissingError        (LookupError) no task has that id
    │   ├── TaskEndedError              it has ended, so it can't be cancelled
    │   └── TypeCheckerError            types can't be checked, or not in time
    ├── ToolAdministrationError         about sources, policies and approvals
    │   ├── SourceError                 a source can't be set up like that
    │   ├── SourceMissingError      (LookupError) no source has that name
    │   ├── SourceExistsError           one has that name already
    │   ├── PolicyMissingError      (LookupError) no rule has that id
    │   ├── ApprovalMissingError    (LookupError) no approval has that id
    │   └── ApprovalDecidedError        it is decided already, otherwise
    ├── DatabaseError                   it can't be opened or used
    ├── FolderError                     a folder of the server can't be used
    ├── LanguageError                   a language of the settings can't be had
    ├── TakenError                      another server has it, or the data folder
    └── StoppingError                   the server is about to end

The failure of the user's code is not here: it is an answer
(`isokernel.context.events.ErrorInfo`), also when it ran out of time or took its
process along.
"""

from __future__ import annotations

from isoserver.errors.base import (
    DatabaseError,
    FolderError,
    LanguageError,
    LimitError,
    ServerError,
    StoppingError,
    TakenError,
)
from isoserver.errors.contexts import (
    CheckpointMissingError,
    ContextDeadError,
    ContextDeadlineError,
    ContextError,
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
    ExecutionError,
    ExecutionLimitError,
    ExecutionMissingError,
    NotRunningError,
    TaskEndedError,
    TaskError,
    TaskLimitError,
    TaskMissingError,
    TypeCheckerError,
)
from isoserver.errors.heaps import (
    HeapDamagedError,
    HeapEngineError,
    HeapError,
    HeapLimitError,
    HeapMissingError,
    HeapStoreError,
    HeapUnsavableError,
)
from isoserver.errors.requests import (
    AccessError,
    AdminError,
    BodyTooLargeError,
    ClientMissingError,
    ConnectionEndedError,
    CredentialError,
    FieldProblem,
    HeadersTooLargeError,
    InvalidRequestError,
    IssuerError,
    KeyMissingError,
    MediaTypeError,
    MethodError,
    OriginError,
    RateLimitError,
    RequestError,
    RouteMissingError,
    ScopeError,
    TokenError,
    WorkspaceError,
)
from isoserver.errors.statuses import (
    STATUS,
    in_words,
    status_of,
)
from isoserver.errors.tools import (
    ApprovalDecidedError,
    ApprovalDeniedError,
    ApprovalMissingError,
    PolicyMissingError,
    SourceError,
    SourceExistsError,
    SourceMissingError,
    ToolAdministrationError,
    ToolArgumentsError,
    ToolError,
    ToolFailedError,
    ToolMissingError,
)

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
    "ConnectionEndedError",
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
    "FolderError",
    "ForkError",
    "HeadersTooLargeError",
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
    "LanguageError",
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
    "TakenError",
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
