"""A notebook of IPython that uses the client, and shows what comes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import Server

PLOT = """
c.run('''
from matplotlib import pyplot
print("drawing")
pyplot.figure(figsize=(1, 1))
pyplot.plot([1, 3, 2]);
''', language="python")
"""
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAA"
    "SUVORK5CYII="
)


@pytest.mark.timeout(120)
def test_it_shows_plots_tables_and_errors(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_URL", server.url)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [
        "from isokernel.client import AsyncContext, Context\nc = Context()",
        "c.run('console.log(1); display.table([{ city: \"Bern\" }]); ({ a: 1 })')",
        f"c.run('Uint8Array.fromBase64(\"{PICTURE}\")')",
        "c.run('throw new RangeError(\"<no>\")')",
        "c.run('display(2); 3').outputs[0]",
        "a = AsyncContext(client=None)\nawait a.run('6 * 7')",
        "await a.close()\nc.close()",
    ]
    outputs = _run(cells)
    printed, table, value = outputs[1]
    assert (printed["name"], printed["text"]) == ("stdout", "1\n")
    assert "sandbox" in table["data"]["text/html"]
    assert "Bern" in table["data"]["text/html"]
    assert value["data"]["text/plain"] == "{ a: 1 }"
    assert outputs[2][0]["data"]["image/png"].startswith("iVBORw0KGgo")
    (error,) = outputs[3]
    assert error["data"]["text/plain"].startswith("RangeError: <no>\n    at cell 3")
    assert "&lt;no&gt;" in error["data"]["text/html"]
    assert outputs[4][0]["data"] == {"text/plain": "2"}
    assert outputs[5][0]["data"]["text/plain"] == "42"
    assert outputs[6] == []


def _run(cells: list[str]) -> list[list[dict[str, Any]]]:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in cells]
    )
    client = NotebookClient(notebook, timeout=60, kernel_name="python3")
    asyncio.run(client.async_execute())
    return [cell["outputs"] for cell in notebook["cells"]]


@pytest.mark.timeout(120)
def test_it_shows_a_figure(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("ISOKERNEL_URL", server.url)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    made = "from isokernel.client import Context\nc = Context(language='python')"
    outputs = _run([made, PLOT, "c.close()"])
    printed, figure = outputs[1]
    assert printed["text"] == "drawing\n"
    assert figure["data"]["image/png"].startswith("iVBORw0KGgo")
