"""papermill, unmodified, with notebooks of our kernels."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
import pytest
from papermill.engines import NBClientEngine, papermill_engines
from papermill.parameterize import parameterize_notebook
from papermill.translators import papermill_translators

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.local_contexts import LocalContext

LANGUAGES = {"v8-javascript": "javascript", "v8-typescript": "typescript"}
SHOWN = "console.log(JSON.stringify({ count, options, text }), typeof count);"


def notebook(kernel: str, *cells: str) -> Any:
    """A notebook whose first cell is tagged as papermill wants it."""
    written = nbformat.v4.new_notebook()
    written.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    written.cells[0].metadata["tags"] = ["parameters"]
    language = LANGUAGES[kernel]
    written.metadata["papermill"] = {}
    written.metadata["kernelspec"] = {
        "name": kernel,
        "display_name": kernel,
        "language": language,
    }
    return written


def codify(**parameters: Any) -> str:
    translator = papermill_translators.find_translator("v8-javascript", "javascript")
    return str(translator.codify(parameters))


@pytest.mark.parametrize(
    ("kernel", "defaults"),
    [
        ("v8-javascript", "const count = 1;\nlet options = {};\nvar text = 'no';"),
        pytest.param(
            "v8-typescript",
            "const count: number = 1;\nlet options: Record<string, number[]> = {};\n"
            "var text: string | null = null;",
            # The command and what it writes are those of JavaScript.
            marks=pytest.mark.slow,
        ),
    ],
)
def test_command(tmp_path: Path, kernel: str, defaults: str) -> None:
    """Parameters take the place of the notebook's defaults."""
    path = tmp_path / "in.ipynb"
    nbformat.write(notebook(kernel, defaults, SHOWN), path)
    command = [sys.executable, "-m", "papermill", "--no-progress-bar"]
    options = ["-p", "count", "7", "-p", "text", 'a "b"\nc', "-y", "options: {a: [1]}"]
    done = tmp_path / "out.ipynb"
    ran = subprocess.run(
        [*command, *options, str(path), str(done)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "ISOKERNEL_HISTORY": "off"},
    )
    assert ran.returncode == 0, ran.stderr
    shown = '{"count":7,"options":{"a":[1]},"text":"a \\"b\\"\\nc"} number\n'
    assert nbformat.read(done, as_version=4).cells[-1].outputs[0].text == shown


def test_engine() -> None:
    """The engine by which papermill finds the translators is papermill's own."""
    assert papermill_engines.get_engine("isokernel") is NBClientEngine


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (-3, "-3"),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (-0.0, "-0"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (2**53 - 1, "9007199254740991"),
        (2**63, "9223372036854775808n"),
        ("it's \\ \u2028 `${x}` 😀", None),
        ([1, "a", [None]], "[ 1, 'a', [ null ] ]"),
        ({"a": {"b c": 1}, "1": (2,)}, "{ '1': [ 2 ], a: { 'b c': 1 } }"),
        ({"__proto__": 1}, "{ ['__proto__']: 1 }"),
        (dt.date(2026, 1, 2), "'2026-01-02'"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone.utc), None),
    ],
)
def test_values(context: LocalContext, value: Any, shown: str | None) -> None:
    """A value arrives as what it is."""
    assert context.run(codify(value=value)).error is None
    if shown is not None:
        assert context.run("value").text == shown
        return
    text = value if isinstance(value, str) else value.isoformat()
    assert context.run(f"value === {json.dumps(text)}").text == "true"


@pytest.mark.parametrize("before", ["const", "let", "var"])
def test_takes_the_place(context: LocalContext, before: str) -> None:
    """Whatever declared the name, functions of that cell see the parameter."""
    context.run(f"{before} given_{before} = 1; var see = () => given_{before};")
    for value in (2, 3):
        assert context.run(codify(**{f"given_{before}": value})).error is None
        assert context.run("see()").text == str(value)


def test_comment() -> None:
    """The cell begins with papermill's comment, each line of it one."""
    given = parameterize_notebook(
        notebook("v8-javascript", "var a = 1"), {"a": 2}, comment="one\ntwo"
    )
    assert given.cells[1].source == "// one\n// two\nlet a = 2;\n"


@pytest.mark.parametrize("name", ["a-b", "1a", "", "a = 1; b"])
def test_wrong_names(name: str) -> None:
    """A name that JavaScript can't have is refused before anything runs."""
    with pytest.raises(ValueError, match="is no name in JavaScript"):
        codify(**{name: 1})


def test_help(tmp_path: Path) -> None:
    """`papermill --help-notebook` lists what the cell declares."""
    path = tmp_path / "a.ipynb"
    cell = (
        "// The parameters\nconst count: number = 1; // how many\n"
        "let url = 'http://a//b;';\nvar on: boolean | null = null\n"
        "const f = (x) => x;\nb == c\n"
    )
    nbformat.write(notebook("v8-typescript", cell), path)
    found = [tuple(one.values()) for one in papermill.inspect_notebook(path).values()]
    assert found[:3] == [
        ("count", "number", "1", "how many"),
        ("url", "None", "'http://a//b;'", ""),
        ("on", "boolean | null", "null", ""),
    ]
    assert {name for name, *_ in found[3:]} <= {"f"}
