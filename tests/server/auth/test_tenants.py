"""Nobody spends or reads as somebody else: every tool, name, key, reservation and cursor is tried."""

import pytest

from tests.server.auth.doors import ADMIN, ALICE, BOB, OPS, READER, TWO_GROUPS, Door, application, settings_with
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.registry import load_tools

pytestmark = pytest.mark.anyio

FORBIDDEN_USER = "Forbidden: naming another user needs a token with the scope 'admin'."
FORBIDDEN_GROUP = "Forbidden: naming a group that is not the token's needs a token with the scope 'admin'."

CALLS: dict[str, JsonObject] = {
    "count_tokens": {"text": "one", "model": "gpt-4o"},
    "count_messages": {"messages": [{"role": "user", "content": "one"}], "model": "gpt-4o"},
    "estimate_cost": {"model": "gpt-4o", "input_tokens": 1},
    "check_quota": {"tokens": 5},
    "record_usage": {"model": "gpt-4o", "input_tokens": 5, "output_tokens": 1},
    "release_quota": {"reservation_id": "none"},
    "usage_report": {},
    "truncate_history": {"messages": [{"role": "user", "content": "one"}], "max_tokens": 99, "model": "gpt-4o"},
    "compress_messages": {"messages": [{"role": "user", "content": "one"}], "model": "gpt-4o"},
}


def test_every_tool_is_tried() -> None:
    assert list(CALLS) == [tool.name for tool in load_tools()]


async def record(door: Door, token: str, tokens: int, **more: JsonValue) -> JsonObject:
    return await door.good(token, "record_usage", model="gpt-4o", input_tokens=tokens, output_tokens=0, **more)


async def used(door: Door, token: str, **more: JsonValue) -> object:
    totals = (await door.good(token, "usage_report", **more))["totals"]
    assert isinstance(totals, dict)
    return totals["total_tokens"]


@pytest.mark.parametrize("tool", load_tools(), ids=lambda tool: tool.name)
async def test_scopes(tool: object) -> None:
    name = getattr(tool, "name", "")
    lacking = {"use": READER, "report": TWO_GROUPS}[getattr(tool, "scope", "")]
    async with application() as door:
        refused = await door.refused(lacking, name, **CALLS[name])
        # The scope is looked at before the arguments are: whoever may not call it learns nothing of them.
        unknown = await door.refused(lacking, name, nonsense=1)
        allowed = await door.call(ADMIN, name, **CALLS[name])
    assert refused == unknown
    assert refused.startswith(f"Forbidden: {name} needs a token with the scope")
    assert "Forbidden" not in allowed.text


@pytest.mark.parametrize("tool", [tool for tool in load_tools() if "user" in tool.parameters], ids=lambda t: t.name)
@pytest.mark.parametrize("user", ["bob", "Alice", "alice ", "", "the-operator", "root", "\uff41lice"])
async def test_nobody_else_can_be_named(tool: object, user: str) -> None:
    name = getattr(tool, "name", "")
    async with application() as door:
        assert await door.refused(ALICE, name, **CALLS[name], user=user) == FORBIDDEN_USER
        assert not (await door.call(ALICE, name, **CALLS[name], user="alice")).is_error
        assert not (await door.call(ADMIN, name, **CALLS[name], user="bob")).is_error


@pytest.mark.parametrize("tool", [tool for tool in load_tools() if "group" in tool.parameters], ids=lambda t: t.name)
async def test_no_other_group_can_be_named(tool: object) -> None:
    name = getattr(tool, "name", "")
    async with application() as door:
        assert await door.refused(ALICE, name, **CALLS[name], group="blue") == FORBIDDEN_GROUP
        assert await door.refused(BOB, name, **CALLS[name], group="red") == FORBIDDEN_GROUP
        assert not (await door.call(ALICE, name, **CALLS[name], group="red")).is_error
        assert not (await door.call(ADMIN, name, **CALLS[name], group="blue")).is_error
        several = "group: this token belongs to several groups; name one of 'blue', 'red'."
        assert await door.refused(TWO_GROUPS, name, **CALLS[name]) == several
        assert not (await door.call(TWO_GROUPS, name, **CALLS[name], group="blue")).is_error


