"""The routes of contexts: what handles each, what it takes and answers."""

from __future__ import annotations

from typing import Final

from isoserver.contexts import handlers as contexts
from isoserver.contexts import models
from isoserver.heaps import models as heap_models
from isoserver.http import models as http_models
from isoserver.http.routes import WAIT, Answer, Operation, Query, Route

__all__ = ["CONTEXT_ROUTES"]


_EXECUTED: Final = Answer(200, "Execution completed.", models.ExecutionModel)
_FAILED: Final = Answer(
    500,
    "Internal error (returned as an Execution object with an error field).",
    models.ExecutionModel,
)
_CONTEXT: Final = Answer(200, "The context.", models.ContextModel)
_DENIED: Final = Answer(
    403, "A policy doesn't allow the packages.", http_models.ErrorModel
)
_UNLOADED: Final = Answer(422, "The packages can't be loaded.", http_models.ErrorModel)
_CREATED: Final = Answer(201, "The new context.", models.ContextModel)
_INVALID: Final = Answer(
    400, "Bad request: validation error.", http_models.ValidationErrorModel
)
_MISSING: Final = Answer(404, "There is no such context.", http_models.ErrorModel)
_LARGE: Final = Answer(413, "The body is too large.", http_models.ErrorModel)
_DEAD: Final = Answer(
    409,
    "The context is dead, or was replaced meanwhile; the id is another request's.",
    http_models.ErrorModel,
)
_CANNOT_FORK: Final = Answer(
    409, "The context can't be forked, or is dead.", http_models.ErrorModel
)
_NO_HEAP: Final = Answer(
    409, "The heap is damaged, of another engine, or missing.", http_models.ErrorModel
)
_LIMIT: Final = Answer(
    429,
    "A limit is reached; Retry-After says when to come back.",
    http_models.ErrorModel,
)
_UNREADY: Final = Answer(503, "The server can't start it now.", http_models.ErrorModel)
_LATE: Final = Answer(
    504, "The context did not answer in time.", http_models.ErrorModel
)

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
_LAST_EVENT: Final = Query(
    "last_event_id",
    "The id of the last event that the client has; only later ones are sent. The "
    "header `Last-Event-ID`, which browsers send by themselves, says the same.",
    {"type": "string", "pattern": r"^\d+\.\d+$"},
)
_STREAM: Final = Answer(
    200,
    "Frames of `id:` and `data:` with a StreamEvent each.",
    None,
    "text/event-stream",
)
_NO_MORE: Final = Answer(204, "The client has all events.")
_NO_EXECUTION: Final = Answer(
    404, "There is no such context, or execution in it.", http_models.ErrorModel
)
_FORGOTTEN: Final = Answer(
    410, "The execution of that id is over, and not kept.", http_models.ErrorModel
)
_EXECUTING: Final = (
    *(_INVALID, _MISSING, _DEAD, _FORGOTTEN, _LARGE, _LIMIT, _UNREADY),
)
_ASKING: Final = (_INVALID, _MISSING, _DEAD, _LARGE, _LIMIT, _LATE)
_ONE: Final = "/contexts/{context_id}"


CONTEXT_ROUTES: Final = (
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
                example={
                    "code": "const squares = [1, 2, 3].map((n) => n * n); squares",
                    "language": "typescript",
                },
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
                    _STREAM,
                    _NO_MORE,
                    *_EXECUTING,
                ),
                models.StreamRequest,
                (_ON_DISCONNECT, _FORMAT, _LAST_EVENT),
                example={
                    "code": "for (const count of [1, 2, 3]) {\n"
                    "  console.log(count);\n"
                    "  await new Promise((done) => setTimeout(done, 300));\n"
                    "}",
                    "language": "typescript",
                },
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
                "Make a context, blank, from a heap, or with packages loaded.",
                (
                    _CREATED,
                    _INVALID,
                    Answer(404, "There is no such heap.", http_models.ErrorModel),
                    _DENIED,
                    _UNLOADED,
                    _NO_HEAP,
                    _LARGE,
                    _LIMIT,
                    _UNREADY,
                ),
                models.CreateContextRequest,
                example={"language": "typescript"},
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
                "Begin anew under the same id, with nothing (but the packages that it "
                "was made with) or from its checkpoint.",
                (
                    _CONTEXT,
                    _INVALID,
                    _DENIED,
                    _MISSING,
                    _UNLOADED,
                    _NO_HEAP,
                    _LARGE,
                    _LIMIT,
                    _UNREADY,
                ),
                heap_models.RestartRequest,
                body_optional=True,
                example={"from": "nothing"},
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
        f"{_ONE}/forks",
        contexts.ForksHandler,
        (
            Operation(
                "POST",
                "Make several contexts that have the state of this one, of one moment "
                "(V8 only).",
                (
                    Answer(201, "The new contexts.", models.ContextsModel),
                    _INVALID,
                    _MISSING,
                    _CANNOT_FORK,
                    _LARGE,
                    _LIMIT,
                    _UNREADY,
                    _LATE,
                ),
                models.ForksRequest,
                example={"count": 3},
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
                example={"code": "Math.flo", "cursor_pos": 8},
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
                example={"code": "Math.floor(", "cursor_pos": 11},
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
                example={
                    "cells": [
                        {
                            "cell_type": "code",
                            "metadata": {},
                            "source": "6 * 7",
                            "outputs": [],
                            "execution_count": None,
                        }
                    ],
                    "metadata": {},
                    "nbformat": 4,
                    "nbformat_minor": 4,
                },
            ),
        ),
    ),
    Route(
        f"{_ONE}/executions/{{execution_id}}",
        contexts.ExecutionHandler,
        (
            Operation(
                "GET",
                "Show an execution: how it stands, and what it has put out.",
                (
                    Answer(200, "The execution.", models.KnownExecutionModel),
                    _INVALID,
                    _NO_EXECUTION,
                ),
                queries=(WAIT,),
            ),
        ),
    ),
    Route(
        f"{_ONE}/executions/{{execution_id}}/events",
        contexts.ExecutionEventsHandler,
        (
            Operation(
                "GET",
                "Follow an execution, from its beginning or after an event.",
                (_STREAM, _NO_MORE, _INVALID, _NO_EXECUTION),
                queries=(_FORMAT, _LAST_EVENT),
            ),
        ),
    ),
    Route(
        f"{_ONE}/executions/{{execution_id}}/cancel",
        contexts.ExecutionCancelHandler,
        (
            Operation(
                "POST",
                "Cancel an execution, whether it waits or runs; the context lives on.",
                (
                    Answer(200, "The execution.", models.KnownExecutionModel),
                    _NO_EXECUTION,
                    Answer(409, "It is over.", http_models.ErrorModel),
                ),
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
                    Answer(200, "The heap.", heap_models.CheckpointModel),
                    _MISSING,
                    Answer(
                        409,
                        "V8 can't save it, or the context is dead.",
                        heap_models.UnsavableModel,
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
        contexts.LanguagesHandler,
        (
            Operation(
                "GET",
                "What code can be in.",
                (Answer(200, "The languages.", models.LanguagesModel),),
            ),
        ),
    ),
)
