"""Odd results: whatever a value is, a notebook can hold what the kernel says of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, output_from_msg
from tests.support.odd_values import check_text, odd_values

if TYPE_CHECKING:
    from tests.support.kernels import Kernel

TURNS: Final = 40
MANY: Final = 250
OUTPUTS: Final = {"display_data", "execute_result", "stream", "error"}


def _run(kernel: Kernel, turns: int) -> None:
    cells = []
    seed = random.getrandbits(32)  # of pytest-randomly's, which prints its own
    for value in odd_values(random.Random(seed), turns):  # noqa: S311
        outcome = kernel.run(value.code)
        status = outcome.reply["content"]["status"]
        assert status == "ok" or value.may_fail, (value, outcome.reply)
        outputs = [
            output_from_msg(message)
            for message in outcome.messages
            if message["msg_type"] in OUTPUTS
        ]
        check_text(outputs)
        assert all(output.get("data", True) for output in outputs), value
        cells.append(new_code_cell(value.code, outputs=outputs))
    notebook = new_notebook(cells=cells)
    text = nbformat.writes(notebook)
    nbformat.validate(nbformat.reads(text, as_version=4))


def test_odd_results_are_in_a_notebook(kernel: Kernel) -> None:
    _run(kernel, TURNS)


@pytest.mark.slow
@pytest.mark.race
def test_many_odd_results_are_in_a_notebook(kernel: Kernel, times: int) -> None:
    _run(kernel, MANY * times)