async def test_usage_is_the_subjects_and_not_the_operators() -> None:
    async with application() as door:
        assert (await record(door, ALICE, 100))["user"] == "alice"
        assert (await record(door, BOB, 7))["user"] == "bob"
        assert (await door.good(ALICE, "check_quota", tokens=1))["user"] == "alice"
        assert await used(door, ALICE) == 100
        assert await used(door, BOB) == 7
        assert await used(door, ADMIN) == 107
        assert await used(door, ADMIN, user="bob") == 7


async def test_a_report_names_nobody_else() -> None:
    async with application() as door:
        await record(door, BOB, 7, session="bobs", endpoint="secret-endpoint")
        for group_by in ("user", "model", "session", "group", "endpoint", "day", "hour_of_day"):
            answer = await door.call(ALICE, "usage_report", group_by=group_by, forecast_days=7, detail="full")
            assert "bob" not in answer.text
            assert "secret-endpoint" not in answer.text
            assert answer.content["by_hour_of_day"] == [0] * 24


async def test_the_group_is_bound_though_it_is_not_named() -> None:
    limits = [{"subject": "group:red", "metric": "tokens", "window": "day", "limit": 100}]
    async with application(settings_with(limits=limits)) as door:
        denied = await door.good(ALICE, "check_quota", tokens=101)
        assert (denied["allowed"], denied["denied_by"]) == (False, "group:red, tokens per day")
        await record(door, ALICE, 90)
        # Whoever is of no group is not bound by it, and learns nothing of it.
        assert (await door.good(BOB, "check_quota", tokens=101))["limits"] == []


async def test_an_admin_who_works_for_others_does_not_lend_them_a_group() -> None:
    limits = [{"subject": "group:operations", "metric": "tokens", "window": "day", "limit": 0}]
    async with application(settings_with(limits=limits)) as door:
        assert not (await door.good(OPS, "check_quota", tokens=1))["allowed"]
        assert (await door.good(OPS, "check_quota", tokens=1, user="bob"))["allowed"]
        assert not (await door.good(OPS, "check_quota", tokens=1, user="bob", group="operations"))["allowed"]


async def reserve(door: Door, token: str, **more: JsonValue) -> str:
    answer = await door.good(token, "check_quota", tokens=50, reserve=True, **more)
    assert isinstance(answer["reservation_id"], str)
    return answer["reservation_id"]


async def test_anothers_reservation_can_be_neither_released_nor_settled() -> None:
    limits = [{"subject": "default", "metric": "tokens", "window": "day", "limit": 100}]
    event: JsonObject = {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 0}
    async with application(settings_with(limits=limits)) as door:
        alices = await reserve(door, ALICE)
        unknown = await door.refused(BOB, "release_quota", reservation_id="0" * 32)
        # What is somebody else's reads the same as what does not exist.
        assert await door.refused(BOB, "release_quota", reservation_id=alices) == unknown.replace("0" * 32, alices)
        not_known = await door.refused(BOB, "record_usage", **event, reservation_id="0" * 32)
        assert await door.refused(BOB, "record_usage", **event, reservation_id=alices) == not_known.replace(
            "0" * 32, alices
        )
        assert await door.refused(BOB, "record_usage", **event, user="alice", reservation_id=alices) == FORBIDDEN_USER
        assert await used(door, BOB) == 0
        assert not (await door.good(ALICE, "check_quota", tokens=51))["allowed"]
        assert (await door.good(ALICE, "record_usage", **event, reservation_id=alices))["recorded"]
        # The same after it has ended.
        assert await door.refused(BOB, "record_usage", **event, reservation_id=alices) == not_known.replace(
            "0" * 32, alices
        )
        assert await door.refused(BOB, "release_quota", reservation_id=alices) == unknown.replace("0" * 32, alices)


async def test_a_reservation_that_an_admin_made_for_a_user_is_the_users_to_settle() -> None:
    event: JsonObject = {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 0}
    async with application() as door:
        held = await reserve(door, ADMIN, user="alice")
        assert (await door.good(ALICE, "record_usage", **event, reservation_id=held))["recorded"]
        assert (await door.good(ALICE, "release_quota", reservation_id=await reserve(door, ADMIN, user="alice")))[
            "released"
        ]


