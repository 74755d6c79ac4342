"""``tokenward predict``: the coming days, other models, and the day on which money or a limit is used up."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.server.conftest import Json, Run

DAYS = 10


@pytest.fixture
def recorded(answer: Json) -> None:
    """The same on each of the last ten days: 1,100 tokens for $0.0035."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    for ago in range(1, DAYS + 1):
        at = (noon - timedelta(days=ago)).isoformat()
        answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "100", "--at", at)


@pytest.mark.usefixtures("recorded")
def test_equal_days_come_again(answer: Json) -> None:
    made = answer("predict", "--days", "7", "--model", "gpt-4o-mini", "--model", "my-own-model")
    assert made["forecast"]["tokens"] == dict.fromkeys(("p10", "p50", "p90"), 7_700)
    assert made["forecast"]["cost"] == dict.fromkeys(("p10", "p50", "p90"), "0.0245")
    known, unknown = made["other_models"]
    # 0.15 USD per million of input, 0.60 of output.
    assert (known["model"], known["history_cost"], known["cost"]["p50"]) == ("gpt-4o-mini", "0.0021", "0.00147")
    assert (unknown["cost"], unknown["history_cost"]) == (None, None)
    assert "no price is known" in unknown["problem"]


@pytest.mark.usefixtures("recorded")
def test_the_day_on_which_a_budget_is_used_up(answer: Json, run: Run) -> None:
    answer("quota", "set", "user:alice", "tokens/month", "1000", "--rolling")
    (money,) = answer("predict", "--budget", "1000")["runs_out"]
    assert (money["budget"], money["remaining"], money["p10"]) == ("cost", "1000.00", None)
    money, limit = answer("predict", "--user", "alice", "--budget", "$0.00")["runs_out"]
    assert money["p50"] == limit["p50"]
    assert limit["budget"] == "user:alice, tokens per month"
    shown = run("predict", "--user", "alice", "--budget", "0.01", "--model", "gpt-4o-mini").stdout
    for expected in ("next 30 days", "user:alice, tokens per month", "gpt-4o-mini", "$0.01", "10 whole days"):
        assert expected in shown


def test_too_little_history(answer: Json, run: Run) -> None:
    made = answer("predict", "--model", "gpt-4o", "--budget", "5")
    assert (made["forecast"]["method"], made["forecast"]["cost"]) == ("not enough data", None)
    (run_out,) = made["runs_out"]
    assert run_out["p50"] is None
    assert run_out["problem"]
    assert "No forecast: not enough data." in run("predict").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--budget", "-5"], "budget: '-5' is not an amount in USD"),
        (["--budget", "much"], "budget: 'much' is not an amount in USD"),
        (["--days", "367"], "days: 367 is out of range"),
        (["--days", "0"], "0 is not in the range"),
        (["--timezone", "Mars/Base"], "Mars/Base"),
        (["--user", " "], "is not a name"),
        ([part for index in range(21) for part in ("--model", f"m{index}")], "at most 20 names"),
    ],
)
def test_what_cannot_be_asked(run: Run, arguments: list[str], problem: str) -> None:
    result = run("predict", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
