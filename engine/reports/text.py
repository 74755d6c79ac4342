"""Reports as JSON, CSV and Markdown. Money is in decimal strings, never in binary floats.

The names of JSON's fields and of CSV's columns are a contract: they are always all there, in this order.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date

from tokenward.engine.currency import USD, Currency
from tokenward.engine.reports.forecast import Forecast, Quantiles
from tokenward.engine.reports.prediction import CostPrediction
from tokenward.engine.reports.report import UsageReport, UsageStats
from tokenward.engine.reports.run_out import RunOut
from tokenward.engine.reports.sum_prices import CacheSavings
from tokenward.engine.times import rfc3339
from tokenward.engine.types import JsonObject

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
"""What makes a spreadsheet take a text for a formula; the full-width signs do so where they are written."""
_MARKDOWN = frozenset("\\`*_[]<>|~&$#")
_BARE_LINK = re.compile(r"(?=://)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where an address that is written without any signs becomes a link."""
_NO_NAME, _TOTAL = "(none)", "total"


def report_object(report: UsageReport, currency: Currency = USD) -> JsonObject:
    """A page of a report as JSON values.

    Args:
        report: The report.
        currency: What amounts are shown in.
    """
    request = report.request
    return {
        "start": rfc3339(request.start_us),
        "end": rfc3339(request.end_us),
        "timezone": request.timezone,
        "group_by": request.group_by,
        "currency": currency.code,
        "totals": stats_object(report.totals, currency),
        "rows": [{"key": one.key, **stats_object(one, currency)} for one in report.rows],
        "total_rows": report.total_rows,
        "top_users": [
            {"user": one.key, "total_tokens": one.total_tokens, "cost": currency.text(one.cost_nano)}
            for one in report.top_users
        ],
        "by_hour_of_day": list(report.by_hour_of_day),
        "estimated_share": round(report.totals.estimated_share, 4),
        "cache_savings": _savings(report.cache_savings, currency),
        "forecast": None if report.forecast is None else _forecast(report.forecast, currency),
        "anomalies": [one.warning for one in report.anomalies],
        "warnings": list(report.warnings),
        "next_cursor": report.next_cursor,
    }


def report_json(report: UsageReport, currency: Currency = USD) -> str:
    """A page of a report as a JSON document."""
    return json.dumps(report_object(report, currency), ensure_ascii=False, indent=2) + "\n"


def prediction_object(made: CostPrediction, currency: Currency = USD) -> JsonObject:
    """A prediction as JSON values.

    Args:
        made: The prediction.
        currency: What amounts are shown in.
    """
    return {
        "currency": currency.code,
        "forecast": _forecast(made.forecast, currency),
        "cost_backtest_coverage": made.cost_backtest_coverage,
        "other_models": [
            {
                "model": one.model,
                "cost": None if one.cost_nano is None else _range(one.cost_nano, currency),
                "history_cost": None if one.history_nano is None else currency.text(one.history_nano),
                "problem": one.problem,
            }
            for one in made.other_models
        ],
        "runs_out": [run_out_object(one, currency) for one in made.run_outs],
        "notes": list(made.notes),
    }


def run_out_object(one: RunOut, currency: Currency = USD) -> JsonObject:
    """The day on which a budget is used up, as JSON values; ``None`` is a day that is not within ``within_days``."""
    return {
        "budget": one.budget,
        "metric": one.metric,
        "remaining": currency.text(one.remaining) if one.metric == "cost" else one.remaining,
        "within_days": one.within_days,
        "p10": _day(one.p10),
        "p50": _day(one.p50),
        "p90": _day(one.p90),
        "problem": one.problem,
    }


def report_csv(report: UsageReport, currency: Currency = USD) -> str:
    """The rows of a page as CSV by RFC 4180: one line each under a line of names, ended by CR LF.

    A key that a spreadsheet would take for a formula has an apostrophe in front. There is no line of totals, so that
    the lines can be summed.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([report.request.group_by, *stats_object(report.totals, currency), "currency"])
    for one in report.rows:
        writer.writerow([_no_formula(one.key), *stats_object(one, currency).values(), currency.code])
    return text.getvalue()


def report_markdown(report: UsageReport, currency: Currency = USD) -> str:
    """A page of a report as Markdown: the rows with their totals, the top users and what else there is to say."""
    request = report.request
    what = request.group_by.replace("_", " ")
    parts = [
        "# Usage report",
        f"{rfc3339(request.start_us)} to {rfc3339(request.end_us)}, {_escaped(request.timezone)}.",
        _table(
            [what.capitalize(), "Requests", "Input", "Output", "Cached", "Tokens", "Tokens per request", "Cost"],
            [*(_cells(_name(one.key), one, currency) for one in report.rows), _totals(report, currency)],
        ),
    ]
    if request.group_by != "user" and report.top_users:
        top = ([_name(one.key), f"{one.total_tokens:,}", _money(one, currency)] for one in report.top_users)
        parts += ["## Top users", _table(["User", "Tokens", "Cost"], top)]
    if len(report.rows) < report.total_rows:
        following = "" if report.next_cursor is None else f" The cursor of the next page: `{report.next_cursor}`"
        parts.append(f"- {len(report.rows):,} of {report.total_rows:,} rows are on this page.{following}")
    parts += [f"- {_escaped(remark)}" for remark in _remarks(report, currency)]
    return "\n\n".join(parts) + "\n"


def stats_object(one: UsageStats, currency: Currency) -> JsonObject:
    """One group's sums as JSON values."""
    average = one.average_cost_nano_per_request
    return {
        "requests": one.requests,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cached_tokens": one.cached_tokens,
        "cache_write_tokens": one.cache_write_tokens,
        "reasoning_tokens": one.reasoning_tokens,
        "total_tokens": one.total_tokens,
        "cost": currency.text(one.cost_nano),
        "unpriced_requests": one.unpriced_requests,
        "estimated_requests": one.estimated_requests,
        "average_tokens_per_request": round(one.average_tokens_per_request, 2),
        "average_cost_per_request": None if average is None else currency.text(average),
    }


