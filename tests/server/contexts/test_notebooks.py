"""Contexts as notebooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

if TYPE_CHECKING:
    from tests.support.client import Client

HEADERS = {"Content-Type": "application/json"}


def _read(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    notebook = nbformat.reads(answer.text, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.mark.parametrize(
    ("language", "kernel", "code", "name"),
    [
        ("typescript", "v8-typescript", "console.log('a'); 5", "TypeError"),
        ("python", "python3", "print('a')\n5", "TypeError"),
    ],
)
def test_the_history_is_a_notebook(
    client: Client, language: str, kernel: str, code: str, name: str
) -> None:
    fails = {"typescript": "null.x", "python": "len(1)"}[language]
    here = client.create(language)
    client.run(code, context_id=here)
    client.run(fails, context_id=here)
    notebook = _read(client.get(f"/contexts/{here}/notebook"))
    assert notebook.metadata.kernelspec.name == kernel
    first, second = notebook.cells
    assert (first.source, first.execution_count) == (code, 1)
    assert [output.output_type for output in first.outputs] == [
        "stream",
        "execute_result",
    ]
    assert first.outputs[0].text == "a\n"
    assert first.outputs[1].data["text/plain"] == "5"
    assert second.outputs[0].ename == name


def test_an_empty_history(client: Client) -> None:
    notebook = _read(client.get(f"/contexts/{client.create()}/notebook"))
    assert notebook.cells == []


def test_what_a_timer_prints_later_is_in_the_history(client: Client) -> None:
    here = client.create()
    code = "globalThis.t = new Promise(d => setTimeout(() => {console.log('x'); d()}))"
    client.run(f"{code}; 0", context_id=here)
    client.run("await t", context_id=here)
    notebook = _read(client.get(f"/contexts/{here}/notebook"))
    printed = [o.text for c in notebook.cells for o in c.outputs if "text" in o]
    assert printed == ["x\n"]


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_notebook_is_run(client: Client, language: str) -> None:
    here = client.create(language)
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# words"),
            new_code_cell("a = 20"),
            new_code_cell("a + 1", execution_count=99),
            new_code_cell(""),
            new_code_cell("boom"),
            new_code_cell("a = 0"),
        ]
    )
    done = _read(
        client.post(
            f"/contexts/{here}/notebook",
            content=nbformat.writes(notebook),
            headers=HEADERS,
        )
    )
    counts = [cell.get("execution_count") for cell in done.cells]
    assert counts == [None, 1, 2, None, 3, None]
    assert done.cells[2].outputs[0].data["text/plain"] == "21"
    assert done.cells[4].outputs[-1].output_type == "error"
    assert client.text("a", context_id=here) == "20"


def test_a_notebook_of_an_old_version_is_not_taken(client: Client) -> None:
    here = client.create()
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}
    answer = client.post(f"/contexts/{here}/notebook", json=old)
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} >= {"nbformat"}


@pytest.mark.parametrize(
    "change",
    [
        {"cells": [{"cell_type": "code"}]},
        {"cells": [{"cell_type": "nonsense", "source": "", "metadata": {}}]},
        {"cells": "none"},
        {"metadata": []},
        {"nbformat_minor": "x"},
        {"nbformat_minor": 5.0},
    ],
)
def test_what_is_no_notebook_is_invalid(client: Client, change: dict[str, Any]) -> None:
    here = client.create()
    content = {**json.loads(nbformat.writes(new_notebook())), **change}
    answer = client.post(f"/contexts/{here}/notebook", json=content)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"] == "Invalid request"


@pytest.mark.parametrize("value", ["0", "-1", "x", "1e3", "9" * 30])
def test_a_notebooks_timeout_is_checked(client: Client, value: str) -> None:
    here = client.create()
    path = f"/contexts/{here}/notebook?timeout_ms={value}"
    answer = client.post(path, content=nbformat.writes(new_notebook()), headers=HEADERS)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "timeout_ms"
