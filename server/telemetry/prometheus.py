"""``/metrics`` for Prometheus: what the process has counted, in its exposition format.

The numbers are the service's own (:mod:`tokenward.performance`), so nothing is counted twice and nothing is locked
between scrapes: ``prometheus_client`` only writes them down. Labels come from fixed lists (tools, routes, known
models); no user, group, session or text of a caller is one.
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tokenward.engine.types import NANO_PER_USD
from tokenward.performance import Histogram, Performance


def exposition(
    performance: Performance, *, version: str, holds: int | None, worker: str = "", accept: str = ""
) -> tuple[bytes, str]:
    """All metrics, and the type of what they are written in.

    Args:
        performance: What was counted.
        version: Of tokenward.
        holds: Pending reservations in the store; ``None`` when it cannot be reached.
        worker: Which process answers, where several share an address: a label of everything.
        accept: The ``Accept`` header: OpenMetrics if that is asked for, else the text format.
    """
    registry = CollectorRegistry()
    labels = {"worker": worker} if worker else {}
    collected = (_Service(performance, version, holds), ProcessCollector(registry=None), PlatformCollector(None))
    for one in collected:
        registry.register(_Labelled(one, labels))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Labelled(Collector):
    """Another collector's metrics with labels of the process."""

    def __init__(self, collector: Collector, labels: Mapping[str, str]) -> None:
        self._collector = collector
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        for metric in self._collector.collect():
            if self._labels:
                metric.samples = [one._replace(labels={**one.labels, **self._labels}) for one in metric.samples]
            yield metric


class _Service(Collector):
    """The service's numbers."""

    def __init__(self, performance: Performance, version: str, holds: int | None) -> None:
        self._performance = performance
        self._version = version
        self._holds = holds

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("tokenward_build", "The version that runs.", value={"version": self._version})
        yield from self._requests()
        yield from self._usage()
        yield from self._quotas()
        yield from self._counting()
        yield from self._ledger()

    def _requests(self) -> Iterable[Metric]:
        done = self._performance
        calls = dict(done.calls).items()
        yield _histograms("tool_call_duration_seconds", "Tool calls.", ("tool", "outcome"), calls)
        requests = [((method, path, str(status)), one) for (method, path, status), one in dict(done.requests).items()]
        yield _histograms("http_request_duration_seconds", "HTTP requests.", ("method", "path", "status"), requests)
        yield _gauge("http_requests_in_flight", "HTTP requests under way.", done.in_flight)

    def _usage(self) -> Iterable[Metric]:
        done = self._performance
        names = ("provider", "model", "type")
        what = "Recorded tokens; input holds cache_read and cache_write, output holds reasoning."
        yield _counters("tokens", what, names, dict(done.tokens).items())
        costs = [(key, nano / NANO_PER_USD) for key, nano in dict(done.cost_nano).items()]
        yield _counters("cost_usd", "Recorded cost, US dollars, of events with a price.", names[:2], costs)
        what = "Recorded events: new ones, those of them over a limit or without a price, and repeated ones."
        yield _counters("events", what, ("kind",), _by_name(done.events))

    def _quotas(self) -> Iterable[Metric]:
        done = self._performance
        yield _counters("quota_checks", "Quota checks by answer.", ("answer",), _by_name(done.checks))
        what, names = "Denied quota checks by the limit that denied.", ("scope", "metric", "window")
        yield _counters("quota_denials", what, names, dict(done.denials).items())
        what = "Reservations held, settled and released here."
        yield _counters("reservations", what, ("event",), _by_name(done.reservations))
        yield _gauge("store_up", "Whether the store answered this scrape.", int(self._holds is not None))
        if self._holds is not None:
            yield _gauge("reservations_pending", "Reservations that have not ended, in the whole store.", self._holds)

    def _counting(self) -> Iterable[Metric]:
        counting = self._performance.counting()
        if not counting:
            return
        lookups = [(("hit",), counting["cache_hits"]), (("miss",), counting["cache_misses"])]
        yield _counters("count_cache_lookups", "Texts counted, by whether the cache knew them.", ("result",), lookups)
        yield _gauge("count_cache_entries", "Counts in the cache.", counting["cache_entries"])
        seconds = counting["average_processing_time"] * counting["total_calls"]
        yield _counter("count_seconds", "Time spent counting texts.", seconds)

    def _ledger(self) -> Iterable[Metric]:
        ledger = self._performance.ledger
        yield _gauge("ledger_queue_depth", "Operations that wait to be committed.", ledger.queued())
        for name, what, one in (
            ("wait_duration_seconds", "Operations, from asking until the answer.", ledger.waits),
            ("commit_duration_seconds", "Transactions.", ledger.commits),
            ("commit_operations", "Operations in a transaction.", ledger.operations),
        ):
            yield _histograms(f"ledger_{name}", what, (), [((), one)])
        yield _counter("ledger_commit_failures", "Transactions the store did not take.", ledger.failures)
        yield _counter("ledger_refusals", "Operations refused because too many waited.", ledger.refusals)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tokenward_{name}", what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"tokenward_{name}", what, value=value)


def _by_name(counts: Mapping[str, int]) -> list[tuple[Sequence[str], float]]:
    return [((name,), count) for name, count in dict(counts).items()]


def _counters(name: str, what: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = CounterMetricFamily(f"tokenward_{name}", what, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _histograms(
    name: str, what: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(f"tokenward_{name}", what, labels=labels)
    for key, one in values:
        family.add_metric(key, _cumulative(one), one.total)
    return family


def _cumulative(one: Histogram) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each holds those below it too."""
    total, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*map(str, one.bounds), "+Inf"), list(one.counts), strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
