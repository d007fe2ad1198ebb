"""Between Python and the JavaScript runtime of a context.

`Bridge` loads the runtime into an isolate and calls its exports. `Host` is the other
direction: what the runtime asks of Python amid running JavaScript.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from isokernel.compiler.cells import origin
from isokernel.context import tracebacks
from isokernel.context.calls import Calls
from isokernel.context.compression import Brotli
from isokernel.context.events import (
    ClearOutput,
    CommEvent,
    DisplayData,
    ErrorInfo,
    Event,
    Stream,
    ToolCall,
)
from isokernel.errors import (
    HeapFileError,
    InputInterruptedError,
    InputUnavailableError,
)
from isokernel.runtime import compiled, scripts
from isokernel.typescript.transpiler import SyntaxProblem, transpiler
from isokernel.v8 import wasm_restoration
from isokernel.v8.callbacks import Operation, ThrowError
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.modules import OPERATIONS as MODULES
from isokernel.v8.recreation import Recipe, recreate
from isokernel.v8.shared import set_shared
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isokernel.v8.recreation import Plain
    from isokernel.v8.snapshot import Snapshot

_ROOT: Final = "isokernel"
"""Where the runtime's exports hang on V8's extras object, unseen by the user."""


class Host:
    """What the runtime calls, on the V8 thread, inside JavaScript.

    The runtime names the execution that causes an output by a number, its *owner*. An
    owner is the execution's id, plus an offset in a context that goes on from a heap,
    unless ids are unique: timers in the heap still print for executions of the process
    that saved it.

    Attributes:
        sink: Gets the events.
        sources: The cells' sources, for tracebacks.
        paint: The colours of the errors of cells. What is printed has none.
        read_input: Asks the user; None where nobody can be asked.
        serve_heaps: See `ContextHeaps.serve`; None where heaps can't be saved.
        on_uncaught: Told of an error that nobody caught, and whose execution it is.
        owner_offset: Owners up to this one belong to no execution of this process.
        owner_max: The highest owner so far.
        cut_owner: Whose output was cut last; -1 for nobody's.
    """

    def __init__(
        self,
        sink: Callable[[Event], None],
        read_input: Callable[[str, bool], str] | None,
    ) -> None:
        """Report to a front."""
        self.sink = sink
        self.sources = tracebacks.Sources()
        self.paint = tracebacks.PLAIN
        self.read_input = read_input
        self.serve_heaps: Callable[[str, str], str] | None = None
        self.on_uncaught: Callable[[int, ErrorInfo], None] | None = None
        self.owner_offset = self.owner_max = 0
        self.cut_owner = -1

    def owner(self, execution_id: int) -> int:
        """Return the owner, for the runtime, of what an execution prints."""
        owner = self.owner_offset + execution_id
        self.owner_max = max(self.owner_max, owner)
        return owner

    def execution(self, owner: int) -> int:
        """Return the execution's id for its owner; 0 if it isn't of this process."""
        return max(int(owner) - self.owner_offset, 0)

    def mute(self) -> None:
        """Drop all events and ask nobody, in a forked copy of the process."""
        self.sink = lambda _event: None
        self.read_input = None

    def write(self, stream: str, text: str, owner: int) -> None:
        """Report printed text."""
        owner = self.execution(owner)
        self.sink(Stream(owner, "stderr" if stream == "stderr" else "stdout", text))

    def emit(self, kind: str, content: str, owner: int, *buffers: Value) -> None:
        """Report what is to be displayed or sent on a comm; the content is JSON."""
        data = json.loads(content)
        owner = self.execution(owner)
        if kind == "clear_output":
            self.sink(ClearOutput(owner, bool(data.get("wait"))))
        elif kind in {"display_data", "update_display_data"}:
            display_id = data.get("transient", {}).get("display_id")
            metadata = data.get("metadata", {})
            update = kind == "update_display_data"
            self.sink(DisplayData(owner, data["data"], metadata, display_id, update))
        else:
            self.sink(
                CommEvent(
                    owner,
                    kind,  # type: ignore[arg-type]  # the runtime's three comm kinds
                    data["comm_id"],
                    data.get("data", {}),
                    data.get("metadata", {}),
                    data.get("target_name", ""),
                    tuple(buffer.bytes() for buffer in buffers),
                )
            )

    def input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        """Ask the user; blocks the context.

        Raises:
            InputUnavailableError: Nobody can be asked.
            InputInterruptedError: The execution was interrupted meanwhile.
        """
        if self.read_input is None:
            message = "input can't be asked for here"
            raise InputUnavailableError(message)
        return self.read_input(prompt, password)

    def position(self, script: str, line: int, column: int) -> str:
        """Return `place` as JSON text."""
        return json.dumps(self.place(script, line, column))

    def place(self, script: str, line: int, column: int) -> tuple[int, int]:
        """Return the place in the user's text of one in what V8 ran; all from 1."""
        source = self.sources.get(script)
        if source is None:
            return line, column
        line, column = origin(source.moves, line, column - 1)
        if source.source_map is not None:
            line, column = transpiler().original(source.source_map, line, column)
        if line <= source.lines:  # lines aren't made for each frame of each stack
            return line, column + 1
        return tracebacks.end_of(source.code)

    def written(self, script: object, line: int, column: int, text: str) -> str:
        """Return a function's source as the user wrote it, with its types.

        Args:
            script: The script's name; anything else for code that is no cell's.
            line: Of a place within the function; from 1.
            column: Likewise.
            text: Its source as V8 has it. It is returned if the user's isn't known.
        """
        if not isinstance(script, str):
            return text
        source = self.sources.get(script)
        if source is None or source.source_map is not None:
            return text
        place = self.place(script, line, column)
        return tracebacks.unblanked(source.code, place, text) or text

    def without_types(self, url: str, text: str) -> list[Any]:
        """Compile a module of TypeScript.

        Returns:
            Its JavaScript; or message, line and column, from 1, of what is wrong.
        """
        made = transpiler().transpile_module(text)
        if isinstance(made, SyntaxProblem):
            return [made.message, made.line, made.column + 1]
        source = tracebacks.CellSource(text)
        source.source_map = made.source_map
        self.sources.add(url, source)
        return [made.code]

    def call_tool(self, call_id: int, path: str, text: str, owner: int) -> None:
        """Report the call of a tool; the input is JSON text."""
        self.sink(ToolCall(self.execution(owner), call_id, path, text))

    def output_cut(self, owner: int) -> None:
        """Note whose output is too long: its end is printed when it ends."""
        self.cut_owner = owner

    def report_error(
        self,
        details: str,
        kind: str,
        owner: int,
        leveled: bool = False,  # noqa: FBT001, FBT002 -- from JS
    ) -> None:
        """Print an error that no cell waits for on stderr of the cell it is from."""
        error = tracebacks.error_info(details, self.sources)
        execution_id = self.execution(owner)
        origin = "Unhandled rejection" if kind == "rejection" else "Uncaught"
        text = "\n".join((f"{origin} {error.traceback[0]}", *error.traceback[1:]))
        level = "[ERROR] " if leveled else ""
        self.sink(Stream(execution_id, "stderr", f"{level}{text}\n"))
        if kind != "display" and self.on_uncaught is not None:
            self.on_uncaught(execution_id, error)

    def heap(self, action: str, name: str) -> str:
        """Save, restore or list heaps.

        Raises:
            HeapFileError: It can't be done.
        """
        if self.serve_heaps is None:
            message = "heaps can't be saved here"
            raise HeapFileError(message)
        return self.serve_heaps(action, name)


