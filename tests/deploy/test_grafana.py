"""The dashboard of `deploy/grafana` asks for what servers have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.server.cluster.conftest import Nodes
from tests.support.waiting import wait_for

from isoserver.http.metrics import Metrics
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from tests.support.postgresql import PostgreSQL

    Samples: TypeAlias = dict[str, dict[frozenset[str], float]]

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "isokernel.json").read_text())
# PostgreSQL and two servers are started for the first of them.
pytestmark = pytest.mark.timeout(180)
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


def _samples(text: str) -> Samples:
    """Each name, with its values by the labels that they have."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels)] = sample.value
    return found


@pytest.fixture(scope="module")
def scraped(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> list[Samples]:
    """What two servers of a cluster have, which have passed something on."""
    nodes = Nodes(postgresql.database(), tmp_path_factory.mktemp("nodes"))
    try:
        for _ in range(2):
            nodes.start()

        def scrape() -> list[Samples]:
            return [_samples(one.get("/metrics").text) for one in nodes.clients]

        def see_each_other() -> bool:
            return all(_value(one, "cluster_servers") == 2 for one in scrape())

        wait_for(see_each_other)
        # Whichever made it, one of them passes on what is asked of the other.
        context_id = nodes.clients[0].run("1")["context_id"]
        for client in nodes.clients:
            client.run("2", context_id=context_id)
            client.get("/contexts/nobody")
        return scrape()
    finally:
        nodes.stop()


@pytest.fixture
def samples(scraped: list[Samples]) -> dict[str, set[str]]:
    """The names of their samples, with the labels that they have."""
    found: dict[str, set[str]] = {}
    for one in scraped:
        for name, values in one.items():
            found.setdefault(name, set()).update(*values)
    return found


def _value(samples: Samples, name: str) -> float:
    """The value of a figure without labels."""
    return samples[f"isokernel_{name}"][frozenset()]


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


def test_how_servers_stand_in_their_cluster(scraped: list[Samples]) -> None:
    most = ServerSettings().contexts_max
    for one in scraped:
        assert _value(one, "serving") == 1
        assert most <= _value(one, "cluster_contexts_free") <= 2 * most
    passed = [one.get("isokernel_passed_requests_total", {}) for one in scraped]
    assert sum(passed[0].values()) + sum(passed[1].values()) >= 1


def test_autoscalers_are_told_of_one_figure() -> None:
    lines = (ROOT / "docs" / "cluster.md").read_text().splitlines()
    told = [line for line in lines if "an autoscaler" in line and "isokernel_" in line]
    assert len(told) == 2
    named = {name for line in told for name in re.findall(r"isokernel_\w+", line)}
    assert named == {"isokernel_cluster_contexts_free"}


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
