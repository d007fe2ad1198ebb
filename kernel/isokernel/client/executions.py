"""What an execution was: its value, its outputs, how it failed."""

from __future__ import annotations

import base64
import sys
from datetime import datetime  # noqa: TC003 -- msgspec reads the annotations
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from isokernel.client.display import Bundle, error_bundle, output_bundle
from isokernel.client.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Execution", "ExecutionStatus", "Failure", "Logs", "Output", "Timings"]

ExecutionStatus = Literal["completed", "failed", "timed_out", "cancelled"]
_REPR_MAX = 200


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How code failed.

    Attributes:
        name: The error's name, such as `TypeError`.
        message: What it says.
        traceback: Text to show, with the place in the code; ends with a newline.
    """

    name: str
    message: str
    traceback: str

    def _repr_mimebundle_(self, **_asked: Any) -> Bundle:
        """Return what a notebook shows of it."""
        return error_bundle(self.traceback)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was displayed, in each of its forms.

    Attributes:
        data: Its forms by MIME type; pictures are in base64.
        metadata: What was said about them.
        is_result: Whether it is the value of the cell.
        display_id: What names it for later updates; empty for results.
        trusted: Whether a notebook shows it as it is, with scripts that it may have.
    """

    data: dict[str, Any]
    metadata: dict[str, Any] = {}
    is_result: bool = False
    display_id: str = ""
    trusted: bool = False

    @property
    def text(self) -> str:
        """The form text/plain; empty if there is none."""
        return self._form("text/plain") or ""

    @property
    def html(self) -> str | None:
        """The form text/html, with scripts that it may have; None if there is none."""
        return self._form("text/html")

    @property
    def markdown(self) -> str | None:
        """The form text/markdown; None if there is none."""
        return self._form("text/markdown")

    @property
    def latex(self) -> str | None:
        """The form text/latex; None if there is none."""
        return self._form("text/latex")

    @property
    def svg(self) -> str | None:
        """The form image/svg+xml, with scripts that it may have; None without one."""
        return self._form("image/svg+xml")

    @property
    def png(self) -> bytes | None:
        """The bytes of image/png; None if there are none, or they are damaged."""
        return self._bytes("image/png")

    @property
    def jpeg(self) -> bytes | None:
        """The bytes of image/jpeg; None if there are none, or they are damaged."""
        return self._bytes("image/jpeg")

    @property
    def pdf(self) -> bytes | None:
        """The bytes of application/pdf; None if there are none, or they are damaged."""
        return self._bytes("application/pdf")

    @property
    def json(self) -> Any:
        """The form application/json, as plain data; None if there is none."""
        return self.data.get("application/json")

    def _form(self, mime: str) -> str | None:
        value = self.data.get(mime)
        if isinstance(value, list):
            return "".join(map(str, value))
        return None if value is None else str(value)

    def _bytes(self, mime: str) -> bytes | None:
        text = self._form(mime)
        if text is None:
            return None
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except ValueError:  # code displays what it likes
            return None

    def _repr_mimebundle_(self, **_asked: Any) -> Bundle:
        """Return what a notebook shows of it."""
        return output_bundle(self.data, self.metadata, trusted=self.trusted)

    def __repr__(self) -> str:
        """Return its text, and what other forms it has."""
        forms = ", ".join(sorted(self.data))
        return f"Output({_short(self.text)!r}, forms=[{forms}])"


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """What was printed."""

    stdout: str = ""
    stderr: str = ""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """When an execution was, by this machine's clocks.

    Attributes:
        sent_at: When it was sent.
        seconds: How long it took from there, with its turn and the way to the server.
    """

    sent_at: datetime
    seconds: float


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One running of a cell, after its end.

    Attributes:
        id: What the server calls it.
        context_id: The context that it ran in.
        status: How it ended; `timed_out` after `timeout`, `cancelled` by an interrupt.
        value: The value of the last expression, as JSON has it; None if there is none,
            or if it is no plain data.
        value_note: What `value` doesn't have of it, such as a Map or what was cut.
        outputs: What was displayed, in order, the result among it.
        logs: What was printed.
        late: What earlier executions of the context have printed since its last
            answer, as by timers.
        error: How it failed; None if it completed.
        execution_count: Its number in the context.
        truncated: Whether more was put out than is kept (`output_bytes_max`).
        timings: When it was.
    """

    id: str
    context_id: str
    status: ExecutionStatus
    value: Any = None
    value_note: str = ""
    outputs: list[Output] = []
    logs: Logs = Logs()
    late: Logs = Logs()
    error: Failure | None = None
    execution_count: int = 0
    truncated: bool = False
    timings: Timings

    @property
    def result(self) -> Output | None:
        """The value in the forms in which it shows itself; None if there is none."""
        return next((one for one in self.outputs if one.is_result), None)

    @property
    def text(self) -> str:
        """The value as text, as a REPL shows it; empty if there is none."""
        return "" if self.result is None else self.result.text

    @property
    def stdout(self) -> str:
        """What was printed to standard output."""
        return self.logs.stdout

    @property
    def stderr(self) -> str:
        """What was printed to standard error."""
        return self.logs.stderr

    def raise_for_error(self) -> Execution:
        """Raise if the code failed; else return the execution itself.

        Raises:
            ExecutionError: The code failed.
        """
        if self.error is not None:
            raise ExecutionError(self.error)
        return self

    def _repr_mimebundle_(self, **_asked: Any) -> Bundle:
        """Return what is shown where only one thing can be."""
        if self.error is not None:
            return error_bundle(self.error.traceback)
        shown = self.result or (self.outputs[-1] if self.outputs else None)
        if shown is None:
            return {"text/plain": self.stdout or repr(self)}, {}
        return shown._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """Show all of it in a notebook: what was printed, displays, result, error."""
        import IPython.display  # noqa: PLC0415 -- only notebooks call this

        show: Callable[[Any], None] = IPython.display.display

        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)
        for output in self.outputs:
            show(output)
        if self.error is not None:
            show(self.error)

    def __repr__(self) -> str:
        """Return how it ended, in one line."""
        if self.error is not None:
            said = f"{self.error.name}: {_short(self.error.message)}"
            return f"Execution(status={self.status!r}, error={said!r})"
        return f"Execution(status={self.status!r}, text={_short(self.text)!r})"


def _short(text: str) -> str:
    return text if len(text) <= _REPR_MAX else f"{text[: _REPR_MAX - 1]}…"
