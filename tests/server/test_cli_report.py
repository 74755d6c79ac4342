"""``tokenward report``: the same rows as a table, JSON, CSV and Markdown, wide and narrow, page by page."""

import csv
import io
import json
from dataclasses import astuple, replace

import pytest
from rich.console import Console

from tests.server.conftest import Json, Run
from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.currency import USD, Currency
from tokenward.engine.reports.forecast import Forecast, Quantiles
from tokenward.engine.reports.report import ReportRequest, UsageReport
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import UsageSum
from tokenward.server.commands.render import money_in
from tokenward.server.commands.report_show import show_report

USERS = ("alice", "bob", "carol")
MODELS = ("gpt-4o", "gpt-5-mini")
DAY = "2026-10-2"


@pytest.fixture
def recorded(answer: Json) -> None:
    """Three users, two models, three days around the end of summer time in Berlin."""
    for index in range(12):
        answer(
            *("record", "--model", MODELS[index % 2], "--user", USERS[index % 3], "--session", f"s{index % 4}"),
            *("--input", str(1_000 * (index + 1)), "--output", "10", "--cached", str(100 * index)),
            *("--at", f"{DAY}{4 + index % 3}T23:30:00+00:00"),
        )


SPAN = ("--since", f"{DAY}4", "--until", f"{DAY}8")


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("group_by", ["user", "model", "session", "group", "endpoint", "day", "hour_of_day"])
def test_every_shape_has_the_same_rows(run: Run, answer: Json, group_by: str) -> None:
    arguments = ("report", *SPAN, "--group-by", group_by, "--timezone", "Europe/Berlin")
    document = answer(*arguments)
    found = list(csv.DictReader(io.StringIO(run(*arguments, "--csv").stdout, newline="")))
    table = run(*arguments).stdout
    markdown = run(*arguments, "--markdown").stdout
    assert [row[group_by] for row in found] == [row["key"] for row in document["rows"]]
    for row, line in zip(document["rows"], found, strict=True):
        assert int(line["total_tokens"]) == row["total_tokens"]
        assert line["cost"] == row["cost"]
        assert f"{row['total_tokens']:,}" in table
        assert f"| {row['total_tokens']:,} |" in markdown
    assert sum(row["total_tokens"] for row in document["rows"]) == document["totals"]["total_tokens"] == 78_120


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("group_by", ["user", "session", "endpoint", "day", "hour_of_day"])
def test_a_breakdown_adds_up_to_its_row(run: Run, answer: Json, group_by: str) -> None:
    arguments = ("report", *SPAN, "--group-by", group_by, "--breakdown", "--timezone", "Europe/Berlin")
    document = answer(*arguments)
    for row in document["rows"]:
        models = document["breakdown"].get(row["key"], [])
        assert {one["model"] for one in models} <= set(MODELS)
        assert sum(one["total_tokens"] for one in models) == row["total_tokens"]
        assert [one["total_tokens"] for one in models] == sorted((one["total_tokens"] for one in models), reverse=True)
    assert run(*arguments).stdout.count("  gpt-4o ") == sum(
        any(one["model"] == "gpt-4o" for one in models) for models in document["breakdown"].values()
    )


@pytest.mark.usefixtures("recorded")
def test_pages_are_the_whole(run: Run, answer: Json) -> None:
    whole = answer("report", *SPAN, "--group-by", "session")
    cursor: list[str] = []
    keys: list[str] = []
    while True:
        page = answer("report", *SPAN, "--group-by", "session", "--rows", "3", *cursor)
        keys += [row["key"] for row in page["rows"]]
        if page["next_cursor"] is None:
            break
        cursor = ["--cursor", page["next_cursor"]]
        assert (
            f"--cursor {page['next_cursor']}" in run("report", *SPAN, "--group-by", "session", "--rows", "3").stdout
            or len(keys) > 3
        )
    assert keys == [row["key"] for row in whole["rows"]]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("only", [("--user", "bob"), ("--model", "gpt-4o"), ("--session", "s1"), ("--group", "")])
def test_a_report_can_be_of_a_part(run: Run, answer: Json, only: tuple[str, str]) -> None:
    name, value = only
    by = name.removeprefix("--")
    whole = {row["key"]: row for row in answer("report", *SPAN, "--group-by", by)["rows"]}
    part = answer("report", *SPAN, *only)
    assert part["totals"]["total_tokens"] == whole[value]["total_tokens"]
    assert f"{by} {value or '(none)'}" in run("report", *SPAN, *only).stdout.splitlines()[0]


