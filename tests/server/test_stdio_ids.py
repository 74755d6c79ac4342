"""Calls on standard input and output whose ids are odd: cancelled under another name, or open twice."""

import json
import sys

import pytest

from tests.server.http.sleepers import Sleepers
from tests.server.test_stdio import REAL, call, content, talk
from tests.server.test_stdio_patience import served
from tests.waiting import settled
from tokenward.engine.types import JsonObject, JsonValue

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")]


def cancellation(request_id: JsonValue) -> bytes:
    notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
    return json.dumps(notice).encode() + b"\n"


def error_of(answer: JsonObject) -> JsonObject:
    error = answer["error"]
    assert isinstance(error, dict)
    return error


@pytest.mark.parametrize("name", [1, "1", "01", " 1 "])
async def test_nobody_waits_for_a_call_that_is_cancelled_by_any_name(
    name: JsonValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepers = Sleepers()
    async with served(sleepers.server, monkeypatch) as wire:
        wire.send(call(1, "sleep"))
        await wire.clock.until(lambda: sleepers.asleep == 1)
        wire.send(cancellation(name))
        await wire.clock.until(lambda: sleepers.ended == ["cancelled"])
        start = wire.clock.now
        wire.close()
        await wire.ends()
        # Half a minute is for those that are open.
        assert wire.clock.now - start < 25
    assert not any(answer["id"] == 1 for answer in wire.answers)


@pytest.mark.parametrize("line", [call(1, "sleep"), b'{"jsonrpc":"2.0","id":1,"method":5}\n'])
async def test_an_id_that_is_open_is_refused_and_stays_open(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    async with served(sleepers.server, monkeypatch) as wire:
        wire.send(call(1, "sleep"))
        await wire.clock.until(lambda: sleepers.asleep == 1)
        wire.send(line)
        await wire.clock.until(wire.heard)
        assert error_of(wire.answers[1])["code"] == -32600
        wire.close()
        await settled()
        assert (sleepers.asleep, sleepers.ended) == (1, [])
        sleepers.wake.set()
        await wire.ends()
        wire.heard()
    assert sleepers.ended == ["woken"]
    assert [answer["id"] for answer in wire.answers] == [0, 1, 1]
    assert "result" in wire.answers[2]


def test_the_first_of_equal_ids_is_done() -> None:
    lines = [call(1, "record_usage", model="gpt-4o", input_tokens=1, output_tokens=1)] * 5
    answers, _ = talk(REAL, *lines)
    done = [answer for answer in answers if "result" in answer]
    assert len(answers) == 5
    assert content(done[0])["event_id"]
    for answer in answers:
        assert "result" in answer or "still open" in str(error_of(answer)["message"])
