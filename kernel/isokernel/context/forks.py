"""A context in a process that was forked with it: what it must part from.

V8 runs without threads of its own, so a forked process has the context as it was, heap
and timers and all. What the two processes would share is replaced: the pipe behind
`wakeup`, the watchdog's thread, the front, and the course of the random numbers.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from isokernel.context.tracebacks import Sources
from isokernel.typescript.transpiler import Transpiled, transpiler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.context.bridge import Bridge
    from isokernel.context.events import Event
    from isokernel.context.hosting import ContextHost
    from isokernel.context.turns import Turns
    from isokernel.settings import ContextSettings


_WARMING: Final = (
    # What cells do most: it declares nothing and leaves nothing.
    "1 + 1",
    "'text'",
    "({ a: [1, 'b'], c: new Map([[1, { d: undefined }]]) })",
    "console.log('%s', 'text', { a: 1 })",
    "await null",
    "throw new Error('as an example')",
    "= a syntax error",
)
_TYPES: Final = (
    # What a cell may have of TypeScript: WebAssembly compiles a function of the
    # compiler's when it is first called, and each context would do so again.
    """
    import type { A } from "a";
    interface I<T> extends A { a?: T; m(): void; readonly [key: string]: unknown }
    type U<T> = T extends I<infer V> ? V | string : { [K in keyof T]?: T[K] };
    declare const d: number;
    abstract class C<T> implements I<T> {
      private readonly p: T; static s?: string; declare z: number; #q = 1;
      constructor(p: T) { this.p = p }
      get g(): T { return this.p! }
      m<K extends keyof T>(this: C<T>, k: K, ...rest: number[]): asserts k is K {}
    }
    function f(x: number): number; function f(x: any): any { return x }
    const g = async <T,>(x: T, y: [a: string, b?: number] = ["a"]): Promise<T> => x;
    let v: U<string> = "a" as any, w = { a: 1 } satisfies object;
    for (const i of [1, 2] as const) { if (i > 1) console.log(`${f(i) as number}`) }
    try { label: while (true) break label } catch (e: unknown) { throw e }
    const { a: renamed = 1, ...others }: Record<string, any> = w ?? {};
    """,
    """
    enum Color { Red = 1, Green, Blue = "b" as any }
    namespace N { export const x = 1; export function y(): void {} }
    class P { constructor(private a: number, public readonly b = 2) {} }
    let t = <string>"t", u = Color.Green, [h, ...k]: number[] = [1];
    """,
    "let x: = 1",
)


class ContextForks(ABC):
    """The part of a context that concerns its process. On the V8 thread.

    Attributes:
        settings: Of the context.
        bridge: The runtime.
        turns: Who runs when.
        wakeup: See `Context`.
    """

    settings: ContextSettings
    bridge: Bridge
    turns: Turns
    wakeup: int
    _host: ContextHost
    _unstored: int

    @abstractmethod
    def _tick(self) -> None:
        """Hand out what has waited long enough."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """See `Context`."""

    @abstractmethod
    def complete(self, code: str, cursor: int) -> Any:
        """See `Context`."""

    @abstractmethod
    def inspect(self, code: str, cursor: int) -> Any:
        """See `Context`."""

    def rest(self) -> None:
        """Make ready to be forked, again and again; only `after_fork` ends it."""
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
        blank: bool = False,
    ) -> None:
        """Begin a life of its own, in the child of a fork. No execution may be pending.

        Args:
            settings: As the constructor's, and so the following.
            sink: Gets the events.
            read_input: Asks the user.
            on_fatal: V8 is about to end the process.
            on_stuck: V8 did not stop; called on the watchdog's thread.
            on_tick: Called every 50 ms amid running JavaScript, after what was printed
                has gone to `sink`.
            blank: It was made to be forked and has run nothing: its clock starts now.
        """
        self.settings = settings
        self._host.sink = sink
        self._host.read_input = read_input
        isolate = self.bridge.isolate
        isolate.on_fatal = on_fatal
        isolate.reseed()
        isolate.memory.limit(
            settings.v8_heap_bytes_max, settings.array_buffer_bytes_max
        )

        def flush() -> None:
            self._tick()
            if on_tick is not None:
                on_tick()

        self.turns.after_fork(settings, flush, on_stuck)
        self.wakeup = self.turns.wakeup
        self.bridge.call("configure", json.dumps(settings.runtime_options()))
        if blank:
            self.bridge.call("restartClock")
        else:
            self.bridge.call("loseTools", "the call was lost: its context was cloned")

    def lend_environment(self, variables: Mapping[str, str]) -> None:
        """Show these in `process.env`, instead of those that were lent before."""
        self.bridge.call("lendEnvironment", json.dumps(dict(variables)))

    def warm(self) -> None:
        """Load and compile what is otherwise loaded when first needed.

        For a context that processes are to be forked from, which may not be able to
        read a file any more. It stays blank.
        """
        self.bridge.call("preload")
        for code in _WARMING:
            self.evaluate(code)
        self.complete("Math.ma", 7)
        self.inspect("Math.max", 8)
        self.forget()
        compiler = transpiler()
        for source in _TYPES:
            made = compiler.transpile(source)
            if isinstance(made, Transpiled) and made.source_map is not None:
                compiler.original(made.source_map, 1, 0)
        compiler.redeclare("const a = 1", {"a": "let"}, "a")
        compiler.without_return("return 1")

    def forget(self) -> None:
        """Drop the traces of cells that were not stored: the context is blank again."""
        self._host.sources = Sources()
        self._unstored = 0
        self.bridge.call("setOwner", 0)
