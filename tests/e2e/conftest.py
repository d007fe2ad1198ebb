"""JupyterLab, the server's page, and headless Chromium as the person who works there.

Nothing here sleeps: a wait is for something that the page shows, with a deadline.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.lab import Lab, open_lab
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from playwright.sync_api import Browser, Page
    from tests.support.lab import Notebook


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MESSAGE_MS = 15_000
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
    home = tmp_path_factory.mktemp("home")
    with open_lab(home, tmp_path_factory.mktemp("notebooks")) as lab:
        yield lab


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


@pytest.fixture(scope="module")
def expect() -> Any:
    """Playwright's assertions, which wait until they hold."""
    playwright: ModuleType = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=MESSAGE_MS)
    return playwright.expect


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
        return lab.write(page, f"{name}.ipynb", kernel, cells)

    return open_it
