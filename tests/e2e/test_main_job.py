"""The job that people come for, in JupyterLab; see `tests.support.main_job`."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.lab import Lab, Notebook, open_lab
from tests.support.main_job import (
    COUNT,
    CSV,
    FIGURE,
    GONE_ON,
    LATER,
    SEEN,
    TOLD,
    TOLD_LATER,
    Place,
    environment,
    open_place,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_place(tmp_path_factory.mktemp("web")) as place:
        yield place


@pytest.fixture(scope="module")
def lab(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab whose kernels may do the job, and have no registry."""
    heaps = tmp_path_factory.mktemp("heaps")
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("books")
    with open_lab(home, folder, environment(place, heaps)) as lab:
        yield lab


def test_a_notebook_reads_imports_fetches_and_draws(
    notebook: Callable[..., Notebook],
    lab: Lab,
    place: Place,
    page: Page,
    expect: Any,
) -> None:
    shutil.copy(CSV, lab.folder)
    lab.start(page)
    book = notebook(
        place.load.strip(),
        f"{COUNT.strip()}\ndisplay.table(table);",
        f"{FIGURE.strip()}\nfigure",
        SEEN,
        "await Jupyter.checkpoint('job'); 'saved'",
    )
    book.run_all()
    expect(book.outputs(2).locator("svg circle")).to_have_count(342)
    expect(book.outputs(1).locator("tbody tr")).to_have_count(3)
    expect(book.outputs(3)).to_have_text(f"'{TOLD}'")
    expect(book.outputs(4)).to_have_text("'saved'")
    book.cell(2).scroll_into_view_if_needed()
    if path := os.environ.get("ISOKERNEL_TEST_PICTURE"):
        page.screenshot(path=path)
    (lab.folder / "penguins.csv").unlink()
    asked = len(place.asked)
    name = "later.ipynb"
    cells = ("Jupyter.restore('job')", GONE_ON.strip(), LATER, "figure")
    lab.start(page)
    later = lab.write(page, name, "v8-javascript", cells)
    later.run_all()
    expect(later.outputs(2)).to_have_text(f"'{TOLD_LATER}'")
    expect(later.outputs(3).locator("svg circle")).to_have_count(342)
    assert len(place.asked) == asked