class Bridge:
    """The runtime inside one isolate. Belongs to the isolate's thread.

    Attributes:
        host: What the runtime calls.
        isolate: The isolate.
        calls: What code asks for beyond the context.
        saved: The text that the export `suspend` was given before the heap that this
            one goes on from was written; empty for a blank one.
    """

    def __init__(
        self,
        host: Host,
        options: dict[str, Any],
        *,
        snapshot: Snapshot | None = None,
        on_fatal: Callable[[str], None] | None = None,
        keeps_scripts: bool = False,
    ) -> None:
        """Make the isolate and load the runtime, or find it in the snapshot.

        Raises:
            EngineError: The engine can't be loaded, or a script of ours failed.
        """
        self.host = host
        self.calls = Calls(self)
        self._exports: dict[str, Value] = {}
        self.isolate = Isolate(
            self._operations(),
            snapshot=snapshot,
            on_fatal=on_fatal,
            scripts=scripts.identity,
            text_of=scripts.text_of,
        )
        if keeps_scripts:
            self.isolate.kept_scripts = {}
        self.isolate.modules.find_hook = self.export
        self.isolate.instances.find_function = self.web_assembly
        if snapshot is None:
            self._load(options)
        root = self.isolate.get(self.isolate.extras(), _ROOT)
        self._root: Value = root
        self.isolate.format_stacks(self.export("prepareStackTrace"))
        self.saved = ""
        if snapshot is not None:
            self.saved = self.resume(options)

    def resume(self, options: dict[str, Any]) -> str:
        """Go on from what `suspend` has left in the heap; return its text."""
        self.call("configure", json.dumps(options))
        saved: str = self.call("resume")
        self.lose_calls("restored")
        self._share_again()
        return saved

    def _load(self, options: dict[str, Any]) -> None:
        isolate = self.isolate
        is_first = compiled.is_first_context() and isolate.kept_scripts is None
        if is_first:
            isolate.kept_scripts = {}
        require = scripts.boot(isolate, isolate.extras())
        isolate.set(isolate.extras(), _ROOT, isolate.call(require, "main"))
        self._root = isolate.get(isolate.extras(), _ROOT)
        self.call("install", json.dumps(options))
        if is_first:
            self._keep_code()

    def _keep_code(self) -> None:
        """Keep what V8 has made of the runtime, for who makes a context next."""
        isolate = self.isolate
        names = scripts.loaded(isolate)
        if isolate.code_taken + isolate.code_refused < len(names):
            scripts.keep_code(isolate, compiled.START, names, "")
        isolate.kept_scripts = None

    def _share_again(self) -> None:
        buffers = self._take("takeShared")
        if buffers:
            set_shared(self.isolate, buffers, shared=True)

    def recreate(
        self, recipes: Sequence[tuple[str, Plain]], parts: dict[str, Any] | None
    ) -> None:
        """Make the objects again that were taken apart for the heap.

        Args:
            recipes: The kinds and data of all objects, in the order of `suspend`.
            parts: What WebAssembly is put together of; None if there is none.

        Raises:
            SnapshotFormatError: One can't be made again.
        """
        values = self._take("takeEmptied")
        values.reverse()
        count = len(recipes)
        recreate(
            self.isolate,
            [
                Recipe(kind, value, data)
                for (kind, data), value in zip(recipes, values[:count], strict=True)
            ],
        )
        if parts is not None:
            wasm_restoration.restore(
                self.isolate, self.web_assembly, parts, values[count:]
            )

    def _take(self, export: str) -> list[Value]:
        """Return what the runtime has kept in a heap, the last first."""
        values: list[Value] = []
        while isinstance(value := self.call(export), Value):
            values.append(value)
        return values

    def _operations(self) -> dict[str, Operation]:
        # Append only: a saved heap knows these by their place.
        host = self.host
        brotli = Brotli()
        return {
            "load": Operation(self._load_module),
            "microtasks": Operation(self._microtasks),
            "write": Operation(host.write),
            "emit": Operation(host.emit),
            "input": Operation(self._input),
            "position": Operation(host.position),
            "reportError": Operation(host.report_error),
            "heap": Operation(self._heap),
            "callTool": Operation(host.call_tool),
            "outputCut": Operation(host.output_cut),
            "compress": Operation(brotli.compress),
            "decompress": Operation(brotli.decompress),
            "written": Operation(host.written),
            "beginCall": Operation(self.calls.begin),
            "callNow": Operation(self.calls.serve_now),
            **MODULES,
            "withoutTypes": Operation(host.without_types),
        }

    def _load_module(self, name: str) -> Any:
        return scripts.load(self.isolate, name)

    def _microtasks(self) -> None:
        self.isolate.run_microtasks()

    def _input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        try:
            return self.host.input(prompt, password)
        except InputUnavailableError as error:
            raise ThrowError(str(error)) from error
        except InputInterruptedError:
            self.isolate.terminate()
            return ""

    def _heap(self, action: str, name: str) -> str:
        try:
            return self.host.heap(action, name)
        except HeapFileError as error:
            raise ThrowError(str(error)) from error

    def lose_calls(self, what: str) -> None:
        """Fail the calls that wait in a heap; `what` has become of its context."""
        message = f"the call was lost: its context was {what}"
        self.call("loseTools", message)
        self.call("loseCalls", message)

    def export(self, name: str) -> Value:
        """Return one of the runtime's functions."""
        function = self._exports.get(name)
        if function is None:
            function = self._exports[name] = self.isolate.get(self._root, name)
        return function

    def web_assembly(self, name: str) -> Value:
        """Return one of the runtime's functions about WebAssembly."""
        return self.export_of("webAssembly", name)

    def export_of(self, module: str, name: str) -> Value:
        """Return a function of a module that is loaded when it is first needed."""
        key = f"{module}.{name}"
        function = self._exports.get(key)
        if function is None:
            function = self.isolate.get(self.call(module), name)
            self._exports[key] = function
        return function

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one of the runtime's functions, which must not throw.

        Raises:
            ScriptError: It did.
            TerminatedError: It was stopped.
        """
        function = self._exports.get(name) or self.export(name)
        return self.isolate.call(function, *arguments)

    def try_call(self, name: str, *arguments: Any) -> Any | Thrown:
        """Call one that runs the user's code, which may throw."""
        function = self._exports.get(name) or self.export(name)
        return self.isolate.try_call(function, *arguments)

    def close(self) -> None:
        """Free the isolate."""
        self._exports.clear()
        self.isolate.close()
