"""Metrics for Prometheus. Each server has a registry of its own."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from isoserver.contexts.context import State
from isoserver.contexts.process import resident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isoserver.cluster.service import Cluster
    from isoserver.contexts.service import Contexts

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_STARTS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
_DURATIONS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)


class Metrics:
    """What is counted and measured; an `Observer` of contexts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # Of the server's own process: memory, processor time, open files.
        ProcessCollector(registry=self._registry)
        # Finding a counter by its labels takes longer than counting.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._outcomes: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "isokernel_requests",
            "HTTP requests",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._refusals = Counter(
            "isokernel_refusals",
            "What was refused for want of a key, token, right or rate",
            ["reason"],
            registry=self._registry,
        )
        self._executions = Counter(
            "isokernel_executions",
            "Executions that are over",
            ["language", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "isokernel_execution_seconds",
            "How long executions took",
            ["language"],
            buckets=_DURATIONS,
            registry=self._registry,
        )
        self._starts = Histogram(
            "isokernel_start_seconds",
            "How long the processes of contexts took to start (a fork, for V8)",
            ["language"],
            buckets=_STARTS,
            registry=self._registry,
        )
        self._webhooks = Counter(
            "isokernel_webhooks",
            "Webhooks that were delivered, have failed and are sent again, or given up",
            ["outcome"],
            registry=self._registry,
        )
        self._deaths = Counter(
            "isokernel_deaths",
            "Contexts whose process ended by itself",
            ["language"],
            registry=self._registry,
        )

        self._passed = Counter(
            "isokernel_passed_requests",
            "Requests that were passed on to the server that owns what they are about",
            ["outcome"],
            registry=self._registry,
        )

    def passed_on(self, outcome: str) -> None:
        """Count a request that was passed on to another server of the cluster."""
        self._passed.labels(outcome).inc()

    def webhook(self, outcome: str) -> None:
        """Count an attempt to deliver a webhook."""
        self._webhooks.labels(outcome).inc()

    def refused(self, reason: str) -> None:
        """Count a refusal for want of a key, token, right or rate."""
        self._refusals.labels(reason).inc()

    def requested(self, route: str, method: str, status: int) -> None:
        """Count a request."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._requests.labels(route, method, str(status))
            self._counters[key] = counter
        counter.inc()

    def executed(self, language: str, outcome: str, seconds: float) -> None:
        """Count an execution that has ended."""
        key = (language, outcome)
        found = self._outcomes.get(key)
        if found is None:
            found = (self._executions.labels(*key), self._seconds.labels(language))
            self._outcomes[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def started(self, language: str, seconds: float) -> None:
        """Count a process that is ready."""
        self._starts.labels(language).observe(seconds)

    def died(self, language: str) -> None:
        """Count a process that ended by itself."""
        self._deaths.labels(language).inc()

    def watch(self, contexts: Contexts) -> None:
        """Include the states and memory of contexts, read anew for each scrape."""
        self._registry.register(_ContextsCollector(contexts))

    def watch_cluster(self, cluster: Cluster) -> None:
        """Include how the server stands in its cluster, and how many it sees."""
        self._registry.register(_ClusterCollector(cluster))

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _ContextsCollector:
    """Reads the contexts at each scrape."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; called by the registry."""
        states = self._contexts.states()
        memory: Tally[str] = Tally()
        for context in self._contexts:
            memory[context.language.name] += resident(context.process.pid).own_bytes
        gauge = GaugeMetricFamily(
            "isokernel_contexts", "Contexts by state", labels=["state"]
        )
        for state in State:
            gauge.add_metric([state.value], states[state.value])
        yield gauge
        yield GaugeMetricFamily(
            "isokernel_spare_kernels",
            "Kernels that were started before a context wants one",
            value=self._contexts.engines.count_spares(),
        )
        gauge = GaugeMetricFamily(
            "isokernel_context_memory_bytes",
            "Resident memory of contexts that no file or parent backs",
            labels=["language"],
        )
        for language, size in memory.items():
            gauge.add_metric([language], size)
        yield gauge


class _ClusterCollector:
    """Reads the cluster, as the server knows it, at each scrape."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; called by the registry.

        Without a lease, what is known of the others is as old as its end, and not said.
        """
        cluster = self._cluster
        serves = cluster.serving and not cluster.draining
        yield GaugeMetricFamily(
            "isokernel_serving",
            "1 while the server holds its lease, and takes what is new",
            value=int(serves),
        )
        if not cluster.serving:
            return
        peers = [peer for peer in cluster.peers() if not peer.draining]
        yield GaugeMetricFamily(
            "isokernel_cluster_servers",
            "Servers that take what is new, as this one sees them; itself included",
            value=len(peers) + serves,
        )
        yield GaugeMetricFamily(
            "isokernel_cluster_contexts_free",
            "Live contexts for which there is room, as this server sees the others",
            value=sum(max(0, peer.capacity - peer.load) for peer in peers)
            + (max(0, cluster.capacity - cluster.load()) if serves else 0),
        )
