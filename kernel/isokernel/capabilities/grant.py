"""What one context may have beyond itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Asked", "Decide", "Grant", "Limits", "Stage", "Tell"]


class Asked(NamedTuple):
    """What is asked for, in canonical form: what is decided is what is done.

    Attributes:
        capability: `modules`, `net`, `files` or `env`.
        target: A package's exact name and version, a URL whose host is in ASCII, a
            resolved path, a variable's name.
        facts: What else conditions can be about, such as the resolved address.
    """

    capability: str
    target: str
    facts: Mapping[str, Any] = {}


class Limits(NamedTuple):
    """Bounds on the calls of one context.

    Attributes:
        calls_max: Calls that wait for their answers at a time.
        bytes_max: Bytes that go with one call, and with one answer.
    """

    calls_max: int = 64
    bytes_max: int = 16 << 20


class Stage(NamedTuple):
    """How far something has come that takes long.

    Attributes:
        text: One line for people.
        done: Of `total`, in the same unit.
        total: What is known to be done; it may grow.
        over: Whether it has ended, well or not.
    """

    text: str
    done: int
    total: int
    over: bool = False


Tell: TypeAlias = Callable[[Stage], None]
"""Shows a stage to whoever waits; what it is of began with the first one."""
Decide: TypeAlias = Callable[[Asked], Awaitable[None]]
"""Raises CapabilityDeniedError for what isn't allowed."""

Secrets: TypeAlias = Callable[[Asked], Mapping[str, str]]


class Grant:
    """What a context may have; a provider gets it with each call.

    Attributes:
        context_id: Whose it is; unique among those that share the providers.
        key: Workspace and id of the context; both empty where there are none.
        folder: The context's files; None if it has none.
        lock: Which versions of packages its modules are of; lives as long as the
            context, and is its providers' to fill.
        limits: Bounds on its calls.
        show: Returns what is allowed, and what was asked for; plain data.
        tell: Shows how far one call has come; the grant is of that call alone then.
    """

    def __init__(  # noqa: PLR0913 -- what providers need of a context
        self,
        context_id: str,
        decide: Decide,
        *,
        key: tuple[str, str] = ("", ""),
        folder: Path | None = None,
        limits: Limits = Limits(),  # noqa: B008 -- it can't be changed
        lock: dict[str, Any] | None = None,
        secrets: Secrets = lambda _asked: {},
        show: Callable[[], dict[str, Any]] = dict,
        tell: Tell = lambda _stage: None,
    ) -> None:
        """Grant what `decide` allows."""
        self.context_id = context_id
        self.key = key
        self.folder = folder
        self.lock: dict[str, Any] = {} if lock is None else lock
        self.limits = limits
        self.show = show
        self.tell = tell
        self._decide = decide
        self._secrets = secrets

    async def decide(self, asked: Asked) -> None:
        """Return if something may be done; before each time that it is done.

        Raises:
            CapabilityDeniedError: It may not.
        """
        await self._decide(asked)

    def secrets(self, asked: Asked) -> Mapping[str, str]:
        """Return what is put in the place of placeholders in a request.

        Args:
            asked: The request, with its host and port as the URL names them.

        Returns:
            Values by placeholder, of the secrets that are meant for that host alone.
        """
        return self._secrets(asked)
