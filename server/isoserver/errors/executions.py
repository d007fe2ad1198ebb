"""Errors about executions and tasks."""

from __future__ import annotations

from isoserver.errors.base import LimitError, ServerError

__all__ = [
    "ExecutionError",
    "ExecutionLimitError",
    "ExecutionMissingError",
    "NotRunningError",
    "TaskEndedError",
    "TaskError",
    "TaskLimitError",
    "TaskMissingError",
    "TypeCheckerError",
]


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


class ExecutionLimitError(LimitError):
    """As many executions wait as may."""

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        text = f"{limit} executions wait, no more may"
        if shared:
            text = f"the workspace has {limit} executions, which is its share"
        super().__init__(text)


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
        if shared:
            text = f"the workspace has {limit} tasks, which is its share"
        super().__init__(text)
