"""Errors about tools: data for the code that called, and about their administration."""

from __future__ import annotations

from typing import Any

from isoserver.errors.base import ServerError

__all__ = [
    "ApprovalDecidedError",
    "ApprovalDeniedError",
    "ApprovalMissingError",
    "PolicyMissingError",
    "SourceError",
    "SourceExistsError",
    "SourceMissingError",
    "ToolAdministrationError",
    "ToolArgumentsError",
    "ToolError",
    "ToolFailedError",
    "ToolMissingError",
]


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