def test_another_currency_needs_a_rate(run: Run, answer: Json, environment: dict[str, str]) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000000", "--output", "0")
    refused = run("report", "--currency", "EUR")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no rate is set for 'EUR'" in refused.stderr
    environment["TOKENWARD_EXCHANGE_RATES"] = json.dumps({"EUR": {"rate": "0.80", "date": "2026-11-20"}})
    document = answer("report", "--currency", "eur")
    assert (document["currency"], document["totals"]["cost"]) == ("EUR", "2.00")
    assert "2.00 EUR" in run("report", "--currency", "EUR").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--timezone", "Europe/Berlino"), "Europe/Berlin"),
        (("--since", "2026-11-20", "--until", "2026-11-20"), "the period is empty"),
        (("--since", "2026-11-20", "--until", "2026-11-19"), "the period is empty"),
        (("--since", "2026-11-20", "--period", "7d"), "give either a period or a start"),
        (("--until", "2026-11-20"), "give a start as well"),
        (("--since", "yesterday"), "is not a time"),
        (("--cursor", "AAAA"), "cursor"),
        (("--user", ""), "user: '' is not a name"),
        (("--user", "x" * 300), "is not a name"),
        (("--group", "a\nb"), "group: 'a\\nb' is not a name"),
        (("--timezone", ""), "timezone: '' is not a time zone"),
        (("--timezone", "posixrules"), "is not a time zone"),
        (("--timezone", "localtime"), "is not a time zone"),
        (("--breakdown", "--group-by", "model"), "breakdown"),
        (("--breakdown", "--csv"), "breakdown"),
    ],
)
def test_what_cannot_be_reported_is_said(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    done = run("report", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert problem in done.stderr
    assert done.stderr.count("\n") <= 2


def made(users: int = 2) -> UsageReport:
    quarter = UsageSum("0", users, 60_000 * users, 4_000 * users, 5_000 * users, 0, 0, 10**9 * users)
    each = [UsageSum(f"user{one}", 1, 60_000, 4_000, 5_000, 0, 0, 10**9) for one in range(users)]
    request = ReportRequest(0, 3 * DAY_US)
    return UsageAnalytics().generate_report(request, {"quarter_hour": [quarter], "user": each, "model": []})


def printed(report: UsageReport, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    show_report(console, report, {}, USD)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 59, 60, 80, 99])
def test_a_narrow_terminal_gets_the_columns_that_matter(width: int) -> None:
    lines = printed(made(), width)
    (heading,) = [one for one in lines if "tokens" in one and "cost" in one]
    assert heading.split() == ["user", *(["requests"] if width >= 60 else []), "tokens", "cost"]
    assert max(len(one.rstrip()) for one in lines if "user" in one) <= width


@pytest.mark.parametrize("width", [40, 50, 60, 80, 99, 120])
def test_numbers_and_names_are_whole_on_any_terminal(width: int) -> None:
    """Millions, long names and requests without a price."""
    name = "somebody.with.a.long-name@example.org"
    total = UsageSum(name, 111, 14_000_000, 110_949, 0, 0, 0, 17_910_000_000, 99)
    quarter = UsageSum("0", *astuple(total)[1:])
    request = ReportRequest(0, 3 * DAY_US)
    report = UsageAnalytics().generate_report(request, {"quarter_hour": [quarter], "user": [total], "model": []})
    lines = printed(report, width)
    assert sum("14,110,949" in one and "$17.91" in one for one in lines) == 2
    assert any(one.lstrip().startswith(name[:12]) for one in lines)
    assert any("99 requests have no known price" in one for one in lines)


@pytest.mark.parametrize("width", [100, 200])
def test_a_wide_terminal_gets_all_columns(width: int) -> None:
    lines = printed(made(), width)
    assert any({"input", "output", "cached", "cost"} <= set(one.split()) for one in lines)


def test_the_days_are_a_sparkline() -> None:
    assert any(one.startswith("Tokens per day") and one.endswith("█▁▁") for one in printed(made(), 80))


def test_nothing_recorded(run: Run) -> None:
    assert "Nothing was recorded" in run("report").stdout


@pytest.mark.parametrize(
    ("amount_nano", "currency", "text"),
    [
        (0, USD, "$0.00"),
        (3_100_000, USD, "$0.0031"),
        (123_456_789, USD, "$0.1235"),
        (1_005_000_000, USD, "$1.01"),
        (1_234_567_890_000_000, USD, "$1,234,567.89"),
        (1_000_000_000, Currency("EUR", rate=__import__("decimal").Decimal("0.5")), "0.5000 EUR"),
    ],
)
def test_money_for_people(amount_nano: int, currency: Currency, text: str) -> None:
    assert money_in(amount_nano, currency) == text


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("shape", ["--csv", "--markdown"])
def test_every_shape_names_the_next_page(run: Run, answer: Json, shape: str) -> None:
    arguments = ("report", *SPAN, "--rows", "2")
    cursor = answer(*arguments)["next_cursor"]
    first = run(*arguments, shape)
    second = run(*arguments, shape, "--cursor", cursor)
    if shape == "--csv":
        assert first.stderr == f"2 of 3 rows. Next page: --cursor {cursor}\n"
        assert len(first.stdout.splitlines()) == 3
    else:
        assert f"`{cursor}`" in first.stdout
    assert (second.exit_code, second.stderr) == (0, "")
    assert "cursor" not in second.stdout


def test_warnings_and_unknown_cost_are_shown_on_a_terminal() -> None:
    forecast = Forecast(2, Quantiles(1, 2, 3), None, {}, "resampled days", None, 9)
    lines = printed(replace(made(), warnings=("Something is missing.",), forecast=forecast), 80)
    assert any(one.rstrip() == "Warning: Something is missing." for one in lines)
    assert any(one.split() == ["cost", "unknown", "unknown", "unknown"] for one in lines)
