"""What the benchmarks share: plots, the page, the quick comparison."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from tests.bench import quick, report
from tests.bench.plots import Plot, svg

if TYPE_CHECKING:
    from pathlib import Path

LEVEL = [(1.0, 5.0), (100.0, 5.0), (10_000.0, 5.0)]
LINEAR = [(1.0, 5.0), (100.0, 500.0), (10_000.0, 50_000.0)]
SPACE = "{http://www.w3.org/2000/svg}"


def plot(**series: list[tuple[float, float]]) -> Plot:
    return Plot("growth", "A cost & its <growth>", "contexts", "ms", series)


def places(picture: str) -> list[list[tuple[float, float]]]:
    """The dots of each line, as they are drawn."""
    root = ET.fromstring(picture)  # noqa: S314 -- our own
    groups = root.iter(f"{SPACE}g")
    return [
        [
            (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
            for dot in group.iter(f"{SPACE}circle")
        ]
        for group in groups
    ]


def test_what_is_level_is_drawn_level_and_what_is_linear_is_a_straight_line() -> None:
    level, linear = places(svg(plot(level=LEVEL, linear=LINEAR)))
    assert len({y for _, y in level}) == 1
    (x0, y0), (x1, y1), (x2, y2) = linear
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 - y1 > 0


def test_noise_does_not_fill_the_height() -> None:
    (noise,) = places(svg(plot(noise=[(1, 1.0), (10, 1.05), (100, 0.98)])))
    heights = [y for _, y in noise]
    assert max(heights) - min(heights) < 20


def test_points_that_a_logarithm_has_not_are_left_out() -> None:
    assert [len(line) for line in places(svg(plot(a=[(0, 1), (1, 1), (2, 2)])))] == [2]


@pytest.mark.parametrize("lines", [0, 7])
def test_a_plot_without_points_or_with_too_many_lines_is_refused(lines: int) -> None:
    with pytest.raises(ValueError, match=f"{lines} lines"):
        svg(plot(**{f"line{number}": LEVEL for number in range(lines)}))


def test_the_page_shows_the_plots_below_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("before\n<!-- begin it -->\nold\n<!-- end it -->\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PLOTS", tmp_path / "plots")
    options = argparse.Namespace(json=figures, page=True)
    report.publish(options, "it", {"a": 1}, "a table", plots=[plot(level=LEVEL)])
    assert "a table" in capsys.readouterr().out
    text = page.read_text()
    assert "old" not in text
    assert text.index("a table") < text.index("](plots/it-growth.svg)")
    assert (tmp_path / "plots" / "it-growth.svg").read_text().startswith("<svg")
    kept = json.loads(figures.read_text())["plots"]
    assert kept[0]["series"] == {"level": [list(point) for point in LEVEL]}


def ratio(value: float) -> quick.Ratio:
    return {"ratio": value, "ours": value * 2, "reference": 2.0, "unit": "ms"}


def test_only_a_ratio_that_has_grown_beyond_noise_is_a_warning() -> None:
    last = {"grown": ratio(2), "noise": ratio(2), "less": ratio(2), "gone": ratio(2)}
    now = {"grown": ratio(4), "noise": ratio(2.5), "less": ratio(1), "new": ratio(9)}
    (said,) = quick.warnings(now, last)
    assert said.startswith("warning: grown: ")
    assert "4.00 (8.00 / 2.00 ms)" in said
    assert "2.00 (4.00 / 2.00 ms)" in said
    assert "2.0 times" in said


def test_a_slower_cell_is_told_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "quick.json"
    arguments = ["--only", "a cell", "--file", str(file)]
    quick.main([*arguments, "--keep"])
    assert "warning" not in capsys.readouterr().out
    kept: dict[str, Any] = json.loads(file.read_text())
    (name,) = kept["ratios"]
    kept["ratios"][name]["ratio"] /= 100
    file.write_text(json.dumps(kept))
    quick.main(arguments)
    assert f"warning: {name}" in capsys.readouterr().out
    assert json.loads(file.read_text()) == kept


def test_the_tree_has_a_ratio_for_each_question() -> None:
    kept = json.loads(quick.KEPT.read_text())["ratios"]
    assert set(kept) == {question.name for question in quick.QUESTIONS}
