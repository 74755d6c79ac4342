"""UsageTracker: asks the ledger whether work fits, holds budget for it, and records what was used."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
import anyio.to_thread

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput, StoreUnavailable, UnknownPrice, shown
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import Amounts, LimitStatus, Policy, Priority, Subjects, TokenLimit, check_name
from tokenward.engine.types import MINUTE_US, SECOND_US, Clock, JsonObject
from tokenward.engine.usage import MAX_TOKENS, TokenUsage, UsageQuery, UsageSum
from tokenward.storage.base import Record, Reserve, ReserveOutcome, UsageStore

DEFAULT_OUTPUT_TOKENS = 1_024
"""Output assumed for a request that names no ``max_output_tokens``: enough for a usual answer, and it leaves the rest
of the budget to others."""

MAX_TTL_SECONDS = 86_400
"""Longest life of a hold: a day."""

MAX_CLOCK_SKEW_US = 5 * MINUTE_US
"""How far in the future an event's time may lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRequest:
    """Work that wants to fit: ``tokens`` in all, or input and output apart, or messages to be counted.

    Attributes:
        user: Whose budget; the service's default user when ``None``.
        model: Prices the work; needed where a cost limit applies.
        tokens: All tokens of the work. Its cost is taken at the dearer of the input and output prices.
        input_tokens: The input.
        max_output_tokens: The most that may come back; 1,024 is assumed for an input without it.
        messages: Counted for the input, at the upper bound of the count.
        group: A group whose limits apply too.
        session: A session whose limits apply too.
        priority: Which share of the limits the work may use.
        reserve: Hold the amount when it fits.
        ttl_seconds: How long the hold lives.
        idempotency_key: The same key gives the same hold again.
    """

    user: str | None = None
    model: str | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    messages: Sequence[JsonObject] | None = None
    group: str | None = None
    session: str | None = None
    priority: Priority = "normal"
    reserve: bool = False
    ttl_seconds: int = 600
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaCheck:
    """The answer to a :class:`QuotaRequest`. A denial is an answer, not an error.

    ``requested.cost_nano`` is ``None`` when no price was known. Limits stand as they are after the call.
    """

    allowed: bool
    user: str
    requested: Amounts
    limits: tuple[LimitStatus, ...]
    denied_by: str | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    reservation_id: str | None = None
    expires_us: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """Usage to write to the ledger. ``user``, ``group`` and ``session`` default to the reservation's."""

    model: str
    usage: TokenUsage
    user: str | None = None
    group: str | None = None
    session: str | None = None
    endpoint: str | None = None
    priority: Priority = "normal"
    reservation_id: str | None = None
    idempotency_key: str | None = None
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class UsageReceipt:
    """What stands in the ledger now. ``cost_nano`` is ``None`` when no price is known for the model."""

    recorded: bool
    duplicate: bool
    event_id: str
    cost_nano: int | None
    overage: bool
    user: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """What was given back; ``reason`` says why nothing was."""

    released: bool
    tokens: int
    cost_nano: int | None
    reason: str | None = None


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
    ) -> None:
        self.default_user = check_name("user", default_user)
        self._counter = counter
        self._calculator = calculator
        self._clock = clock
        self._store = store
        self._stack = AsyncExitStack()
        self._connecting = anyio.Lock()
        self._connected = False
        self._limits = tuple(limits)
        self._fail_open = fail_open
        self._policy = policy

    async def aclose(self) -> None:
        """Close the store, if it was ever needed."""
        await self._stack.aclose()

    async def _ledger(self) -> UsageStore:
        async with self._connecting:
            if not self._connected:
                async with AsyncExitStack() as connecting:
                    await connecting.enter_async_context(self._store)
                    # A limit that already stands is left alone: setting it anew would rebuild its counters.
                    standing = await self._store.limits()
                    for limit in self._limits:
                        if limit not in standing:
                            await self._store.set_limit(limit)
                    self._stack.push_async_exit(connecting.pop_all())
                self._connected = True
        return self._store

    def _subjects(self, user: str | None, group: str | None, session: str | None) -> Subjects:
        return Subjects(self.default_user if user is None else user, group or "", session or "")

    async def check_quota(self, request: QuotaRequest) -> QuotaCheck:
        """Whether work fits under every limit that applies; with ``reserve``, a hold on it.

        Raises:
            InvalidInput: A value outside what is accepted, or a cost limit applies and the cost is not known.
            StoreUnavailable: The ledger cannot be reached and the service fails closed.
        """
        subjects = self._subjects(request.user, request.group, request.session)
        # Counting may take long; the loop goes on meanwhile.
        counted = request.messages is not None
        work = await anyio.to_thread.run_sync(self._work, request) if counted else self._work(request)
        ask = Reserve(
            subjects=subjects,
            amounts=work.amounts,
            model=request.model or "",
            priority=request.priority,
            ttl_us=_ttl_us(request.ttl_seconds) if request.reserve else None,
            key=_optional("idempotency_key", request.idempotency_key),
        )
        try:
            outcome = await (await self._ledger()).reserve(ask, self._policy)
        except StoreUnavailable as error:
            if not self._fail_open or request.reserve:
                raise
            return QuotaCheck(True, subjects.user, work.amounts, (), warnings=(f"Not checked: {error}",))
        return _check(subjects.user, work, outcome)

    def _work(self, request: QuotaRequest) -> "_Work":
        """The amounts of a request at their upper bound, with what had to be assumed."""
        given = [name for name in ("tokens", "input_tokens", "messages") if getattr(request, name) is not None]
        if len(given) > 1:
            raise InvalidInput(
                given[1], f"give only one of tokens, input_tokens and messages (not {given[0]} as well)."
            )
        if not given and request.max_output_tokens is None:
            if request.reserve:
                raise InvalidInput("tokens", "say how much to reserve: tokens, input_tokens or messages.")
            return _Work(Amounts(0, 0, 0), ())
        if request.tokens is not None:
            if request.max_output_tokens is not None:
                raise InvalidInput("max_output_tokens", "is part of tokens; give input_tokens instead of tokens.")
            if not 0 <= request.tokens <= MAX_TOKENS:
                raise InvalidInput("tokens", f"give an integer from 0 to {MAX_TOKENS}.")
            # Which part will be output is not known, so the dearer side bounds the cost.
            return self._priced(request, [TokenUsage(request.tokens, 0), TokenUsage(0, request.tokens)], ())
        input_tokens = request.input_tokens or 0
        if request.messages is not None:
            if request.model is None:
                raise InvalidInput("model", "name the model whose tokenizer counts the messages.")
            input_tokens = count_messages(request.messages, request.model, counter=self._counter).upper
        output_tokens, assumed = self._output(request)
        return self._priced(request, [TokenUsage(input_tokens, output_tokens)], assumed)

    def _output(self, request: QuotaRequest) -> tuple[int, tuple[str, ...]]:
        ceiling = self._counter.catalog.resolve(request.model).max_output_tokens if request.model else None
        wanted = request.max_output_tokens
        if wanted is not None and not 0 <= wanted <= MAX_TOKENS:
            raise InvalidInput("max_output_tokens", f"give an integer from 0 to {MAX_TOKENS}.")
        tokens = min(DEFAULT_OUTPUT_TOKENS if wanted is None else wanted, ceiling or MAX_TOKENS)
        if wanted is None:
            return tokens, (f"max_output_tokens is not given: {tokens} output tokens are assumed.",)
        return tokens, ()

    def _priced(self, request: QuotaRequest, usages: Sequence[TokenUsage], assumed: tuple[str, ...]) -> "_Work":
        tokens = usages[0].total_tokens
        if request.model is None:
            return _Work(Amounts(tokens, None), assumed)
        costs: list[int] = []
        problem = ""
        for usage in usages:
            try:
                costs.append(self._calculator.calculate_cost(usage, request.model).total_nano)
            except UnknownPrice as error:
                problem = f"The cost is not known. {error}"
        if not costs:
            return _Work(Amounts(tokens, None), (*assumed, problem))
        return _Work(Amounts(tokens, max(costs)), assumed)

    async def record_usage(self, request: RecordRequest) -> UsageReceipt:
        """Write one event and settle its reservation. Usage of a model without a price is recorded, cost unknown.

        Raises:
            InvalidInput: A value outside what is accepted.
            UnknownReservation: No such hold was ever given.
            StoreUnavailable: Nothing was recorded; try again with the same ``idempotency_key``.
        """
        # What a reservation knows need not be said again.
        user = self.default_user if request.user is None and request.reservation_id is None else request.user
        if request.at_us is not None and not 0 <= request.at_us <= self._clock() + MAX_CLOCK_SKEW_US:
            raise InvalidInput("at", "give a time since 1970 that is not in the future.")
        self._counter.catalog.resolve(request.model)
        cost_nano, source, warnings = self._cost(request)
        outcome = await (await self._ledger()).record(
            Record(
                user=_optional("user", user),
                group=_optional("group", request.group),
                session=_optional("session", request.session),
                model=request.model,
                usage=request.usage,
                cost_nano=cost_nano,
                price_source=source,
                endpoint=_optional("endpoint", request.endpoint),
                priority=request.priority,
                reservation_id=_optional("reservation_id", request.reservation_id),
                at_us=request.at_us,
                key=_optional("idempotency_key", request.idempotency_key),
            )
        )
        return UsageReceipt(
            not outcome.duplicate,
            outcome.duplicate,
            outcome.event_id,
            outcome.cost_nano,
            outcome.overage,
            outcome.user,
            warnings,
        )

    def _cost(self, request: RecordRequest) -> tuple[int | None, str, tuple[str, ...]]:
        try:
            cost = self._calculator.calculate_cost(request.usage, request.model, at_us=request.at_us)
        except UnknownPrice as error:
            return None, "", (f"Recorded without a cost. {error}",)
        return cost.total_nano, cost.price_source, ()

    async def release_quota(self, reservation_id: str) -> Release:
        """Give an unused hold back. Raises UnknownReservation."""
        outcome = await (await self._ledger()).release(check_name("reservation_id", reservation_id))
        if outcome.released:
            return Release(True, outcome.amounts.tokens, outcome.amounts.cost_nano)
        why = "its usage was recorded" if outcome.ended == "settled" else "its time was over and it was given back"
        return Release(False, 0, 0, f"The reservation had ended before: {why}.")

    async def extend_quota(self, reservation_id: str, ttl_seconds: int = 600) -> int:
        """Let a hold live ``ttl_seconds`` from now, for work that takes longer than was thought.

        Returns:
            When it ends, in microseconds UTC.

        Raises:
            InvalidInput: A lifetime outside 1 second to a day.
            UnknownReservation: The hold has ended, or was never given.
        """
        store = await self._ledger()
        return await store.extend(check_name("reservation_id", reservation_id), _ttl_us(ttl_seconds))

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add a limit, or replace the one of the same subject, metric and window."""
        await (await self._ledger()).set_limit(limit)

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        return await (await self._ledger()).delete_limit(subject, metric, window)

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all."""
        return await (await self._ledger()).limits(subject)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger."""
        return await (await self._ledger()).usage(query)


@dataclass(frozen=True, slots=True)
class _Work:
    """A request's amounts and what was assumed for them."""

    amounts: Amounts
    warnings: tuple[str, ...]


def _ttl_us(ttl_seconds: int) -> int:
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidInput("ttl_seconds", f"{shown(ttl_seconds)} is not from 1 to {MAX_TTL_SECONDS}.")
    return ttl_seconds * SECOND_US


def _optional(field: str, name: str | None) -> str:
    return "" if name is None else check_name(field, name)


def _check(user: str, work: _Work, outcome: ReserveOutcome) -> QuotaCheck:
    decision = outcome.decision
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
        (*work.warnings, *decision.warnings),
    )
