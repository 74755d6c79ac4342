"""UsageTracker: asks the ledger whether work fits, holds budget for it, and records what was used."""

from collections.abc import Iterable, Sequence
from functools import partial

from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.calibration import Calibration, Learned, Sample
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import InvalidInput, StoreOverloaded, StoreUnavailable, shown
from tokenward.engine.limits import Subjects, TokenLimit, check_name, subjects_named
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import Policy
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import SECOND_US, Clock
from tokenward.engine.usage import UsageQuery, UsageSum
from tokenward.events import EventMaker, checked_priority, optional_name, receipt
from tokenward.lazy_store import LazyStore
from tokenward.performance import Performance, named_models
from tokenward.requests import (
    BudgetAnswer,
    BudgetRequest,
    QuotaCheck,
    QuotaRequest,
    RecordRequest,
    Release,
    UsageReceipt,
)
from tokenward.shares import answer, denial, share
from tokenward.storage.base import OpenBudget, Record, RecordOutcome, Reserve, ReserveOutcome, UsageStore
from tokenward.watch import Watch
from tokenward.work import Work, WorkEstimator
from tokenward.workers import run_in_thread, run_sized

MAX_TTL_SECONDS = 86_400
"""Longest life of a hold or a budget: a day."""


class UsageTracker:
    """The ledger's front: turns requests into amounts and subjects, and the store's outcomes into answers.

    Args:
        store: Connected by the first call that needs it, closed by :meth:`aclose`.
        counter: Counts messages.
        calculator: Prices work.
        clock: Now, microseconds UTC.
        default_user: Whose tokens they are when nobody is named.
        limits: Written to the store when it is connected.
        fail_open: Allow checks, with a warning, while the store is down.
        policy: The shares of the limits that priorities may use.
        calibration: Learns from what was counted and then recorded: what the store remembers when it is connected,
            then what is recorded here. ``None`` learns nothing.
        performance: Is told what was checked, recorded and given back.

    Attributes:
        watch: Is told what happens; nobody if ``None``.
    """

    def __init__(
        self,
        store: UsageStore,
        *,
        counter: TokenCounter,
        calculator: CostCalculator,
        clock: Clock,
        default_user: str,
        limits: Sequence[TokenLimit] = (),
        fail_open: bool = False,
        policy: Policy | None = None,
        calibration: Calibration | None = None,
        performance: Performance | None = None,
    ) -> None:
        self.default_user = check_name("user", default_user)
        self.performance = performance or Performance()
        self.performance.ledger.queued = lambda: store.waiting
        self.performance.counting = counter.get_performance_metrics
        self._named = named_models(counter.catalog)
        prices = Prices(calculator)
        self._counter = counter
        self._estimator = WorkEstimator(counter, prices, clock)
        self._maker = EventMaker(prices, clock, default_user, counter, calibration)
        self._store = LazyStore(store, self._prepare)
        self._limits = tuple(limits)
        self._fail_open = fail_open
        self._policy = policy
        self._calibration = calibration
        self.watch: Watch | None = None

    async def aclose(self) -> None:
        """Close the store, if it was ever needed, also when the caller is cancelled. Later calls are refused."""
        await self._store.aclose()

    async def ledger(self) -> UsageStore:
        """The store, connected. Raises StoreError."""
        return await self._store.get()

    async def _prepare(self, store: UsageStore) -> None:
        # A limit that already stands is left alone: setting it anew would rebuild its counters.
        standing = await store.limits()
        for limit in self._limits:
            if limit not in standing:
                await store.set_limit(limit)
        if self._calibration is not None:
            self._calibration.add(await store.samples())

    @property
    def catalog(self) -> Catalog:
        """Resolves model names, the aliases of the settings among them."""
        return self._counter.catalog

    @property
    def policy(self) -> Policy | None:
        """The shares of the limits that priorities may use."""
        return self._policy

    def _user(self, user: str | None) -> str:
        return self.default_user if user is None else check_name("user", user)

    def _subjects(self, user: str | None, group: str | None, session: str | None) -> Subjects:
        return Subjects(self._user(user), group or "", session or "")

    async def check_quota(self, request: QuotaRequest) -> QuotaCheck:
        """Whether work fits under every limit that applies; with ``reserve``, a hold on it.

        Raises:
            InvalidInput: A value outside what is accepted, or a cost limit applies and the cost is not known.
            StoreUnavailable: The ledger cannot be reached and the service fails closed.
        """
        subjects = self._subjects(request.user, request.group, request.session)
        ttl_us = _ttl_us(request.ttl_seconds)
        # Counting may take long; the loop goes on meanwhile.
        estimate = partial(self._estimator.estimate, request)
        work = estimate() if request.messages is None else await run_sized(estimate, request.messages)
        ask = Reserve(
            subjects=subjects,
            amounts=work.amounts,
            model=request.model or "",
            priority=checked_priority(request.priority),
            ttl_us=ttl_us if request.reserve else None,
            key=optional_name("idempotency_key", request.idempotency_key),
            policy=self._policy,
        )
        try:
            outcome = await (await self.ledger()).reserve(ask)
        except StoreUnavailable as error:
            if not self._fail_open or request.reserve:
                raise
            self.performance.unchecked()
            return QuotaCheck(True, subjects.user, work.amounts, (), warnings=(f"Not checked: {error}",))
        self.performance.checked(outcome.decision, held=outcome.reservation_id is not None)
        watched = self.watch.checked(subjects.user, work.amounts, outcome.decision) if self.watch else ()
        return _check(subjects.user, work, outcome, watched)

    async def record_usage(self, request: RecordRequest) -> UsageReceipt:
        """Write one event and settle its reservation. Usage of a model without a price is recorded, cost unknown.

        Raises:
            InvalidInput: A value outside what is accepted.
            UnknownReservation: No such hold was ever given.
            StoreUnavailable: Nothing was acknowledged; try again with the same ``idempotency_key``.
        """
        make = self._maker.make
        # What says how a model is counted may have to be loaded; the loop goes on meanwhile.
        counted = request.counted_tokens is not None
        record, warnings = await run_in_thread(partial(make, request)) if counted else make(request)
        try:
            outcome = await (await self.ledger()).record(record)
        except StoreUnavailable as error:
            raise _unacknowledged(error) from error
        self._learn([(record, outcome)])
        self._watched([(record, outcome)])
        return receipt(record, warnings, outcome)

    async def record_many(self, requests: Sequence[RecordRequest]) -> list[UsageReceipt]:
        """Write many events, each as :meth:`record_usage` does; receipts in the requests' order.

        Every request is checked before the first is written. They are written thousands to a transaction: after an
        error of the store, send all again with the same ``idempotency_key``; what was written is not written twice.

        Raises:
            InvalidInput: A value outside what is accepted; the field names its place, ``requests[3].model``.
            UnknownReservation: A hold that was never given; what was written before stands.
            StoreUnavailable: Nothing more was acknowledged.
        """
        make_all = self._maker.make_all
        counted = any(one.counted_tokens is not None for one in requests)
        made = await run_in_thread(partial(make_all, requests)) if counted else make_all(requests)
        try:
            outcomes = await (await self.ledger()).record_many([record for record, _ in made])
        except StoreUnavailable as error:
            raise _unacknowledged(error) from error
        recorded = [(record, outcome) for (record, _), outcome in zip(made, outcomes, strict=True)]
        self._learn(recorded)
        self._watched(recorded)
        return [receipt(record, warnings, outcome) for (record, warnings), outcome in zip(made, outcomes, strict=True)]

    def _watched(self, recorded: Sequence[tuple[Record, RecordOutcome]]) -> None:
        """Tell who watches whose usage there is new, and what is counted of it."""
        for record, outcome in recorded:
            if outcome.duplicate:
                self.performance.repeated()
            else:
                provider, model = self._named(record.model)
                settled, overage = bool(record.reservation_id), outcome.overage
                self.performance.recorded(
                    provider, model, record.usage, outcome.cost_nano, settled=settled, overage=overage
                )
        if self.watch is not None:
            # Groups and sessions that only a hold names were looked at when it was taken.
            self.watch.recorded(
                subjects_named(outcome.user, record.group, record.session)
                for record, outcome in recorded
                if not outcome.duplicate
            )

    def _learn(self, recorded: Iterable[tuple[Record, RecordOutcome]]) -> None:
        """Learn from events that are new in the ledger."""
        if self._calibration is not None:
            new = [record for record, outcome in recorded if not outcome.duplicate]
            self._calibration.add(
                Sample(one.counted_as, one.counted_tokens, one.usage.input_tokens)
                for one in new
                if one.counted_tokens is not None
            )

    async def learned(self, model: str) -> Learned | None:
        """What recorded usage has taught about a model's counts; ``None`` while there is nothing, or it is off.

        Raises:
            InvalidInput: The name cannot be a model's.
        """
        if self._calibration is None:
            return None
        counter = await run_in_thread(partial(self._counter.text_counter, model))
        await self.ledger()
        return self._calibration.learned(counter.info.name, counter.method)

    async def release_quota(self, reservation_id: str, user: str | None = None) -> Release:
        """Give an unused hold back; with a ``user``, only one of that user's. Raises UnknownReservation."""
        reservation_id, owner = check_name("reservation_id", reservation_id), optional_name("user", user)
        outcome = await (await self.ledger()).release(reservation_id, owner)
        if outcome.released:
            self.performance.released()
            return Release(True, outcome.amounts.tokens, outcome.amounts.cost_nano)
        why = "its usage was recorded" if outcome.ended == "settled" else "its time was over and it was given back"
        return Release(False, 0, 0, f"The reservation had ended before: {why}.")

    async def extend_quota(self, reservation_id: str, ttl_seconds: int = 600, user: str | None = None) -> int:
        """Let a hold live ``ttl_seconds`` from now, for work that takes longer than was thought.

        With a ``user``, only a hold of that user's.

        Returns:
            When it ends, in microseconds UTC.

        Raises:
            InvalidInput: A lifetime outside 1 second to a day.
            UnknownReservation: The hold has ended, or was never given.
        """
        store = await self.ledger()
        owner = optional_name("user", user)
        return await store.extend(check_name("reservation_id", reservation_id), _ttl_us(ttl_seconds), owner)

    async def open_budget(self, request: BudgetRequest) -> BudgetAnswer:
        """Give a session a share of its parent's budget, if that has as much left.

        Raises:
            InvalidInput: A value outside what is accepted, or the session has an open budget already.
            UnknownBudget: The parent has no open budget.
        """
        subjects = self._subjects(request.user, request.group, check_name("session", request.session))
        ask = OpenBudget(
            subjects=subjects,
            share=share(request),
            parent=optional_name("parent", request.parent),
            ttl_us=_ttl_us(request.ttl_seconds),
            policy=self._policy,
        )
        outcome = await (await self.ledger()).open_budget(ask)
        if outcome.budget is None:
            return denial(ask, outcome.decision)
        return answer(outcome.budget, outcome.decision.warnings)

    async def close_budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """End a session's budget: what is left goes back to its parent. Raises UnknownBudget."""
        store = await self.ledger()
        return answer(await store.close_budget(self._user(user), check_name("session", session)))

    async def budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """How a session's open budget stands. Raises UnknownBudget."""
        store = await self.ledger()
        return answer(await store.budget(self._user(user), check_name("session", session)))

    async def claim_session(self, user: str, session: str) -> None:
        """Make a session the user's own, for doors whose callers are not to meet in one.

        It stays so for 35 days. Whoever has a budget of that name may use it too.

        Raises:
            InvalidInput: It is another user's.
            StoreUnavailable: Nobody can say, and the service fails closed.
        """
        check_name("session", session)
        try:
            claimed = await (await self.ledger()).claim_session(user, session)
        except StoreUnavailable:
            if not self._fail_open:
                raise
            return
        if not claimed:
            raise InvalidInput("session", "it is another user's; give another name.")

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add a limit, or replace the one of the same subject, metric and window."""
        await (await self.ledger()).set_limit(limit)

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        return await (await self.ledger()).delete_limit(subject, metric, window)

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all."""
        return await (await self.ledger()).limits(subject)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger."""
        return await (await self.ledger()).usage(query)


def _ttl_us(ttl_seconds: int) -> int:
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidInput("ttl_seconds", f"{shown(ttl_seconds)} is not from 1 to {MAX_TTL_SECONDS}.")
    return ttl_seconds * SECOND_US


def _unacknowledged(error: StoreUnavailable) -> StoreUnavailable:
    """The error of an event that may have to be sent again."""
    if isinstance(error, StoreOverloaded):
        return error
    advice = "Nothing was acknowledged; send it again with the same idempotency_key, so that it counts once."
    # It takes the place of the store's own, which knows of no key.
    what = str(error).partition(" Nothing was ")[0]
    return StoreUnavailable(f"{what} {advice}", lasting=error.lasting)


def _check(user: str, work: Work, outcome: ReserveOutcome, watched: tuple[str, ...]) -> QuotaCheck:
    decision = outcome.decision
    warnings = (*work.warnings, *decision.warnings, *watched)
    if outcome.differs:
        warnings += ("idempotency key reused with other content: the hold stands as it was given first.",)
    return QuotaCheck(
        decision.allowed,
        user,
        work.amounts,
        decision.limits,
        decision.denied_by.label if decision.denied_by else None,
        decision.reason,
        decision.retry_after_seconds,
        outcome.reservation_id,
        outcome.expires_us,
        warnings,
    )
