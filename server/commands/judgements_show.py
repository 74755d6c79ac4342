"""What-if and replay as JSON and on a terminal."""

from typing import TYPE_CHECKING

from tokenward.engine.limits import amount_text, amount_value
from tokenward.engine.money import usd
from tokenward.engine.times import rfc3339
from tokenward.engine.types import JsonObject
from tokenward.server.commands.limits import limit_json

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.currency import Currency
    from tokenward.engine.reports.replay import Refusal, ReplayReport, ReplayRow
    from tokenward.engine.reports.what_if import WhatIfReport, WhatIfRow

_SHOWN_ROWS = 50

# JSON ---------------------------------------------------------------------------------------------------------------


def what_if_json(made: "WhatIfReport", currency: "Currency") -> JsonObject:
    """A what-if report as JSON values."""
    scenario = made.scenario
    return {
        "scenario": {"model": scenario.model, "tier": scenario.tier, "cached_percent": scenario.cached_percent},
        "totals": _what_if_row(made.totals, currency),
        "rows": [{"model": one.model, **_what_if_row(one, currency)} for one in made.rows],
        "currency": currency.code,
        "exchange_rate": currency.note or None,
        "notes": list(made.notes),
    }


def _what_if_row(row: "WhatIfRow", currency: "Currency") -> JsonObject:
    return {
        "requests": row.requests,
        "compared": row.compared,
        "actual_cost": currency.text(row.actual_nano),
        "what_if_cost": currency.text(row.what_if_nano),
        "difference": currency.text(row.difference_nano),
        "uncached_cost": None if row.uncached_nano is None else currency.text(row.uncached_nano),
        "not_priceable": row.not_priceable,
        "not_priceable_cost": currency.text(row.not_priceable_nano),
        "unpriced": row.unpriced,
        "too_large": row.too_large,
        "writes_as_input": row.writes_as_input,
        "problem": row.problem or None,
        "same_tokenizer": row.same_tokenizer,
    }


def replay_json(made: "ReplayReport") -> JsonObject:
    """A replay as JSON values."""
    return {
        "requests": made.requests,
        "refused": made.refused,
        "refused_tokens": made.refused_tokens,
        "refused_cost": usd(made.refused_cost_nano),
        "currency": "USD",
        "first": _time(made.first_us),
        "last": _time(made.last_us),
        "unpriced": made.unpriced,
        "rows": [_replay_row(one) for one in made.rows],
        "total_rows": made.total_rows,
        "examples": [_example(one) for one in made.examples],
        "notes": list(made.notes),
    }


def _replay_row(row: "ReplayRow") -> JsonObject:
    return {
        "subject": row.subject,
        "scope": row.limit.scope,
        **limit_json(row.limit),
        "requests": row.requests,
        "refused": row.refused,
        "refused_tokens": row.refused_tokens,
        "refused_cost": usd(row.refused_cost_nano),
        "first": _time(row.first_us),
        "last": _time(row.last_us),
        "peak": amount_value(row.limit.metric, row.peak),
    }


def _example(one: "Refusal") -> JsonObject:
    return {
        "time": _time(one.at_us),
        "user": one.user,
        "model": one.model,
        "tokens": one.tokens,
        "cost": None if one.cost_nano is None else usd(one.cost_nano),
        "subject": one.subject,
        **limit_json(one.limit),
        "reason": one.reason,
        "retry_after_seconds": one.retry_after_seconds,
    }


def _time(moment_us: int | None) -> str | None:
    return None if moment_us is None else rfc3339(moment_us)


# For people ---------------------------------------------------------------------------------------------------------


def show_what_if(console: "Console", made: "WhatIfReport", currency: "Currency") -> None:
    """Print a what-if report."""
    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy

    if made.totals.requests:
        rows = [
            (
                name,
                one.requests,
                one.compared,
                currency.label(currency.text(one.actual_nano)),
                currency.label(currency.text(one.what_if_nano)),
                _difference(one.difference_nano, currency),
                *(() if one.uncached_nano is None else (currency.label(currency.text(one.uncached_nano)),)),
            )
            for name, one in (*((row.model, row) for row in made.rows), ("total", made.totals))
        ]
        columns = ["model", ">requests", ">compared", ">actual", ">what if", ">difference"]
        if made.totals.uncached_nano is not None:
            columns.append(">nothing cached")
        console.print(table(columns, rows[:-1], footer=rows[-1]))
    if currency.note:
        line(console, f"{currency.note}.", "dim")
    for note in made.notes:
        line(console, note, "yellow")


def _difference(amount_nano: int, currency: "Currency") -> str:
    return f"{'-' if amount_nano < 0 else '+'}{currency.label(currency.text(abs(amount_nano)))}"


def show_replay(console: "Console", made: "ReplayReport", currency: "Currency") -> None:
    """Print a replay. Money is in US dollars, as limits are."""
    from tokenward.server.commands.render import duration, line, table  # noqa: PLC0415 - heavy

    told = f"{made.refused:,} of {made.requests:,} requests would have been refused"
    cost = f": {made.refused_tokens:,} tokens, ${usd(made.refused_cost_nano)}" if made.refused else ""
    line(console, f"{told}{cost}.")
    if made.rows:
        rows = [
            (
                one.subject,
                f"{one.limit.metric} per {one.limit.window}",
                amount_text(one.limit.metric, one.limit.limit),
                amount_text(one.limit.metric, one.peak),
                one.requests,
                one.refused,
                _time(one.first_us),
                _time(one.last_us),
            )
            for one in made.rows[:_SHOWN_ROWS]
        ]
        columns = ["subject", "limit on", ">limit", ">peak", ">requests", ">refused", "first", "last"]
        console.print(table(columns, rows))
        if made.total_rows > len(rows):
            line(console, f"{len(rows)} of {made.total_rows} rows are shown; --json has more.", "dim")
    if made.examples:
        largest = [
            (
                _time(one.at_us),
                one.user,
                one.model,
                one.tokens,
                f"{one.subject}, {one.limit.metric} per {one.limit.window}",
                "never" if one.retry_after_seconds is None else duration(one.retry_after_seconds),
            )
            for one in made.examples
        ]
        console.print(table(["largest refused", "user", "model", ">tokens", "by", "fits after"], largest))
    if made.unpriced:
        line(console, f"{made.unpriced:,} requests without a known cost counted 0 for limits in money.", "yellow")
    if not currency.is_usd:
        line(console, "Money is in US dollars (USD), as limits are.", "dim")
    for note in made.notes:
        line(console, note, "yellow")
