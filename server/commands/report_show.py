"""A usage report on a terminal: wide with every column, narrow with those that matter most."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from tokenward.engine.currency import Currency
from tokenward.engine.reports.forecast import Forecast
from tokenward.engine.reports.report import UsageReport, UsageStats
from tokenward.engine.reports.text import facts, next_page, row_name
from tokenward.engine.times import local
from tokenward.engine.zones import time_zone
from tokenward.server.commands.render import line, money_in, sparkline, table

WIDE_COLUMNS = 100
"""From this width on all kinds of tokens are shown."""

VERY_WIDE_COLUMNS = 120
"""From this width on requests without a price are counted row by row."""

MEDIUM_COLUMNS = 60
"""Below this width only tokens and cost are shown."""

_HOURS = 24


def show_report(
    console: Console, report: UsageReport, models: Mapping[str, Sequence[UsageStats]], currency: Currency
) -> None:
    """Print a page of a report.

    Args:
        console: Where to.
        report: The page.
        models: For each row's key its sums by model, largest first; none to leave them out.
        currency: What amounts are shown in.
    """
    line(console, _heading(report), "bold")
    if report.totals.requests:
        _show_rows(console, report, models, currency)
        _show_course(console, report)
        if report.request.group_by != "user" and len(report.top_users) > 1:
            top = [(row_name(one.key), one.total_tokens, money_in(one.cost_nano, currency)) for one in report.top_users]
            console.print(table(["top users", ">tokens", ">cost"], top))
    else:
        line(console, "Nothing was recorded in this time.")
    if report.forecast is not None:
        show_forecast(console, report.forecast, currency)
    for fact in facts(report, currency):
        line(console, fact, "dim")
    for warning in (*(one.warning for one in report.anomalies), *report.warnings):
        line(console, f"Warning: {warning}", "yellow")
    if report.next_cursor is not None:
        line(console, next_page(report), "dim")


def _heading(report: UsageReport) -> str:
    request = report.request
    zone = time_zone(request.timezone)
    start, end = (local(moment_us, zone).strftime("%Y-%m-%d %H:%M") for moment_us in (request.start_us, request.end_us))
    only = [
        f"{name} {value or '(none)'}"
        for name, value in (
            ("user", request.user),
            ("model", request.model),
            ("group", request.group),
            ("session", request.session),
        )
        if value is not None
    ]
    return f"Usage from {start} to {end}, {request.timezone}{''.join(f', {one}' for one in only)}"


def _show_rows(
    console: Console, report: UsageReport, models: Mapping[str, Sequence[UsageStats]], currency: Currency
) -> None:
    shown = [one for one in _COLUMNS if console.width >= one.least_width]

    def cells(one: UsageStats) -> list[object]:
        return [column.cell(one, currency) for column in shown]

    rows: list[Sequence[object]] = []
    for row in report.rows:
        rows.append([row_name(row.key), *cells(row)])
        rows += [[Text(f"  {one.key}", style="dim"), *cells(one)] for one in models.get(row.key, ())]
    columns = [report.request.group_by.replace("_", " "), *(f">{one.name}" for one in shown)]
    console.print(table(columns, rows, footer=["total", *cells(report.totals)]))


def _cost(one: UsageStats, currency: Currency) -> str | None:
    """The cost, or nothing where every request is without a price."""
    unpriced = one.requests and one.requests == one.unpriced_requests
    return None if unpriced else money_in(one.cost_nano, currency)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[UsageStats, Currency], object]
    least_width: int = 0


_COLUMNS = (
    _Column("requests", lambda one, _: one.requests, MEDIUM_COLUMNS),
    _Column("input", lambda one, _: one.input_tokens, WIDE_COLUMNS),
    _Column("output", lambda one, _: one.output_tokens, WIDE_COLUMNS),
    _Column("cached", lambda one, _: one.cached_tokens, WIDE_COLUMNS),
    _Column("tokens", lambda one, _: one.total_tokens),
    _Column("per request", lambda one, _: round(one.average_tokens_per_request), WIDE_COLUMNS),
    _Column("cost", _cost),
    _Column("unpriced", lambda one, _: one.unpriced_requests or None, VERY_WIDE_COLUMNS),
)


def _show_course(console: Console, report: UsageReport) -> None:
    """How usage went over the days, and over the day."""
    if 1 < len(report.by_day) <= console.width - _HOURS:
        line(console, f"Tokens per day, oldest first:    {sparkline(report.by_day)}")
    line(console, f"Tokens by hour of day, 0 to 23:  {sparkline(report.by_hour_of_day)}")


def show_forecast(console: Console, forecast: Forecast, currency: Currency) -> None:
    """Print what the coming days together may use."""
    if forecast.tokens is None:
        line(console, f"No forecast: {forecast.method}.")
        return
    tokens, cost = forecast.tokens, forecast.cost_nano
    costs = ("unknown",) * 3 if cost is None else [money_in(one, currency) for one in (cost.p10, cost.p50, cost.p90)]
    rows = [("tokens", tokens.p10, tokens.p50, tokens.p90), ("cost", *costs)]
    console.print(table([f"next {forecast.days} days", ">low (p10)", ">middle (p50)", ">high (p90)"], rows))
    hits = forecast.backtest_coverage
    tested = "" if hits is None else f" In the past, {hits:.0%} of days fell into such a range (80 % would be ideal)."
    line(console, f"Method: {forecast.method}.{tested}", "dim")
