"""The admin API through the whole application: what it sets and tells, in the words of the command line."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import Json, Run
from tests.server.http.admin_server import USER, admin_app, client_of
from tokenward.server.telemetry.logs import JsonLines

LIMITS: list[dict[str, Any]] = [
    {"subject": "user:alice", "metric": "tokens", "window": "day", "limit": 100_000},
    {"subject": "default", "metric": "cost", "window": "month", "limit": "25.00"},
    {"subject": "group:a b", "metric": "requests", "window": "minute", "limit": 0},
    {"subject": "session:s/1", "metric": "cost", "window": "day", "limit": "0.000000001", "timezone": "Europe/Berlin"},
    {"subject": "global", "metric": "tokens", "window": "month", "limit": 9_007_199_254_740_991, "mode": "rolling"},
    {"subject": "user:Zoë:1", "metric": "tokens", "window": "day", "limit": 5, "mode": "calendar"},
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(admin_app(tmp_path)) as client:
        yield client


def command(limit: dict[str, Any]) -> list[str]:
    """The same limit on the command line."""
    mode = [f"--{limit['mode']}"] if "mode" in limit else []
    zone = ["--timezone", limit["timezone"]] if "timezone" in limit else []
    return ["quota", "set", limit["subject"], f"{limit['metric']}/{limit['window']}", str(limit["limit"]), *mode, *zone]


# Limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: str(one["subject"]))
def test_a_limit_is_set_as_on_the_command_line(client: TestClient, answer: Json, limit: dict[str, Any]) -> None:
    set_here = client.put("/admin/limits", json=limit)
    assert set_here.status_code == 200
    assert set_here.headers["content-type"] == "application/json"
    assert set_here.headers["cache-control"] == "no-store"
    assert set_here.json() == answer(*command(limit))
    name = {key: limit[key] for key in ("subject", "metric", "window")}
    listed = client.get("/admin/limits").json()
    assert listed == {**answer("quota", "list"), "next_cursor": None}
    assert {"set": True, **listed["limits"][0]} == set_here.json()
    deleted = client.delete("/admin/limits", params=name)
    assert deleted.json() == {"deleted": True, **name}
    assert client.get("/admin/limits").json()["limits"] == []


def test_what_is_listed_can_be_set_again(client: TestClient) -> None:
    for limit in LIMITS:
        client.put("/admin/limits", json=limit)
    listed = client.get("/admin/limits").json()["limits"]
    assert len(listed) == len(LIMITS)
    for limit in listed:
        assert client.put("/admin/limits", json=limit).json() == {"set": True, **limit}
    assert client.get("/admin/limits").json()["limits"] == listed


def test_null_is_as_not_given_and_a_whole_float_is_an_integer(client: TestClient) -> None:
    body = b'{"subject":"global","metric":"tokens","window":"day","limit":5.0,"mode":null,"timezone":null}'
    made = client.put("/admin/limits", content=body, headers={"content-type": "application/json; charset=UTF-8"})
    assert made.json() == {
        "set": True,
        "subject": "global",
        "metric": "tokens",
        "window": "day",
        "limit": 5,
        "mode": "rolling",
        "timezone": "UTC",
    }


def test_a_calendar_limit_takes_the_settings_time_zone(tmp_path: Path) -> None:
    with client_of(admin_app(tmp_path, timezone="Asia/Tokyo")) as client:
        assert client.put("/admin/limits", json=LIMITS[1]).json()["timezone"] == "Asia/Tokyo"
        assert client.put("/admin/limits", json=LIMITS[0]).json()["timezone"] == "UTC"


def test_a_limit_is_in_force_at_once_and_replaces_the_one_before(client: TestClient, answer: Json) -> None:
    client.put("/admin/limits", json={**LIMITS[0], "limit": 10})
    assert not answer("quota", "check", "--tokens", "11")["allowed"]
    client.put("/admin/limits", json={**LIMITS[0], "limit": 11})
    assert answer("quota", "check", "--tokens", "11")["allowed"]


def test_an_agent_is_bound_by_what_an_orchestrator_sets_on_another_replica(tmp_path: Path) -> None:
    def check(agent: TestClient) -> dict[str, Any]:
        call = {"name": "check_quota", "arguments": {"tokens": 11}}
        answer = agent.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
            headers={"accept": "application/json, text/event-stream"},
        )
        content: dict[str, Any] = answer.json()["result"]["structuredContent"]
        return content

    with client_of(admin_app(tmp_path)) as orchestrator, client_of(admin_app(tmp_path), USER) as agent:
        assert check(agent)["allowed"]
        orchestrator.put("/admin/limits", json={**LIMITS[0], "limit": 10})
        denied = check(agent)
        assert (denied["user"], denied["allowed"], denied["denied_by"]) == (
            "alice",
            False,
            "user:alice, tokens per day",
        )
        orchestrator.delete("/admin/limits", params={"subject": "user:alice", "metric": "tokens", "window": "day"})
        assert check(agent)["allowed"]


def test_it_is_the_same_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    with client_of(admin_app(tmp_path, store=postgres_url)) as client:
        for limit in LIMITS:
            assert client.put("/admin/limits", json=limit).status_code == 200
        first = client.get("/admin/limits", params={"rows": 4}).json()
        second = client.get("/admin/limits", params={"rows": 4, "cursor": first["next_cursor"]}).json()
        listed = [one["subject"] for one in first["limits"] + second["limits"]]
        assert listed == sorted(one["subject"] for one in LIMITS)
        assert len(client.get("/admin/quota", params={"user": "alice"}).json()["limits"]) == 3
        assert client.get("/admin/usage", params={"forecast_days": 1, "group": ""}).json()["rows"] == []
        assert client.get("/admin/usage?model=a%00b").status_code == 400
        assert client.delete("/admin/limits?subject=global&metric=tokens&window=month").status_code == 200
        assert client.delete("/admin/limits?subject=global&metric=tokens&window=month").status_code == 404


def test_a_limit_that_is_not_there_cannot_be_deleted(client: TestClient, run: Run) -> None:
    refused = client.delete("/admin/limits", params={"subject": "user:alice", "metric": "tokens", "window": "day"})
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"
    said = "subject: there is no limit user:alice, tokens per day; "
    assert refused.json()["detail"] == said + "GET /admin/limits shows all."
    assert (
        run("quota", "delete", "user:alice", "tokens/day")
        .stderr.strip()
        .endswith(said + "`tokenward quota list` shows all.")
    )


def test_limits_are_filtered_and_come_in_pages(client: TestClient) -> None:
    for limit in LIMITS:
        client.put("/admin/limits", json=limit)
    every = client.get("/admin/limits").json()["limits"]
    assert [one["subject"] for one in every] == sorted(one["subject"] for one in LIMITS)
    found = client.get("/admin/limits", params={"metric": "cost", "window": "day"}).json()
    assert [one["subject"] for one in found["limits"]] == ["session:s/1"]
    assert len(client.get("/admin/limits", params={"subject": "user:alice"}).json()["limits"]) == 1
    assert client.get("/admin/limits", params={"subject": "user:nobody"}).json()["limits"] == []

    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        params: dict[str, str] = {"rows": "4", **cursor}
        page = client.get("/admin/limits", params=params).json()
        pages.append(page)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [len(page["limits"]) for page in pages] == [4, 2]
    assert [one for page in pages for one in page["limits"]] == every


def test_a_cursor_belongs_to_its_query(client: TestClient) -> None:
    for limit in LIMITS[:2]:
        client.put("/admin/limits", json=limit)
    cursor = client.get("/admin/limits", params={"rows": 1}).json()["next_cursor"]
    for rows, given in ((2, cursor), (1, cursor[:-1]), (1, "")):
        refused = client.get("/admin/limits", params={"rows": rows, "cursor": given})
        assert refused.status_code == 400
        assert refused.json()["field"] == "cursor"
    of_usage = client.get("/admin/usage", params={"rows": 1, "cursor": cursor})
    assert of_usage.status_code == 400


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"subject": "alice"}, "subject", "'alice' is not user:NAME, group:NAME, session:NAME, default or global."),
        ({"subject": "user:"}, "subject", "'' is not a name"),
        ({"subject": "user:a\ud800"}, "subject", "is not a name"),
        ({"subject": "user:a\0b"}, "subject", "is not a name"),
        ({"subject": "user:" + "a" * 201}, "subject", "is not a name"),
        ({"subject": 5}, "subject", "expected a string, got the number 5."),
        ({"metric": "token"}, "metric", "'token' is not one of tokens, cost, requests. Did you mean 'tokens'?"),
        ({"window": "week"}, "window", "'week' is not one of minute, hour, day, month."),
        ({"limit": -1}, "limit", "-1 is not a number from 0 to 9007199254740991."),
        ({"limit": 2**53}, "limit", "9007199254740992 is not a number from 0 to 9007199254740991."),
        ({"limit": "5"}, "limit", "'5' is not a number of tokens; give an integer, such as 100000."),
        ({"limit": 1.5}, "limit", "1.5 is not a number of tokens"),
        ({"limit": True}, "limit", "True is not a number of tokens"),
        ({"limit": [1]}, "limit", "[1] is not a number of tokens"),
        ({"metric": "cost", "limit": 2.5}, "limit", "2.5 is not an amount in USD; give a text, such as '12.50'."),
        ({"metric": "cost", "limit": "$5"}, "limit", "'$5' is not an amount in USD; give digits with"),
        ({"metric": "cost", "limit": "9007199.254740992"}, "limit", "is not a number from 0 to"),
        ({"window": "hour", "mode": "calendar"}, "mode", "is always rolling; calendar is for day and month."),
        ({"mode": "fixed"}, "mode", "'fixed' is not one of rolling, calendar."),
        ({"timezone": "Berlin"}, "timezone", "'Berlin' is not a time zone"),
        ({"timezone": ""}, "timezone", "'' is not a time zone"),
        ({"timezone": "../../etc/passwd"}, "timezone", "is not a time zone"),
        ({"mode": "rolling", "timezone": "Asia/Tokyo"}, "timezone", "goes with mode calendar"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_its_field(
    client: TestClient, change: dict[str, Any], field: str, said: str
) -> None:
    body = json.dumps({**LIMITS[0], **change})
    refused = client.put("/admin/limits", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["title"] == "Bad Request"
    assert problem["status"] == 400
    assert problem["field"] == field
    assert problem["detail"].startswith(f"{field}: ")
    assert said in problem["detail"]
    assert client.get("/admin/limits").json()["limits"] == []


def test_unknown_and_missing_fields_are_named(client: TestClient) -> None:
    unknown = client.put("/admin/limits", json={**LIMITS[0], "time_zone": "UTC"})
    assert unknown.json()["detail"] == "Unknown argument 'time_zone'. Did you mean 'timezone'?"
    missing = client.put("/admin/limits", json={"subject": "global", "metric": None})
    assert missing.json()["detail"] == "Missing arguments: 'metric' (a string), 'window' (a string), 'limit' (a value)."
    assert client.delete("/admin/limits").json()["detail"].startswith("Missing arguments: 'subject' (a string)")


def test_a_field_that_comes_twice_is_named(client: TestClient) -> None:
    body = '{"subject": "global", "metric": "tokens", "window": "day", "limit": 1, "limit": 2}'
    refused = client.put("/admin/limits", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["field"]) == (400, "limit")
    assert refused.json()["detail"] == "The body gives 'limit' twice; keep one of them."
    missing = client.put("/admin/limits", json={"subject": "global", "metric": "tokens", "limit": 1})
    assert missing.json()["field"] == "window"


def test_a_log_of_objects_has_who_changed_what(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tokenward"):
        client.put("/admin/limits", json=LIMITS[1])
    (record,) = [one for one in caplog.records if "Admin API" in one.getMessage()]
    told = json.loads(JsonLines().format(record))
    given = {name: told[name] for name in ("by", "subject", "metric", "window", "limit")}
    assert given == {"by": "orchestrator", "subject": "default", "metric": "cost", "window": "month", "limit": "25.00"}


def test_changes_are_logged_with_who_made_them(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tokenward"):
        client.put("/admin/limits", json=LIMITS[1])
        client.put("/admin/limits", json=LIMITS[1])  # changes nothing
        client.delete("/admin/limits", params={"subject": "default", "metric": "cost", "window": "month"})
    said = [one.getMessage() for one in caplog.records if "Admin API" in one.getMessage()]
    assert said == [
        "Admin API: orchestrator set default, cost per month to at most 25.00",
        "Admin API: orchestrator deleted default, cost per month",
    ]


# How limits stand, and usage ----------------------------------------------------------------------------------------


def test_how_limits_stand_is_told_as_on_the_command_line(client: TestClient, answer: Json) -> None:
    client.put("/admin/limits", json=LIMITS[0])
    client.put("/admin/limits", json={**LIMITS[0], "subject": "group:team"})
    answer("record", "--model", "gpt-4o", "--input", "100", "--output", "20", "--group", "team")
    shown = client.get("/admin/quota", params={"user": "alice", "group": "team"}).json()
    assert shown["user"] == "alice"
    assert [(one["scope"], one["used"]) for one in shown["limits"]] == [("group", 120), ("user", 120)]
    told = answer("quota", "show", "--group", "team")
    assert shown == told
    assert client.get("/admin/quota").json()["user"] == "orchestrator"


@pytest.mark.parametrize("name", ["user", "group", "session"])
def test_a_name_that_cannot_be_is_refused(client: TestClient, name: str) -> None:
    for value in ("", " x", "a\0b"):
        refused = client.get("/admin/quota", params={name: value})
        assert (refused.status_code, refused.json()["field"]) == (400, name)


def test_usage_is_the_report_of_the_tools(client: TestClient, answer: Json) -> None:
    client.put("/admin/limits", json=LIMITS[0])
    for user, model, group in (("alice", "gpt-4o", "team"), ("bob", "gpt-4o", ""), ("bob", "gpt-4o-mini", "")):
        grouped = ["--group", group] if group else []
        answer("record", "--model", model, "--input", "1000", "--output", "200", "--user", user, *grouped)
    whole = client.get("/admin/usage", params={"period": "24h", "forecast_days": 7}).json()
    told = answer("report", "--period", "24h", "--forecast-days", "7")
    assert [one["key"] for one in whole["rows"]] == ["bob", "alice"]
    for ours, theirs in zip(whole["rows"], told["rows"], strict=True):
        assert {key: value or 0 for key, value in ours.items()} == theirs
    assert whole["totals"]["cost"] == told["totals"]["cost"] != "0.00"
    assert whole["top_users"] == told["top_users"]
    assert whole["forecast"]["days"] == 7

    def totals(**params: str) -> int:
        return int(client.get("/admin/usage", params=params).json()["totals"]["requests"])

    assert totals() == 3
    assert totals(user="bob") == 2
    assert totals(model="gpt-4o") == 2
    assert totals(group="team") == 1
    assert totals(group="") == 2
    assert totals(session="s") == 0
    assert totals(start="2020-01-01", end="2020-01-02") == 0
    assert totals(group_by="model", timezone="Europe/Berlin", top="0") == 3


def test_usage_comes_in_pages(client: TestClient, answer: Json) -> None:
    for number in range(3):
        answer("record", "--model", "gpt-4o", "--input", str(1000 - number), "--output", "0", "--user", f"user{number}")
    first = client.get("/admin/usage", params={"rows": 2}).json()
    second = client.get("/admin/usage", params={"rows": 2, "cursor": first["next_cursor"]}).json()
    assert [one["key"] for one in first["rows"] + second["rows"]] == ["user0", "user1", "user2"]
    assert first["total_rows"] == second["total_rows"] == 3
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("rows=0", "rows", "0 is out of range; give an integer from 1 to 1000."),
        ("rows=-1", "rows", "-1 is out of range"),
        ("rows=1e2", "rows", "expected an integer, got a string."),
        ("rows=%20100", "rows", "expected an integer"),
        ("rows=", "rows", "expected an integer"),
        ("rows=" + "9" * 5_000, "rows", "expected an integer"),
        ("top=1001", "top", "out of range"),
        ("forecast_days=0", "forecast_days", "out of range"),
        ("forecast_days=367", "forecast_days", "out of range"),
        ("period=7x", "period", "'7x' is not a period"),
        ("period=", "period", "it is empty"),
        ("period=7d&start=2026-01-01", "period", "not both"),
        ("end=2026-01-01", "end", "give a start as well."),
        ("start=yesterday", "start", "'yesterday' is not a time"),
        ("start=2026-01-02&end=2026-01-01", "end", "the period is empty"),
        ("group_by=users", "group_by", "Did you mean 'user'?"),
        ("timezone=Mars", "timezone", "is not a time zone"),
        ("user=", "user", "it is empty"),
        ("model=", "model", "it is empty"),
        ("model=a%00b", "model", ""),
        ("cursor=abc", "cursor", "not a cursor of this ledger"),
        ("user=a&user=b", "user", "'user' is given twice; keep one of them."),
        ("periodx=7d", "periodx", "Unknown argument 'periodx'. Did you mean 'period'?"),
    ],
)
def test_a_query_that_cannot_be_is_refused_by_its_parameter(
    client: TestClient, query: str, field: str, said: str
) -> None:
    refused = client.get(f"/admin/usage?{query}")
    assert (refused.status_code, refused.json()["field"]) == (400, field)
    assert said in refused.json()["detail"]


def test_an_unknown_parameter_is_refused_by_name(client: TestClient) -> None:
    refused = client.get("/admin/usage", params={"usr": "alice"})
    assert refused.status_code == 400
    assert refused.json()["detail"] == "Unknown argument 'usr'. Did you mean 'user'?"
