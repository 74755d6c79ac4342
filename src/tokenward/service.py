"""The one service object: the engine and the ledger behind it. Every door (tools, command line, library) calls it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from tokenward.engine.analytics import ReportRequest, UsageAnalytics, UsageReport
from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.calibration import Calibration, Learned
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount
from tokenward.engine.errors import ConfigurationError, InvalidInput, UnknownPrice
from tokenward.engine.history import TokenOptimizer
from tokenward.engine.limits import TokenLimit
from tokenward.engine.messages.view import Format
from tokenward.engine.pricing import Cost, CostCalculator, Tier
from tokenward.engine.quota import Policy
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import Clock, JsonObject, JsonValue, NewId, random_id, system_clock
from tokenward.engine.usage import Dimension, TokenUsage, UsageQuery, UsageSum
from tokenward.providers.urls import ProviderName, check_base_url
from tokenward.requests import (
    BudgetAnswer,
    BudgetRequest,
    QuotaCheck,
    QuotaRequest,
    RecordRequest,
    Release,
    UsageReceipt,
)
from tokenward.storage.base import UsageStore
from tokenward.storage.factory import DEFAULT_URL, is_postgres, open_store
from tokenward.tracker import UsageTracker
from tokenward.workers import run_sized

if TYPE_CHECKING:
    from tokenward.providers.counter import ProviderCounter
    from tokenward.storage.postgres.pg_tiktoken import PgTiktoken

Backend: TypeAlias = Literal["tiktoken", "pg_tiktoken", "provider_api"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRequest:
    """Work to price: known usage, or a text or messages to be counted, with the output they may lead to."""

    model: str
    usage: TokenUsage | None = None
    text: str | None = None
    messages: Sequence[JsonObject] | None = None
    output_tokens: int = 0
    tier: Tier = "standard"
    compare: Sequence[str] = ()
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """A price; ``exact`` says whether the tokens were known or counted exactly."""

    cost: Cost
    exact: bool
    comparisons: tuple["CostEstimate", ...] = ()


class Tokenward:
    """Counts, prices, decides, records, truncates and reports. Made by :meth:`open`.

    Attributes:
        counter: Counts texts.
        calculator: Prices usage.
        optimizer: Truncates and compresses histories.
        tracker: Checks quotas and records usage.
        clock: Now, microseconds UTC.
    """

    def __init__(
        self,
        tracker: UsageTracker,
        counter: TokenCounter,
        calculator: CostCalculator,
        clock: Clock,
        *,
        database_counter: "PgTiktoken | None" = None,
        provider_counter: "ProviderCounter | None" = None,
    ) -> None:
        self.counter = counter
        self.calculator = calculator
        self.optimizer = TokenOptimizer(counter)
        self.tracker = tracker
        self.clock = clock
        self._analytics = UsageAnalytics()
        self._database_counter = database_counter
        self._provider_counter = provider_counter

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str = DEFAULT_URL,
        *,
        default_user: str = "default",
        aliases: Mapping[str, str] | None = None,
        cache_size: int = 1_000,
        limits: Sequence[TokenLimit] = (),
        fail_open: bool = False,
        policy: Policy | None = None,
        backend: Backend = "tiktoken",
        options: TokenizerOptions | None = None,
        provider_urls: Mapping[ProviderName, str] | None = None,
        provider_timeout_seconds: float = 5.0,
        calibration: bool = True,
        clock: Clock = system_clock,
        new_id: NewId = random_id,
    ) -> AsyncGenerator["Tokenward"]:
        """The service on the store behind ``url``. The store is connected by the first call that needs it.

        Args:
            url: ``sqlite:///FILE`` (no file: the user's data directory), ``postgresql://…`` or ``memory://``.
            default_user: Whose tokens they are when nobody is named.
            aliases: Own names for models, such as a deployment's.
            cache_size: Counts kept in memory.
            limits: Written to the store when it is connected.
            fail_open: Allow checks, with a warning, while the store is down; by default they fail.
            policy: The shares of the limits that priorities may use.
            backend: Where :meth:`count_texts` and :meth:`count_request` count: in process, in a Postgres store by its
                extension pg_tiktoken (texts only), or by the model's provider, to which the texts are sent.
            options: Vocabulary files, the faster core, plug-ins: what :class:`TokenizerOptions` says of each.
            provider_urls: Base URLs instead of the providers' own, by ``anthropic``, ``gemini`` or ``openai``.
            provider_timeout_seconds: The most that a call waits for its provider.
            calibration: Let recorded usage adjust estimates, from the first call that needs the store; not where
                ``backend`` has the providers count.
            clock: Now, microseconds UTC; left alone, Postgres uses its server's.
            new_id: Makes identifiers.

        Raises:
            ConfigurationError: The URL names no store, or the backend is Postgres' and the store is not.
            InvalidInput: A provider's URL is not one that a key may be sent to.
        """
        # Counts that the providers made say nothing about ours.
        learning = Calibration() if calibration and backend != "provider_api" else None
        counter = TokenCounter(cache_size=cache_size, catalog=Catalog(aliases), options=options, calibration=learning)
        calculator = CostCalculator(counter.catalog, clock=clock)
        tracker = UsageTracker(
            open_store(url, clock=None if clock is system_clock else clock, new_id=new_id),
            counter=counter,
            calculator=calculator,
            clock=clock,
            default_user=default_user,
            limits=limits,
            fail_open=fail_open,
            policy=policy,
            calibration=learning,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tracker.aclose)
            in_database = _database_counter(url, counter) if backend == "pg_tiktoken" else None
            if in_database is not None:
                stack.push_async_callback(in_database.aclose)
            by_provider = None
            if backend == "provider_api":
                by_provider = _provider_counter(counter, provider_urls or {}, provider_timeout_seconds, clock)
                stack.push_async_callback(by_provider.aclose)
            yield cls(tracker, counter, calculator, clock, database_counter=in_database, provider_counter=by_provider)

    @property
    def default_user(self) -> str:
        """Whose tokens they are when nobody is named."""
        return self.tracker.default_user

    async def count_texts(self, texts: Sequence[str], model: str) -> BatchTokenCountResult:
        """The tokens of texts, in their order, by the backend: in process, in the database or by the provider.

        What the database or the provider does not count is counted in process; each result's ``method`` and
        ``warnings`` say so.

        Raises:
            InvalidInput: ``texts`` is one string, or the model's name cannot be one.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        if self._provider_counter is not None:
            return await self._provider_counter.count_texts(texts, model)
        if self._database_counter is not None:
            return await self._database_counter.count_tokens_batch(texts, model)
        return await _count_in_process(self.counter, texts, model)

    def count_messages(
        self,
        messages: Sequence[JsonObject],
        model: str,
        *,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: JsonValue = None,
        system: JsonValue = None,
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the contract's name
    ) -> MessageCount:
        """The tokens of a whole request. Raises InvalidMessages, AmbiguousFormat."""
        return count_messages(
            messages, model, counter=self.counter, tools=tools, tool_choice=tool_choice, system=system, format=format
        )

    async def count_request(
        self,
        messages: Sequence[JsonObject],
        model: str,
        *,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: JsonValue = None,
        system: JsonValue = None,
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the contract's name
    ) -> MessageCount:
        """The tokens of a whole request: by its provider if that is the backend, else as :meth:`count_messages`.

        Raises InvalidMessages, AmbiguousFormat.
        """
        count = partial(
            self.count_messages, messages, model, tools=tools, tool_choice=tool_choice, system=system, format=format
        )
        local = await run_sized(count, messages, tools)
        if self._provider_counter is None:
            return local
        from tokenward.providers.bodies import Request  # noqa: PLC0415 - heavy

        request = Request(messages, local.format, tools or (), tool_choice, system)
        return await self._provider_counter.count_request(local, request)

    def estimate_cost(self, request: EstimateRequest) -> CostEstimate:
        """What work costs on a model, and on others, each counted with its own tokenizer.

        Raises:
            InvalidInput: Not exactly one of usage, text and messages.
            UnknownPrice: No price is known; it is never taken for 0.
        """
        if sum(one is not None for one in (request.usage, request.text, request.messages)) != 1:
            raise InvalidInput("input_tokens", "give exactly one of input_tokens, text and messages.")
        comparisons = tuple(self._compared(request, model) for model in request.compare)
        usage, exact = request.usage, True
        if usage is None:
            input_tokens, exact = self._input(request.text, request.messages, request.model)
            usage = TokenUsage(input_tokens, request.output_tokens)
        cost = self.calculator.calculate_cost(usage, request.model, tier=request.tier, at_us=request.at_us)
        return CostEstimate(cost, exact, comparisons)

    def _compared(self, request: EstimateRequest, model: str) -> CostEstimate:
        """The same work on another model. Numbers cannot be counted anew, so they are exact for their encoding only."""
        try:
            other = self.estimate_cost(replace(request, model=model, compare=()))
        except UnknownPrice as error:
            raise InvalidInput("compare", str(error).partition(": ")[2]) from None
        resolve = self.counter.catalog.resolve
        if request.usage is None:
            return other
        one, two = resolve(request.model), resolve(model)
        return replace(other, exact=(one.family, one.encoding) == (two.family, two.encoding) and two.known)

    def _input(self, text: str | None, messages: Sequence[JsonObject] | None, model: str) -> tuple[int, bool]:
        if text is not None:
            counted = self.counter.count_tokens(text, model)
            return counted.token_count, counted.exact
        request = self.count_messages(messages or [], model)
        return request.tokens, request.exact

    async def check_quota(self, request: QuotaRequest) -> QuotaCheck:
        """See :meth:`UsageTracker.check_quota`."""
        return await self.tracker.check_quota(request)

    async def quota_status(
        self, user: str | None = None, group: str | None = None, session: str | None = None
    ) -> QuotaCheck:
        """How the limits stand, with nothing asked for."""
        return await self.tracker.check_quota(QuotaRequest(user=user, group=group, session=session))

    async def record_usage(self, request: RecordRequest) -> UsageReceipt:
        """See :meth:`UsageTracker.record_usage`."""
        return await self.tracker.record_usage(request)

    async def record_many(self, requests: Sequence[RecordRequest]) -> list[UsageReceipt]:
        """See :meth:`UsageTracker.record_many`."""
        return await self.tracker.record_many(requests)

    async def learned(self, model: str) -> Learned | None:
        """See :meth:`UsageTracker.learned`."""
        return await self.tracker.learned(model)

    async def release_quota(self, reservation_id: str) -> Release:
        """See :meth:`UsageTracker.release_quota`."""
        return await self.tracker.release_quota(reservation_id)

    async def extend_quota(self, reservation_id: str, ttl_seconds: int = 600) -> int:
        """See :meth:`UsageTracker.extend_quota`."""
        return await self.tracker.extend_quota(reservation_id, ttl_seconds)

    async def open_budget(self, request: BudgetRequest) -> BudgetAnswer:
        """See :meth:`UsageTracker.open_budget`."""
        return await self.tracker.open_budget(request)

    async def close_budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """See :meth:`UsageTracker.close_budget`."""
        return await self.tracker.close_budget(session, user)

    async def budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """See :meth:`UsageTracker.budget`."""
        return await self.tracker.budget(session, user)

    async def usage_report(self, request: ReportRequest) -> UsageReport:
        """Totals, rows, top users, hours of the day and a forecast over a period."""
        sums: dict[Dimension, list[UsageSum]] = {
            dimension: await self.tracker.usage(UsageQuery(request.start_us, request.end_us, dimension, request.user))
            for dimension in self._analytics.dimensions(request)
        }
        return self._analytics.generate_report(request, sums)

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add a limit, or replace the one of the same subject, metric and window."""
        await self.tracker.set_limit(limit)

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        return await self.tracker.delete_limit(subject, metric, window)

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all."""
        return await self.tracker.limits(subject)

    async def ledger(self) -> UsageStore:
        """The store, connected: for work on the ledger itself. Raises StoreError."""
        return await self.tracker.ledger()


