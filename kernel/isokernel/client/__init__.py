"""The client of a server, for programs, agents and notebooks; also for asyncio.

    from isokernel.client import Context

    with Context() as c:
        c.run("6 * 7").value

It needs httpx and msgspec alone: neither V8 nor the server is loaded. What is for
asyncio is loaded when it is first named, httpx with the first request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isokernel.client.answers import (
    AddressInfo,
    Completions,
    ContextInfo,
    ContextPackages,
    ContextState,
    FileInfo,
    HeapInfo,
    Inspection,
    LanguageInfo,
    Languages,
    OutputPage,
    PackageInfo,
    Run,
    RunStatus,
    RunSummary,
    SessionEntry,
)
from isokernel.client.client import Client
from isokernel.client.codes import ErrorCode
from isokernel.client.context import Context, ExecutionStream
from isokernel.client.errors import (
    AuthenticationError,
    BadRequestError,
    ClientError,
    ClientSettingsError,
    ConflictError,
    ContextStateError,
    ExecutionError,
    GoneError,
    LimitReachedError,
    NetworkError,
    NetworkTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RangeNotSatisfiableError,
    ServerFailedError,
    StatusError,
    StreamError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
    WaitTimeoutError,
)
from isokernel.client.events import (
    Cleared,
    Displayed,
    Ended,
    Event,
    Failed,
    Printed,
    Started,
    Updated,
)
from isokernel.client.executions import (
    Execution,
    ExecutionStatus,
    Failure,
    Logs,
    Output,
    Timings,
)

if TYPE_CHECKING:
    from isokernel.client.async_client import AsyncClient
    from isokernel.client.async_context import AsyncContext, AsyncExecutionStream
    from isokernel.client.cluster import Cluster

__all__ = [
    "AddressInfo",
    "AsyncClient",
    "AsyncContext",
    "AsyncExecutionStream",
    "AuthenticationError",
    "BadRequestError",
    "Cleared",
    "Client",
    "ClientError",
    "ClientSettingsError",
    "Cluster",
    "Completions",
    "ConflictError",
    "Context",
    "ContextInfo",
    "ContextPackages",
    "ContextState",
    "ContextStateError",
    "Displayed",
    "Ended",
    "ErrorCode",
    "Event",
    "Execution",
    "ExecutionError",
    "ExecutionStatus",
    "ExecutionStream",
    "Failed",
    "Failure",
    "FileInfo",
    "GoneError",
    "HeapInfo",
    "Inspection",
    "LanguageInfo",
    "Languages",
    "LimitReachedError",
    "Logs",
    "NetworkError",
    "NetworkTimeoutError",
    "NotFoundError",
    "Output",
    "OutputPage",
    "PackageInfo",
    "PermissionDeniedError",
    "Printed",
    "ProtocolError",
    "RangeNotSatisfiableError",
    "Run",
    "RunStatus",
    "RunSummary",
    "ServerFailedError",
    "SessionEntry",
    "Started",
    "StatusError",
    "StreamError",
    "Timings",
    "TooLargeError",
    "UnavailableError",
    "UnprocessableError",
    "Updated",
    "WaitTimeoutError",
]


def __getattr__(name: str) -> Any:
    """Load what is for asyncio."""
    if name == "AsyncClient":
        from isokernel.client.async_client import AsyncClient  # noqa: PLC0415

        return AsyncClient
    if name in {"AsyncContext", "AsyncExecutionStream"}:
        from isokernel.client import async_context  # noqa: PLC0415

        return getattr(async_context, name)
    if name == "Cluster":
        from isokernel.client.cluster import Cluster  # noqa: PLC0415

        return Cluster
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
