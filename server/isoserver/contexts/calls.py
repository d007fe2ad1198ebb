"""The calls that a context makes for what is beyond it, and their answers.

The runtime keeps to the limits by itself. A context that doesn't has been taken over by
its code, and its process is ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from isokernel.capabilities import Answered, read_policy
from isoserver.contexts.jobs import Execution
from isoserver.contexts.result_files import keep_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from isokernel.capabilities import Policy, Stage, Tell
    from isoserver.contexts.context import Context, Identity, Key
    from isoserver.contexts.messages import Message
    from isoserver.settings.capabilities import CapabilitySettings
    from isoserver.tools.calls import Requester

__all__ = ["OF_REQUEST", "CallHolder", "ContextCalls", "Request"]

OF_REQUEST: Final = "{capability} {pattern} in the capabilities of the request"
"""What would allow something that the policy of an execution denies."""
_NAME_MAX: Final = 64
_NO_VARIABLES: Final[dict[str, str]] = {}
_NARROWED_MAX: Final = 1000
"""Executions with a policy of their own that are known; code that others left behind
may do nothing any more."""
_NOTHING: Final = read_policy(
    dict.fromkeys(("modules", "net", "files", "env"), "off"),
    setting="the policy of an execution that is long over is forgotten: none",
)
_BROKEN: Final = "its code broke the rules of calls to the server"
_UNREAD: Final = (
    '{"name":"Error","code":"answers_unread","retryable":true,'
    '"message":"the answers of other calls must be taken in first: await them"}'
)


_DROPPED: Final = (
    '{"name":"Error","code":"call_dropped","message":"nobody waits for it"}'
)


class Request(NamedTuple):
    """A call as it comes from a context.

    Attributes:
        execution_id: The number, in the context, of the execution that makes it.
        call_id: Its number in the context.
        name: What is asked for.
        arguments: JSON text, not validated.
        data: Bytes that go with it, if any.
        requester: Who is asked for an approval; None if nobody is by the execution.
    """

    execution_id: int
    call_id: int
    name: str
    arguments: str
    data: bytes | None
    requester: Requester | None = None

    @property
    def size(self) -> int:
        """What counts towards the limit."""
        return len(self.arguments) + len(self.data or b"")


class CallHolder(Protocol):
    """Answers calls: `isoserver.capabilities.service.Capabilities`.

    What it grants to a context is its own; it gets that back with each call.
    """

    def grant(self, identity: Identity) -> Any:
        """Return what a context has, from the launch of its process to its end."""

    async def answer(
        self,
        request: Request,
        granted: Any,
        narrowing: Callable[[], Sequence[Policy]],
        waiting: Callable[[bool], None],
        tell: Tell,
    ) -> Answered:
        """Answer a call. Raises nothing but CancelledError.

        Args:
            request: The call.
            granted: What `grant` returned.
            narrowing: Returns the policies that narrow the workspace's now.
            waiting: Told when the wait for an approval begins, and when it ends.
            tell: Told how far something has come that takes long.
        """

    async def close(self, granted: Any) -> None:
        """End what is held for a context, whose process has ended."""

    def of_context(self, key: Key) -> Policy | None:
        """Return what narrows a context's workspace's policy, if anything does."""

    def environment(
        self, workspace: str, narrowing: Sequence[Policy]
    ) -> Mapping[str, str]:
        """Return the variables that code sees."""

    def given(self, key: Key) -> dict[str, Any]:
        """Return a context's policy as it was given."""

    async def set(self, key: Key, given: dict[str, Any]) -> None:
        """Give a context a policy; an empty one takes back what there was."""

    async def allow_packages(
        self, identity: Identity, lock: Mapping[str, Any], policies: Sequence[Policy]
    ) -> None:
        """Return if a context may have all packages of a lock.

        Args:
            identity: The context.
            lock: As another context has it.
            policies: What narrows its workspace's policy.

        Raises:
            CapabilityDeniedError: It may not have one of them, or not without an
                approval.
        """

    def lock(self, key: Key) -> dict[str, Any]:
        """Return a copy of a context's lock; empty if it has no packages."""

    def set_lock(self, key: Key, lock: Mapping[str, Any]) -> None:
        """Have a context begin with a lock, before it makes a call."""

    async def store(
        self, key: Key, narrowing: Sequence[Policy], path: str, data: bytes
    ) -> bool:
        """Write a file of a context, if its policies let its code do that.

        Returns:
            Whether it may be, and is written.

        Raises:
            ServerError: It can't be: there is no room.
        """

    async def forget(self, key: Key) -> None:
        """Drop what is kept of a context, which is deleted."""


