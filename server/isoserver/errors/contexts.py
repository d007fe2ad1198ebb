"""Errors about contexts."""

from __future__ import annotations

from isoserver.errors.base import LimitError, ServerError

__all__ = [
    "CheckpointMissingError",
    "ContextDeadError",
    "ContextDeadlineError",
    "ContextError",
    "ContextExistsError",
    "ContextLimitError",
    "ContextMissingError",
    "ContextReplacedError",
    "ContextStartError",
    "EphemeralLimitError",
    "ForkError",
    "HibernatedLimitError",
    "QueueLimitError",
]


class ContextError(ServerError):
    """Something about one context."""


class ContextMissingError(ContextError, LookupError):
    """No context has that id."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"Context {context_id[:64]} not found")


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


class ContextDeadlineError(ContextError, TimeoutError):
    """The context did not answer a question in time."""

    def __init__(self, seconds: float) -> None:
        """Say how long was waited."""
        super().__init__(f"the context did not answer within {seconds:g} s")


class ContextExistsError(ContextError):
    """There is a context of that id already."""

    def __init__(self, context_id: str) -> None:
        """Name the id."""
        super().__init__(f"there is a context {context_id[:64]} already")


class ForkError(ContextError):
    """The context can't be forked."""


class CheckpointMissingError(ContextError):
    """The context has no checkpoint that it could go back to."""

    def __init__(self) -> None:
        """State what is missing."""
        super().__init__("the context has no checkpoint")


class ContextLimitError(LimitError):
    """There are as many contexts as the server may have."""

    retry_after = 10

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        text = f"there are {limit} contexts, which is all that may be"
        if shared:
            text = f"the workspace has {limit} contexts, which is its share"
        super().__init__(text)


class HibernatedLimitError(LimitError):
    """As many contexts sleep as may."""

    retry_after = 10

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} contexts sleep, which is all that may")


class EphemeralLimitError(LimitError):
    """As many contexts live for one execution each as may."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} executions run, which is all that may")


class QueueLimitError(LimitError):
    """As many executions wait in the context as may."""

    def __init__(self, limit: int) -> None:
        """Name the bound."""
        super().__init__(f"{limit} executions wait in this context, no more may")
