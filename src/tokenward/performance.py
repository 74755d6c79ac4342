"""Performance: what this process has done so far, in counters and histograms that cost a call next to nothing.

Whoever does the work tells it here, always from the event loop of the service: so there are no locks, and an
observation is two additions. Readers (a scrape, an exporter's thread, a person) copy what they read. What it is told
holds no text: tools and models are named only where a fixed list has them.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import TokenwardError
from tokenward.engine.limits import TokenLimit
from tokenward.engine.money import usd
from tokenward.engine.quota import Decision
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the buckets of durations."""

OPERATIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Upper bounds of the buckets of operations in a transaction."""

MOST_MODELS = 200
"""How many models are told apart; callers name them, so there is a limit, though only known ones are named at all."""

OTHER = "other"
"""What stands for a model, tool or path that is not named."""

Outcome: TypeAlias = Literal["ok", "refused", "failed", "cancelled"]
"""How a call ended: answered, an error that the caller can mend, an internal error, or given up by the caller."""

TokenType: TypeAlias = Literal["input", "output", "cache_read", "cache_write", "reasoning"]
"""Input holds cache reads and writes, output holds reasoning."""


def named_models(catalog: Catalog) -> Callable[[str], tuple[str, str]]:
    """What gives a model's provider and name as they may be shown: those of a known model, else :data:`OTHER`.

    What callers write for a model may be anything, a secret among it.
    """

    def named(model: str) -> tuple[str, str]:
        try:
            info = catalog.resolve(model)
        except TokenwardError:
            return OTHER, OTHER
        return (info.provider or OTHER, info.name) if info.known else (OTHER, OTHER)

    return lru_cache(MOST_MODELS)(named)


class Histogram:
    """Observations, sorted into buckets.

    Args:
        bounds: The buckets' upper bounds, inclusive, ascending; above the last is one more bucket.

    Attributes:
        counts: Observations in each bucket, one more than there are bounds.
        total: Their sum.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Note one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """About the value that ``share`` of the observations do not exceed: straight lines within buckets.

        0 without observations; the last bound for what lies above it.
        """
        counts = list(self.counts)
        wanted, below = share * sum(counts), 0
        for index, count in enumerate(counts[:-1]):
            if count and below + count >= wanted:
                lowest = self.bounds[index - 1] if index else 0.0
                return lowest + (self.bounds[index] - lowest) * (wanted - below) / count
            below += count
        return self.bounds[-1] if below < sum(counts) else 0.0

    def described(self, unit: str) -> JsonObject:
        """Mean, median and 95th percentile, for people."""
        count = self.count
        return {
            f"average_{unit}": self.total / count if count else 0.0,
            f"p50_{unit}": self.quantile(0.5),
            f"p95_{unit}": self.quantile(0.95),
        }


