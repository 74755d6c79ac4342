"""Judgements on what was used: what it would have cost otherwise, what limits would have refused, what was unusual.

The first two read the ledger's events page by page, in memory that does not grow with their number. The last reads
sums.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import TokenLimit
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import Policy
from tokenward.engine.reports.anomalies import Anomaly, history_start_us, past_anomalies, quarters_of
from tokenward.engine.reports.replay import Replay, ReplayReport, replay_start_us
from tokenward.engine.reports.what_if import Scenario, WhatIf, WhatIfReport
from tokenward.engine.steps import checkpoint
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import UsageEvent, UsageQuery
from tokenward.storage.base import UsageStore
from tokenward.workers import run_in_thread

MOST_JUDGED_USERS = 10
"""Users of a report whose usage is judged: those with the most tokens."""

MOST_ANOMALIES = 50
"""Anomalies of a report: those furthest above the usual."""

_BATCH = 1_000

MOST_DAYS = 400
"""The longest period that is searched for anomalies; of a longer one, its last days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Limits to try on a period of the past.

    Attributes:
        start_us: Start of the period, microseconds UTC.
        end_us: End of the period, outside it.
        limits: The limits to try; those in force where ``None``.

    Raises:
        InvalidInput: An empty period, or one limit twice.
    """

    start_us: int
    end_us: int
    limits: Sequence[TokenLimit] | None = None

    def __post_init__(self) -> None:
        _check_period(self.start_us, self.end_us)
        named: set[tuple[str, str, str]] = set()
        for one in self.limits or ():
            if (one.subject, one.metric, one.window) in named:
                raise InvalidInput("limits", f"{one.label} is given twice; keep one of them.")
            named.add((one.subject, one.metric, one.window))


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfRequest:
    """A scenario for what was recorded in a period.

    Attributes:
        start_us: Start of the period, microseconds UTC.
        end_us: End of the period, outside it.
        scenario: What would have been different.
        user: Only this user's requests.

    Raises:
        InvalidInput: An empty period.
    """

    start_us: int
    end_us: int
    scenario: Scenario
    user: str | None = None

    def __post_init__(self) -> None:
        _check_period(self.start_us, self.end_us)


def _check_period(start_us: int, end_us: int) -> None:
    if not 0 <= start_us < end_us:
        raise InvalidInput("until", "the period is empty or before 1970; give an end after the start.")


async def what_if(
    store: UsageStore, calculator: CostCalculator, catalog: Catalog, request: WhatIfRequest
) -> WhatIfReport:
    """What the requests of a period would have cost in a scenario.

    Raises:
        InvalidInput: The scenario's model cannot be a model's name.
        StoreUnavailable: The ledger cannot be read.
    """
    if request.scenario.model is not None:
        # Reads the catalog, which takes a while at first; a name that cannot be is refused before anything is read.
        await run_in_thread(partial(catalog.resolve, request.scenario.model))
    judged = WhatIf(
        request.scenario,
        Prices(calculator),
        window=lambda model: catalog.resolve(model).context_window,
        same_tokenizer=partial(_same_tokenizer, catalog),
    )
    await _fed(store.events(request.start_us, request.end_us, request.user), judged.add)
    report = judged.report()
    return replace(report, notes=(*report.notes, *await _pruned(store, request.start_us)))


def _same_tokenizer(catalog: Catalog, one: str, two: str) -> bool:
    try:
        first, second = catalog.resolve(one), catalog.resolve(two)
    except InvalidInput:
        return False
    return first.known and second.known and (first.family, first.encoding) == (second.family, second.encoding)


async def replay(store: UsageStore, request: ReplayRequest, *, policy: Policy | None = None) -> ReplayReport:
    """What limits would have refused in a period.

    Args:
        store: A connected store.
        request: The period and the limits.
        policy: The shares of the limits that priorities may use.

    Raises:
        StoreUnavailable: The ledger cannot be read.
    """
    limits = await store.limits() if request.limits is None else list(request.limits)
    replayed = Replay(limits, start_us=request.start_us, policy=policy)
    first_us = replay_start_us(limits, request.start_us)
    await _fed(store.events(first_us, request.end_us), replayed.add)
    report = replayed.report()
    notes = () if limits else ("There are no limits to try.",)
    return replace(report, notes=(*notes, *await _pruned(store, first_us)))


async def _fed(events: AsyncIterator[UsageEvent], add: Callable[[UsageEvent], None]) -> None:
    """Hand every event on, in a worker thread, so that the event loop stays live."""

    def add_all(some: Sequence[UsageEvent]) -> None:
        for one in some:
            checkpoint()
            add(one)

    waiting: list[UsageEvent] = []
    async for event in events:
        waiting.append(event)
        if len(waiting) == _BATCH:
            await run_in_thread(partial(add_all, waiting))
            waiting = []
    await run_in_thread(partial(add_all, waiting))


async def _pruned(store: UsageStore, start_us: int) -> tuple[str, ...]:
    """Whether events of the period are no longer there."""
    before_us = await store.pruned_before_us()
    if before_us <= start_us:
        return ()
    return ("Some of the events were pruned from the ledger: what they were is not in these numbers.",)


async def past_unusual(store: UsageStore, users: Iterable[str], start_us: int, end_us: int) -> tuple[Anomaly, ...]:
    """The hours and days of a period in which users used far more than usual, in order of time.

    Args:
        store: A connected store.
        users: Who is looked at: the first ten.
        start_us: Start of the period; of one longer than 400 days, only the last 400.
        end_us: End of the period, outside it.
    """
    start_us = max(start_us, end_us - MOST_DAYS * DAY_US)
    named = list(dict.fromkeys(users))[:MOST_JUDGED_USERS]
    from_us = history_start_us(start_us)
    sums = await store.usage_many([UsageQuery(from_us, end_us, "quarter_hour", user) for user in named])

    def judged() -> list[Anomaly]:
        return [
            one
            for user, found in zip(named, sums, strict=True)
            for one in past_anomalies(user, quarters_of(found), start_us, end_us)
        ]

    found = await run_in_thread(judged)
    largest = sorted(found, key=lambda one: -one.ratio)[:MOST_ANOMALIES]
    return tuple(sorted(largest, key=lambda one: (one.start_us, one.user, one.span)))
