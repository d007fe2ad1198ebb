"""The part of the route table that is under /tasks."""

from __future__ import annotations

from typing import Final

from isoserver.contexts import models
from isoserver.executions.routes import queries_of
from isoserver.http.operations import Answer, Operation, Route
from isoserver.tasks import handlers as tasks
from isoserver.tasks import models as task_models

__all__ = ["TASK_ROUTES"]

_INVALID: Final = Answer(
    400, "Bad request: validation error.", models.ValidationErrorModel
)
_MISSING: Final = Answer(404, "There is no such task.", models.ErrorModel)
_ENDED: Final = Answer(409, "It has ended.", models.ErrorModel)
_LARGE: Final = Answer(413, "The body is too large.", models.ErrorModel)
_LIMIT: Final = Answer(429, "There are as many as may be.", models.ErrorModel)
_UNREADY: Final = Answer(503, "The server can't do it now.", models.ErrorModel)
_TASK: Final = Answer(200, "The task.", task_models.TaskInfo)

TASK_ROUTES: Final = (
    Route(
        "/tasks",
        tasks.TasksHandler,
        (
            Operation(
                "GET",
                "List the tasks, newest first.",
                (Answer(200, "They.", task_models.TaskList), _INVALID),
                queries=queries_of(task_models.TaskListQuery),
            ),
            Operation(
                "POST",
                "Run TypeScript with `tools` at hand.",
                (
                    Answer(200, "It has ended.", task_models.TaskInfo),
                    Answer(202, "It hasn't ended yet.", task_models.TaskInfo),
                    _INVALID,
                    _LARGE,
                    _LIMIT,
                    _UNREADY,
                ),
                task_models.TaskRequest,
            ),
        ),
    ),
    Route(
        "/tasks/{task_id}",
        tasks.TaskHandler,
        (
            Operation(
                "GET",
                "Show what a task is at, or how it ended.",
                (_TASK, _MISSING),
            ),
        ),
    ),
    Route(
        "/tasks/{task_id}/cancel",
        tasks.CancelTaskHandler,
        (
            Operation(
                "POST",
                "End a task that hasn't ended.",
                (_TASK, _MISSING, _ENDED),
            ),
        ),
    ),
)
