"""Which requests of a client are open."""

from functools import partial

import anyio
import anyio.lowlevel
import pytest
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from tokenward.server.calls import OpenCalls

pytestmark = pytest.mark.anyio


def request(request_id: int | str) -> JSONRPCRequest:
    return JSONRPCRequest(jsonrpc="2.0", id=request_id, method="tools/call")


def cancellation(request_id: int | str) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params={"requestId": request_id})


@pytest.mark.parametrize(("asked", "named"), [(1, 1), (1, "1"), ("1", 1), ("a", "a")])
async def test_an_id_is_a_text(asked: int | str, named: int | str) -> None:
    calls = OpenCalls()
    closed: list[bool] = []
    calls.add(request(asked), lambda: closed.append(True))
    assert named in calls
    calls.heard(cancellation(named))
    calls.heard(cancellation(named))
    assert named not in calls
    assert closed == [True]


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
