"""The example notebooks give the outputs that are stored in them, cell by cell.

Each is executed by nbclient with the kernel that it names, and once more by
`jupyter nbconvert --execute`. Nothing is left out of the comparison: stream text, MIME
types and data, execution counts, errors with their tracebacks. The notebooks print no
times and no random numbers.

To store new outputs after a change, and look at the difference in git:

    python -m tests.test_notebooks              all notebooks
    python -m tests.test_notebooks tour.ipynb   some
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests.support.packages import CACHE, fetch_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 60
EXPECTED = {
    "async": "v8-javascript",
    "data_analysis": "v8-javascript",
    "libraries": "v8-javascript",
    "plots": "v8-javascript",
    "rich_output": "v8-javascript",
    "tour": "v8-javascript",
    "typescript": "v8-typescript",
}


IMPORTING = ("libraries", "plots")  # packages of npm, from a folder that is filled once
CASES = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in IMPORTING else ())
    for path in NOTEBOOKS
]


@pytest.fixture(scope="module")
def packages() -> Iterator[None]:
    """The kernels of a test take packages from the folder, and have no registry."""
    fetch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOKERNEL_PACKAGE_CACHE_DIR", str(CACHE))
        patch.setenv("ISOKERNEL_PACKAGE_OFFLINE", "on")
        yield


def fetch() -> None:
    """Fetch what the notebooks import, unless it was done for these notebooks."""
    paths = [path for path in NOTEBOOKS if path.stem in IMPORTING]
    code = "".join(cell.source for path in paths for cell in read(path).cells)
    digest = hashlib.sha256(code.encode()).hexdigest()
    fetch_packages(f"notebooks-{digest[:16]}", "prefetch", *map(str, paths))


@pytest.fixture(autouse=True, scope="module")
def _no_history() -> Iterator[None]:
    """The cells of a test are none of the user's history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOKERNEL_HISTORY", "off")
        yield


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def executed(path: Path) -> Any:
    """The notebook with the outputs that its kernel gives now."""
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    return asyncio.run(client.async_execute())


def outputs(notebook: Any) -> list[tuple[str, int | None, list[dict[str, Any]]]]:
    """Source, execution count and outputs of each code cell."""
    return [
        (cell.source, cell.execution_count, [dict(o) for o in joined(cell.outputs)])
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def joined(items: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one: where it is cut is chance."""
    kept: list[Any] = []
    for item in items:
        last = kept[-1] if kept else None
        if (
            last is not None
            and item.output_type == last.output_type == "stream"
            and item.name == last.name
        ):
            last.text += item.text
        else:
            kept.append(nbformat.from_dict(item))
    return kept


def assert_same(now: Any, stored: Any) -> None:
    assert len(outputs(now)) == len(outputs(stored))
    for new, old in zip(outputs(now), outputs(stored), strict=True):
        assert new == old, f"the outputs of this cell differ:\n{old[0]}"


def test_all_example_notebooks_are_there() -> None:
    kernels = {p.stem: read(p).metadata.kernelspec.name for p in NOTEBOOKS}
    assert kernels == EXPECTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_valid_and_has_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    counts = [count for _, count, _ in outputs(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum(bool(items) for _, _, items in outputs(notebook)) > len(counts) / 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_errors_are_only_where_they_are_meant(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "code":
            failed = any(output.output_type == "error" for output in cell.outputs)
            meant = "raises-exception" in cell.metadata.get("tags", [])
            assert failed == meant, cell.source


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_nbclient_gets_the_stored_outputs(
    path: Path, request: pytest.FixtureRequest
) -> None:
    if path.stem in IMPORTING:
        request.getfixturevalue("packages")
    assert_same(executed(path), read(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nbconvert_gets_the_stored_outputs(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if path.stem in IMPORTING:
        request.getfixturevalue("packages")
    # One at a time: nbconvert runs all that it is given with the first one's kernel.
    command = (sys.executable, "-m", "jupyter", "nbconvert", "--execute")
    options = ("--to", "notebook", "--log-level", "ERROR", "--output-dir")
    subprocess.run([*command, *options, str(tmp_path), str(path)], check=True)
    assert_same(read(tmp_path / path.name), read(path))


def last_result(*cells: str) -> Any:
    """What the last of some cells gives, in a kernel of their own."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "v8-javascript", "display_name": ""}
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in cells]
    asyncio.run(NotebookClient(notebook, timeout=CELL_SECONDS).async_execute())
    return notebook.cells[-1].outputs[-1].data


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_figures_go_on_in_another_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_HEAPS_DIR", str(tmp_path))
    draw = "Plot.dot([[1, 2], [3, 4]]).plot({ document: Jupyter.document })"
    plot = 'import * as Plot from "npm:@observablehq/plot@0.6.17"'
    save = "await Jupyter.checkpoint('plots'); figure"
    before = last_result(plot, f"const figure = {draw}", save)
    load = "Jupyter.restore('plots')"
    assert last_result(load, "figure") == before
    assert last_result(load, draw) == before


def store(names: list[str]) -> None:
    """Execute notebooks and keep what comes out."""
    os.environ["ISOKERNEL_HISTORY"] = "off"
    os.environ["ISOKERNEL_PACKAGE_CACHE_DIR"] = str(CACHE)
    for path in NOTEBOOKS:
        if not names or path.name in names:
            notebook = executed(path)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = joined(cell.outputs)
            nbformat.write(notebook, path)


if __name__ == "__main__":
    store(sys.argv[1:])
