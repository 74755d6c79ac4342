"""Every tool through a client, in both protocol eras. The client checks each answer against its output schema."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import FakeClock
from tests.tools.conftest import Connect, ToolClient, structured, text_of
from tokenward.engine.types import JsonObject

pytestmark = pytest.mark.anyio

HELLO: JsonObject = {"role": "user", "content": "Hello there"}
CALL: JsonObject = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT: JsonObject = {"role": "tool", "tool_call_id": "c1", "content": "found"}


async def test_a_text_is_counted(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.answer("count_tokens", text="hello world", model="gpt-4o", max_context=8)
    assert answer == {
        "tokens": 2,
        "lower": 2,
        "upper": 2,
        "exact": True,
        "method": "tiktoken",
        "model": "gpt-4o",
        "encoding": "o200k_base",
        "context_window": 8,
        "context_used_percent": 25.0,
        "remaining_tokens": 6,
        "fits": True,
        "items": None,
        "items_omitted": None,
        "skipped": None,
        "skipped_omitted": None,
        "warnings": None,
    }


async def test_the_text_block_is_the_answer_without_its_empty_fields(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call("count_tokens", text="hello world", model="o200k_base")
    text = text_of(result)
    assert json.loads(text) == {key: value for key, value in structured(result).items() if value is not None}
    assert ": " not in text


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", "null", '"x"', "true", "12", " "])
async def test_text_that_looks_like_json_is_text(connect: Connect, text: str) -> None:
    async with connect() as client:
        alone = await client.answer("count_tokens", text=text, model="gpt-4o")
        listed = await client.answer("count_tokens", texts=[text], model="gpt-4o")
        padded = await client.answer("count_tokens", text=f"x{text}", model="gpt-4o")
    assert alone["tokens"] == listed["tokens"]
    assert isinstance(alone["tokens"], int)
    assert isinstance(padded["tokens"], int)
    assert 1 <= alone["tokens"] <= padded["tokens"]


async def test_texts_are_listed_and_cut_in_brief(connect: Connect) -> None:
    async with connect() as client:
        brief = await client.answer("count_tokens", texts=["a"] * 25, model="gpt-4o")
        full = await client.answer("count_tokens", texts=["a"] * 25, model="gpt-4o", detail="full")
    assert (brief["tokens"], brief["items_omitted"]) == (25, 5)
    assert isinstance(brief["items"], list)
    assert isinstance(full["items"], list)
    assert full["items"][:20] == brief["items"]
    assert (len(full["items"]), full["items_omitted"]) == (25, None)


async def test_files_are_read_by_the_server(connect: Connect, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}.txt").write_text("hello world", encoding="utf-8")
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)) * 10)
    steps: list[float] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connect() as client:
        answer = await client.answer("count_tokens", paths=["*"], model="gpt-4o", detail="full")
        await client.client.call_tool("count_tokens", {"paths": ["*"], "model": "gpt-4o"}, progress_callback=follow)
        outside = await client.refusal("count_tokens", paths=["/etc/passwd"], model="gpt-4o")
    assert answer["tokens"] == 60
    assert isinstance(answer["items"], list)
    assert answer["items"][0] == {"index": None, "path": "00.txt", "tokens": 2}
    assert isinstance(answer["skipped"], list)
    assert len(answer["skipped"]) == 1
    assert steps == [25, 31]
    assert outside == "paths: '/etc/passwd' is outside the allowed folders; give a path below them (TOKENWARD_ROOTS)."


async def test_messages_are_counted(connect: Connect) -> None:
    async with connect() as client:
        brief = await client.answer("count_messages", messages=[HELLO, CALL, RESULT], model="gpt-4o")
        full = await client.answer(
            "count_messages",
            messages=json.dumps([HELLO, CALL, RESULT]),
            model="gpt-4o",
            detail="full",
            max_output_tokens=100,
            system=None,
            tool_choice="auto",
        )
    parts = brief["breakdown"]
    assert isinstance(parts, dict)
    assert brief["tokens"] == sum(value for value in parts.values() if isinstance(value, int))
    assert brief["messages"] is None
    assert isinstance(full["messages"], list)
    assert len(full["messages"]) == 3
    assert isinstance(full["tokens"], int)
    assert full["total_with_output"] == full["tokens"] + 100


async def test_numbers_are_priced_and_compared(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.answer(
            "estimate_cost",
            model="gpt-4o",
            input_tokens=1_000,
            output_tokens=100,
            cached_input_tokens=400,
            compare=["gpt-4o-mini"],
        )
        counted = await client.answer("estimate_cost", model="gpt-4o", text="hello world", max_output_tokens=10)
    assert (answer["input_cost"], answer["cache_cost"], answer["output_cost"]) == ("0.0015", "0.0005", "0.001")
    assert (answer["total_cost"], answer["currency"], answer["exact"]) == ("0.003", "USD", True)
    assert isinstance(answer["comparisons"], list)
    assert [one["model"] for one in answer["comparisons"] if isinstance(one, dict)] == ["gpt-4o-mini"]
    assert (counted["input_tokens"], counted["output_tokens"]) == (2, 10)


async def test_a_hold_is_taken_recorded_and_reported(connect: Connect) -> None:
    async with connect() as client:
        check = await client.answer(
            "check_quota", model="gpt-4o", input_tokens=300, max_output_tokens=100, reserve=True
        )
        receipt = await client.answer(
            "record_usage",
            model="gpt-4o",
            input_tokens=300,
            output_tokens=50,
            reservation_id=check["reservation_id"],
            idempotency_key="k",
        )
        again = await client.answer(
            "record_usage",
            model="gpt-4o",
            input_tokens=300,
            output_tokens=50,
            reservation_id=check["reservation_id"],
            idempotency_key="k",
        )
        report = await client.answer("usage_report", group_by="model")
    assert (check["allowed"], check["user"]) == (True, "alice")
    assert check["requested"] == {"tokens": 400, "cost": "0.00175"}
    assert check["expires_at"] == "2026-11-21T12:10:00+00:00"
    assert isinstance(check["limits"], list)
    (limit,) = check["limits"]
    assert isinstance(limit, dict)
    assert (limit["scope"], limit["window"], limit["metric"], limit["limit"]) == ("user", "day", "tokens", 1_000)
    assert (receipt["recorded"], receipt["duplicate"], receipt["cost"]) == (True, False, "0.00125")
    assert (again["recorded"], again["duplicate"], again["event_id"]) == (False, True, receipt["event_id"])
    assert isinstance(report["totals"], dict)
    assert (report["totals"]["total_tokens"], report["totals"]["cost"]) == (350, "0.00125")
    assert isinstance(report["rows"], list)
    assert isinstance(report["rows"][0], dict)
    assert report["rows"][0]["key"] == "gpt-4o"


async def test_a_denial_is_an_answer(connect: Connect) -> None:
    async with connect() as client:
        denied = await client.answer("check_quota", tokens=2_000, reserve=True)
        costs = await client.answer("check_quota", tokens=10, model="gpt-4o", group="team")
    assert (denied["allowed"], denied["reservation_id"]) == (False, None)
    assert denied["denied_by"] == "user:alice, tokens per day"
    assert isinstance(costs["limits"], list)
    amounts = [one["limit"] for one in costs["limits"] if isinstance(one, dict)]
    assert amounts == ["2.50", 1_000]


async def test_a_providers_response_is_recorded(connect: Connect) -> None:
    usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
    async with connect() as client:
        receipt = await client.answer("record_usage", model="gpt-4o", response={"usage": usage})
        as_text = await client.answer("record_usage", model="gpt-4o", response=json.dumps(usage), user="bob")
        report = await client.answer("usage_report", user="alice")
    assert receipt["recorded"]
    assert as_text["user"] == "bob"
    assert isinstance(report["totals"], dict)
    assert (report["totals"]["input_tokens"], report["totals"]["output_tokens"]) == (90, 10)


async def test_a_hold_is_given_back(connect: Connect) -> None:
    async with connect() as client:
        check = await client.answer("check_quota", tokens=400, reserve=True)
        released = await client.answer("release_quota", reservation_id=check["reservation_id"])
        again = await client.answer("release_quota", reservation_id=check["reservation_id"])
    assert (released["released"], released["tokens"]) == (True, 400)
    assert again == released


async def test_a_report_has_pages_and_a_forecast(connect: Connect, clock: FakeClock) -> None:
    async with connect() as client:
        for number in range(25):
            await client.answer(
                "record_usage", model="gpt-4o", input_tokens=number + 1, output_tokens=0, user=f"user{number:02d}"
            )
        clock.advance(60)
        arguments = {"start": "2026-11-01", "end": "2026-12-01", "timezone": "Europe/Berlin", "forecast_days": 3}
        first = await client.answer("usage_report", **arguments)
        second = await client.answer("usage_report", **arguments, cursor=first["next_cursor"])
        other = await client.refusal("usage_report", cursor=first["next_cursor"], group_by="model")
    assert isinstance(first["rows"], list)
    assert isinstance(second["rows"], list)
    assert (len(first["rows"]), len(second["rows"]), second["next_cursor"]) == (20, 5, None)
    assert isinstance(first["by_hour_of_day"], list)
    assert (len(first["by_hour_of_day"]), first["by_hour_of_day"][13]) == (24, sum(range(26)))
    assert isinstance(first["forecast"], dict)
    assert first["forecast"]["days"] == 3
    assert other == (
        "cursor: not a cursor of this query; give next_cursor as it came, with the other arguments unchanged."
    )
    assert (first["start"], first["end"]) == ("2026-10-31T23:00:00+00:00", "2026-11-30T23:00:00+00:00")
    assert (first["total_rows"], first["currency"], first["estimated_share"]) == (25, "USD", 0.0)


async def test_a_user_or_a_zone_that_cannot_be_is_refused(connect: Connect) -> None:
    async with connect() as client:
        for user in ("", "a\nb", "x" * 300):
            assert (await client.refusal("usage_report", user=user)).startswith("user: ")
        for zone in ("", "posixrules", "localtime"):
            assert (await client.refusal("usage_report", timezone=zone)).startswith("timezone: ")


async def test_a_period_is_the_first_pages_on_every_page(connect: Connect, clock: FakeClock) -> None:
    async def record(client: ToolClient, names: Iterable[str]) -> None:
        for name in names:
            await client.answer("record_usage", model="gpt-4o", input_tokens=100, output_tokens=0, user=name)

    async with connect() as client:
        await record(client, (f"user{number:02d}" for number in range(25)))
        first = await client.answer("usage_report", period="7d")
        clock.advance(3_600)
        await record(client, (f"late{number}" for number in range(5)))
        second = await client.answer("usage_report", period="7d", cursor=first["next_cursor"])
        other = await client.refusal("usage_report", period="24h", cursor=first["next_cursor"])
    assert isinstance(first["rows"], list)
    assert isinstance(second["rows"], list)
    keys = [row["key"] for row in (*first["rows"], *second["rows"]) if isinstance(row, dict)]
    assert keys == [f"user{number:02d}" for number in range(25)]
    assert (second["start"], second["end"], second["totals"]) == (first["start"], first["end"], first["totals"])
    assert other.startswith("cursor: not a cursor of this query")


async def test_a_report_says_what_a_cache_saved_and_when_a_limit_is_used_up(connect: Connect, clock: FakeClock) -> None:
    """alice may use 1,000 tokens a day, and uses them every day."""
    async with connect() as client:
        early = await client.answer("usage_report", user="alice", forecast_days=7)
        for _ in range(4):
            clock.advance(86_400)
            await client.answer(
                "record_usage", model="gpt-4o", input_tokens=1_000, output_tokens=0, cached_input_tokens=800
            )
        clock.advance(86_400)
        report = await client.answer("usage_report", user="alice", forecast_days=7)
        nobody = await client.answer("usage_report", user="bob", forecast_days=7)
    assert report["cache_savings"] == {"total": "0.004", "by_model": {"gpt-4o": "0.004"}, "unpriced_tokens": None}
    assert isinstance(report["totals"], dict)
    assert report["totals"]["average_cost_per_request"] == "0.0015"
    assert isinstance(report["runs_out"], list)
    (one,) = report["runs_out"]
    assert isinstance(one, dict)
    assert (one["budget"], one["remaining"], one["p90"]) == ("user:alice, tokens per day", 0, "2026-11-26")
    assert (nobody["cache_savings"], nobody["runs_out"]) == (None, None)
    assert early["runs_out"] is None


async def test_a_history_is_cut(connect: Connect) -> None:
    long: JsonObject = {"role": "assistant", "content": "word " * 500}
    async with connect() as client:
        answer = await client.answer(
            "truncate_history",
            messages=[HELLO, long, CALL, RESULT, HELLO],
            max_tokens=100,
            model="gpt-4o",
            placeholder=False,
            detail="full",
        )
        misfit = await client.answer("truncate_history", messages=[HELLO, long], max_tokens=1, model="gpt-4o")
    assert (answer["fits"], answer["dropped"], answer["kept"]) == (True, [1], [0, 2, 3, 4])
    # Null values inside messages stay: they are the caller's.
    assert answer["messages"] == [HELLO, CALL, RESULT, HELLO]
    assert (misfit["fits"], misfit["messages"]) == (False, [HELLO, long])
    assert str(misfit["reason"]).startswith("Nothing that its provider accepts fits, so nothing was changed.")
    assert answer.get("reason") is None


async def test_the_text_block_keeps_nulls_inside_messages(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call("truncate_history", messages=[HELLO, CALL, RESULT], max_tokens=500, model="gpt-4o")
    assert json.loads(text_of(result))["messages"] == [HELLO, CALL, RESULT]


async def test_messages_are_compressed(connect: Connect) -> None:
    wordy: JsonObject = {"role": "user", "content": "Well,   this is a point.\n\n\n\n" * 20}
    async with connect() as client:
        answer = await client.answer("compress_messages", messages=[wordy, HELLO], model="gpt-4o")
    assert isinstance(answer["tokens_before"], int)
    assert isinstance(answer["tokens_after"], int)
    assert answer["tokens_after"] < answer["tokens_before"]
    assert answer["changed"] == [0]
    assert isinstance(answer["savings"], list)
    (saving,) = answer["savings"]
    assert isinstance(saving, dict)
    saved = answer["tokens_before"] - answer["tokens_after"]
    assert saving == {"index": 0, "tokens_before": 164, "tokens_after": 164 - saved, "how": "extractive"}


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("count_tokens", {"texts": [], "model": "gpt-4o"}, "texts: the list is empty"),
        (
            "estimate_cost",
            {"model": "gpt-4o", "text": "x", "compare": ["nope"]},
            "compare: no price is known for 'nope'",
        ),
        ("estimate_cost", {"model": "gpt-4o", "text": "x", "compare": ["gpt-4"] * 21}, "compare: names 21 models"),
        ("estimate_cost", {"model": "gpt-4o", "text": "x", "max_output_tokens": -5}, "max_output_tokens: give"),
        ("estimate_cost", {"model": "gpt-4o", "text": "x", "reasoning_tokens": 5}, "reasoning_tokens: goes with"),
        ("estimate_cost", {"model": "gpt-4", "input_tokens": 1, "tier": "flex"}, "tier: no price is known"),
        ("estimate_cost", {"model": "gpt-4o", "input_tokens": 1, "at": "1969-01-01"}, "at: there were no prices"),
        (
            "record_usage",
            {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1, "reservation_id": ""},
            "reservation_id: '' is not a name",
        ),
        ("check_quota", {"tokens": 1, "reserve": True, "ttl_seconds": 10**18}, "ttl_seconds: "),
        ("check_quota", {"tokens": 10**12}, "tokens: give an integer"),
        ("count_tokens", {"text": "x"}, "Missing argument: 'model' (a string)."),
        ("count_tokens", {"text": "x", "modle": "gpt-4o"}, "Unknown argument 'modle'. Did you mean 'model'?"),
        ("count_tokens", {"model": "gpt-4o"}, "text: give exactly one of text, texts or paths."),
        ("count_tokens", {"model": "gpt-4o", "text": "x", "texts": ["x"]}, "text: give exactly one of"),
        ("count_tokens", {"model": "gpt-4o", "text": "x", "max_context": 0}, "max_context: expected an integer from 1"),
        ("count_tokens", {"model": "", "text": "x"}, "model: "),
        ("count_tokens", {"model": "q100k_base", "text": "x"}, "model: "),
        ("count_messages", {"model": "gpt-4o", "messages": "hello"}, "messages: expected a list of objects, got a"),
        ("count_messages", {"model": "gpt-4o", "messages": [HELLO], "format": "open"}, "format: 'open' is not one of"),
        ("count_messages", {"model": "gpt-4o", "messages": [HELLO], "max_output_tokens": -1}, "max_output_tokens: "),
        ("count_messages", {"model": "gpt-4o", "messages": [{"role": "nobody", "content": "x"}]}, "messages[0]: "),
        ("estimate_cost", {"model": "gpt-4o"}, "input_tokens: give exactly one of input_tokens, text or messages."),
        ("estimate_cost", {"model": "no-such-model", "input_tokens": 1}, "model: no price is known for"),
        ("estimate_cost", {"model": "gpt-4o", "input_tokens": -1}, "input_tokens: "),
        ("estimate_cost", {"model": "gpt-4o", "input_tokens": 1, "cached_input_tokens": 2}, "input_tokens: 1 is less"),
        ("estimate_cost", {"model": "gpt-4o", "input_tokens": 1, "tier": "cheap"}, "tier: 'cheap' is not one of"),
        ("estimate_cost", {"model": "gpt-4o", "input_tokens": 1, "at": "noon"}, "at: 'noon' is not a time; give"),
        (
            "estimate_cost",
            {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1, "max_output_tokens": 2},
            "max_output_tokens: give either",
        ),
        ("check_quota", {"tokens": "many"}, "tokens: expected an integer, got a string."),
        ("check_quota", {"tokens": 1, "reserve": "yes"}, "reserve: expected true or false, got a string."),
        ("check_quota", {"tokens": 1, "reserve": True, "ttl_seconds": 0}, "ttl_seconds: "),
        ("check_quota", {"tokens": 1, "ttl_seconds": -1}, "ttl_seconds: "),
        ("usage_report", {"period": ""}, "period: '' is not a period; give hours, days or weeks"),
        ("check_quota", {"tokens": 1, "user": ""}, "user: '' is not a name; give 1 to 200 printable characters."),
        ("check_quota", {"tokens": 1, "priority": "urgent"}, "priority: 'urgent' is not one of low, normal, high."),
        ("check_quota", {"tokens": 1, "group": "team"}, "model: a cost limit applies"),
        ("record_usage", {"model": "gpt-4o"}, "input_tokens: give both input_tokens and output_tokens, or the"),
        ("record_usage", {"model": "gpt-4o", "input_tokens": 1}, "output_tokens: give both"),
        ("record_usage", {"model": "gpt-4o", "response": {"a": 1}}, "response: "),
        ("record_usage", {"model": "gpt-4o", "response": {}, "input_tokens": 1}, "response: give either response or"),
        ("record_usage", {"model": "gpt-4o", "response": [1]}, "response: expected an object, got a list."),
        (
            "record_usage",
            {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1, "reservation_id": "none"},
            "reservation_id: no reservation 'none' is known.",
        ),
        (
            "record_usage",
            {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1, "at": "2099-01-01"},
            "at: give a time since 1970 that is not in the future.",
        ),
        ("release_quota", {}, "Missing argument: 'reservation_id' (a string)."),
        ("release_quota", {"reservation_id": "none"}, "reservation_id: no reservation 'none' is known."),
        ("release_quota", {"id": "none"}, "Unknown argument 'id'."),
        ("usage_report", {"period": "ever"}, "period: 'ever' is not a period; give hours, days or weeks"),
        ("usage_report", {"period": "7d", "start": "2026-01-01"}, "period: give either a period or a start"),
        ("usage_report", {"end": "2026-01-01"}, "end: give a start as well."),
        ("usage_report", {"start": "2026-01-02", "end": "2026-01-01"}, "end: the period is empty"),
        ("usage_report", {"group_by": "users"}, "group_by: 'users' is not one of user, model,"),
        ("usage_report", {"timezone": "Berlin"}, "timezone: 'Berlin' is not a time zone; give an IANA name"),
        ("usage_report", {"top": -1}, "top: -1 is out of range"),
        ("usage_report", {"forecast_days": 0}, "forecast_days: 0 is out of range"),
        ("usage_report", {"cursor": "e30="}, "cursor: not a cursor of this ledger, or changed"),
        ("truncate_history", {"messages": [HELLO], "model": "gpt-4o"}, "Missing argument: 'max_tokens' (an integer)."),
        (
            "truncate_history",
            {"messages": [HELLO], "model": "gpt-4o", "max_tokens": 9, "strategy": "lru"},
            "strategy: 'lru' is not one of smart, fifo, lifo, middle, tool_results.",
        ),
        ("truncate_history", {"messages": [HELLO], "model": "gpt-4o", "max_tokens": 9, "pin": [7]}, "pin"),
        ("truncate_history", {"messages": [HELLO], "model": "gpt-4o", "max_tokens": -1}, "max_tokens: "),
        ("truncate_history", {"messages": [HELLO], "model": "gpt-4o", "max_tokens": 9, "keep_last": -1}, "keep_last: "),
        ("compress_messages", {"messages": [HELLO]}, "Missing argument: 'model' (a string)."),
        ("compress_messages", {"messages": [HELLO], "model": "gpt-4o", "target_reduction": 2}, "target_reduction: "),
        ("compress_messages", {"messages": [HELLO], "model": "gpt-4o", "target_reduction": "x"}, "target_reduction: "),
    ],
)
async def test_wrong_arguments_are_refused_in_a_line(
    connect: Connect, tool: str, arguments: JsonObject, message: str
) -> None:
    async with connect() as client:
        refusal = await client.refusal(tool, **arguments)
    assert refusal.startswith(message)
    assert len(refusal.splitlines()) <= 2
    assert not [
        noise for noise in ("pydantic", "http", "Traceback", "Error executing", str(Path.cwd())) if noise in refusal
    ]


async def test_listed_tools_have_all_four_hints(connect: Connect) -> None:
    async with connect() as client:
        listed = (await client.client.list_tools()).tools
    for tool in listed:
        assert tool.annotations is not None
        hints = tool.annotations
        assert hints.open_world_hint is False
        assert hints.destructive_hint is False
        assert hints.idempotent_hint is not None
        assert hints.read_only_hint is (tool.name not in ("check_quota", "record_usage", "release_quota"))
        assert tool.output_schema is not None