def row_name(key: str) -> str:
    """A row's key for people; in quotes where it would read like the line of those without one, or of totals."""
    if key.strip('"') in (_NO_NAME, _TOTAL):
        return f'"{key}"'
    return key or _NO_NAME


def _savings(one: CacheSavings, currency: Currency) -> JsonObject | None:
    """``None`` without cache traffic."""
    if not one.by_model and not one.unpriced_tokens:
        return None
    by_model: JsonObject = {model: currency.text(saved) for model, saved in one.by_model.items()}
    return {"total": currency.text(one.total_nano), "by_model": by_model, "unpriced_tokens": one.unpriced_tokens}


def _forecast(one: Forecast, currency: Currency) -> JsonObject:
    return {
        "days": one.days,
        "tokens": None if one.tokens is None else asdict(one.tokens),
        "cost": None if one.cost_nano is None else _range(one.cost_nano, currency),
        "cost_by_model": {model: currency.text(cost) for model, cost in one.cost_by_model.items()},
        "unpriced_requests": one.unpriced_requests,
        "method": one.method,
        "backtest_coverage": one.backtest_coverage,
    }


def _range(one: Quantiles, currency: Currency) -> JsonObject:
    return {"p10": currency.text(one.p10), "p50": currency.text(one.p50), "p90": currency.text(one.p90)}


def _day(one: date | None) -> str | None:
    return None if one is None else one.isoformat()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


# Markdown -----------------------------------------------------------------------------------------------------------


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the first column to the left, numbers to the right."""
    lines = [names, [":--", *("--:" for _ in names[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(name: str, one: UsageStats, currency: Currency) -> list[str]:
    numbers = (one.requests, one.input_tokens, one.output_tokens, one.cached_tokens, one.total_tokens)
    average = f"{one.average_tokens_per_request:,.0f}"
    return [name, *(f"{number:,}" for number in numbers), average, _money(one, currency)]


def _totals(report: UsageReport, currency: Currency) -> list[str]:
    return [f"**{cell}**" for cell in _cells(_TOTAL, report.totals, currency)]


def _money(one: UsageStats, currency: Currency) -> str:
    unpriced = f" + {one.unpriced_requests:,} unpriced" if one.unpriced_requests else ""
    return f"{currency.text(one.cost_nano)} {currency.code}{unpriced}"


def _name(key: str) -> str:
    return _escaped(row_name(key))


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is, on one line and in one cell."""
    shown = (char if char.isprintable() else " " for char in text)
    escaped = "".join(f"\\{char}" if char in _MARKDOWN else char for char in shown)
    return _BARE_LINK.sub(r"\\", escaped)


def facts(report: UsageReport, currency: Currency) -> Iterable[str]:
    """What the sums of a report's period say besides, a sentence each."""
    totals, savings = report.totals, report.cache_savings
    if totals.unpriced_requests:
        who = "request has" if totals.unpriced_requests == 1 else "requests have"
        yield f"{totals.unpriced_requests:,} {who} no known price and no cost here."
    if totals.average_cost_nano_per_request is not None:
        yield f"Cost per priced request: {currency.text(totals.average_cost_nano_per_request)} {currency.code}."
    if savings.by_model:
        yield f"Saved by the providers' caches: {currency.text(savings.total_nano)} {currency.code}."
    if savings.unpriced_tokens:
        yield f"Of {savings.unpriced_tokens:,} cached tokens nobody knows what they saved."
    if totals.estimated_requests:
        yield f"{totals.estimated_share:.1%} of the requests have estimated numbers."
    if currency.note:
        yield currency.note


def next_page(report: UsageReport) -> str:
    """How the command line is asked for the page after this one."""
    return f"{len(report.rows):,} of {report.total_rows:,} rows. Next page: --cursor {report.next_cursor}"


def _remarks(report: UsageReport, currency: Currency) -> Iterable[str]:
    yield from facts(report, currency)
    if report.forecast is not None:
        yield _outlook(report.forecast, currency)
    yield from (one.warning for one in report.anomalies)
    yield from report.warnings


def _outlook(one: Forecast, currency: Currency) -> str:
    if one.tokens is None:
        return f"The next {one.days} days: {one.method}."
    tokens = f"{one.tokens.p50:,} tokens ({one.tokens.p10:,} to {one.tokens.p90:,})"
    cost = "of unknown cost"
    if one.cost_nano is not None:
        low, high = currency.text(one.cost_nano.p10), currency.text(one.cost_nano.p90)
        cost = f"{currency.text(one.cost_nano.p50)} {currency.code} ({low} to {high})"
    return f"The next {one.days} days: {tokens}, {cost}, by {one.method}."
