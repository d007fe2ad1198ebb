"""What all sources have in common: they are started, watched and restarted."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from isokernel.timeouts import timeout
from isoserver.errors import SourceError, ToolError, ToolFailedError
from isoserver.storage.tasks import end_tasks
from isoserver.tools.redaction import Redactor
from isoserver.tools.sources.credentials import credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.agents import AgentSettings
    from isoserver.settings.tools import Effect, SourceSettings
    from isoserver.tools.tool import Tool

__all__ = ["Source", "SourceLimits", "too_large"]

_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 60.0
_STEADY_SECONDS: Final = 30.0
"""A session that lasted this long is begun again at once."""
_REASON_CHARACTERS_MAX: Final = 500


class SourceLimits(NamedTuple):
    """The limits of one source: those of its configuration, or else the server's.

    Attributes:
        start_timeout_seconds: To connect and to list the tools.
        call_timeout_seconds: For one call.
        response_bytes_max: Of one answer.
        document_bytes_max: Of a document or a schema.
        calls_running_max: Calls at a time; others wait.
        tools_max: Tools; the rest is left out.
        private: Whether it may be at an address that isn't public.
    """

    start_timeout_seconds: float
    call_timeout_seconds: float
    response_bytes_max: int
    document_bytes_max: int
    calls_running_max: int
    tools_max: int
    private: bool

    @classmethod
    def of(
        cls, settings: AgentSettings, source: SourceSettings, *, private: bool
    ) -> SourceLimits:
        """Return the limits of a source of a server."""
        return cls(
            settings.source_start_timeout_seconds,
            source.call_deadline or settings.tool_call_timeout_seconds,
            source.response_max or settings.tool_response_bytes_max,
            settings.source_document_bytes_max,
            source.concurrency or settings.source_calls_running_max,
            settings.source_tools_max,
            private,
        )


class Source(ABC):
    """One source; used from the event loop only.

    Attributes:
        configuration: What it was made of.
        limits: Its limits.
        credentials: What it is told about who asks.
        redactor: Takes its secrets out of everything that comes from it.
        state: How it stands.
        reason: Why it failed, for administrators, without secrets.
        tools: What it offers; kept while it is being reconnected.
        version: Counts the changes of `tools`; 0 if they were never listed.
        changed_at: When they were listed.
    """

    def __init__(
        self,
        configuration: SourceSettings,
        limits: SourceLimits,
        log: FilteringBoundLogger,
    ) -> None:
        """Find the credentials; `start` starts it.

        Args:
            configuration: What it is.
            limits: Its limits.
            log: Told what happens to it.

        Raises:
            SourceError: A secret is missing, or too short.
        """
        self.configuration = configuration
        self.limits = limits
        self.credentials = credentials(configuration)
        self.redactor = Redactor(*self.credentials.secrets)
        self.state: Literal["starting", "ready", "failed"] = "starting"
        self.reason = ""
        self.tools: tuple[Tool, ...] = ()
        self.version = 0
        self.changed_at = time.time()
        self._log = log.bind(source=self.name, workspace=configuration.workspace)
        self._slots = asyncio.Semaphore(limits.calls_running_max)
        self._settled = asyncio.Event()
        self._again = asyncio.Event()
        self._was_ready = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Its name, the first segment of its tools' paths."""
        return self.configuration.name

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, without anything secret: a program's name, or a URL's origin."""

    @property
    def is_settled(self) -> bool:
        """Whether the first attempt to connect is over, well or not."""
        return self._settled.is_set()

    # -- for subclasses ----------------------------------------------------------------

    @abstractmethod
    async def _serve(self) -> None:
        """Connect, call `_ready` with the tools, and stay until that is over.

        Called again, after a while, when it returns or raises. `_again` asks it to
        list its tools anew.
        """

    @abstractmethod
    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        """Make one call; timeout, limits and redaction are the caller's business.

        Raises:
            ToolError: It failed.
        """

    def _ready(self, tools: Sequence[Tool]) -> None:
        """Publish the tools; called by `_serve` whenever they have been listed."""
        limit = self.limits.tools_max
        if len(tools) > limit:
            self._log.warning("tools left out", tools=len(tools), limit=limit)
        self.tools = tuple(tools[:limit])
        self.version += 1
        self.changed_at = time.time()
        self.state = "ready"
        self.reason = ""
        self._was_ready = True
        self._again.clear()
        self._settled.set()

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the session and wait until it has ended."""
        self._closing = True
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None

    async def settled(self) -> None:
        """Wait until the first attempt to connect is over, well or not.

        It is over when the start timeout is, at the latest.
        """
        if not self._settled.is_set():
            seconds = self.limits.start_timeout_seconds + 1
            await _wait(self._settled, seconds)

    async def refresh(self) -> None:
        """List the tools anew, and wait until that has succeeded or failed."""
        self.refresh_soon()
        await self.settled()

    def refresh_soon(self) -> None:
        """List the tools anew, without waiting for that."""
        self._settled.clear()
        self._again.set()

    async def _supervise(self) -> None:
        delay = _FIRST_DELAY
        while True:
            began = time.monotonic()
            self._was_ready = False
            try:
                await self._serve()
                reason = "the connection has ended"
            except Exception as error:  # noqa: BLE001 - whatever a library raises
                reason = self.describe(error)
            if self._closing:
                # A library has made another error of the cancellation, a group of
                # errors for one, and who closes would wait for ever.
                return
            self._fail(reason)
            steady = time.monotonic() - began > _STEADY_SECONDS
            delay = _FIRST_DELAY if steady else min(delay * 2, _LAST_DELAY)
            await _wait(self._again, delay)
            self._again.clear()

    def _fail(self, reason: str) -> None:
        self.state = "failed"
        self.reason = self.redactor.text(reason)[:_REASON_CHARACTERS_MAX]
        self._log.warning("source failed", reason=self.reason)
        if not self._was_ready:
            # Else those who wait do so for the next attempt, which follows at once.
            self._settled.set()

    def describe(self, error: BaseException) -> str:
        """Describe an error for administrators."""
        # Of task groups; Python 3.10 has no class for them.
        while inner := getattr(error, "exceptions", None):
            error = inner[0]
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
            return f"it did not start in {self.limits.start_timeout_seconds:g} seconds"
        text = str(error)
        if isinstance(error, SourceError):
            return text
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    # -- calls -------------------------------------------------------------------------

    def default(self, *, reads: bool) -> Effect:
        """Return what holds for its tools where no rule fits."""
        return self.configuration.reads if reads else self.configuration.writes

    def parts(
        self, tool: Tool, arguments: dict[str, Any]
    ) -> list[tuple[str, Any, bool]]:
        """Return what a call consists of: path, input, and whether it only reads.

        One part for most; the policy decides about each, and the strictest counts.

        Raises:
            ToolArgumentsError: That can't be told, because the input is wrong.
        """
        return [(tool.path, arguments, tool.reads)]

    async def call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        """Call one of its tools.

        Args:
            tool: The tool.
            arguments: Its input, which has been checked.

        Returns:
            Plain data, without the source's secrets.

        Raises:
            ToolError: It failed, took too long, answered too much or can't be reached.
        """
        async with self._slots:
            try:
                async with timeout(self.limits.call_timeout_seconds):
                    made = await self._call(tool, arguments)
            except ToolError as error:
                raise self._redacted(error) from None
            except (asyncio.TimeoutError, TimeoutError):
                self._late()
                message = (
                    f"{tool.path} did not answer in "
                    f"{self.limits.call_timeout_seconds:g} seconds"
                )
                raise ToolFailedError(
                    message,
                    code="tool_timeout",
                    retryable=tool.reads,
                ) from None
        return self.redactor.data(made)

    def _late(self) -> None:  # noqa: B027 - most have nothing to do
        """Note that a call took too long; for those whom that tells something."""

    def _redacted(self, error: ToolError) -> ToolError:
        if not isinstance(error, ToolFailedError):
            return error
        return ToolFailedError(
            self.redactor.text(str(error)),
            code=error.code,
            status=error.status,
            details=self.redactor.data(error.details),
            retryable=error.retryable,
        )

    def unavailable(self) -> ToolFailedError:
        """Return the error for calls while it can't be reached."""
        return ToolFailedError(
            f"the source {self.name} can't be reached now",
            code="source_unavailable",
            details={"source": self.name, "state": self.state},
            retryable=True,
        )


def too_large(limit: int) -> ToolFailedError:
    """Return the error for an answer that has more bytes than the limit."""
    return ToolFailedError(
        f"the answer has more than {limit} bytes: ask for less",
        code="response_too_large",
        details={"limit": limit},
    )


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with timeout(seconds):
            await event.wait()
    except (asyncio.TimeoutError, TimeoutError):
        return False
    return True
