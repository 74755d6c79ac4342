"""``tokenward report``: reading the ledger."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from tokenward.engine.errors import InvalidInput
from tokenward.server.commands.session import Session, emit_json, pass_session, since_option, until_option

if TYPE_CHECKING:
    from tokenward.engine.currency import Currency
    from tokenward.engine.reports.report import GroupBy, UsageReport, UsageStats
    from tokenward.engine.types import JsonObject
    from tokenward.tools.definition import ToolContext

_GROUPS = ["user", "model", "session", "group", "endpoint", "day", "hour_of_day"]


@click.command()
@click.option("--user", help="Only this user's usage; everybody's by default.")
@click.option("--model", help="Only the usage of this model.")
@click.option("--group", help="Only this group's usage.")
@click.option("--session", "session_name", metavar="NAME", help="Only this session's usage.")
@click.option("--period", help="Such as 24h, 7d, 12w, today or month. [default: 7d]")
@since_option
@until_option
@click.option("--group-by", type=click.Choice(_GROUPS), default="user", show_default=True)
@click.option("--breakdown", is_flag=True, help="Show each row's models under it.")
@click.option("--timezone", metavar="ZONE", help="IANA zone of days and hours.")
@click.option("--currency", metavar="CODE", help="Show money in this currency, by the rate that is set.")
@click.option("--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Users listed as the top ones.")
@click.option("--rows", type=click.IntRange(1, 1000), default=200, show_default=True, help="Rows on a page.")
@click.option("--cursor", metavar="CURSOR", help="The next page, as the one before names it.")
@click.option("--forecast-days", type=click.IntRange(min=1), metavar="N", help="Forecast the next N days.")
@click.option("--json", "shape", flag_value="json", help="Print compact JSON instead of tables.")
@click.option("--csv", "shape", flag_value="csv", help="Print the rows as CSV.")
@click.option("--markdown", "shape", flag_value="markdown", help="Print Markdown.")
@pass_session
def report(
    session: Session,
    *,
    user: str | None,
    model: str | None,
    group: str | None,
    session_name: str | None,
    period: str | None,
    since: str | None,
    until: str | None,
    group_by: "GroupBy",
    breakdown: bool,
    timezone: str | None,
    currency: str | None,
    top: int,
    rows: int,
    cursor: str | None,
    forecast_days: int | None,
    shape: str | None,
) -> None:
    """Report what was used and what it cost.

    \b
    Examples:
      tokenward report --period month --group-by model
      tokenward report --group-by day --breakdown --timezone Europe/Berlin
      tokenward report --user alice --since 2026-11-01 --forecast-days 7
      tokenward report --period 12w --group-by day --csv > usage.csv
    """  # noqa: D301 - click reads the character
    if breakdown and (group_by == "model" or shape in ("csv", "markdown")):
        raise InvalidInput("breakdown", "rows are shown by model in tables and JSON; group by something else.")

    async def work(context: "ToolContext") -> "tuple[UsageReport, Mapping[str, tuple[UsageStats, ...]], Currency]":
        from tokenward.engine.reports.report import ReportRequest  # noqa: PLC0415 - heavy
        from tokenward.tools.times import asked_period  # noqa: PLC0415 - heavy

        service = context.service
        request = ReportRequest(
            **asked_period(context, since, until, period, timezone),
            group_by=group_by,
            top=top,
            forecast_days=forecast_days,
            limit=rows,
            user=user,
            model=model,
            group=group,
            session=session_name,
        )
        shown_in = service.currencies.find(currency)
        made = await service.reports.usage_report(request, cursor=cursor, asked=[since, until, period])
        # The page's own period, which a cursor brings with it.
        models = await service.reports.breakdown(made.request) if breakdown else {}
        return made, models, shown_in

    _print(*session.run(work), shape=shape)


def _print(
    made: "UsageReport", models: "Mapping[str, tuple[UsageStats, ...]]", currency: "Currency", *, shape: str | None
) -> None:
    from tokenward.engine.reports.text import next_page, report_csv, report_markdown, report_object  # noqa: PLC0415 - heavy

    match shape:
        case "csv":
            click.echo(report_csv(made, currency), nl=False)
            if made.next_cursor is not None:
                click.echo(next_page(made), err=True)
        case "markdown":
            click.echo(report_markdown(made, currency), nl=False)
        case "json":
            document = report_object(made, currency)
            if models:
                document["breakdown"] = _breakdown_object(models, currency)
            emit_json(document, as_json=True, show=lambda _: None)
        case _:
            from tokenward.server.commands.render import stdout_console  # noqa: PLC0415 - heavy
            from tokenward.server.commands.report_show import show_report  # noqa: PLC0415 - heavy

            show_report(stdout_console(), made, models, currency)


def _breakdown_object(models: "Mapping[str, tuple[UsageStats, ...]]", currency: "Currency") -> "JsonObject":
    from tokenward.engine.reports.text import stats_object  # noqa: PLC0415 - heavy

    return {
        key: [{"model": one.key, **stats_object(one, currency)} for one in of_row] for key, of_row in models.items()
    }
