"""The dashboard of `deploy/grafana` asks for what servers have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from isoserver.http.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client

DASHBOARD = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "isokernel.json").read_text()
)
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
_RATE = "$__rate_interval"


def _targets() -> list[tuple[str, str, str]]:
    """Each query: the panel's title, the expression, the legend."""
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]


def _parts(node: Any) -> Iterator[Any]:
    """The node and all that is in it."""
    yield node
    if isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    for name in ("lhs", "rhs", "expr", "param"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from _parts(inner)
    for inner in getattr(node, "args", ()):
        yield from _parts(inner)


def _selected(node: Any) -> list[Any]:
    return [
        part for part in _parts(node) if isinstance(part, promql_parser.VectorSelector)
    ]


def _grouped(node: Any) -> set[str]:
    return {
        label
        for part in _parts(node)
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier
        for label in part.modifier.labels
    }


@pytest.fixture
def samples(client: Client) -> dict[str, set[str]]:
    """The names of a server's samples, with the labels that they have."""
    client.run("1")
    client.get("/contexts/nobody")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


# What has happened on no server of a test has no samples there, but these.
RARE = {
    "isokernel_deaths_total": {"language"},
    "isokernel_refusals_total": {"reason"},
    "isokernel_webhooks_total": {"outcome"},
}


def test_every_query_finds_something(samples: dict[str, set[str]]) -> None:
    assert len(_targets()) > 20
    for title, text, legend in _targets():
        query = promql_parser.parse(text.replace(_RATE, "5m"))
        found = _selected(query)
        assert found, title
        for selector in found:
            labels = {**RARE, **samples}.get(selector.name)
            assert labels is not None, f"{title}: no metric {selector.name}"
            asked = {matcher.name for matcher in selector.matchers.matchers}
            assert asked >= SCRAPED, f"{title}: not of the chosen servers"
            assert asked | _grouped(query) <= labels | SCRAPED, title
        shown = {name[2:] for name in legend.split("}}") if name.startswith("{{")}
        whole = SCRAPED if not _grouped(query) else set()
        assert shown <= _grouped(query) | whole, title


def test_what_is_rare_is_counted_by_those_labels(samples: dict[str, set[str]]) -> None:
    metrics = Metrics()
    metrics.died("python")
    metrics.refused("rate")
    metrics.webhook("delivered")
    text = metrics.text().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in RARE:
                assert set(sample.labels) == RARE[sample.name]
                samples.pop(sample.name, None)
    assert all(name in text for name in RARE)


def test_every_metric_is_on_it(samples: dict[str, set[str]]) -> None:
    shown = {
        selector.name
        for _, text, _ in _targets()
        for selector in _selected(promql_parser.parse(text.replace(_RATE, "5m")))
    }
    ours = {
        name
        for name in (*samples, *RARE)
        if name.startswith("isokernel_")
        and not name.endswith(("_created", "_sum", "_count"))
    }
    assert ours <= shown


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
