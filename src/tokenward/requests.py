"""What callers ask of the ledger, and what they are answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenward.engine.limits import Amounts
from tokenward.engine.quota import LimitStatus, Priority
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import Tier, TokenUsage


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
        session: A session whose limits and budget apply too.
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
    """Usage to write to the ledger.

    Attributes:
        user: Whose usage; left out, the reservation's, else the service's default user. ``group`` and ``session``
            are taken from the reservation too.
        tier: The service level it was billed at, which its price depends on.
        reservation_id: The hold that it settles.
        idempotency_key: The same key is one event, however often it is sent.
        at_us: When it happened, microseconds UTC, at most 5 minutes ahead; ``None`` is now.
        counted_tokens: What this service had counted the input as, its ``tokens``: what the model's counts are
            calibrated by.
        estimated: The numbers are an estimate, not the provider's: reports say how many are, and no count is
            calibrated by them.
    """

    model: str
    usage: TokenUsage
    user: str | None = None
    group: str | None = None
    session: str | None = None
    endpoint: str | None = None
    tier: Tier = "standard"
    priority: Priority = "normal"
    reservation_id: str | None = None
    idempotency_key: str | None = None
    at_us: int | None = None
    counted_tokens: int | None = None
    estimated: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRequest:
    """A share of a budget for a session, such as a sub-agent's. What it uses counts under everything above it too.

    Attributes:
        session: Who may use it: work that names this session and user.
        user: Whose session; the service's default user when ``None``.
        group: A group whose limits apply too; below a parent it is the parent's.
        parent: The session whose budget it comes from; left out, it comes from the limits of user, group and all.
        tokens: Tokens given; what is ``None`` is neither given nor limited.
        cost: USD given, as a decimal string.
        requests: Requests given.
        ttl_seconds: How long it lives; then what is left goes back.
    """

    session: str
    user: str | None = None
    group: str | None = None
    parent: str | None = None
    tokens: int | None = None
    cost: str | None = None
    requests: int | None = None
    ttl_seconds: int = 3_600


@dataclass(frozen=True, slots=True)
class BudgetAmounts:
    """Amounts of a budget. ``cost`` is USD as a decimal string; ``None`` is a metric that the budget leaves open."""

    tokens: int | None = None
    cost: str | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAnswer:
    """How a session's budget stands, or why there is none. A denial is an answer, not an error.

    Attributes:
        parent: The session it comes from; ``None`` for one that comes from the limits.
        given: What was asked for.
        used: What work in it, and in the budgets opened from it, has used.
        remaining: What is neither used nor held; of a closed budget, what went back.
        expires_us: When it ends by itself, microseconds UTC; ``None`` after a denial.
        budget_id: What ``extend_quota`` takes to let it live longer; ``None`` after a denial.
        ended_us: When it was closed or its time was over; ``None`` while it is open.
    """

    allowed: bool
    user: str
    session: str
    parent: str | None
    given: BudgetAmounts
    used: BudgetAmounts = BudgetAmounts()
    remaining: BudgetAmounts = BudgetAmounts()
    expires_us: int | None = None
    budget_id: str | None = None
    ended_us: int | None = None
    denied_by: str | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    warnings: tuple[str, ...] = ()
