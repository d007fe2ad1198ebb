"""A REPL context: one cell in, a stream of events out. The same for every front.

One thread, the V8 thread, calls everything but `Context.interrupt`. A context never
blocks but while JavaScript runs (or asks for input): a cell that awaits leaves the
thread, and the front calls `step` when `wait_time` is over or `wakeup` is readable.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from isokernel import exit_codes
from isokernel.compiler.cells import Move
from isokernel.context.bridge import Bridge, Host
from isokernel.context.cell_run import CellRun, ExecutionOptions
from isokernel.context.comms import Comms
from isokernel.context.events import (
    DisplayData,
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionError,
    MimeBundle,
    Stream,
)
from isokernel.context.heaps import ContextHeaps
from isokernel.context.queries import Queries
from isokernel.context.tracebacks import COLORED, PLAIN, CellSource, Sources
from isokernel.context.turns import Stop, Turns
from isokernel.errors import ContextBusyError, ContextClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.context.calls import CallNow
    from isokernel.context.events import CallAnswer
    from isokernel.settings import ContextSettings, Language
    from isokernel.v8.recreation import Recipe
    from isokernel.v8.snapshot import Snapshot
    from isokernel.v8.values import Value
    from isokernel.v8.wasm_parts import Parts

ToolAnswer: TypeAlias = Literal["value", "error", "denied"]
Origin: TypeAlias = Literal["blank", "restored", "cloned"]
"""What a context was before it was given to whoever serves it."""

_NO_OPTIONS: Final = ExecutionOptions()


class Context:
    """One isolate, one REPL.

    Attributes:
        settings: As given.
        execution_count: Number of the last cell that was counted.
        bridge: The JavaScript runtime, and the isolate behind it.
        turns: Run JavaScript, and stop it.
        comms: Delivers the front's comm messages.
        queries: Completion, inspection, names.
        heaps: Saves the context.
    """

    def __init__(  # noqa: PLR0913 -- what a front has to offer
        self,
        settings: ContextSettings,
        sink: Callable[[Event], None],
        *,
        read_input: Callable[[str, bool], str] | None = None,
        on_fatal: Callable[[str], None] | None = None,
        on_stuck: Callable[[], None] | None = None,
        call_now: CallNow | None = None,
        snapshot: Snapshot | None = None,
        keeps_scripts: bool = False,
    ) -> None:
        """Make a blank context, or restore one from a heap.

        Args:
            settings: Its settings.
            sink: Gets every event, on the V8 thread; must not call back.
            read_input: Asks the user (prompt, password); on the V8 thread. May raise
                InputUnavailableError or InputInterruptedError.
            on_fatal: Called with V8's words just before V8 ends the process.
            on_stuck: V8 did not stop within the grace period; called on the
                watchdog's thread. Nothing is left but ending the process.
            call_now: Answers a call for something beyond the context, on the V8 thread;
                the sink takes those that needn't be answered at once. None for a sealed
                context.
            snapshot: The heap to start from.
            keeps_scripts: Whether its isolate keeps the runtime's scripts, for
                `warmup.compile_all`.

        Raises:
            EngineError: The engine can't be loaded.
        """
        self.settings = settings
        self.execution_count = 0
        self._unstored = 0
        self._run: CellRun | None = None
        self._closed = False
        self._host = Host(sink, read_input)
        self._host.paint = COLORED if settings.error_colors else PLAIN
        self._host.on_uncaught = self._fail_uncaught
        self.bridge = Bridge(
            self._host,
            settings.runtime_options(),
            snapshot=snapshot,
            on_fatal=on_fatal,
            keeps_scripts=keeps_scripts,
        )
        self.bridge.calls.now = call_now
        self._isolate = self.bridge.isolate
        self._resume(self.bridge.saved)
        self._isolate.memory.limit(
            settings.v8_heap_bytes_max, settings.array_buffer_bytes_max
        )
        self.turns = Turns(self.bridge, settings, on_stuck or _abort)
        self.comms = Comms(self.bridge, self.deliver)
        self.queries = Queries(self.turns)
        self.heaps = ContextHeaps(self)

    @property
    def wakeup(self) -> int:
        """A descriptor that is readable when `step` should not wait for `wait_time`."""
        return self.turns.wakeup

    # -- running cells -------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an execution has begun and isn't over."""
        return self._run is not None and not self._run.over

    def begin(  # noqa: PLR0913 -- the fields of an execute request
        self,
        code: str,
        *,
        execution_id: int,
        silent: bool = False,
        store_history: bool = True,
        language: Language | None = None,
        deadline: float | None = None,
        script: str | None = None,
        options: ExecutionOptions = _NO_OPTIONS,
    ) -> None:
        """Run a cell up to its end or to its first await.

        Args:
            code: JavaScript or TypeScript.
            execution_id: The front's name for the execution; owner of its output.
            silent: Show no result, count nothing.
            store_history: Count it, and keep its result in `Out`.
            language: What the code is; the context's language if None.
            deadline: Seconds for this execution instead of the settings'.
            script: What stack traces call it, without spaces; else `cell N`.
            options: What else is asked of it.

        Raises:
            ContextBusyError: An execution is pending.
            ContextClosedError: The context is closed.
            TranspilerError: The TypeScript compiler itself failed.
        """
        self._check_open()
        if self.busy:
            raise ContextBusyError
        store = store_history and not silent
        if store:
            self.execution_count += 1
        run = CellRun(
            self.turns,
            id=execution_id,
            count=self.execution_count,
            script=script or self._script_name(store=store),
            silent=silent,
            store=store,
            deadline_seconds=(
                self.settings.cell_timeout_seconds if deadline is None else deadline
            ),
            options=options,
        )
        self._run = run
        try:
            # Entered once for all of it: the entries inside cost nothing then.
            with self._isolate.held():
                run.start(code, language or self.settings.language)
                self._settle()
        except BaseException:
            self._run = None  # a defect of ours must not leave it busy
            raise

    def _script_name(self, *, store: bool) -> str:
        if store:
            return f"cell-{self.execution_count}"
        self._unstored += 1
        return f"query-{self._unstored}"

    def step(self) -> None:
        """Fire due timers, run microtasks, settle the execution, emit output."""
        self._check_open()
        turns, run = self.turns, self._run
        turns.drain()
        deadline = run.deadline if run is not None else None
        if deadline and time.monotonic() >= deadline:
            turns.stop = turns.stop or Stop.DEADLINE
        if turns.stop is None:
            turns.run(self._run_timers, deadline)
        if run is None and turns.stop is not None:
            self._report_stopped_timer()
        self._settle()
        turns.flush()

    def _run_timers(self) -> None:
        self.bridge.call("runTimers")
        self._isolate.run_microtasks()
        self.turns.run_cleanups()

    def deliver(
        self, export: str, *arguments: Any, deadline: float | None = None
    ) -> None:
        """Pass the runtime something from outside that the user's code may react to.

        Args:
            export: The runtime's function that takes it.
            arguments: For it.
            deadline: For the code that reacts, on the monotonic clock.

        Raises:
            ContextClosedError: The context is closed.
        """

        def take() -> None:
            self.bridge.call(export, *arguments)
            self._isolate.run_microtasks()

        self._check_open()
        self.turns.run(take, deadline)
        self._settle()
        self.turns.flush()

    def _settle(self) -> None:
        """Process what a turn of JavaScript has changed."""
        run = self._run
        if self.turns.stop is None and self._isolate.rejections.pending:
            if run is not None:
                run.claim_result()
            self._report_rejections()
        if run is not None:
            run.settle()
            if run.over:
                self._run = None

    def _report_rejections(self) -> None:
        deadline = self._run.deadline if self._run is not None else None
        for reason, owner in self._isolate.rejections.take():
            self.turns.run(partial(self._report_rejection, reason, owner), deadline)

    def _report_rejection(self, reason: Value, owner: int) -> None:
        if self._run is not None:
            self._run.look_for_denial(reason)
        self.bridge.call("setOwner", owner)
        self.bridge.call("report", reason, "rejection")

    def _fail_uncaught(self, execution_id: int, error: ErrorInfo) -> None:
        """Have the running execution fail if it is one that ends like a script."""
        if self._run is not None and self._run.id == execution_id:
            self._run.uncaught(error)

    def _report_stopped_timer(self) -> None:
        """Print that a timer's callback was stopped while no cell ran."""
        name = (self.turns.take_stop() or Stop.INTERRUPT).value
        owner = self._isolate.owner()
        self.turns.run(lambda: self.bridge.call("recover", owner))
        owner = self._host.execution(owner)
        text = f"{name}: a timer's callback was stopped\n"
        self._host.sink(Stream(owner, "stderr", text))

    def wait_time(self) -> float | None:
        """Return the seconds until `step` has something to do; None for never."""
        if self.turns.stop is not None:
            return 0.0
        dues = [self.turns.timer_due(), self._run.due if self._run else None]
        known = [due for due in dues if due is not None]
        return max(min(known) - time.monotonic(), 0.0) if known else None

    def interrupt(self) -> None:
        """Stop what runs now, a busy loop and a pending await alike; thread-safe.

        Nothing happens when nothing runs. State is kept; the execution fails with
        the error `KeyboardInterrupt`, and its timers are cleared.
        """
        self.turns.request_stop(Stop.INTERRUPT, waiting=self.busy)

    def pause(self, execution_id: int, *, paused: bool) -> None:
        """Begin or end a pause of the running execution; none of another one.

        While somebody is asked about a tool call, an execution's deadline counts only
        the time in which JavaScript runs.
        """
        if self._run is not None and self._run.id == execution_id:
            self._run.pause(paused=paused)
            # JavaScript may wait for the very call that is asked about.
            self.turns.watch(None if paused else self._run.deadline)

    def settle_tool(self, call_id: int, answer: ToolAnswer, text: str) -> None:
        """Answer a `ToolCall`, in any order; without effect if nobody waits any more.

        Args:
            call_id: The call's.
            answer: What comes.
            text: The value as JSON, nothing for undefined; or the error's fields as a
                JSON object: message, code, status, details, retryable, reason.
        """
        deadline = self._run.deadline if self._run is not None else None
        self.deliver("settleTool", call_id, answer, text, deadline=deadline)

    def settle_call(self, call_id: int, answer: CallAnswer) -> None:
        """Answer a `CapabilityCall`, in any order; its execution may be over."""
        deadline = self._run.deadline if self._run is not None else None
        received = self.bridge.calls.received(answer)
        self.deliver("settleCall", call_id, *received, deadline=deadline)

    def display(
        self,
        execution_id: int,
        data: MimeBundle,
        display_id: str,
        *,
        update: bool = False,
    ) -> None:
        """Show something that isn't of the user's code; also amid running JavaScript.

        Args:
            execution_id: Among whose outputs; it may be over.
            data: What is shown, by media type.
            display_id: Names it.
            update: Whether it takes the place of what has that name.
        """
        self._host.sink(DisplayData(execution_id, data, {}, display_id, update))

    def evaluate(
        self, expression: str, *, execution_id: int = 0
    ) -> tuple[MimeBundle, dict[str, Any]] | ErrorInfo:
        """Return the value of one of a cell's `user_expressions`; it isn't stored.

        Raises:
            ContextBusyError: An execution is pending.
        """
        events: list[Event] = []
        sink, self._host.sink = self._host.sink, events.append
        try:
            self.begin(expression, execution_id=execution_id, store_history=False)
            if self.busy:
                self._run = None
                message = "the expression is still waiting for a promise"
                return ErrorInfo("TimeoutError", message, (message,))
        finally:
            self._host.sink = sink
        for event in events:
            if isinstance(event, ExecuteResult):
                return event.data, event.metadata
            if isinstance(event, ExecutionError):
                return event.error
        return {"text/plain": "undefined"}, {}

    # -- its process, and others -----------------------------------------------------

    def prepare_fork(self) -> None:
        """Close what a fork must not share; in a child, `after_fork` makes it anew."""
        self.turns.close()

    def after_fork(  # noqa: PLR0913 -- what a front has to offer
        self,
        settings: ContextSettings,
        sink: Callable[[Event], None],
        *,
        read_input: Callable[[str, bool], str] | None = None,
        on_fatal: Callable[[str], None] | None = None,
        on_stuck: Callable[[], None],
        on_tick: Callable[[], None] | None = None,
        call_now: CallNow | None = None,
        origin: Origin = "cloned",
    ) -> None:
        """Become a context of its own, in the child of a fork; no cell may be running.

        V8 runs without threads of its own, so a forked process has the context as it
        was, heap and timers and all. What the two processes would share is replaced:
        the pipe behind `wakeup`, the watchdog's thread, the front, and the course of
        the random numbers.

        Args:
            settings: As the constructor's, and so the following.
            sink: Gets the events.
            read_input: Asks the user.
            on_fatal: V8 is about to end the process.
            on_stuck: V8 did not stop; called on the watchdog's thread.
            on_tick: Called every 50 ms amid running JavaScript, after what was printed
                has gone to `sink`.
            call_now: Answers calls for what is beyond the context.
            origin: `blank` was made to be forked and has run nothing: its clock starts
                now. `restored` was made in this process, with these settings.
        """
        self.settings = settings
        self._host.sink = sink
        self._host.read_input = read_input
        self.bridge.calls.now = call_now
        self._host.paint = COLORED if settings.error_colors else PLAIN
        isolate = self._isolate
        isolate.on_fatal = on_fatal
        isolate.reseed()
        isolate.memory.limit(
            settings.v8_heap_bytes_max, settings.array_buffer_bytes_max
        )
        self.turns.after_fork(settings, on_stuck, on_tick)
        if origin == "restored":
            return
        self.bridge.call("configure", json.dumps(settings.runtime_options()))
        if origin == "blank":
            self.bridge.call("restartClock")
        else:
            self.bridge.lose_calls("cloned")

    def lend_environment(self, variables: Mapping[str, str]) -> None:
        """Show these variables in `process.env`, instead of those of the last call."""
        self.bridge.call("lendEnvironment", json.dumps(dict(variables)))

    def forget(self) -> None:
        """Drop the traces of cells that were not stored: the context is blank again."""
        self._host.sources = Sources()
        self._unstored = 0
        self.bridge.call("forget")

    def suspend(
        self, shared: list[Value], recipes: list[Recipe], parts: Parts | None
    ) -> None:
        """Store Python's state in the heap, and stop its clocks; see `ContextHeaps`.

        Args:
            shared: The heap's SharedArrayBuffers.
            recipes: The objects that have to be made again, and of what.
            parts: What WebAssembly has to be put together of.
        """
        host = self._host
        state = {
            "executionCount": self.execution_count,
            "unstored": self._unstored,
            "owners": host.owner_max,
            "features": sorted(self._isolate.features),
            "constants": sorted(host.sources.constants),
            "sources": [
                [script, cell.code, cell.source_map, cell.moves]
                for script, cell in host.sources.items()
            ],
        }
        if recipes:
            kinds = {made.key: [made.kind, made.data] for made in recipes}
            order = {key: index for index, key in enumerate(kinds)}
            state["recipes"] = list(kinds.values())
            state["emptied"] = [order[made.key] for made in recipes]
        kept = [made.value for made in recipes]
        if parts is not None:
            state["webAssembly"] = parts.data
            kept += parts.values
        text = json.dumps(state, separators=(",", ":"))
        self.bridge.call("suspend", text, shared, kept)

    def _resume(self, saved: str) -> None:
        """Read back what `suspend` has stored in the heap."""
        if not saved:
            return  # the heap of a bare isolate
        state = json.loads(saved)
        recipes, parts = state.get("recipes", ()), state.get("webAssembly")
        if recipes or parts is not None:
            emptied = [recipes[index] for index in state.get("emptied", ())]
            self.bridge.recreate(emptied, parts)
        host = self._host
        self.execution_count = state["executionCount"]
        self._unstored = state["unstored"]
        host.owner_max = state["owners"]
        host.owner_offset = 0 if self.settings.ids_unique else host.owner_max
        self._isolate.features.update(state["features"])
        host.sources.constants.update(state["constants"])
        for script, code, source_map, moves in state["sources"]:
            cell = CellSource(code)
            cell.source_map = source_map
            cell.moves = tuple(Move(*move) for move in moves)
            host.sources.add(script, cell)

    # -- the end -----------------------------------------------------------------------

    def close(self) -> None:
        """Free everything; safe to call twice. No event comes afterwards."""
        if self._closed:
            return
        self._closed = True
        self._run = None
        self.turns.close()
        self.bridge.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ContextClosedError


def _abort() -> None:
    """End the process, for a front that has no `on_stuck` of its own."""
    os.write(2, b"isokernel: JavaScript can't be stopped; the process ends\n")
    os._exit(exit_codes.UNSTOPPABLE)