class ContextCalls:
    """The calls of one context."""

    def __init__(
        self,
        context: Context,
        settings: CapabilitySettings,
        holder: CallHolder | None,
    ) -> None:
        """Begin without any.

        Args:
            context: Whose calls.
            settings: Their limits.
            holder: Answers them; without one, a context that calls has broken the
                rules.
        """
        self._context = context
        self._calls_max = settings.capability_calls_max
        self._bytes_max = settings.capability_call_bytes_max
        self._unread_max = settings.capability_unread_bytes_max
        self._holder = holder
        self._narrowed: dict[int, Policy] = {}  # by the number of the execution
        self._forgotten = 0
        self._waiting: dict[int, int] = {}  # for approvals, by execution
        self._grant: Any | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._bytes = 0
        self._closing: set[asyncio.Future[Any]] = set()

    def take(self, execution_id: int, message: Message) -> None:
        """Begin a call."""
        request = _read(execution_id, message)
        if (
            self._holder is None
            or request is None
            or request.call_id in self._tasks
            # One more of each than the runtime counts is what JavaScript waits for.
            or len(self._tasks) > self._calls_max
            or request.size > self._bytes_max
            or self._bytes + request.size > 3 * self._bytes_max
        ):
            self._context.kill(_BROKEN)
            return
        if self._grant is None:
            self._grant = self._holder.grant(self._context.identity)
        self._bytes += request.size
        current = self._context.current
        if isinstance(current, Execution) and current.id == execution_id:
            request = request._replace(requester=current.requester)
        self._tasks[request.call_id] = asyncio.ensure_future(
            self._serve(self._holder, request, self._grant)
        )

    def begin(self, lock: Mapping[str, Any]) -> None:
        """Have a process, which makes no calls yet, go on with a lock."""
        if self._holder is not None:
            self._holder.set_lock(self._context.key, lock)

    @property
    def lock(self) -> dict[str, Any]:
        """A copy of the lock as it is now: versions and hashes of packages."""
        return {} if self._holder is None else self._holder.lock(self._context.key)

    def environment(self, policy: Policy | None) -> Mapping[str, str]:
        """Return the variables that an execution sees, besides its own."""
        if self._holder is None or not self._context.process.can_call_tools:
            return _NO_VARIABLES
        of_context = self._holder.of_context(self._context.key)
        narrowing = [one for one in (policy, of_context) if one is not None]
        return self._holder.environment(self._context.workspace, narrowing)

    def narrow(self, execution_id: int, policy: Policy) -> None:
        """Narrow what an execution may do, and what it has left behind afterwards."""
        self._narrowed[execution_id] = policy
        if len(self._narrowed) > _NARROWED_MAX:
            self._forgotten = next(iter(self._narrowed))
            del self._narrowed[self._forgotten]

    def _policies(self, execution_id: int) -> list[Policy]:
        """Return what narrows a call now: who makes it, and amid what."""
        current = self._context.current
        numbers = {execution_id, execution_id if current is None else current.id}
        found = [self._narrowed[one] for one in numbers if one in self._narrowed]
        assert self._holder is not None  # noqa: S101 - it answers this very call
        policy = self._holder.of_context(self._context.key)
        if policy is not None:
            found.append(policy)
        if 0 < execution_id <= self._forgotten:
            found.append(_NOTHING)
        return found

    def _wait(self, request: Request, begins: bool) -> None:  # noqa: FBT001 - as agreed
        execution_id = request.execution_id
        if request.requester is not None:
            request.requester.waiting(begins)
        before = self._waiting.get(execution_id, 0)
        after = self._waiting[execution_id] = before + (1 if begins else -1)
        current = self._context.current
        changed = (before == 0) != (after == 0)
        if changed and current is not None and current.id == execution_id:
            self._context.pause(current, paused=begins)
        if not after:
            del self._waiting[execution_id]

    def _tell(self, execution_id: int, stage: Stage) -> None:
        """Pass on a stage to those who listen to the execution."""
        current = self._context.current
        if isinstance(current, Execution) and current.id == execution_id:
            for listener in current.stage_listeners:
                listener(stage)

    async def _serve(self, holder: CallHolder, request: Request, grant: Any) -> None:
        number = request.execution_id
        try:
            answered = await holder.answer(
                request,
                grant,
                lambda: self._policies(number),
                lambda begins: self._wait(request, begins),
                lambda stage: self._tell(number, stage),
            )
        except asyncio.CancelledError:
            if grant is not self._grant:
                raise
            answered = Answered("error", _DROPPED)  # it frees the place of the call
        finally:
            if grant is self._grant:
                del self._tasks[request.call_id]
                self._bytes -= request.size
        process = self._context.process
        kind, text, data = answered
        if grant is not self._grant:
            return
        if process.unsent_bytes > 2 * self._unread_max:
            self._context.kill(_BROKEN)
            return
        size = len(text) + len(data or b"")
        if process.unsent_bytes and process.unsent_bytes + size > self._unread_max:
            kind, text, data = "error", _UNREAD, None
        content = {"call_id": request.call_id, "answer": kind, "content": text}
        buffers = () if data is None else (data,)
        process.tell("capability_result", content, buffers)

    async def keep_whole(self, execution: Execution) -> None:
        """Write the result of an execution that is about to end, if it is long."""
        holder, key = self._holder, self._context.key
        policies = [] if holder is None else self._policies(execution.id)

        async def store(path: str, data: bytes) -> bool:
            if holder is None:
                return False
            return await holder.store(key, policies, path, data)

        await keep_whole(execution, store)

    def cancel(self, execution_id: int, message: Message) -> None:
        """End a call that nobody waits for any more."""
        del execution_id
        call_id = message.content.get("call_id")
        task = self._tasks.get(call_id) if type(call_id) is int else None
        if task is not None:
            task.cancel()

    def end(self) -> None:
        """End all calls and what is held for them: the context's process is gone."""
        grant, self._grant = self._grant, None
        if grant is None:
            return
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._bytes = 0
        for task in tasks:
            task.cancel()
        assert self._holder is not None  # noqa: S101 - it made the grant
        closing = asyncio.ensure_future(self._close(self._holder, grant, tasks))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(
        self, holder: CallHolder, grant: Any, tasks: list[asyncio.Task[None]]
    ) -> None:
        if tasks:
            await asyncio.wait(tasks)
        await holder.close(grant)

    async def closed(self) -> None:
        """Wait until all that was ended has ended."""
        if self._closing:
            await asyncio.wait(self._closing)


def _read(execution_id: int, message: Message) -> Request | None:
    """Return the call that a message is; None if it isn't as the runtime makes it."""
    content, buffers = message.content, message.buffers
    call_id, name = content.get("call_id"), content.get("name")
    arguments = content.get("arguments")
    if (
        type(call_id) is not int
        or type(name) is not str
        or type(arguments) is not str
        or len(name) > _NAME_MAX
        or len(buffers) > 1
    ):
        return None
    data = buffers[0] if buffers else None
    return Request(execution_id, call_id, name, arguments, data)
