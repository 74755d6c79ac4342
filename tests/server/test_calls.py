"""Which requests of a client are open."""

from functools import partial

import anyio
import anyio.lowlevel
import pytest
from mcp_types import INVALID_REQUEST, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from tokenward.engine.types import JsonValue
from tokenward.server.calls import NEVER_ANSWERED, OpenCalls

pytestmark = pytest.mark.anyio


def request(request_id: int | str, method: str = "tools/call") -> JSONRPCRequest:
    return JSONRPCRequest(jsonrpc="2.0", id=request_id, method=method)


def cancellation(request_id: JsonValue) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params={"requestId": request_id})


@pytest.mark.parametrize(
    ("asked", "named"), [(1, 1), (1, "1"), ("1", 1), ("a", "a"), (1, "01"), (1, " 1 "), ("1_0", 10), ("9" * 5_000,) * 2]
)
async def test_ids_that_are_one_to_the_sdk_are_one(asked: int | str, named: int | str) -> None:
    calls = OpenCalls()
    closed: list[bool] = []
    calls.add(request(asked), lambda: closed.append(True))
    assert named in calls
    calls.heard(cancellation(named))
    calls.heard(cancellation(named))
    assert named not in calls
    assert closed == [True]


@pytest.mark.parametrize(
    ("asked", "named"), [("[7]", [7]), ("{}", {}), ("None", None), ("True", True), (1, True), ("1.5", 1.5), ("a", "A")]
)
async def test_what_cancels_nothing_to_the_sdk_cancels_nothing(asked: int | str, named: JsonValue) -> None:
    calls = OpenCalls()
    calls.add(request(asked))
    calls.heard(cancellation(named))
    assert asked in calls


@pytest.mark.parametrize("method", ["tools/call", NEVER_ANSWERED])
async def test_an_id_that_is_open_is_refused(method: str) -> None:
    calls = OpenCalls()
    calls.add(request(1, method))
    refusal = calls.refusal(request("1"))
    assert refusal is not None
    assert (refusal.id, refusal.error.code) == ("1", INVALID_REQUEST)
    calls.close(1)
    assert calls.refusal(request("1")) is None


async def test_nobody_waits_for_a_stream() -> None:
    calls = OpenCalls()
    calls.add(request(1, NEVER_ANSWERED))
    await calls.until(0)
    calls.close_all()
    assert 1 not in calls


async def test_everybody_who_waits_is_woken() -> None:
    calls = OpenCalls()
    for number in range(3):
        calls.add(request(number))
    free: list[int] = []

    async def wait(at_most: int) -> None:
        await calls.until(at_most)
        free.append(at_most)

    async with anyio.create_task_group() as group:
        for at_most in (0, 2, 1, 0):
            group.start_soon(wait, at_most)
        for number, expected in enumerate([[2], [2, 1], [2, 1, 0, 0]]):
            await anyio.lowlevel.checkpoint()
            calls.said(JSONRPCResponse(jsonrpc="2.0", id=number, result={}))
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert free == expected


async def test_the_end_of_a_client_closes_all() -> None:
    calls = OpenCalls()
    closed: list[int] = []
    for number in range(3):
        calls.add(request(number), partial(closed.append, number))
    calls.close_all()
    assert closed == [0, 1, 2]
    await calls.until(0)
