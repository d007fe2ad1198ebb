"""What a notebook's code may do beyond its context: done by the kernel's own process.

A script's code may do the same: `isokernel run` answers its calls with this, too.

The providers are asyncio code; they run on a loop in one thread, which is started by
the first call. Answers come back to the V8 thread through a pipe.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from isokernel.context.events import CallAnswer
from isokernel.errors import (
    CallInterruptedError,
    CapabilityDeniedError,
    CapabilityError,
    InputError,
    SettingsError,
)
from isokernel.jupyter.process import WakeupPipe, log_failure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future

    from isokernel.capabilities import (
        Answered,
        Asked,
        Grant,
        Holder,
        Providers,
        Stage,
        Tell,
    )
    from isokernel.capabilities.policy import Verdict
    from isokernel.context import Context
    from isokernel.context.events import CapabilityCall, CapabilityDrop
    from isokernel.jupyter.settings import KernelSettings

    Show: TypeAlias = Callable[[int, str, Stage], None]
    """Shows a stage: of which execution, of which call, by a name."""
    Approver: TypeAlias = Callable[[str], Future[str]]
    """Has the user asked a question."""
    Ask: TypeAlias = Callable[[int, str], str]
    """Asks the user on behalf of an execution; raises InputError if that can't be."""

__all__ = ["KernelCalls"]

_END_SECONDS: Final = 2.0
_BAR_WIDTH: Final = 24
_ONCE: Final = frozenset({"o", "once"})
_ALWAYS: Final = frozenset({"a", "always"})
_DROPPED: Final = CallAnswer("error", '{"message":"","code":"call_dropped"}')
_SETTING: Final = "{pattern} among ISOKERNEL_{CAPABILITY}"


