"""``tokenward budget``: for people and as JSON, what is drawn from a budget, wrong values, exit codes."""

import json
import re

import pytest

from tests.server.conftest import Json, Run


@pytest.fixture(autouse=True)
def limited(run: Run) -> None:
    assert run("quota", "set", "user:alice", "tokens/day", "1000").exit_code == 0


def test_help_and_examples(run: Run) -> None:
    for command in ("open", "show", "close"):
        assert run("budget", command, "--help").exit_code == 0
    examples = run("budget", "open", "--help").stdout.partition("Examples:\n")[2].splitlines()[:2]
    assert all("tokenward budget open " in one for one in examples)


def test_a_budget_is_opened_drawn_from_and_closed(answer: Json) -> None:
    opened = answer("budget", "open", "main", "--tokens", "600", "--cost", "$2.50", "--requests", "5", "--ttl", "60")
    assert opened == {
        "allowed": True,
        "user": "alice",
        "session": "main",
        "parent": None,
        "given": {"tokens": 600, "cost": "2.50", "requests": 5},
        "used": {"tokens": 0, "cost": "0.00", "requests": 0},
        "remaining": {"tokens": 600, "cost": "2.50", "requests": 5},
        "budget_id": opened["budget_id"],
        "denied_by": None,
        "reason": None,
        "retry_after_seconds": None,
        "warnings": [],
        "expires_at": opened["expires_at"],
        "ended_at": None,
    }
    assert answer("budget", "show", "main") == opened
    answer("record", "--model", "gpt-4o", "--input", "100", "--output", "10", "--session", "main")
    shown = answer("budget", "show", "main")
    assert shown["used"] == {"tokens": 110, "cost": "0.00035", "requests": 1}
    assert shown["remaining"] == {"tokens": 490, "cost": "2.49965", "requests": 4}
    closed = answer("budget", "close", "main")
    assert (closed["remaining"], bool(closed["ended_at"])) == (shown["remaining"], True)
    (limit,) = answer("quota", "show")["limits"]
    assert (limit["used"], limit["reserved"]) == (110, 0)
    assert answer("budget", "close", "main") == closed


def test_a_budget_is_shown_to_people(run: Run) -> None:
    opened = run("budget", "open", "main", "--tokens", "600", "--cost", "2.50").stdout
    assert "Budget of session main of alice, from the limits." in opened
    assert re.search(r"^Open until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\.$", opened, re.MULTILINE)
    assert "requests" not in opened
    child = run("budget", "open", "child", "--parent", "main", "--tokens", "100").stdout
    assert "Budget of session child of alice, from session main." in child
    rows = [line.split() for line in run("budget", "show", "main").stdout.splitlines()]
    assert ["of", "given", "used", "left"] in rows
    assert ["tokens", "600", "0", "500"] in rows
    assert ["cost", "$2.50", "$0.00", "$2.50"] in rows
    closed = run("budget", "close", "child").stdout
    assert re.search(r"^Closed 20\S+T\d\d:\d\d:\d\d\+00:00; what was left went back\.$", closed, re.MULTILINE)
    assert ["tokens", "100", "0", "100"] in [line.split() for line in closed.splitlines()]


def test_what_does_not_fit_is_denied_with_exit_code_3(run: Run) -> None:
    too_much = run("budget", "open", "main", "--tokens", "2000", "--json")
    assert too_much.exit_code == 3
    denied = json.loads(too_much.stdout)
    assert (denied["allowed"], denied["denied_by"]) == (False, "user:alice, tokens per day")
    assert (denied["budget_id"], denied["expires_at"]) == (None, None)
    assert run("budget", "open", "main", "--tokens", "900").exit_code == 0
    of_the_parent = run("budget", "open", "child", "--parent", "main", "--tokens", "901")
    assert of_the_parent.exit_code == 3
    assert of_the_parent.stdout.splitlines() == [
        "Denied. session:main, budget: 900 of 900 tokens left, 901 more asked for.",
        "Warning: user:alice, tokens per day: 90 % used",
    ]
    later = run("budget", "open", "other", "--tokens", "200")
    assert later.exit_code == 3
    assert "It fits again in " in later.stdout


def test_a_warning_is_shown(run: Run) -> None:
    assert "Warning: user:alice, tokens per day: 90 % used" in run("budget", "open", "main", "--tokens", "900").stdout


def test_somebody_elses_budget_is_named_by_its_user(run: Run, answer: Json) -> None:
    assert answer("budget", "open", "main", "--user", "bob", "--group", "team", "--tokens", "5")["user"] == "bob"
    assert run("budget", "show", "main").exit_code == 1
    assert answer("budget", "show", "main", "--user", "bob")["session"] == "main"
    assert answer("budget", "close", "main", "--user", "bob")["ended_at"]


@pytest.mark.parametrize("command", [["show", "gone"], ["close", "gone"], ["open", "x", "--parent", "gone"]])
def test_a_budget_that_is_not_open_is_an_error(run: Run, command: list[str]) -> None:
    result = run("budget", *command, *(["--tokens", "1"] if "--parent" in command else []))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: session: 'gone' has no open budget. Open one first, or leave it out.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["main"], "tokens: a budget gives something"),
        (["main", "--tokens", "-1"], "'--tokens'"),
        (["main", "--tokens", "9007199254740992"], "tokens: "),
        (["main", "--cost", "two"], "cost: 'two' is not an amount in USD"),
        (["main", "--tokens", "1", "--ttl", "0"], "'--ttl'"),
        (["main", "--tokens", "1", "--ttl", "86401"], "ttl_seconds: "),
        ([" ", "--tokens", "1"], "session: "),
        ([], "SESSION"),
    ],
)
def test_wrong_values_exit_with_2(run: Run, arguments: list[str], said: str) -> None:
    result = run("budget", "open", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
