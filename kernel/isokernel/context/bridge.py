"""Between Python and the JavaScript runtime of a context: host functions and exports.

`Bridge` loads the runtime into an isolate and gives its exports as Python calls. What
the runtime asks of its host it asks of a `Host`, which the context implements.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from isokernel.errors import (
    HeapFileError,
    InputInterruptedError,
    InputUnavailableError,
)
from isokernel.runtime import scripts
from isokernel.v8.callbacks import Operation, ThrowError
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.shared import set_shared
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.snapshot import Snapshot

_ROOT: Final = "isokernel"
"""Where the runtime's exports hang on V8's extras object, unseen by the user."""


class Host(Protocol):
    """What the runtime asks for; called on the V8 thread, inside JavaScript."""

    def write(self, stream: str, text: str, owner: int) -> None:
        """Text was printed by an execution."""

    def emit(self, kind: str, content: str, owner: int, *buffers: Value) -> None:
        """Something is to be shown or sent; the content is JSON text."""

    def input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        """Ask the user; blocks."""

    def position(self, script: str, line: int, column: int) -> str:
        """The user's [line, column] for a place in what V8 ran, as JSON text."""

    def report_error(self, details: str, kind: str, owner: int) -> None:
        """An error that no cell waits for."""

    def heap(self, action: str, name: str) -> str:
        """Saved heaps are to be made, used or listed."""

    def call_tool(self, call_id: int, path: str, text: str, owner: int) -> None:
        """An execution calls a tool; the input is JSON text."""


class Bridge:
    """The runtime inside one isolate. Belongs to the isolate's thread.

    Attributes:
        isolate: The isolate.
        saved: What the export `suspend` was told before the snapshot was made.
    """

    def __init__(
        self,
        host: Host,
        options: dict[str, Any],
        *,
        snapshot: Snapshot | None = None,
        on_fatal: Callable[[str], None] | None = None,
    ) -> None:
        """Make the isolate and load the runtime, or find it in the snapshot.

        Raises:
            EngineError: The engine can't be loaded, or a script of ours failed.
        """
        self._host = host
        self._exports: dict[str, Value] = {}
        self.isolate = Isolate(
            self._operations(),
            snapshot=snapshot,
            on_fatal=on_fatal,
            scripts=scripts.identity,
        )
        if snapshot is None:
            self._load(options)
        root = self.isolate.get(self.isolate.extras(), _ROOT)
        self._root: Value = root
        self.isolate.format_stacks(self.export("prepareStackTrace"))
        self.saved = ""
        if snapshot is not None:
            self.call("configure", json.dumps(options))
            self.saved = self.call("resume")
            self.call("loseTools", "the call was lost: its context was restored")
            self._share_again()

    def _share_again(self) -> None:
        buffers: list[Value] = []
        while isinstance(buffer := self.call("takeShared"), Value):
            buffers.append(buffer)
        if buffers:
            set_shared(self.isolate, buffers, shared=True)

    def _operations(self) -> dict[str, Operation]:
        # Append only: a saved heap knows these by their place.
        host = self._host
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
        }

    def _load_module(self, name: str) -> Any:
        return scripts.load(self.isolate, name)

    def _microtasks(self) -> None:
        self.isolate.run_microtasks()

    def _input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        try:
            return self._host.input(prompt, password)
        except InputUnavailableError as error:
            raise ThrowError(str(error)) from error
        except InputInterruptedError:
            self.isolate.terminate()
            return ""

    def _heap(self, action: str, name: str) -> str:
        try:
            return self._host.heap(action, name)
        except HeapFileError as error:
            raise ThrowError(str(error)) from error

    def _load(self, options: dict[str, Any]) -> None:
        isolate = self.isolate
        require = scripts.boot(isolate, isolate.extras())
        isolate.set(isolate.extras(), _ROOT, isolate.call(require, "main"))
        self._root = isolate.get(isolate.extras(), _ROOT)
        self.call("install", json.dumps(options))

    def export(self, name: str) -> Value:
        """One of the runtime's functions."""
        function = self._exports.get(name)
        if function is None:
            function = self._exports[name] = self.isolate.get(self._root, name)
        return function

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one of the runtime's functions, which must not throw.

        Raises:
            ScriptError: It did.
            TerminatedError: It was stopped.
        """
        return self.isolate.call(self.export(name), *arguments)

    def try_call(self, name: str, *arguments: Any) -> Any | Thrown:
        """Call one that runs the user's code, which may throw."""
        return self.isolate.try_call(self.export(name), *arguments)

    def close(self) -> None:
        """Free the isolate."""
        self._exports.clear()
        self.isolate.close()