class KernelCalls:
    """Answers the calls of the kernel's context. Of the V8 thread.

    Attributes:
        pending: Whether answers have come that `deliver` has not passed on.
        busy: Whether there are calls that have no answer yet.
    """

    def __init__(  # noqa: PLR0913 - what a kernel and a script do differently
        self,
        providers: Providers,
        settings: KernelSettings,
        *,
        folder: str = ".",
        setting: str = _SETTING,
        show: Show | None = None,
        ask: Ask | None = None,
    ) -> None:
        """Begin without a thread.

        Args:
            providers: What the kernel holds.
            settings: What code may do.
            folder: Where its files are.
            setting: What allows something; see `Policy.setting`.
            show: Shows a stage of what takes long, and whose call it is; by default in
                a display of its execution.
            ask: Asks the user for approvals; without, they are denied.
        """
        self._providers = providers
        self._settings = settings
        self._folder = folder
        self._setting = setting
        self._show = show or self._display
        self._ask = ask
        self._questions: deque[_Question] = deque()
        self._pipe = WakeupPipe()
        self._answers: deque[tuple[Context, int, CallAnswer]] = deque()
        self._stages: deque[tuple[Context, int, str, Stage]] = deque()
        self._shown: set[str] = set()
        self._numbers = itertools.count(1)
        self._calls: dict[int, Future[Answered]] = {}
        self._context: Context | None = None
        self._lock: dict[str, Any] = {}
        self._contexts = 0
        self._worker: _Worker | None = None

    @property
    def fileno(self) -> int:
        """A descriptor that is readable when answers come."""
        return self._pipe.fileno

    @property
    def pending(self) -> bool:
        """Whether `deliver` has something to do."""
        return bool(self._answers or self._stages or self._questions)

    @property
    def busy(self) -> bool:
        """Whether something comes that `deliver` will have to pass on."""
        return bool(self._calls) or self.pending

    def use(self, context: Context, lock: dict[str, Any]) -> None:
        """Serve this context from now on; what was held for another ends.

        Args:
            context: The context.
            lock: Which versions of packages it has.
        """
        self._drop()
        self._context, self._lock = context, lock
        self._contexts += 1
        if self._settings.capabilities["env"] != "off":
            context.lend_environment(_environment(self._settings.capabilities))

    def lock(self) -> dict[str, Any]:
        """Return a copy of the lock: which versions of packages the context has."""
        if self._worker is None:
            return self._lock
        return cast("dict[str, Any]", self._worker.submit(_copied(self._lock)).result())

    def _drop(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()
        self._calls.clear()
        self._answers.clear()
        if self._worker is not None:
            self._worker.submit(self._worker.holder.close(self._context_id))

    @property
    def _context_id(self) -> str:
        return f"kernel-{self._contexts}"

    # -- calls -------------------------------------------------------------------------

    def call(self, call: CapabilityCall) -> None:
        """Begin a call; `deliver` passes its answer on."""
        context = self._context
        assert context is not None  # noqa: S101 -- it is its code that calls

        def answered(future: Future[Answered]) -> None:
            answer = _DROPPED
            if not future.cancelled():
                answer = CallAnswer(*future.result())
            self._answers.append((context, call.call_id, answer))
            self._pipe.wake()

        self._begin(call).add_done_callback(answered)

    def drop(self, drop: CapabilityDrop) -> None:
        """End a call that nobody waits for any more; `deliver` frees its place."""
        future = self._calls.get(drop.call_id)
        if future is not None:
            future.cancel()

    def call_now(self, call: CapabilityCall) -> CallAnswer:
        """Answer a call that JavaScript waits for.

        Raises:
            CallInterruptedError: JavaScript is to stop.
        """
        context = self._context
        assert context is not None  # noqa: S101 -- as above
        future = self._begin(call)
        future.add_done_callback(lambda _future: self._pipe.wake())

        def look() -> CallAnswer | None:
            self._pipe.drain()
            self._show_stages()
            self._ask_questions()
            return CallAnswer(*future.result()) if future.done() else None

        try:
            return context.turns.block(self._pipe.fileno, look)
        except CallInterruptedError:
            future.cancel()
            raise

    def _begin(self, call: CapabilityCall) -> Future[Answered]:
        if self._worker is None:
            try:
                self._worker = _Worker(
                    self._providers, self._settings, self._folder, self._setting
                )
            except SettingsError as error:
                raise CapabilityError(str(error), code="invalid_settings") from error
        worker = self._worker
        approve = None if self._ask is None else self._approver(call)
        grant = worker.grant(self._context_id, self._lock, self._teller(call), approve)
        future = worker.submit(
            worker.holder.answer(call.name, call.arguments, call.data, grant)
        )
        calls, call_id = self._calls, call.call_id
        calls[call_id] = future

        def ended(future: Future[Answered]) -> None:
            if calls.get(call_id) is future:
                del calls[call_id]

        future.add_done_callback(ended)
        return future

    def _teller(self, call: CapabilityCall) -> Tell:
        """Return what shows how far a call has come, in one display of its cell."""
        context = self._context
        assert context is not None  # noqa: S101 -- as above
        name = f"isokernel-{os.getpid()}-{next(self._numbers)}"

        def tell(stage: Stage) -> None:
            self._stages.append((context, call.execution_id, name, stage))
            self._pipe.wake()

        return tell

    def _approver(self, call: CapabilityCall) -> Approver:
        """Return what has the user asked on the V8 thread, for one call."""

        def approve(text: str) -> Future[str]:
            question = _Question(call.execution_id, text)
            self._questions.append(question)
            self._pipe.wake()
            return question.answer

        return approve

    def _ask_questions(self) -> None:
        """Ask what calls wait for; the answers go to the loop."""
        while self._questions:
            question = self._questions.popleft()
            if not question.answer.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            try:
                assert self._ask is not None  # noqa: S101 -- else nobody asks
                answer = self._ask(question.execution_id, question.text)
            except InputError as error:
                question.answer.set_exception(error)
            else:
                question.answer.set_result(answer)

    def _show_stages(self) -> None:
        while self._stages:
            context, execution_id, name, stage = self._stages.popleft()
            if context is self._context:
                self._show(execution_id, name, stage)

    def _display(self, execution_id: int, name: str, stage: Stage) -> None:
        context = self._context
        assert context is not None  # noqa: S101 -- as above
        update = name in self._shown
        self._shown.add(name)
        if stage.over:
            self._shown.discard(name)
        context.display(execution_id, _bundle(stage), name, update=update)

    def deliver(self) -> None:
        """Pass on the answers that have come; no JavaScript runs."""
        self._pipe.drain()
        self._show_stages()
        self._ask_questions()
        while self._answers:
            context, call_id, answer = self._answers.popleft()
            if context is self._context:
                context.settle_call(call_id, answer)

    def close(self) -> None:
        """End the thread, and all that is held."""
        self._drop()
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._pipe.close()


class _Worker:
    """The thread with the loop, and what runs there. Made by the first call."""

    def __init__(
        self,
        providers: Providers,
        settings: KernelSettings,
        folder: str,
        setting: str,
    ) -> None:
        import asyncio  # noqa: PLC0415 - 20 ms, and few cells need it
        from pathlib import Path  # noqa: PLC0415

        from isokernel.capabilities import (  # noqa: PLC0415
            Decisions,
            Holder,
            Limits,
            read_policy,
        )

        self._given = dict(settings.capabilities)
        mode = "audit" if settings.capability_mode == "audit" else "enforce"
        self._policy = read_policy(
            self._given, setting=setting, public_only=True, mode=mode
        )
        self._decisions = Decisions()
        self._asking: asyncio.Lock | None = None
        self._limits = Limits(settings.calls_max, settings.call_bytes_max)
        self._folder = Path(folder).resolve()
        self.holder: Holder = Holder(providers, _report)
        self._run = asyncio.run_coroutine_threadsafe
        self._loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._serve, name="isokernel-capabilities", daemon=True
        )
        self._thread.start()

    def grant(
        self,
        context_id: str,
        lock: dict[str, Any],
        tell: Tell,
        approve: Approver | None,
    ) -> Grant:
        """Return what a context may have, for one call."""
        from isokernel.capabilities import Grant  # noqa: PLC0415 - as above

        return Grant(
            context_id,
            self._decider(approve),
            folder=self._folder,
            limits=self._limits,
            lock=lock,
            show=self._show,
            tell=tell,
        )

    def _decider(self, approve: Approver | None) -> Callable[[Asked], Awaitable[None]]:
        """Return what decides for one call; what is allowed once is so for all of it.

        A request is decided several times: before its host is looked up, and then for
        each address.
        """
        once: set[tuple[str, str]] = set()

        async def ask(asked: Asked, verdict: Verdict) -> bool:
            import asyncio  # noqa: PLC0415 - as above

            assert approve is not None  # noqa: S101 - else nobody calls this
            self._asking = self._asking or asyncio.Lock()
            async with self._asking:  # one after another: "always" answers the rest
                if self._decisions.is_approved(asked):
                    return True
                key = asked.capability, asked.target
                if key in once:
                    return False
                try:
                    answer = await asyncio.wrap_future(approve(_question(asked)))
                except InputError as error:
                    reason = f"it needs an approval, and {error}"
                else:
                    given = answer.strip().lower()
                    if given in _ONCE | _ALWAYS:
                        once.add(key)
                        return given in _ALWAYS
                    reason = "the user denied it"
            setting = verdict.setting(asked)
            raise CapabilityDeniedError(
                asked.capability, asked.target, setting, reason=reason
            )

        async def decide(asked: Asked) -> None:
            usable = None if approve is None else ask
            await self._decisions.decide([self._policy], asked, usable)

        return decide

    def _show(self) -> dict[str, Any]:
        shown = self._decisions.shown()
        return {"kernel": self._given, "mode": self._policy.mode, **shown}

    def submit(self, work: Any) -> Future[Any]:
        """Run a coroutine on the loop."""
        return self._run(work, self._loop)

    def close(self) -> None:
        """End the loop, when the work that was submitted has ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=_END_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


class _Question:
    """Something that the user is asked.

    Attributes:
        execution_id: Whose call it is for.
        text: What is asked.
        answer: Gets what the user types, or an InputError.
    """

    def __init__(self, execution_id: int, text: str) -> None:
        from concurrent.futures import Future  # noqa: PLC0415 - few are asked

        self.execution_id = execution_id
        self.text = text
        self.answer: Future[str] = Future()


def _question(asked: Asked) -> str:
    """Ask for an approval in full: nothing of the target is left out or hidden."""
    done = asked.facts.get("method") or asked.facts.get("access") or ""
    what = f"{asked.capability}: {done} {asked.target}".replace(":  ", ": ")
    shown = what.encode("unicode_escape").decode("ascii")
    address = asked.facts.get("address")
    if address:
        shown += f" ({address})"
    return (
        f"Code wants {shown}. Allow it once (o), always while this kernel runs (a), "
        "or deny it (d)? "
    )


def _bundle(stage: Stage) -> dict[str, str]:
    """Return what a notebook shows of a stage: a bar, and in the end one line."""
    from html import escape  # noqa: PLC0415 - few wait for anything

    if stage.over:
        return {"text/plain": stage.text}
    share = min(stage.done / stage.total, 1.0) if stage.total else 0.0
    filled = round(share * _BAR_WIDTH)
    bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
    return {
        "text/plain": f"[{bar}] {stage.text}",
        "text/html": f'<progress value="{share:.3f}"></progress> {escape(stage.text)}',
    }


async def _copied(lock: dict[str, Any]) -> dict[str, Any]:
    """Copy a lock, on the loop that changes it."""
    return {table: dict(entries) for table, entries in lock.items()}


def _environment(capabilities: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that code may see."""
    from isokernel.capabilities import Asked, read_policy  # noqa: PLC0415 - as above

    policy = read_policy({"env": capabilities["env"]})
    return {
        name: value
        for name, value in os.environ.items()
        if policy.decide(Asked("env", name)).effect == "allow"
    }


def _report(name: str, error: Exception) -> None:
    log_failure(f"serving {name}", error)