class LedgerPerformance:
    """What the queue in front of the store has done; see :class:`~tokenward.storage.group_commit.CommitMeter`.

    Attributes:
        timer: Seconds that only go up.
        waits: From asking until the answer, per operation: waiting for the batch before, and the commit.
        commits: Per transaction.
        operations: In each transaction.
        failures: Attempts to commit that the store did not take.
        refusals: Operations that were refused because too many waited.
        queued: Says how many wait now.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self.timer = timer
        self.waits = Histogram()
        self.commits = Histogram()
        self.operations = Histogram(OPERATIONS)
        self.failures = 0
        self.refusals = 0
        self.queued: Callable[[], int] = int

    def answered(self, seconds: float) -> None:
        """An operation was answered."""
        self.waits.observe(seconds)

    def committed(self, operations: int, seconds: float) -> None:
        """A transaction was committed."""
        self.commits.observe(seconds)
        self.operations.observe(operations)

    def failed(self) -> None:
        """The store did not take a transaction."""
        self.failures += 1

    def refused(self) -> None:
        """Too many operations were waiting."""
        self.refusals += 1


class Performance:
    """Everything that is counted. One per service, told by the event loop only.

    Args:
        timer: Seconds that only go up.

    Attributes:
        timer: As given.
        started: What it said at the start.
        ledger: The queue in front of the store.
        counting: Gives what the counter of tokens says of itself.
        calls: Durations by tool and outcome.
        checks: Quota checks by answer: ``allowed``, ``denied`` or ``unchecked`` (the store was down).
        denials: By scope, metric and window of the limit that denied; for a session's budget ``budget``, ``any``.
        reservations: ``held``, ``settled`` and ``released``.
        events: Recorded events by ``new``, ``duplicate``, ``overage`` and ``unpriced``.
        tokens: Recorded tokens by provider, model and type.
        cost_nano: Recorded cost by provider and model, nano-dollars.
        requests: Durations of HTTP requests by method, path and status.
        in_flight: HTTP requests under way.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self.timer = timer
        self.started = timer()
        self.ledger = LedgerPerformance(timer)
        self.counting: Callable[[], Mapping[str, int | float]] = dict
        self.calls: defaultdict[tuple[str, Outcome], Histogram] = defaultdict(Histogram)
        self.checks: defaultdict[str, int] = defaultdict(int)
        self.denials: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.reservations: defaultdict[str, int] = defaultdict(int)
        self.events: defaultdict[str, int] = defaultdict(int)
        self.tokens: defaultdict[tuple[str, str, TokenType], int] = defaultdict(int)
        self.cost_nano: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.requests: defaultdict[tuple[str, str, int], Histogram] = defaultdict(Histogram)
        self.in_flight = 0

    def called(self, tool: str, seconds: float, outcome: Outcome) -> None:
        """A tool was called: ``tool`` is the name of one that exists, or :data:`OTHER`."""
        self.calls[tool, outcome].observe(seconds)

    def tool_named(self, name: object) -> str:
        """A tool's name if one of that name was called here, else :data:`OTHER`: what clients ask for is any text."""
        return next((tool for tool, _ in list(self.calls) if tool == name), OTHER)

    def checked(self, decision: Decision, *, held: bool) -> None:
        """A quota was checked, and a hold given or not."""
        if held:
            self.reservations["held"] += 1
        if decision.allowed:
            self.checks["allowed"] += 1
            return
        self.checks["denied"] += 1
        by = decision.denied_by
        if isinstance(by, TokenLimit):
            self.denials[by.scope, by.metric, by.window] += 1
        elif by is not None:
            self.denials["budget", "any", "any"] += 1

    def unchecked(self) -> None:
        """Work was let through because the store was down."""
        self.checks["unchecked"] += 1

    def recorded(
        self, provider: str, model: str, usage: TokenUsage, cost_nano: int | None, *, settled: bool, overage: bool
    ) -> None:
        """An event that is new stands in the ledger: ``provider`` and ``model`` are known ones or :data:`OTHER`."""
        key = (provider, model)
        if key not in self.cost_nano and len(self.cost_nano) >= MOST_MODELS:
            key = (OTHER, OTHER)
        self.events["new"] += 1
        if settled:
            self.reservations["settled"] += 1
        if overage:
            self.events["overage"] += 1
        if cost_nano is None:
            self.events["unpriced"] += 1
        self.cost_nano[key] += cost_nano or 0
        tokens = self.tokens
        tokens[*key, "input"] += usage.input_tokens
        tokens[*key, "output"] += usage.output_tokens
        if usage.cached_input_tokens:
            tokens[*key, "cache_read"] += usage.cached_input_tokens
        if written := usage.cache_write_tokens + usage.cache_write_1h_tokens:
            tokens[*key, "cache_write"] += written
        if usage.reasoning_tokens:
            tokens[*key, "reasoning"] += usage.reasoning_tokens

    def repeated(self) -> None:
        """An event was sent that stood in the ledger."""
        self.events["duplicate"] += 1

    def released(self) -> None:
        """A hold was given back."""
        self.reservations["released"] += 1

    def requested(self, method: str, path: str, status: int, seconds: float) -> None:
        """An HTTP request was answered: ``path`` is a route's, or :data:`OTHER`."""
        self.requests[method, path, status].observe(seconds)

    def described(self) -> JsonObject:
        """All of it, for people and for JSON.

        Returns:
            ``uptime_seconds``; ``calls`` by tool and outcome; ``counting``, what the counter says of itself;
            ``checks``, ``denials``, ``reservations``; ``recorded`` events, tokens and cost (USD); ``ledger``, the
            queue and its commits. Durations are seconds; medians and 95th percentiles are about right (buckets).
        """
        ledger = self.ledger
        return {
            "uptime_seconds": self.timer() - self.started,
            "calls": self._calls(),
            "counting": dict(self.counting()),
            "checks": dict(self.checks),
            "denials": [
                {"scope": scope, "metric": metric, "window": window, "count": count}
                for (scope, metric, window), count in sorted(dict(self.denials).items())
            ],
            "reservations": dict(self.reservations),
            "recorded": self._recorded(),
            "ledger": {
                "queue_depth": ledger.queued(),
                "operations": ledger.waits.count,
                "wait": ledger.waits.described("seconds"),
                "commits": ledger.commits.count,
                "commit": ledger.commits.described("seconds"),
                "operations_per_commit": ledger.operations.total / max(1, ledger.operations.count),
                "failed_commits": ledger.failures,
                "refused_operations": ledger.refusals,
            },
        }

    def _calls(self) -> JsonObject:
        tools: dict[str, JsonObject] = {}
        for (tool, outcome), durations in sorted(dict(self.calls).items()):
            tools.setdefault(tool, {})[outcome] = {"calls": durations.count, **durations.described("seconds")}
        return {**tools}

    def _recorded(self) -> JsonObject:
        tokens: defaultdict[str, int] = defaultdict(int)
        for (_, _, kind), count in dict(self.tokens).items():
            tokens[kind] += count
        return {"events": dict(self.events), "tokens": dict(tokens), "cost": usd(sum(dict(self.cost_nano).values()))}
