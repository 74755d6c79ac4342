"""The one service object: the engine and the ledger behind it. Every door (tools, command line, library) calls it."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from tokenward.alerts import GRACE_SECONDS
from tokenward.costs import CostEstimate, CostEstimator, EstimateRequest
from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.calibration import Calibration, Learned
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount
from tokenward.engine.currency import Currencies, Currency
from tokenward.engine.errors import ConfigurationError
from tokenward.engine.history import TokenOptimizer
from tokenward.engine.history.compress import CompressionResult
from tokenward.engine.history.context import ContextPlan
from tokenward.engine.limits import TokenLimit
from tokenward.engine.messages.view import Format
from tokenward.engine.prices.data import PriceData
from tokenward.engine.prices.own import OwnPrices
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import Policy
from tokenward.engine.reports.report import ReportRequest, UsageReport
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import Clock, JsonObject, JsonValue, NewId, random_id, system_clock
from tokenward.histories import AnySummarizer, ContextRequest, Histories
from tokenward.hooks import AlertHook
from tokenward.performance import Performance
from tokenward.providers.urls import ProviderName, check_base_url
from tokenward.reports import Reports
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
from tokenward.watch import Watch
from tokenward.workers import run_sized

if TYPE_CHECKING:
    from tokenward.providers.counter import ProviderCounter
    from tokenward.storage.postgres.pg_tiktoken import PgTiktoken

Backend: TypeAlias = Literal["tiktoken", "pg_tiktoken", "provider_api"]


class Tokenward:
    """Counts, prices, decides, records, truncates and reports. Made by :meth:`open`.

    Attributes:
        counter: Counts texts.
        calculator: Prices usage.
        optimizer: Truncates and compresses histories.
        tracker: Checks quotas and records usage.
        reports: Reports and predictions.
        clock: Now, microseconds UTC.
        currencies: What amounts can be shown in; :attr:`currency` is the one to show.
        performance: What this process has done so far.
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
        currencies: Currencies | None = None,
        plugins: bool = True,
    ) -> None:
        self.counter = counter
        self.calculator = calculator
        self.optimizer = TokenOptimizer(counter, calculator, plugins=plugins)
        self.tracker = tracker
        self.clock = clock
        self.currencies = currencies or Currencies()
        self.performance = tracker.performance
        self._estimator = CostEstimator(counter, calculator)
        self.reports = Reports(tracker, calculator, clock)
        self._histories = Histories(counter, calculator)
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
        prices: OwnPrices | None = None,
        price_data: Callable[[], PriceData] | None = None,
        currencies: Currencies | None = None,
        alerts: Sequence[AlertHook] = (),
        alert_grace_seconds: float = GRACE_SECONDS,
        anomalies: bool = True,
        clock: Clock = system_clock,
        new_id: NewId = random_id,
        performance: Performance | None = None,
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
            prices: Own prices, which come before the price list's.
            price_data: Gives the price list's data; what ships with genai-prices if not given.
            currencies: What amounts can be shown in; US dollars only if not given.
            alerts: What is done when a limit reaches 80 or 100 percent, once per window.
            alert_grace_seconds: How long the end of the block waits for alerts that are being told.
            anomalies: Warn in checks of users whose burn rate is far above their own usual.
            clock: Now, microseconds UTC; left alone, Postgres uses its server's.
            new_id: Makes identifiers.
            performance: Is told what is done; one of its own if not given.

        Raises:
            ConfigurationError: The URL names no store, or the backend is Postgres' and the store is not.
            InvalidInput: A provider's URL is not one that a key may be sent to.
        """
        # Counts that the providers made say nothing about ours.
        learning = Calibration() if calibration and backend != "provider_api" else None
        counter = TokenCounter(cache_size=cache_size, catalog=Catalog(aliases), options=options, calibration=learning)
        calculator = CostCalculator(counter.catalog, clock=clock, own=prices, data=price_data)
        performance = performance or Performance()
        store_clock = None if clock is system_clock else clock
        tracker = UsageTracker(
            open_store(url, clock=store_clock, new_id=new_id, meter=performance.ledger),
            counter=counter,
            calculator=calculator,
            clock=clock,
            default_user=default_user,
            limits=limits,
            fail_open=fail_open,
            policy=policy,
            calibration=learning,
            performance=performance,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tracker.aclose)
            tracker.watch = Watch(
                tracker.ledger, clock, hooks=alerts, anomalies=anomalies, grace_seconds=alert_grace_seconds
            )
            stack.push_async_callback(tracker.watch.aclose)
            in_database = _database_counter(url, counter) if backend == "pg_tiktoken" else None
            if in_database is not None:
                stack.push_async_callback(in_database.aclose)
            by_provider = None
            if backend == "provider_api":
                by_provider = _provider_counter(counter, provider_urls or {}, provider_timeout_seconds, clock)
                stack.push_async_callback(by_provider.aclose)
            yield cls(
                tracker,
                counter,
                calculator,
                clock,
                database_counter=in_database,
                provider_counter=by_provider,
                currencies=currencies,
                plugins=options is None or options.plugins,
            )

    @property
    def currency(self) -> Currency:
        """The currency to show amounts in; inside they are nano-dollars."""
        return self.currencies.default

    @property
    def default_user(self) -> str:
        """Whose tokens they are when nobody is named."""
        return self.tracker.default_user

    def get_performance_metrics(self) -> JsonObject:
        """What this process has done so far: see :meth:`Performance.described`. Costs no question to the store."""
        return self.performance.described()

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
        """See :meth:`CostEstimator.estimate`."""
        return self._estimator.estimate(request)

    async def compress_messages(
        self,
        messages: Sequence[JsonObject],
        model: str,
        *,
        target_reduction: float = 0.2,
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the contract's name
        summarizer: AnySummarizer | None = None,
    ) -> CompressionResult:
        """See :meth:`Histories.compress_messages`."""
        return await self._histories.compress_messages(
            messages, model, target_reduction=target_reduction, format=format, summarizer=summarizer
        )

    async def plan_context(self, request: ContextRequest) -> ContextPlan:
        """See :meth:`Histories.plan_context`."""
        return await self._histories.plan_context(request)

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

    async def release_quota(self, reservation_id: str, user: str | None = None) -> Release:
        """See :meth:`UsageTracker.release_quota`."""
        return await self.tracker.release_quota(reservation_id, user)

    async def extend_quota(self, reservation_id: str, ttl_seconds: int = 600, user: str | None = None) -> int:
        """See :meth:`UsageTracker.extend_quota`."""
        return await self.tracker.extend_quota(reservation_id, ttl_seconds, user)

    async def open_budget(self, request: BudgetRequest) -> BudgetAnswer:
        """See :meth:`UsageTracker.open_budget`."""
        return await self.tracker.open_budget(request)

    async def close_budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """See :meth:`UsageTracker.close_budget`."""
        return await self.tracker.close_budget(session, user)

    async def budget(self, session: str, user: str | None = None) -> BudgetAnswer:
        """See :meth:`UsageTracker.budget`."""
        return await self.tracker.budget(session, user)

    async def usage_report(self, request: ReportRequest, *, cursor: str | None = None) -> UsageReport:
        """See :meth:`Reports.usage_report`."""
        return await self.reports.usage_report(request, cursor=cursor)

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
