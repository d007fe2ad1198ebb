"""Runs one file in a fresh context, as `isokernel run` does."""

from __future__ import annotations

import re
import select
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from isokernel.context import Context
from isokernel.context.events import (
    CapabilityCall,
    CapabilityDrop,
    DisplayData,
    Event,
    ExecutionDone,
    ExecutionError,
    Stream,
)
from isokernel.jupyter.capabilities import KernelCalls
from isokernel.jupyter.launch import PROVIDERS
from isokernel.jupyter.settings import kernel_settings
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from isokernel.capabilities import Stage
    from isokernel.settings import Language

__all__ = ["LANGUAGES", "run_notebook", "run_script"]

LANGUAGES: dict[str, Language] = {
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
}
"""File name endings of scripts."""
_SETTING: Final = "--{capability} {pattern}"
_ANSI: Final = re.compile(r"\x1b\[[\d;]*m")
"""The colours that errors in notebooks have."""


class _Printer:
    """The sink of a script's context: prints what a terminal can show.

    A script's last value is no output of it; what it displays is.

    Attributes:
        call: Begins what the code asks for beyond its context.
    """

    call: Callable[[CapabilityCall], None]
    drop: Callable[[CapabilityDrop], None]

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self.failed = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, CapabilityCall):
            self.call(event)
        elif isinstance(event, CapabilityDrop):
            self.drop(event)
        elif isinstance(event, Stream):
            stream = self._err if event.name == "stderr" else self._out
            stream.write(event.text)
            stream.flush()
        elif isinstance(event, DisplayData):
            self._out.write(f"{event.data.get('text/plain', '')}\n")
        elif isinstance(event, ExecutionError):
            self._err.write("\n".join(event.error.traceback) + "\n")
        elif isinstance(event, ExecutionDone):
            self.failed = event.error is not None

    def show(self, _execution_id: int, _name: str, stage: Stage) -> None:
        """Show a download in one line of a terminal, which is cleared in the end."""
        if self._err.isatty():
            self._err.write("\r\x1b[K" + ("" if stage.over else _plain(stage.text)))
            self._err.flush()


def run_script(path: Path, language: Language) -> bool:
    """Run a script until it has ended and no timer and no call is left.

    What it may do beyond its context is what a notebook in its folder may do: the
    environment says so. Interruptible by Ctrl-C.

    Returns:
        Whether it ended without an error.

    Raises:
        SettingsError: A variable of the environment has no sensible value.
    """
    printer = _Printer(sys.stdout, sys.stderr)
    calls = KernelCalls(
        PROVIDERS,
        kernel_settings(language),
        folder=str(path.parent),
        setting=_SETTING,
        show=printer.show,
    )
    printer.call, printer.drop = calls.call, calls.drop
    context = Context(
        ContextSettings(language=language),
        printer,
        read_input=_ask,
        call_now=calls.call_now,
    )
    try:
        calls.use(context, {})
        name = "_".join(path.name.split()) or None
        context.begin(path.read_text(encoding="utf-8"), execution_id=1, script=name)
        while context.busy or context.wait_time() is not None or calls.busy:
            wait = 0 if calls.pending else context.wait_time()
            select.select([context.wakeup, calls.fileno], [], [], wait)
            calls.deliver()
            context.step()
    finally:
        calls.close()
        context.close()
    return not printer.failed


def run_notebook(path: Path, output: Path | None, timeout: int | None) -> bool:
    """Run a notebook with the kernel that it names; print and keep its outputs.

    Args:
        path: The notebook.
        output: Where it goes with its outputs; None keeps the file as it was.
        timeout: Seconds for each cell.

    Returns:
        Whether every cell succeeded.
    """
    import nbformat  # noqa: PLC0415 - 200 ms
    from nbclient import NotebookClient  # noqa: PLC0415
    from nbclient.exceptions import CellExecutionError  # noqa: PLC0415

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        resources=resources,
        on_cell_executed=lambda cell, **_: _print_outputs(cell["outputs"]),
    )
    try:
        client.execute()
    except CellExecutionError:
        return False  # the cell's error was printed with its outputs
    finally:
        if output is not None:
            nbformat.write(notebook, output)
    return True


def _print_outputs(outputs: Iterable[dict[str, Any]]) -> None:
    """Print what a terminal can show of a cell's outputs."""
    for output in outputs:
        if output["output_type"] == "stream":
            stream = sys.stderr if output["name"] == "stderr" else sys.stdout
            stream.write(output["text"])
        elif output["output_type"] == "error":
            text = "\n".join(output["traceback"])
            sys.stderr.write(f"{_ANSI.sub('', text)}\n")
        else:
            sys.stdout.write(f"{output['data'].get('text/plain', '')}\n")


def _plain(text: str) -> str:
    """Return a line without what terminals would obey."""
    return "".join(character for character in text if character.isprintable())


def _ask(prompt: str, password: bool) -> str:  # noqa: FBT001 - the context's contract
    if password:
        import getpass  # noqa: PLC0415 - rarely used

        return getpass.getpass(prompt)
    return input(prompt)
