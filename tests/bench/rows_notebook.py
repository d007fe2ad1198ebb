"""Rows of the table: outputs that nbclient (nbconvert --execute, papermill) loses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from tests.bench.peers import Peer
    from tests.bench.session import Sheet

CELLS = 30
LINES = 500


def notebooks(sheet: Sheet, peer: Peer, rounds: int) -> None:
    """Notebooks whose every output is known, executed several times."""
    logs, values, prints = [], [], []
    for _ in range(rounds):
        logs.append(_wrong_logs(peer))
        values.append(_wrong_values(peer))
        prints.append(_lines_kept(peer))
    row = f"nbclient: wrong of {CELLS} cells that print"
    sheet.put(row, peer, ", ".join(map(str, logs)), logs)
    row = f"nbclient: wrong of {CELLS} cells that are expressions"
    sheet.put(row, peer, ", ".join(map(str, values)), values)
    text = "all, each time"
    if any(run != [LINES] * 5 for run in prints):
        text = "; ".join(str(run) for run in prints)
    sheet.put(f"nbclient: lines kept of 5 cells of {LINES}", peer, text, prints)


def _execute(peer: Peer, codes: list[str]) -> list[Any]:
    cells = [new_code_cell(code) for code in codes]
    notebook = new_notebook(cells=cells)
    client = NotebookClient(notebook, kernel_name=peer.spec, timeout=60)
    asyncio.run(client.async_execute())
    return [cell.outputs for cell in notebook.cells]


def _printed(outputs: Any) -> str:
    return "".join(o.text for o in outputs if o.output_type == "stream")


def _wrong_logs(peer: Peer) -> int:
    codes = [peer.log.replace("{text!r}", f"'cell {i}'") for i in range(CELLS)]
    found = [_printed(outputs) for outputs in _execute(peer, codes)]
    return sum(text != f"cell {i}\n" for i, text in enumerate(found))


def _wrong_values(peer: Peer) -> int:
    found = _execute(peer, [f"{i} + 1000" for i in range(CELLS)])
    return sum(
        [str(1000 + i) in o.data["text/plain"] for o in outputs if "data" in o]
        != [True]
        for i, outputs in enumerate(found)
    )


def _lines_kept(peer: Peer) -> list[int]:
    code = peer.lines.replace("{n}", str(LINES)).replace("{{i}}", "{i}")
    return [_printed(outputs).count("\n") for outputs in _execute(peer, [code] * 5)]
