"""``tokenward predict``: what the coming days may cost, on other models too, and when budgets run out."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tokenward.server.commands.limits import amount_of
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.currency import Currency
    from tokenward.engine.reports.prediction import CostPrediction, OtherModel
    from tokenward.engine.reports.run_out import RunOut
    from tokenward.tools.definition import ToolContext


@click.command()
@click.option("--user", help="Whose usage; everybody's by default.")
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True, help="How many, from tomorrow on.")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="Price the same work on this model too.")
@click.option("--budget", metavar="USD", help="Find the day on which so much money is used up, from now on.")
@click.option("--timezone", metavar="ZONE", help="IANA zone of days.")
@json_option
@pass_session
def predict(
    session: Session,
    *,
    user: str | None,
    days: int,
    models: tuple[str, ...],
    budget: str | None,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Predict what the coming days may cost, from the days that were like them.

    The limits on the user, or without one those on everybody together, are among the budgets that may run out.

    \b
    Examples:
      tokenward predict --days 7 --budget 25.00
      tokenward predict --user alice --model gpt-4o-mini --model claude-haiku-4-5
    """  # noqa: D301 - click reads the character
    cost_left_nano = None if budget is None else amount_of("budget", "cost", budget)

    async def work(context: "ToolContext") -> "tuple[CostPrediction, Currency]":
        from tokenward.engine.reports.prediction import PredictionRequest  # noqa: PLC0415 - heavy

        request = PredictionRequest(
            days=days,
            user=user,
            timezone=context.timezone if timezone is None else timezone,
            models=models,
            cost_left_nano=cost_left_nano,
        )
        return await context.service.reports.predict_cost(request), context.service.currency

    made, currency = session.run(work)
    from tokenward.engine.reports.text import prediction_object  # noqa: PLC0415 - heavy

    document = prediction_object(made, currency)
    emit_json(document, as_json=as_json, show=lambda console: _show(console, made, currency))


# For people ---------------------------------------------------------------------------------------------------------


def _show(console: "Console", made: "CostPrediction", currency: "Currency") -> None:
    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy
    from tokenward.server.commands.report_show import show_forecast  # noqa: PLC0415 - heavy

    show_forecast(console, made.forecast, currency)
    if made.cost_backtest_coverage is not None:
        line(console, f"By cost, {made.cost_backtest_coverage:.0%} of days did.", "dim")
    if made.other_models:
        columns = ["the same work on", ">past days", ">low (p10)", ">middle (p50)", ">high (p90)"]
        console.print(table(columns, [tuple(_other(one, currency)) for one in made.other_models]))
    if made.run_outs:
        rows = [(one.budget, _left(one, currency), one.text) for one in made.run_outs]
        console.print(table(["budget", ">left", "used up"], rows))
    for one in made.other_models:
        if one.problem:
            line(console, f"Warning: {one.problem}", "yellow")
    for note in made.notes:
        line(console, note, "dim")
    if currency.note:
        line(console, currency.note, "dim")


def _other(one: "OtherModel", currency: "Currency") -> Iterator[str | None]:
    from tokenward.server.commands.render import money_in  # noqa: PLC0415 - heavy

    cost = one.cost_nano
    yield one.model
    for amount in (one.history_nano, *((None,) * 3 if cost is None else (cost.p10, cost.p50, cost.p90))):
        yield None if amount is None else money_in(amount, currency)


def _left(one: "RunOut", currency: "Currency") -> str:
    from tokenward.server.commands.render import money_in  # noqa: PLC0415 - heavy

    return money_in(one.remaining, currency) if one.metric == "cost" else f"{one.remaining:,}"