def _database_counter(url: str, counter: TokenCounter) -> "PgTiktoken":
    from tokenward.storage.postgres.pg_tiktoken import PgTiktoken  # noqa: PLC0415 - heavy

    if not is_postgres(url):
        raise ConfigurationError("backend: pg_tiktoken counts in a Postgres store; open one with postgresql://….")
    return PgTiktoken(url, counter, record=counter.record_call)


def _provider_counter(
    counter: TokenCounter, urls: Mapping[ProviderName, str], timeout_seconds: float, clock: Clock
) -> "ProviderCounter":
    from tokenward.providers.counter import ProviderCounter  # noqa: PLC0415 - heavy

    for name, url in urls.items():
        check_base_url(name, url)
    return ProviderCounter(
        counter,
        partial(_count_in_process, counter),
        urls=urls,
        timeout_seconds=timeout_seconds,
        cache_size=counter.cache_size,
        record=counter.record_call,
        clock=clock,
    )


async def _count_in_process(counter: TokenCounter, texts: Sequence[str], model: str) -> BatchTokenCountResult:
    """The tokens of texts; many or long ones in a worker thread, so that the event loop stays live."""
    count = partial(counter.count_tokens_batch, texts, model)
    return await run_sized(count, texts, inline_characters=counter.inline_characters(model))
