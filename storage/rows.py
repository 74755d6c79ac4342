"""Rows to nouns and back, the same for every database: the columns stand in the same order everywhere."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, LiteralString, cast

from tokenward.engine.budget import Budget, BudgetStatus, Share
from tokenward.engine.limits import Amounts, LimitQuery, Subjects
from tokenward.engine.types import NANO_PER_USD, JsonObject
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageSum
from tokenward.storage.base import HourlyUsage, Reservation
from tokenward.storage.rollup import Rollup, Sums, UserKey
from tokenward.storage.transaction import AnswerKey

_ALL = 2**62
"""The size of a page that holds everything."""
_SEPARATOR = "\n"
"""Between the parts of a path: no name holds one."""

EVENT_COLUMNS: LiteralString = (
    "event_id, timestamp, admitted, user_id, group_id, session_id, model, input_tokens, output_tokens, cached_tokens, "
    "cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, tokens_used, cost_nano, price_source, api_endpoint, "
    "priority_level, reservation_id, overage, service_tier, ancestors, counted_tokens, counted_as, estimated"
)
RESERVATION_COLUMNS: LiteralString = (
    "reservation_id, user_id, group_id, session_id, model, tokens, cost_nano, requests, admitted, expires, "
    "ancestors, path"
)
BUDGET_COLUMNS: LiteralString = (
    "budget_id, user_id, group_id, session_id, ancestors, path, share_tokens, share_cost_nano, share_requests, "
    "used_tokens, used_cost_nano, used_requests, opened, expires, ended"
)
HOURLY_COLUMNS: LiteralString = (
    "quarter_hour, user_id, group_id, model, api_endpoint, requests, input_tokens, output_tokens, cached_tokens, "
    "cache_write_tokens, reasoning_tokens, cost_usd, cost_nano, unpriced_requests, estimated_requests, "
    "cache_write_1h_tokens"
)
HOURLY_ALL_COLUMNS: LiteralString = HOURLY_COLUMNS.replace("user_id, ", "").replace(
    "api_endpoint", "api_endpoint, shard"
)

DIMENSIONS: dict[Dimension, str] = {
    "user": "user_id",
    "model": "model",
    "session": "session_id",
    "group": "group_id",
    "endpoint": "api_endpoint",
    "quarter_hour": "quarter_hour",
}


def texts_of(value: object) -> tuple[str, ...]:
    """The texts of a list in a stored answer; none where it has no such list."""
    return tuple(str(one) for one in cast("list[object]", value)) if isinstance(value, list) else ()


def names_of(subjects: Iterable[str]) -> tuple[str, list[str]]:
    """The scope of subjects that share one, and their names; ``global`` has an empty one."""
    parts = [subject.partition(":") for subject in subjects]
    return parts[0][0], [name for _, _, name in parts]


def subject_of(scope: str, name: str) -> str:
    """The subject of a name."""
    return f"{scope}:{name}" if name else scope


def joined(parts: Iterable[str]) -> str:
    """A path as it is stored: each part between separators, so that one can be searched for."""
    given = list(parts)
    return _SEPARATOR.join(["", *given, ""]) if given else ""


def parted(text: str) -> tuple[str, ...]:
    """The parts of a stored path."""
    return tuple(text.split(_SEPARATOR)[1:-1])


def reservation_of(row: Iterable[Any]) -> Reservation:
    """A row of :data:`RESERVATION_COLUMNS`."""
    reservation_id, user, group, session, model, tokens, cost_nano, requests, admitted, expires, above, path = row
    return Reservation(
        reservation_id,
        Subjects(user, group, session, parted(above)),
        Amounts(tokens, cost_nano, requests),
        model,
        admitted,
        expires,
        parted(path),
    )


def reservation_values(one: Reservation) -> tuple[object, ...]:
    """The row of a reservation."""
    who, what = one.subjects, one.amounts
    return (
        *(one.reservation_id, who.user, who.group, who.session, one.model),
        *(what.tokens, what.cost_nano, what.requests, one.admitted_us, one.expires_us),
        *(joined(who.ancestors), joined(one.path)),
    )


def budget_of(row: Iterable[Any]) -> Budget:
    """A row of :data:`BUDGET_COLUMNS`."""
    budget_id, user, group, session, above, path, *numbers = row
    return Budget(
        budget_id,
        Subjects(user, group, session, parted(above)),
        parted(path),
        Share(*numbers[:3]),
        Amounts(*numbers[3:6]),
        *numbers[6:],
    )


def budget_values(one: Budget) -> tuple[object, ...]:
    """The row of a budget."""
    who, share, used = one.subjects, one.share, one.used
    return (
        *(one.budget_id, who.user, who.group, who.session, joined(who.ancestors), joined(one.path)),
        *(share.tokens, share.cost_nano, share.requests, used.tokens, used.cost_nano, used.requests),
        *(one.opened_us, one.expires_us, one.ended_us),
    )


def event_of(row: Iterable[Any]) -> UsageEvent:
    """A row of :data:`EVENT_COLUMNS`."""
    event_id, timestamp, admitted, user, group, session, model, *numbers = row
    _, cost_nano, price_source, endpoint, priority, reservation_id, overage, *rest = numbers[6:]
    tier, above, counted_tokens, counted_as, estimated = rest
    return UsageEvent(
        event_id,
        timestamp,
        admitted,
        user,
        model,
        TokenUsage(*numbers[:6]),
        cost_nano,
        price_source,
        group,
        session,
        endpoint,
        priority,
        reservation_id,
        bool(overage),
        tier,
        parted(above),
        counted_tokens,
        counted_as,
        bool(estimated),
    )


def event_values(one: UsageEvent) -> tuple[object, ...]:
    """The row of an event."""
    used = one.usage
    return (
        *(one.event_id, one.timestamp_us, one.admitted_us, one.user, one.group, one.session, one.model),
        *(used.input_tokens, used.output_tokens, used.cached_input_tokens, used.cache_write_tokens),
        *(used.cache_write_1h_tokens, used.reasoning_tokens, used.total_tokens, one.cost_nano, one.price_source),
        *(one.endpoint, one.priority, one.reservation_id, int(one.overage), one.tier, joined(one.ancestors)),
        *(one.counted_tokens, one.counted_as, int(one.estimated)),
    )


def sum_of(row: Iterable[Any]) -> UsageSum:
    """A row of a key and the sums of :data:`~tokenward.storage.rollup.SUMS`."""
    key, *numbers = row
    *counts, dollars, nano, unpriced, estimated, writes_1h = (int(one) for one in numbers)
    return UsageSum(str(key), *[*counts, dollars * NANO_PER_USD + nano, unpriced, estimated, writes_1h])


def hourly_of(row: Iterable[Any]) -> HourlyUsage:
    """A row of :data:`HOURLY_COLUMNS`."""
    quarter_hour, user, group, model, endpoint, *sums = row
    return HourlyUsage(quarter_hour, user, group, model, endpoint, sum_of(["", *sums]))


def hourly_numbers(line: HourlyUsage) -> tuple[UserKey, Sums]:
    """A line of the rollup as it is added."""
    one = line.sums
    sums = [one.requests, one.input_tokens, one.output_tokens, one.cached_tokens, one.cache_write_tokens]
    sums += [one.reasoning_tokens, one.cost_nano // NANO_PER_USD, one.cost_nano % NANO_PER_USD, one.unpriced_requests]
    sums += [one.estimated_requests, one.cache_write_1h_tokens]
    return (line.quarter_hour, line.user, line.group, line.model, line.endpoint), sums


def new_lines(lines: Iterable[HourlyUsage], standing: Collection[tuple[object, ...]]) -> Rollup:
    """What lines of the rollup add whose keys do not stand in it yet."""
    return Rollup({key: sums for key, sums in map(hourly_numbers, lines) if key not in standing})


def on_paths(reservations: Iterable[Reservation], answers: Mapping[AnswerKey, JsonObject]) -> set[str]:
    """The budgets that holds draw on, pending ones and those that have ended."""
    ended = (texts_of(answer.get("path")) for (kind, _), answer in answers.items() if kind == "ended")
    return {name for path in (*(one.path for one in reservations), *ended) for name in path}


def closed_answer(status: BudgetStatus) -> JsonObject:
    """What is remembered of a closed budget."""
    budget = status.budget
    who, share, used, left = budget.subjects, budget.share, budget.used, status.remaining
    return {
        "budget_id": budget.budget_id,
        "subjects": [who.user, who.group, who.session],
        "ancestors": list(who.ancestors),
        "path": list(budget.path),
        "share": [share.tokens, share.cost_nano, share.requests],
        "used": [used.tokens, used.cost_nano, used.requests],
        "times": [budget.opened_us, budget.expires_us, budget.ended_us],
        "remaining": [left.tokens, left.cost_nano, left.requests],
        "parent": status.parent,
    }


def closed_status(answer: Mapping[str, object]) -> BudgetStatus:
    """A closed budget as it is remembered."""
    texts = cast("dict[str, list[str]]", answer)
    numbers = cast("dict[str, list[int]]", answer)
    user, group, session = texts["subjects"]
    budget = Budget(
        str(answer["budget_id"]),
        Subjects(user, group, session, tuple(texts["ancestors"])),
        tuple(texts["path"]),
        Share(*numbers["share"]),
        Amounts(*numbers["used"]),
        *numbers["times"],
    )
    return BudgetStatus(budget, Amounts(*numbers["remaining"]), str(answer["parent"]))


def limit_values(query: LimitQuery) -> dict[str, str | int | None]:
    """What the statement for a page of limits takes."""
    after = dict(zip(("after_subject", "after_metric", "after_window"), query.after, strict=True))
    only = {"subject": query.subject, "metric": query.metric, "window": query.window}
    return {**after, **only, "size": _ALL if query.size is None else query.size}
