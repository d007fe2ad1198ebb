"""Outputs: bounded in all that they take, not only in the text that is shown."""

from __future__ import annotations

import re
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
    assert "cut after" in outputs.text("stderr")


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
    assert kinds == ["stream", "stream", "error"]  # the second one says what is missing


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
    assert "raise --output-bytes-max to see more]" in outputs.text("stderr")


@pytest.mark.parametrize("letter", ["x", "é", "€", "\U0001f600"])
def test_much_text_keeps_head_and_tail(letter: str) -> None:
    outputs = Outputs(20_000)
    size = len(letter.encode())
    for number in range(10_000):
        name = "stdout" if number < 9990 or number % 3 else "stderr"
        text = f"{number} {letter}\n"
        outputs.add("stream", {"name": name, "text": text})
    outputs.add("execute_result", {"data": {"text/plain": "7"}, "metadata": {}})
    outputs.finish()
    outputs.add("stream", {"name": "stdout", "text": "late"})
    (_, out), (_, err) = ((name, outputs.text(name)) for name in ("stdout", "stderr"))
    assert out.startswith(f"0 {letter}\n1 {letter}\n2")
    assert out.endswith(f"9997 {letter}\n9998 {letter}\n")
    assert err.endswith(f"9999 {letter}\n")
    notices = [line for line in err.split("\n") if line.startswith("[")]
    assert re.fullmatch(
        r"\[output cut after 17\d\d\d bytes; raise --output-bytes-max to see more]",
        notices[0],
    )
    whole = sum(len(str(number)) + 2 + size for number in range(10_000))
    kept = len((out + err).encode()) - sum(len(line) + 1 for line in notices)
    left_out = int(notices[1].removeprefix("[").split()[0])
    assert whole - left_out - kept in {0, -1}  # a newline before the notice
    assert 20_000 - 8 < kept <= 20_001
    assert next(outputs.displays())["data"] == {"text/plain": "7"}


def test_what_is_cleared_has_no_tail() -> None:
    outputs = Outputs(10_000)
    outputs.add("stream", {"name": "stdout", "text": "a" * 20_000})
    outputs.add("clear_output", {})
    outputs.add("stream", {"name": "stdout", "text": "the end"})
    outputs.finish()
    assert outputs.text("stdout") == "the end"
    assert outputs.text("stderr") == ""


def test_what_is_cut_already_has_room_for_the_notices() -> None:
    outputs = Outputs(1000, cut_before=True)
    outputs.add("stream", {"name": "stdout", "text": "x" * 1000})
    outputs.add("stream", {"name": "stderr", "text": "[output cut]\n"})
    outputs.finish()
    assert outputs.text("stderr") == "[output cut]\n"
    outputs.add("stream", {"name": "stdout", "text": "x" * 10_000})
    assert "raise --output-bytes-max" in outputs.text("stderr")
    assert outputs.size < 6000
