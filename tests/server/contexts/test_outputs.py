"""Outputs: bounded in all that they take, not only in the text that is shown."""

from __future__ import annotations

from typing import Any

import pytest

from isoserver.contexts.outputs import Outputs

ERROR = {"ename": "E", "evalue": "e", "traceback": ["x" * 50]}


@pytest.mark.parametrize(
    "message",
    [
        ("display_data", {"data": {}, "metadata": {"a": "x" * 60}}),
        ("display_data", {"data": {"text/plain": "x" * 60}, "metadata": {}}),
        ("error", ERROR),
    ],
)
def test_all_of_an_output_counts(message: tuple[str, dict[str, Any]]) -> None:
    outputs = Outputs(1000)
    for _ in range(100):
        outputs.add(*message)
    assert len(outputs.items) < 25
    assert "dropped" in outputs.text("stderr")


def test_outputs_without_text_are_bounded() -> None:
    outputs = Outputs(1000)
    for _ in range(10_000):
        outputs.add("display_data", {"data": {}, "metadata": {}})
        outputs.add("stream", {"name": "stdout", "text": ""})
    assert len(outputs.items) < 1100
    assert outputs.text("stdout") == ""


def test_the_first_error_is_shown_whatever_was_put_out_before() -> None:
    outputs = Outputs(10)
    outputs.add("stream", {"name": "stdout", "text": "x" * 20})
    outputs.add("error", ERROR)
    outputs.add("error", ERROR)
    kinds = [item["output_type"] for item in outputs.items]
    assert kinds == ["stream", "error"]


def test_results_and_displays_survive_much_output() -> None:
    """They have room of their own."""
    outputs = Outputs(1000)
    outputs.add("stream", {"name": "stdout", "text": "x" * 2000})
    content = {"data": {"text/plain": "y" * 500}, "metadata": {}}
    outputs.add("display_data", content)
    outputs.add("display_data", content)
    outputs.add("display_data", content)
    outputs.add("execute_result", {**content, "execution_count": 1})
    kinds = [item["output_type"] for item in outputs.displays()]
    assert kinds == ["display_data", "display_data", "execute_result"]
    assert "--cell-output-characters-max" in outputs.text("stderr")