async def test_an_admin_ends_the_reservations_of_all() -> None:
    event: JsonObject = {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 0}
    async with application() as door:
        assert (await door.good(ADMIN, "release_quota", reservation_id=await reserve(door, ALICE)))["released"]
        settled = await door.good(ADMIN, "record_usage", **event, reservation_id=await reserve(door, ALICE))
        assert (settled["recorded"], settled["user"]) == (True, "alice")


async def test_an_idempotency_key_is_its_users_own() -> None:
    async with application() as door:
        alices, bobs = (
            await record(door, ALICE, 100, idempotency_key="k"),
            await record(door, BOB, 7, idempotency_key="k"),
        )
        assert (alices["duplicate"], bobs["duplicate"]) == (False, False)
        assert alices["event_id"] != bobs["event_id"]
        assert (await record(door, ALICE, 100, idempotency_key="k"))["event_id"] == alices["event_id"]
        held = await reserve(door, ALICE, idempotency_key="h")
        assert await reserve(door, BOB, idempotency_key="h") != held
        assert await reserve(door, ALICE, idempotency_key="h") == held


async def test_a_cursor_of_others_opens_nothing() -> None:
    async with application() as door:
        for number in range(30):
            await record(door, BOB, 7, session=f"s{number}")
        page = await door.good(BOB, "usage_report", group_by="session", period="7d")
        cursor = page["next_cursor"]
        assert isinstance(cursor, str)
        refused = await door.refused(ALICE, "usage_report", group_by="session", period="7d", cursor=cursor)
        assert refused.startswith("cursor: ")
        everybodys = await door.good(ADMIN, "usage_report", group_by="session", period="7d")
        assert isinstance(everybodys["next_cursor"], str)
        await door.refused(ALICE, "usage_report", group_by="session", period="7d", cursor=everybodys["next_cursor"])


async def test_files_are_not_read_for_callers_over_http() -> None:
    async with application() as door:
        refused = await door.refused(ADMIN, "count_tokens", paths=["**/*.py"], model="gpt-4o")
    assert refused.startswith("paths: no folders are allowed")


async def test_a_session_of_others_is_neither_spent_nor_seen() -> None:
    limits = [{"subject": "session:s", "metric": "tokens", "window": "day", "limit": 100}]
    async with application(settings_with(limits=limits)) as door:
        await record(door, ALICE, 60, session="s")
        for tool, arguments in (("check_quota", {"tokens": 1}), ("record_usage", CALLS["record_usage"])):
            refused = await door.refused(BOB, tool, **arguments, session="s")
            assert refused == "session: it is another user's; give another name."
        assert not (await door.good(ALICE, "check_quota", tokens=41, session="s"))["allowed"]
        assert (await door.good(ALICE, "check_quota", tokens=40, session="s"))["allowed"]
        assert (await door.good(BOB, "check_quota", tokens=41, session="t"))["allowed"]
        assert (await door.good(ADMIN, "check_quota", tokens=40, session="s"))["allowed"]


async def test_resources_and_completions_tell_of_nobody_else() -> None:
    async with application() as door:
        await record(door, BOB, 7)

        async def ask(token: str, method: str, **params: JsonValue) -> JsonObject:
            response = await door.post(token, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            answer: JsonObject = response.json()
            return answer

        for uri in ("tokenward://quota/bob", "tokenward://quota/%62ob", "tokenward://quota/BOB"):
            assert "error" in await ask(ALICE, "resources/read", uri=uri)
        assert "error" in await ask(TWO_GROUPS, "resources/read", uri="tokenward://report/7d")
        for method, params in (
            ("resources/read", {"uri": "tokenward://report/7d"}),
            ("resources/read", {"uri": "tokenward://quota/alice"}),
        ):
            own = await ask(ALICE, method, **params)
            assert "result" in own, own
            assert "bob" not in str(own)
        assert "bob" in str(await ask(ADMIN, "resources/read", uri="tokenward://report/7d"))
        reference: JsonObject = {"type": "ref/resource", "uri": "tokenward://quota/{user}"}
        argument: JsonObject = {"name": "user", "value": ""}
        completed = await ask(ALICE, "completion/complete", ref=reference, argument=argument)
        assert "bob" not in str(completed)
