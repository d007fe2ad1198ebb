"""JupyterLab in a process of its own, and a notebook as a person sees it."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import nbformat
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from playwright.sync_api import Locator, Page


# All cells are in the page, also those that are scrolled away; no question about news.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}
# JupyterLab with isokernel may have an environment of its own: where it is installed, a
# server takes longer to start, and most tests start servers.
PYTHON = os.environ.get("ISOKERNEL_TEST_JUPYTERLAB_PYTHON", sys.executable)
ENDING = 10.0
"""Seconds that JupyterLab has to stop its kernels."""
START_SECONDS = 120.0
"""JupyterLab imports for long, on a machine that has other things to do."""
INDICATOR = ".jp-Notebook-ExecutionIndicator"
# The indicator alone says "idle" too early, while there is no connection yet.
CONNECTED = """() => {
  const widgets = [...(window.jupyterapp?.shell.widgets("main") ?? [])];
  const session = widgets.find((widget) => widget.sessionContext)?.sessionContext;
  const kernel = session?.session?.kernel;
  return session?.isReady && kernel?.connectionStatus === "connected"
    && kernel.status === "idle";
}"""
OPEN = """async (path) => {
  await jupyterapp.commands.execute("docmanager:open", { path });
}"""
# Not by the page's own command, which asks whether to save.
CLOSE = """async () => {
  for (const widget of [...jupyterapp.shell.widgets("main")]) {
    if (!widget.sessionContext) continue;
    await widget.sessionContext.shutdown();
    widget.dispose();
  }
}"""
FINISHED = re.compile(r"\[\d+\]:")


class Notebook:
    """An open notebook: what a person does in it, and what they see."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.wait_for_function(CONNECTED)
        self.idle()

    def cell(self, number: int) -> Locator:
        """The cell at a place in the notebook, the first is 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def outputs(self, number: int) -> Locator:
        """What a cell shows below its code; an input box is no output."""
        child = ".jp-OutputArea-child:not(.jp-OutputArea-stdin-item)"
        return self.cell(number).locator(f"{child} .jp-OutputArea-output")

    def prompt(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-InputPrompt")

    def input_box(self, number: int) -> Locator:
        return self.cell(number).locator("input.jp-Stdin-input")

    def edit(self, number: int) -> None:
        """Put the cursor at the end of a cell."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+End")

    def start(self, number: int) -> None:
        """Run a cell, and don't wait for its end."""
        self.edit(number)
        self.page.keyboard.press("Control+Enter")

    def run(self, number: int) -> None:
        """Run a cell that has not run before, to its end."""
        self.start(number)
        self.finished(number)

    def finished(self, number: int) -> None:
        """Wait until a cell has its number."""
        _expect(self.prompt(number)).to_have_text(FINISHED)

    def run_all(self) -> None:
        self.menu("Run", "Run All Cells")

    def restart(self) -> None:
        self.menu("Kernel", "Restart Kernel…")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def menu(self, name: str, entry: str) -> None:
        bar = self.page.locator("#jp-MainMenu .lm-MenuBar-item")
        bar.filter(has_text=re.compile(f"^{name}$")).click()
        label = self.page.locator(".lm-Menu .lm-Menu-itemLabel")
        label.filter(has_text=re.compile(f"^{entry}$")).click()

    def stop(self) -> None:
        """Click the stop button."""
        self.page.locator("[data-command='notebook:interrupt-kernel']").click()

    def busy(self) -> None:
        self.page.locator(f"{INDICATOR}[data-status='busy']").wait_for()

    def idle(self) -> None:
        self.page.locator(f"{INDICATOR}[data-status='idle']").wait_for()


def _expect(locator: Locator) -> Any:
    from playwright.sync_api import expect  # noqa: PLC0415 -- may not be installed

    return expect(locator)


class Lab:
    """A running JupyterLab with a folder of notebooks."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    def start(self, page: Page) -> None:
        """Open JupyterLab in a page, with nothing open there."""
        page.goto(f"{self.url}?reset")
        page.locator(".jp-Launcher").wait_for()

    def write(
        self, page: Page, name: str, kernel: str, cells: Sequence[str]
    ) -> Notebook:
        """Write a notebook and open it."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(code) for code in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel}},
        )
        return self.open(page, name, notebook)

    def open(self, page: Page, name: str, notebook: Any) -> Notebook:
        """Keep a notebook and open it in a page where JupyterLab has started."""
        nbformat.write(notebook, self.folder / name)
        page.evaluate(OPEN, name)
        return Notebook(page)

    def close(self, page: Page) -> None:
        """Close what is open in a page, and end its kernels."""
        page.evaluate(CLOSE)


@contextmanager
def open_lab(
    home: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    program: Sequence[str] = ("-m", "jupyterlab"),
) -> Iterator[Lab]:
    """Start JupyterLab.

    Args:
        home: For its settings and data.
        folder: Of notebooks.
        environment: Of its kernels, besides what a user has.
        flags: More of what JupyterLab is told.
        program: What Python runs.
    """
    if sys.executable == PYTHON:
        pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    options = (
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={folder}",
    )
    with subprocess.Popen(
        [PYTHON, *program, *options, *flags],
        env={**user_environment(home), **(environment or {})},
        cwd=folder,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            yield Lab(wait_for_address(server.stderr), folder)
        finally:
            _end(server)


def _end(server: subprocess.Popen[str]) -> None:
    """End JupyterLab, which stops its kernels first.

    With anyio 4.16 it may then wait for ever for an idle worker thread of anyio's.
    """
    server.terminate()
    try:
        server.wait(ENDING)
    except subprocess.TimeoutExpired:
        server.kill()


def user_environment(folder: Path) -> dict[str, str]:
    """The environment of a user who has just installed everything."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "ISOKERNEL"))
    }
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        environment[f"JUPYTER_{name}"] = str(folder / name)
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    return {**environment, "ISOKERNEL_HISTORY": "off"}


def wait_for_address(log: IO[str]) -> str:
    """Wait for the line of the log that tells where the server is; read on behind."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in log:
            if match := re.search(r" (http://127\.0\.0\.1:\d+/lab)$", line.rstrip()):
                found.put(match[1])

    threading.Thread(target=read, daemon=True).start()
    return found.get(timeout=START_SECONDS)
