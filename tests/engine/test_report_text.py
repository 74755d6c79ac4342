"""Reports as JSON, CSV and Markdown."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.currency import Currency
from tokenward.engine.reports.forecast import Forecast, Quantiles
from tokenward.engine.reports.prediction import PredictionRequest
from tokenward.engine.reports.report import GroupBy, ReportRequest, UsageReport
from tokenward.engine.reports.text import prediction_object, report_csv, report_json, report_markdown
from tokenward.engine.usage import Dimension, UsageSum

START_US = 1_795_132_800_000_000  # 2026-11-20
DAY_US = 86_400_000_000
EUROS = Currency("EUR", Decimal("0.5"), "2026-11-20", "ECB")
NAMES = [
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
    "cost",
    "unpriced_requests",
    "estimated_requests",
    "average_tokens_per_request",
    "average_cost_per_request",
]


def one(key: str, requests: int = 3) -> UsageSum:
    return UsageSum(key, requests, 1_000, 500, 600, 50, 40, 4_125_000, 1, 2)


def report(
    keys: Sequence[str] = ("alice", "bob"), group_by: GroupBy = "user", forecast_days: int | None = None
) -> UsageReport:
    rows = [one(key) for key in keys]
    request = ReportRequest(
        START_US, START_US + DAY_US, group_by, "Europe/Berlin", forecast_days=forecast_days, limit=1000
    )
    quarters = [UsageSum(str(START_US // 900_000_000), 6, 2_000, 1_000, 1_200, 100, 80, 8_250_000, 2, 4)]
    models = [UsageSum("gpt-4o", 6, 2_000, 1_000, 1_200)]
    sums: dict[Dimension, list[UsageSum]] = {
        "quarter_hour": quarters,
        "user": rows,
        "model": models,
        "group": rows,
        "session": rows,
    }
    return UsageAnalytics().generate_report(request, sums)


def test_json_has_all_fields_in_their_order() -> None:
    made = json.loads(report_json(report(["alice"], forecast_days=2)))
    assert list(made) == [
        "start",
        "end",
        "timezone",
        "group_by",
        "currency",
        "totals",
        "rows",
        "total_rows",
        "top_users",
        "by_hour_of_day",
        "estimated_share",
        "cache_savings",
        "forecast",
        "anomalies",
        "warnings",
        "next_cursor",
    ]
    assert list(made["totals"]) == NAMES
    assert made["rows"] == [
        {
            "key": "alice",
            "requests": 3,
            "input_tokens": 1_000,
            "output_tokens": 500,
            "cached_tokens": 600,
            "cache_write_tokens": 50,
            "reasoning_tokens": 40,
            "total_tokens": 1_500,
            "cost": "0.004125",
            "unpriced_requests": 1,
            "estimated_requests": 2,
            "average_tokens_per_request": 500.0,
            "average_cost_per_request": "0.0020625",
        }
    ]
    assert made["start"] == "2026-11-20T00:00:00+00:00"
    assert made["top_users"] == [{"user": "alice", "total_tokens": 1_500, "cost": "0.004125"}]
    assert made["cache_savings"] == {"total": "0.0015", "by_model": {"gpt-4o": "0.0015"}, "unpriced_tokens": 0}
    assert made["estimated_share"] == 0.6667
    assert made["forecast"]["method"] == "not enough data"
    assert (made["anomalies"], made["next_cursor"]) == ([], None)


def test_fields_without_a_value_are_there_too() -> None:
    request = ReportRequest(START_US, START_US + DAY_US)
    empty = UsageAnalytics().generate_report(request, {"quarter_hour": [], "user": [], "model": []})
    made = json.loads(report_json(empty))
    assert list(made) == list(json.loads(report_json(report())))
    assert made["totals"] == dict.fromkeys(NAMES, 0) | {
        "cost": "0.00",
        "average_tokens_per_request": 0.0,
        "average_cost_per_request": None,
    }
    assert report_csv(empty).splitlines() == ["user," + ",".join(NAMES) + ",currency"]


def test_amounts_in_another_currency_are_so_everywhere() -> None:
    made = json.loads(report_json(report(["alice"]), EUROS))
    assert (made["currency"], made["rows"][0]["cost"], made["totals"]["cost"]) == ("EUR", "0.0020625", "0.004125")
    assert made["cache_savings"]["total"] == "0.00075"
    assert made["top_users"][0]["cost"] == "0.0020625"
    assert ",0.0020625,1,2,500.0,0.00103125,EUR\r\n" in report_csv(report(["alice"]), EUROS)
    text = report_markdown(report(["alice"]), EUROS)
    assert "0.0020625 EUR" in text
    assert "1 USD = 0.50 EUR, as of 2026-11-20 (ECB)" in text


def test_a_prediction_as_json_values() -> None:
    quarters = [UsageSum(str((START_US + day * DAY_US) // 900_000_000), 1, 100, cost_nano=10**9) for day in range(4)]
    request = PredictionRequest(days=2, models=["gpt-4o", "my-own-model"], cost_left_nano=2 * 10**9)
    made = UsageAnalytics().predict_cost(request, {"quarter_hour": quarters, "model": []}, now_us=START_US + 4 * DAY_US)
    shown = prediction_object(made, EUROS)
    assert list(shown) == ["currency", "forecast", "cost_backtest_coverage", "other_models", "runs_out", "notes"]
    assert (shown["currency"], shown["cost_backtest_coverage"]) == ("EUR", None)
    assert isinstance(shown["forecast"], dict)
    assert shown["forecast"]["cost"] == {"p10": "1.00", "p50": "1.00", "p90": "1.00"}
    assert isinstance(shown["other_models"], list)
    known, unknown = shown["other_models"]
    assert known == {
        "model": "gpt-4o",
        "cost": {"p10": "0.00025", "p50": "0.00025", "p90": "0.00025"},
        "history_cost": "0.0005",
        "problem": "",
    }
    assert isinstance(unknown, dict)
    assert (unknown["cost"], unknown["history_cost"]) == (None, None)
    assert shown["runs_out"] == [
        {
            "budget": "cost",
            "metric": "cost",
            "remaining": "1.00",
            "within_days": 2,
            "p10": "2026-11-25",
            "p50": "2026-11-25",
            "p90": "2026-11-25",
            "problem": "",
        }
    ]


def test_csv_is_one_line_for_each_row() -> None:
    assert report_csv(report(["alice"])) == (
        f"user,{','.join(NAMES)},currency\r\nalice,3,1000,500,600,50,40,1500,0.004125,1,2,500.0,0.0020625,USD\r\n"
    )


@pytest.mark.parametrize(
    "key",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20A",
        "\t=1",
        "\r=1",
        "\n=1",
        '=HYPERLINK("http://x","y")',
    ],
)
def test_a_key_is_no_formula(key: str) -> None:
    _, (cell, *_) = csv.reader(io.StringIO(report_csv(report([key])), newline=""))
    assert cell == "'" + key


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5, unique=True))
def test_every_key_survives_csv(keys: list[str]) -> None:
    text = report_csv(report(keys, "session"))
    names, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert {len(line) for line in lines} == {len(names)} == {14}
    dangerous = tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n")
    assert sorted(line[0] for line in lines) == sorted(f"'{key}" if key.startswith(dangerous) else key for key in keys)


@given(st.lists(st.text(), min_size=1, max_size=5, unique=True))
def test_every_key_stays_in_its_cell_of_markdown(keys: list[str]) -> None:
    table = report_markdown(report(keys, "session")).split("\n\n")[2].split("\n")
    assert len(table) == 2 + len(keys) + 1
    for line in table:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 9


def test_markdown_shows_names_as_they_are() -> None:
    text = report_markdown(report(["a|b", "<b>*x*</b>", "", "one\ntwo"], "group"))
    assert "| a\\|b | 3 | 1,000 | 500 | 600 | 1,500 | 500 | 0.004125 USD + 1 unpriced |" in text
    assert "| \\<b\\>\\*x\\*\\</b\\> |" in text
    assert "| (none) |" in text
    assert "| one two |" in text


def test_markdown_says_what_else_there_is() -> None:
    text = report_markdown(report(["a", "b"], "session", forecast_days=2))
    assert text.startswith("# Usage report\n\n2026-11-20T00:00:00+00:00 to 2026-11-21T00:00:00+00:00, Europe/Berlin.\n")
    assert "| **total** | **6** | **2,000** | **1,000** | **1,200** | **3,000** | **500** |" in text
    assert "## Top users" in text
    assert "- Saved by the providers' caches: 0.0015 USD." in text
    assert "- Cost per priced request: 0.0020625 USD." in text
    assert "- 66.7% of the requests have estimated numbers." in text
    assert "- The next 2 days: not enough data." in text


def test_an_address_is_no_link_in_markdown() -> None:
    text = report_markdown(report(["http://evil.example", "WWW.evil.example"], "session"))
    assert "| http\\://evil.example |" in text
    assert "| WWW\\.evil.example |" in text


@pytest.mark.parametrize(
    ("key", "shown"),
    [("", "(none)"), ("(none)", '"(none)"'), ("total", '"total"'), ('"total"', '""total""'), ("totals", "totals")],
)
def test_no_name_reads_like_the_line_of_nobody_or_of_all(key: str, shown: str) -> None:
    assert f"\n| {shown} | 3 |" in report_markdown(report([key], "group"))


def test_what_is_missing_is_said_everywhere() -> None:
    warned = replace(report(), warnings=("Something is *missing*.",))
    assert json.loads(report_json(warned))["warnings"] == ["Something is *missing*."]
    assert "- Something is \\*missing\\*.\n" in report_markdown(warned)


def test_markdown_names_the_cursor_of_the_next_page() -> None:
    page = replace(report(), total_rows=300, next_cursor="abc_d-e")
    assert "- 2 of 300 rows are on this page. The cursor of the next page: `abc_d-e`\n" in report_markdown(page)
    last = replace(page, next_cursor=None)
    assert "- 2 of 300 rows are on this page.\n" in report_markdown(last)


def test_a_forecast_without_prices_has_no_cost() -> None:
    unknown = Forecast(2, Quantiles(1_000, 2_000, 3_000), None, {}, "resampled days", None, 9)
    made = replace(report(), forecast=unknown)
    shown = json.loads(report_json(made))["forecast"]
    assert (shown["cost"], shown["unpriced_requests"]) == (None, 9)
    assert "2,000 tokens (1,000 to 3,000), of unknown cost, by resampled days." in report_markdown(made)
