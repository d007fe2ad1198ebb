"""Values as text: the same as Node.js shows, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("node_texts.json").read_text(encoding="utf-8")
)


def expected(row: dict[str, str]) -> str:
    return row.get("ours", row["node"])


def test_results_as_node(context: LocalContext) -> None:
    """A cell's result has the text of util.inspect."""
    wrong = []
    for row in TABLE["inspect"]:
        outcome = context.run(f"(0, eval)({json.dumps(row['code'])})")
        text = str(outcome.error) if outcome.error else outcome.text or "undefined"
        if text != expected(row):
            wrong.append((row["code"], expected(row), text))
    assert wrong == []


def test_console_as_node(context: LocalContext) -> None:
    """console.log prints the text of util.format."""
    wrong = []
    for row in TABLE["format"]:
        outcome = context.run(f"console.log({row['code']})")
        text = str(outcome.error) if outcome.error else outcome.stdout
        if text != expected(row) + "\n":
            wrong.append((row["code"], expected(row), text))
    assert wrong == []
