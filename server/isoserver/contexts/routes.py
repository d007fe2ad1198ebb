"""The route table: every path, what handles it, and what it takes and answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tornado.routing import URLSpec

from isoserver.access.service import METADATA_PATH, RESOURCES
from isoserver.contexts import handlers as contexts
from isoserver.contexts import models
from isoserver.heaps.routes import HEAP_ROUTES
from isoserver.http import information
from isoserver.http.models import (
    ErrorModel,
    Health,
    ResourceModel,
    ValidationErrorModel,
)
from isoserver.http.operations import Answer, Operation, Query, Route
from isoserver.mcp.door import McpHandler, mcp_paths
from isoserver.runs.routes import API_ROUTES, TASK_ROUTES
from isoserver.tools.routes import TOOL_ROUTES

if TYPE_CHECKING:
    from isoserver.http.service import Service

__all__ = ["ROUTES", "Answer", "Operation", "Query", "Route", "url_specs"]


_EXECUTED: Final = Answer(200, "Execution completed.", models.ExecutionModel)
_FAILED: Final = Answer(
    500,
    "Internal error (returned as an Execution object with an error field).",
    models.ExecutionModel,
)
_CONTEXT: Final = Answer(200, "The context.", models.ContextModel)
_CREATED: Final = Answer(201, "The new context.", models.ContextModel)
_INVALID: Final = Answer(400, "Bad request: validation error.", ValidationErrorModel)
_MISSING: Final = Answer(404, "There is no such context.", ErrorModel)
_LARGE: Final = Answer(413, "The body is too large.", ErrorModel)
_DEAD: Final = Answer(
    409, "The context is dead, or was replaced meanwhile.", ErrorModel
)
_CANNOT_FORK: Final = Answer(
    409, "The context can't be forked, or is dead.", ErrorModel
)
_NO_HEAP: Final = Answer(
    409, "The heap is damaged, of another engine, or missing.", ErrorModel
)
_LIMIT: Final = Answer(
    429, "A limit is reached; Retry-After says when to come back.", ErrorModel
)
_UNREADY: Final = Answer(503, "The server can't start it now.", ErrorModel)
_LATE: Final = Answer(504, "The context did not answer in time.", ErrorModel)

_ON_DISCONNECT: Final = Query(
    "on_disconnect",
    "What happens to the execution when the client goes away.",
    {"type": "string", "enum": ["continue", "interrupt"], "default": "continue"},
)
_FORMAT: Final = Query(
    "format",
    "`lines` gives the documented events, `jupyter` all messages as they are.",
    {"type": "string", "enum": ["lines", "jupyter"], "default": "lines"},
)
_TIMEOUT: Final = Query(
    "timeout_ms",
    "Milliseconds that each cell may run.",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": models.TIMEOUT_MAX_MS,
        "default": 30_000,
    },
)
_EXECUTING: Final = (_INVALID, _MISSING, _DEAD, _LARGE, _LIMIT, _UNREADY)
_ASKING: Final = (_INVALID, _MISSING, _DEAD, _LARGE, _LIMIT, _LATE)
_ONE: Final = "/contexts/{context_id}"


def _metadata_route(resource: str) -> Route:
    answers = (
        Answer(200, "Whose tokens are taken.", ResourceModel),
        Answer(404, "The server takes no tokens.", ErrorModel),
    )
    summary = f"Whose bearer tokens open {resource or 'the server'} (RFC 9728)."
    return Route(
        METADATA_PATH + resource,
        information.ResourceHandler,
        (Operation("GET", summary, answers),),
    )


ROUTES: Final = (
    Route(
        "/healthz",
        information.HealthHandler,
        (
            Operation(
                "GET",
                "Whether the server works.",
                (Answer(200, "It does.", Health), _UNREADY),
            ),
        ),
    ),
    Route(
        "/execute",
        contexts.ExecuteHandler,
        (
            Operation(
                "POST",
                "Run code in a persistent context and wait for the full result.",
                (_EXECUTED, *_EXECUTING, _FAILED),
                models.ExecuteRequest,
                (_ON_DISCONNECT,),
            ),
        ),
    ),
    Route(
        "/execute/async",
        contexts.StreamHandler,
        (
            Operation(
                "POST",
                "Run code in a persistent context and stream what it prints.",
                (
                    Answer(
                        200,
                        "Frames of `data:` with a StreamEvent each.",
                        None,
                        "text/event-stream",
                    ),
                    *_EXECUTING,
                ),
                models.StreamRequest,
                (_ON_DISCONNECT, _FORMAT),
            ),
        ),
    ),
    Route(
        "/contexts",
        contexts.ContextsHandler,
        (
            Operation(
                "GET",
                "List the contexts.",
                (Answer(200, "All of them.", models.ContextsModel),),
            ),
            Operation(
                "POST",
                "Make a context, blank or from a heap.",
                (
                    _CREATED,
                    _INVALID,
                    Answer(404, "There is no such heap.", ErrorModel),
                    _NO_HEAP,
                    _LARGE,
                    _LIMIT,
                    _UNREADY,
                ),
                models.CreateContextRequest,
            ),
        ),
    ),
    Route(
        _ONE,
        contexts.ContextHandler,
        (
            Operation("GET", "Show a context.", (_CONTEXT, _MISSING)),
            Operation(
                "DELETE",
                "Delete a context and end its process.",
                (Answer(204, "It is gone, or never was there."),),
            ),
        ),
    ),
    Route(
        f"{_ONE}/interrupt",
        contexts.InterruptHandler,
        (
            Operation(
                "POST",
                "Stop what runs in a context; its state is kept.",
                (_CONTEXT, _MISSING, _DEAD),
            ),
        ),
    ),
    Route(
        f"{_ONE}/restart",
        contexts.RestartHandler,
        (
            Operation(
                "POST",
                "Begin anew under the same id, with nothing or from its checkpoint.",
                (_CONTEXT, _INVALID, _MISSING, _NO_HEAP, _LARGE, _LIMIT, _UNREADY),
                models.RestartRequest,
                body_optional=True,
            ),
        ),
    ),
    Route(
        f"{_ONE}/fork",
        contexts.ForkHandler,
        (
            Operation(
                "POST",
                "Make a context that has the state of this one (V8 only).",
                (_CREATED, _MISSING, _CANNOT_FORK, _LIMIT, _UNREADY, _LATE),
            ),
        ),
    ),
    Route(
        f"{_ONE}/complete",
        contexts.CompleteHandler,
        (
            Operation(
                "POST",
                "What could stand at the cursor.",
                (Answer(200, "The completions.", models.Completions), *_ASKING),
                models.CompleteRequest,
            ),
        ),
    ),
    Route(
        f"{_ONE}/inspect",
        contexts.InspectHandler,
        (
            Operation(
                "POST",
                "What is known of the name at the cursor.",
                (Answer(200, "What is known.", models.Inspection), *_ASKING),
                models.InspectRequest,
            ),
        ),
    ),
    Route(
        f"{_ONE}/notebook",
        contexts.NotebookHandler,
        (
            Operation(
                "GET",
                "The context's history as a Jupyter notebook.",
                (Answer(200, "The notebook.", models.Notebook), _MISSING),
            ),
            Operation(
                "POST",
                "Run a Jupyter notebook in the context, up to a cell that fails.",
                (
                    Answer(200, "It, with its outputs.", models.Notebook),
                    *_EXECUTING,
                ),
                models.Notebook,
                (_TIMEOUT,),
            ),
        ),
    ),
    Route(
        f"{_ONE}/checkpoint",
        contexts.CheckpointHandler,
        (
            Operation(
                "POST",
                "Save the state of a context as a heap (V8 only).",
                (
                    Answer(200, "The heap.", models.CheckpointModel),
                    _MISSING,
                    Answer(
                        409,
                        "V8 can't save it, or the context is dead.",
                        models.UnsavableModel,
                    ),
                    _LIMIT,
                    _UNREADY,
                    _LATE,
                ),
            ),
        ),
    ),
    Route(
        "/languages",
        information.LanguagesHandler,
        (
            Operation(
                "GET",
                "What code can be in.",
                (Answer(200, "The languages.", models.LanguagesModel),),
            ),
        ),
    ),
    Route(
        "/metrics",
        information.MetricsHandler,
        (
            Operation(
                "GET",
                "Figures for Prometheus.",
                (Answer(200, "The figures.", None, "text/plain"),),
            ),
        ),
    ),
    Route(
        "/openapi.json",
        information.DocumentHandler,
        (Operation("GET", "This document.", (Answer(200, "The document."),)),),
    ),
    Route(
        "/docs",
        information.DocsHandler,
        (
            Operation(
                "GET",
                "This document, for people.",
                (Answer(200, "The page.", None, "text/html"),),
            ),
        ),
    ),
    *API_ROUTES,
    *HEAP_ROUTES,
    *(_metadata_route(resource) for resource in ("", *RESOURCES)),
    *TOOL_ROUTES,
    *TASK_ROUTES,
)


def url_specs(service: Service) -> list[URLSpec]:
    """Give Tornado its handlers."""
    specs = []
    for route in ROUTES:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
        methods = tuple(operation.method for operation in route.operations)
        arguments = {"service": service, "route": route.path, "methods": methods}
        specs.append(URLSpec(pattern, route.handler, arguments))
    # Not in the table, which is the OpenAPI document: this is another protocol's.
    for path, methods in mcp_paths().items():
        arguments = {"service": service, "route": path, "methods": methods}
        specs.append(URLSpec(path, McpHandler, arguments))
    return specs
