"""JupyterLab with our kernels, and headless Chromium as the person who works in it.

Nothing here sleeps: a wait is for something that the page shows, with a deadline.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.lab import Lab, Notebook, user_environment, wait_for_address
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# JupyterLab with isokernel may have an environment of its own: where it is installed, a
# server takes longer to start, and most tests start servers.
PYTHON = os.environ.get("ISOKERNEL_TEST_JUPYTERLAB_PYTHON", sys.executable)
ENDING = 10.0
"""Seconds that JupyterLab has to stop its kernels."""
# Neither a sandbox (root has none) nor anything that looks for hosts outside.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, with settings and data of its own."""
    if sys.executable == PYTHON:
        pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("notebooks")
    options = (
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={folder}",
    )
    with subprocess.Popen(
        [PYTHON, "-m", "jupyterlab", *options],
        env=user_environment(home),
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page. What it logs as an error fails the test."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(DEADLINE * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def notebook(
    lab: Lab, page: Page, request: pytest.FixtureRequest
) -> Callable[..., Notebook]:
    """Opens a new notebook that has these code cells."""

    def open_it(*cells: str, kernel: str = "v8-javascript") -> Notebook:
        name = re.sub(r"\W+", "_", request.node.name)
        page.goto(lab.write(f"{name}.ipynb", kernel, cells))
        return Notebook(page)

    return open_it


@pytest.fixture(scope="session")
def open_notebook() -> type[Notebook]:
    """What a test makes of a page that shows a notebook."""
    return Notebook
