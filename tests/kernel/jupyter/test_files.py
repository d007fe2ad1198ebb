"""A notebook's folder: read and written by its code, through the kernel's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.kernels import Kernel, start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook's folder, which has a file beside it."""
    folder = tmp_path_factory.mktemp("home") / "notebook"
    folder.mkdir()
    (folder.parent / "secret").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def notebook(place: Path) -> Iterator[Kernel]:
    driver = start_kernel("v8-typescript", place, "off")
    yield driver
    driver.close()


def test_files_beside_the_notebook_are_read_and_written(
    notebook: Kernel, place: Path
) -> None:
    (place / "cities.csv").write_text("name,people\nBern,134\n")
    outcome = notebook.run(
        """
        import { readFileSync, promises } from "node:fs";
        const rows: string[] = readFileSync("cities.csv", "utf8").trim().split("\\n");
        await promises.writeFile("rows.json", JSON.stringify(rows.slice(1)));
        process.cwd() + rows.length"""
    )
    assert outcome.result == "'/2'"
    assert (place / "rows.json").read_text() == '["Bern,134"]'


def test_nothing_above_it_is_reached(notebook: Kernel, place: Path) -> None:
    (place / "up").symlink_to("..")
    code = """
    const fs = require("fs");
    const codes: string[] = [];
    for (const path of ["../secret", "up/secret", "/etc/passwd"]) {
      try { codes.push(fs.readFileSync(path, "utf8")) }
      catch (e: any) { codes.push(e.code) }
    }
    codes.join()"""
    assert notebook.run(code).result == "'EACCES,EACCES,ENOENT'"
