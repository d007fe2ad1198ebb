"""The part of the route table that is about runs: under /api and /tasks."""

from __future__ import annotations

from typing import Final

from isoserver.http import models as http_models
from isoserver.http.models import ErrorModel, ValidationErrorModel
from isoserver.http.routes import WAIT, Answer, Operation, Query, Route, queries_of
from isoserver.runs import handlers, models

__all__ = [
    "API_ROUTES",
    "TASK_ROUTES",
]

_ERROR: Final = http_models.ApiError
_INVALID: Final = Answer(400, "The request isn't as it must be.", _ERROR)
_MISSING: Final = Answer(404, "There is no such execution.", _ERROR)
_LARGE: Final = Answer(413, "The body is too large.", _ERROR)
_LIMIT: Final = Answer(429, "Too many wait; Retry-After says when to come.", _ERROR)
_UNREADY: Final = Answer(503, "The server can't do it now.", _ERROR)
_ONE: Final = "/api/executions/{id}"


API_ROUTES: Final = (
    Route(
        "/api/exec",
        handlers.ExecHandler,
        (
            Operation(
                "POST",
                "Run code by itself: as JSON, or as a script with the rest as query.",
                (
                    Answer(202, "It will run.", models.ExecAccepted),
                    _INVALID,
                    Answer(404, "There is no such heap.", _ERROR),
                    _LARGE,
                    Answer(415, "A body of that kind isn't taken.", _ERROR),
                    _LIMIT,
                    _UNREADY,
                ),
                models.ExecRequest,
                queries_of(models.ExecOptions),
                ("application/javascript", "application/typescript", "text/plain"),
                example={
                    "code": "console.log(6, 7);\n6 * 7",
                    "tags": {"project": "cities"},
                },
            ),
        ),
    ),
    Route(
        "/api/executions",
        handlers.ExecutionsHandler,
        (
            Operation(
                "GET",
                "List the executions, newest first.",
                (Answer(200, "The executions.", models.ExecutionList), _INVALID),
                queries=queries_of(models.ListQuery),
            ),
        ),
    ),
    Route(
        _ONE,
        handlers.ExecutionHandler,
        (
            Operation(
                "GET",
                "Show what an execution is at, or how it ended.",
                (
                    Answer(200, "The execution.", models.ExecutionInfo),
                    _INVALID,
                    _MISSING,
                ),
                queries=(WAIT,),
            ),
        ),
    ),
    Route(
        f"{_ONE}/output",
        handlers.OutputHandler,
        (
            Operation(
                "GET",
                "Read a page of what an execution printed, also while it runs.",
                (
                    Answer(200, "The page.", models.ExecutionOutput),
                    _INVALID,
                    _MISSING,
                    _UNREADY,
                ),
                queries=queries_of(models.OutputQuery),
            ),
        ),
    ),
    Route(
        f"{_ONE}/cancel",
        handlers.CancelHandler,
        (
            Operation(
                "POST",
                "End an execution that runs or waits.",
                (
                    Answer(200, "It is cancelled.", models.CancelResult),
                    Answer(400, "It isn't running.", models.CancelResult),
                ),
            ),
        ),
    ),
)

_TASK_INVALID: Final = Answer(
    400, "Bad request: validation error.", ValidationErrorModel
)
_TASK_MISSING: Final = Answer(404, "There is no such task.", ErrorModel)
_TASK_ENDED: Final = Answer(409, "It has ended.", ErrorModel)
_TASK_LARGE: Final = Answer(413, "The body is too large.", ErrorModel)
_TASK_LIMIT: Final = Answer(429, "There are as many as may be.", ErrorModel)
_TASK_UNREADY: Final = Answer(503, "The server can't do it now.", ErrorModel)
_TASK: Final = Answer(200, "The task.", models.TaskInfo)

TASK_ROUTES: Final = (
    Route(
        "/tasks",
        handlers.TasksHandler,
        (
            Operation(
                "GET",
                "List the tasks, newest first.",
                (Answer(200, "The tasks.", models.TaskList), _TASK_INVALID),
                queries=(
                    Query(
                        "metadata",
                        "NAME:VALUE that their metadata must have, a colon in the name "
                        "written `\\:`; may be repeated.",
                        {
                            "type": "array",
                            "items": {"type": "string", "pattern": "^.+:"},
                        },
                    ),
                    *queries_of(models.TaskListQuery),
                ),
            ),
            Operation(
                "POST",
                "Run TypeScript with `tools` at hand.",
                (
                    Answer(200, "It has ended.", models.TaskInfo),
                    Answer(202, "It hasn't ended yet.", models.TaskInfo),
                    _TASK_INVALID,
                    _TASK_LARGE,
                    _TASK_LIMIT,
                    _TASK_UNREADY,
                ),
                models.TaskRequest,
                example={
                    "code": "console.log(Object.keys(tools));\nreturn 6 * 7;",
                    "waitForResult": True,
                },
            ),
        ),
    ),
    Route(
        "/tasks/{task_id}",
        handlers.TaskHandler,
        (
            Operation(
                "GET",
                "Show what a task is at, or how it ended.",
                (_TASK, _TASK_MISSING),
            ),
        ),
    ),
    Route(
        "/tasks/{task_id}/cancel",
        handlers.CancelTaskHandler,
        (
            Operation(
                "POST",
                "End a task that hasn't ended.",
                (_TASK, _TASK_MISSING, _TASK_ENDED),
            ),
        ),
    ),
)
