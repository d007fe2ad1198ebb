"""What a context is to its JavaScript: it prints, shows, asks and reports for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from isokernel.compiler.cells import origin
from isokernel.context import tracebacks
from isokernel.context.events import (
    ClearOutput,
    CommEvent,
    DisplayData,
    Event,
    Stream,
    ToolCall,
)
from isokernel.errors import HeapFileError, InputUnavailableError
from isokernel.typescript.transpiler import transpiler

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.values import Value


class ContextHost:
    """Implements `bridge.Host`; called on the V8 thread, inside JavaScript.

    Attributes:
        sink: Gets the events.
        sources: The cells' sources, for tracebacks.
        read_input: Asks the user; None where nobody can be asked.
        heaps: Makes, uses and lists saved heaps; None where there is no place for them.
        owners_before: Owners up to this one are executions of another process, from
            which the context goes on here: nobody's in this one.
        newest_owner: The highest owner so far.
    """

    def __init__(
        self,
        sink: Callable[[Event], None],
        read_input: Callable[[str, bool], str] | None,
    ) -> None:
        """Wire a host to a front."""
        self.sink = sink
        self.sources = tracebacks.Sources()
        self.read_input = read_input
        self.heaps: Callable[[str, str], str] | None = None
        self.owners_before = self.newest_owner = 0

    def own(self, execution_id: int) -> int:
        """Name the owner, for the runtime, of what an execution prints."""
        owner = self.owners_before + execution_id
        self.newest_owner = max(self.newest_owner, owner)
        return owner

    def execution(self, owner: int) -> int:
        """Tell the execution by its owner; 0 for one that isn't the front's."""
        return max(owner - self.owners_before, 0)

    def write(self, stream: str, text: str, owner: int) -> None:
        """Text was printed."""
        owner = self.execution(owner)
        self.sink(Stream(owner, "stderr" if stream == "stderr" else "stdout", text))

    def emit(self, kind: str, content: str, owner: int, *buffers: Value) -> None:
        """Something is to be shown or sent."""
        data = json.loads(content)
        owner = self.execution(owner)
        if kind == "clear_output":
            self.sink(ClearOutput(owner, bool(data.get("wait"))))
        elif kind in {"display_data", "update_display_data"}:
            self.sink(_display(kind, data, owner))
        else:
            raw = tuple(buffer.bytes() for buffer in buffers)
            self.sink(_comm(kind, data, owner, raw))

    def input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        """Ask the user; blocks the context."""
        if self.read_input is None:
            message = "input can't be asked for here"
            raise InputUnavailableError(message)
        return self.read_input(prompt, password)

    def position(self, script: str, line: int, column: int) -> str:
        """The user's place for one in what V8 ran, as JSON text."""
        return json.dumps(self.place(script, line, column))

    def place(self, script: str, line: int, column: int) -> tuple[int, int]:
        """The user's place for one in what V8 ran; lines and columns from 1."""
        source = self.sources.get(script)
        if source is None:
            return line, column
        line, column = origin(source.moves, line, column - 1)
        if source.source_map is not None:
            line, column = transpiler().original(source.source_map, line, column)
        return tracebacks.place_in(source.code, line, column + 1)

    def call_tool(self, call_id: int, path: str, text: str, owner: int) -> None:
        """A tool is called."""
        self.sink(ToolCall(self.execution(owner), call_id, path, text))

    def report_error(self, details: str, kind: str, owner: int) -> None:
        """An error that no cell waits for is shown in its cell, on stderr."""
        error = tracebacks.error_info(details, self.sources)
        origin = "Unhandled rejection" if kind == "rejection" else "Uncaught"
        text = "\n".join(error.traceback)
        self.sink(Stream(self.execution(owner), "stderr", f"{origin} {text}\n"))

    def heap(self, action: str, name: str) -> str:
        """Saved heaps are to be made, used or listed."""
        if self.heaps is None:
            message = "there is no place for saved heaps here"
            raise HeapFileError(message)
        return self.heaps(action, name)


def _display(kind: str, data: dict[str, Any], owner: int) -> DisplayData:
    return DisplayData(
        owner,
        data["data"],
        data.get("metadata", {}),
        data.get("transient", {}).get("display_id"),
        update=kind == "update_display_data",
    )


def _comm(
    kind: str, data: dict[str, Any], owner: int, buffers: tuple[bytes, ...]
) -> CommEvent:
    return CommEvent(
        owner,
        kind,  # type: ignore[arg-type]  # the runtime's three comm kinds
        data["comm_id"],
        data.get("data", {}),
        data.get("metadata", {}),
        data.get("target_name", ""),
        buffers,
    )
