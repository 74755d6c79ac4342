"""What recorded usage teaches, end to end: counted, recorded, remembered, and counted better."""

import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.scripted_store import ScriptedStore
from tokenward import (
    EstimateRequest,
    InvalidInput,
    QuotaRequest,
    RecordRequest,
    SyncTokenward,
    TokenUsage,
    Tokenward,
)
from tokenward.archive import export_ledger, import_ledger
from tokenward.engine.counting.calibration import MIN_SAMPLES, Calibration, Sample
from tokenward.engine.counting.counter import TextCounter, TokenCounter
from tokenward.engine.counting.messages import RequestCounter
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import CorruptData
from tokenward.engine.messages import read_messages
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject
from tokenward.storage.base import RecordOutcome
from tokenward.storage.factory import open_store
from tokenward.tools.definition import ToolContext
from tokenward.tools.record_usage import record_usage
from tokenward.tracker import UsageTracker

pytestmark = pytest.mark.anyio

MODEL = "gemini-2.5-pro"
RATIO = 0.96
ENOUGH = 25


def conversation(paragraphs: int = 30) -> list[JsonObject]:
    text = "The keeper of the lighthouse wrote down every ship that passed, its flag and its course. "
    return [
        {"role": "user", "parts": [{"text": text * paragraphs}]},
        {"role": "model", "parts": [{"text": "Noted."}]},
        {"role": "user", "parts": [{"text": text * 3}]},
    ]


def used(counted: int, real: int, *, key: str | None = None, model: str = MODEL) -> RecordRequest:
    return RecordRequest(model=model, usage=TokenUsage(real, 10), counted_tokens=counted, idempotency_key=key)


class Provider:
    """Says how many tokens a request really had."""

    def __init__(self, service: Tokenward, ratio: float = RATIO) -> None:
        self._service = service
        self._ratio = ratio
        self._chance = random.Random(4)
        self.raw = TokenCounter()

    async def request(self) -> tuple[MessageCount, int]:
        """Count a request, send it, record it: the count, and the real number."""
        messages = conversation(self._chance.randrange(10, 60))
        counted = self._service.count_messages(messages, MODEL)
        uncalibrated = RequestCounter(self.raw, MODEL, "gemini").count(read_messages(messages, "gemini").messages)
        real = round(uncalibrated.tokens * self._ratio * self._chance.gauss(1, 0.01))
        await self._service.record_usage(used(counted.tokens, real))
        return counted, real


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[Tokenward]:
    async with Tokenward.open("memory://", default_user="alice", clock=clock, new_id=new_id) as opened:
        yield opened


async def test_counts_come_nearer_and_stay_there(service: Tokenward) -> None:
    provider = Provider(service)
    before = [await provider.request() for _ in range(MIN_SAMPLES)]
    after = [await provider.request() for _ in range(150)]
    learned = await service.learned(f"google/{MODEL}")
    assert learned
    assert (learned.samples, learned.enough) == (170, True)
    assert learned.ratio == pytest.approx(RATIO, rel=0.01)
    assert learned.low < learned.ratio < learned.high
    assert all(abs(count.tokens - real) > 0.02 * real for count, real in before[:5])
    assert sum(abs(count.tokens - real) < 0.02 * real for count, real in after) >= 135
    assert sum(count.lower <= real <= count.upper for count, real in after) >= 135
    count, _ = after[-1]
    assert width(count) < 0.5 * width(before[0][0])
    assert "calibrated on 169 recorded requests" in count.warnings
    assert (count.method, count.exact) == ("estimate", False)


def width(count: MessageCount) -> float:
    """How far the bounds lie apart."""
    return (count.upper - count.lower) / count.tokens


async def test_an_estimate_teaches_nothing(service: Tokenward) -> None:
    estimate = replace(used(1_000, 900), estimated=True)
    alone = await service.record_usage(estimate)
    many = await service.record_many([estimate, used(1_000, 950)])
    said = ("nothing was learned from counted_tokens: the usage is an estimate itself.",)
    assert [one.warnings for one in (alone, *many)] == [said, said, ()]
    learned = await service.learned(MODEL)
    assert learned
    assert learned.samples == 1
    store = await service.tracker.ledger()
    assert [(one.estimated, one.counted_tokens) for one in await events_of(store)] == [
        (True, None),
        (True, None),
        (False, 1_000),
    ]


async def test_wrong_estimates_are_refused(service: Tokenward) -> None:
    with pytest.raises(InvalidInput, match="counted_tokens"):
        await service.record_usage(replace(used(-1, 900), estimated=True))
    with pytest.raises(InvalidInput, match="estimated"):
        await service.record_usage(replace(used(1_000, 900), estimated="no"))  # type: ignore[arg-type]
    assert await events_of(await service.tracker.ledger()) == []


async def taught(service: Tokenward, ratio: float = RATIO, samples: int = ENOUGH) -> None:
    await service.record_many([used(10_000, round(10_000 * ratio)) for _ in range(samples)])


async def test_everything_that_counts_profits(service: Tokenward) -> None:
    ask = QuotaRequest(model=MODEL, messages=conversation(), max_output_tokens=1)
    estimate = EstimateRequest(model=MODEL, messages=conversation())
    held, cost = await service.check_quota(ask), service.estimate_cost(estimate).cost.total_nano
    counted = service.count_messages(conversation(), MODEL)
    await taught(service)
    calibrated = service.count_messages(conversation(), MODEL)
    assert calibrated.tokens == pytest.approx(counted.tokens * RATIO, rel=0.01)
    assert counted.lower <= calibrated.lower < calibrated.upper < counted.upper
    assert (await service.check_quota(ask)).requested.tokens == calibrated.upper + 1 < held.requested.tokens
    assert service.estimate_cost(estimate).cost.total_nano == pytest.approx(cost * RATIO, rel=0.01)
    # What was cut off by the former counts fits now.
    cut = service.optimizer.truncate_history(conversation(), calibrated.tokens, MODEL)
    assert (cut.tokens_after, cut.messages) == (calibrated.tokens, conversation())


async def test_sums_hold_while_samples_come_in(service: Tokenward) -> None:
    await taught(service)
    read = read_messages(conversation(), "gemini").messages
    requests = RequestCounter(service.counter, MODEL, "gemini")
    before = requests.count(read)
    await taught(service, 1.05, 200)
    assert requests.count(read) == before
    assert requests.fixed(read) + sum(map(requests.message, read)) == before.tokens
    assert RequestCounter(service.counter, MODEL, "gemini").count(read).tokens > before.tokens


async def test_the_ledger_remembers_and_only_it_does(tmp_path: Path, clock: FakeClock) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with Tokenward.open(url, clock=clock) as service:
        await taught(service)
        calibrated = service.count_messages(conversation(), MODEL)
    async with Tokenward.open(url, clock=clock) as service:
        fresh = service.count_messages(conversation(), MODEL)
        assert fresh.tokens > calibrated.tokens
        # This count had no factor, though one is known by the time it is recorded.
        await service.record_usage(used(fresh.tokens, calibrated.tokens))
        learned = await service.learned(MODEL)
        assert learned
        assert (learned.samples, round(learned.high, 2)) == (ENOUGH + 1, RATIO)
        assert service.count_messages(conversation(), MODEL).tokens == calibrated.tokens
    async with Tokenward.open(url, clock=clock, calibration=False) as service:
        assert await service.learned(MODEL) is None
        assert service.count_messages(conversation(), MODEL) == fresh


async def test_an_event_teaches_once(service: Tokenward) -> None:
    request = used(1_000, 1_100, key="k")
    assert (await service.record_usage(request)).recorded
    assert (await service.record_usage(request)).duplicate
    await service.record_many([request, used(1_000, 1_200, key="other"), used(1_000, 1_200, key="other")])
    learned = await service.learned(MODEL)
    assert learned
    assert (learned.samples, learned.low, learned.high) == (2, 1.1, 1.2)


async def test_another_requests_count_is_recorded_and_not_learned(service: Tokenward) -> None:
    receipt = await service.record_usage(used(1_000, 9_000))
    assert receipt.recorded
    assert receipt.warnings == ("counted_tokens is too far from 9000: nothing was learned from it.",)
    # A tiny request says nothing, and needs no warning.
    assert (await service.record_usage(used(20, 9_000))).warnings == ()
    assert await service.learned(MODEL) is None
    assert [one.counted_tokens for one in await events_of(await service.ledger())] == [None, None]


@pytest.mark.parametrize("calibration", [True, False])
@pytest.mark.parametrize("counted", [-1, 10**9 + 1, True])
async def test_a_count_that_is_none_is_refused(counted: int, *, calibration: bool) -> None:
    async with Tokenward.open("memory://", calibration=calibration) as service:
        with pytest.raises(InvalidInput, match=r"^counted_tokens: "):
            await service.record_usage(used(counted, 100))
        with pytest.raises(InvalidInput, match=r"^requests\[1\]\.counted_tokens: "):
            await service.record_many([used(100, 100), used(counted, 100)])


async def test_off_learns_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with Tokenward.open(url, calibration=False) as service:
        await taught(service)
        assert {one.counted_tokens for one in await events_of(await service.ledger())} == {None}
    async with Tokenward.open(url) as service:
        assert await service.learned(MODEL) is None


async def test_counts_of_the_providers_teach_nothing() -> None:
    async with Tokenward.open("memory://", backend="provider_api") as service:
        await taught(service)
        assert await service.learned(MODEL) is None


async def test_what_is_exact_is_compared_and_stays(service: Tokenward) -> None:
    before = service.counter.count_tokens("Is there a dress code? " * 50, "gpt-4o")
    await service.record_many([used(1_000, 1_100, model="openai/gpt-4o") for _ in range(30)])
    learned = await service.learned("gpt-4o")
    assert learned
    assert (learned.samples, learned.ratio) == (30, 1.1)
    after = service.counter.count_tokens("Is there a dress code? " * 50, "gpt-4o")
    assert (after.token_count, after.exact, after.warnings) == (before.token_count, True, ())


async def test_the_tool_takes_the_count(service: Tokenward) -> None:
    context = ToolContext(service=service)
    usage: JsonObject = {"promptTokenCount": 1_200, "candidatesTokenCount": 5, "totalTokenCount": 1_205}
    response: JsonObject = {"usageMetadata": usage, "modelVersion": MODEL}
    await record_usage(context, model=MODEL, response=response, counted_tokens=1_000)
    await record_usage(context, model=MODEL, input_tokens=1_300, output_tokens=1, counted_tokens=1_000)
    learned = await service.learned(MODEL)
    assert learned
    assert (learned.samples, learned.low, learned.high) == (2, 1.2, 1.3)


async def test_an_archive_takes_the_samples_along(service: Tokenward, clock: FakeClock, tmp_path: Path) -> None:
    await taught(service, samples=3)
    await service.record_usage(RecordRequest(model=MODEL, usage=TokenUsage(5, 5)))
    lines: list[str] = []
    await export_ledger(await service.ledger(), lines.append, clock=clock, version="1")
    assert sum('"counted_tokens":10000' in line for line in lines) == sum('"counted_as"' in line for line in lines) == 3
    file = tmp_path / "archive.jsonl"
    file.write_text("".join(lines), "ascii")
    async with open_store("memory://", clock=clock) as other:
        for expected in (4, 0):
            with file.open("rb") as stream:
                done = await import_ledger(other, stream, clock=clock)
            assert (done.events, done.differing_events) == (expected, 0)
        assert await other.samples() == [Sample(f"estimate {MODEL}", 10_000, 9_600)] * 3


async def test_an_archive_with_half_a_sample_harms_nobody(service: Tokenward, clock: FakeClock, tmp_path: Path) -> None:
    await taught(service, samples=1)
    lines: list[str] = []
    await export_ledger(await service.ledger(), lines.append, clock=clock, version="1")
    file = tmp_path / "archive.jsonl"
    file.write_text("".join(lines).replace('"counted_tokens":10000,', ""), "ascii")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with open_store(url, clock=clock) as other:
        with file.open("rb") as stream:
            assert (await import_ledger(other, stream, clock=clock)).events == 1
    async with Tokenward.open(url, clock=clock) as opened:
        assert await opened.learned(MODEL) is None


def test_without_await_too(clock: FakeClock) -> None:
    with SyncTokenward.open("memory://", clock=clock) as service:
        service.record_usage(used(1_000, 1_100))
        learned = service.learned(MODEL)
        assert learned
        assert learned.ratio == 1.1


def scripted(store: ScriptedStore, clock: FakeClock, counter: TokenCounter | None = None) -> UsageTracker:
    return UsageTracker(
        store,
        counter=counter or TokenCounter(),
        calculator=CostCalculator(clock=clock),
        clock=clock,
        default_user="alice",
        calibration=Calibration(),
    )


async def test_the_store_is_asked_once(clock: FakeClock) -> None:
    store = ScriptedStore()
    store.samples_remembered = [Sample(f"estimate {MODEL}", 1_000, 1_100)] * 3
    tracker = scripted(store, clock)
    assert not store.connected
    for samples in (4, 5):
        await tracker.record_usage(used(1_000, 1_100))
        learned = await tracker.learned(MODEL)
        assert learned
        assert learned.samples == samples


async def test_a_duplicate_teaches_nothing_here_either(clock: FakeClock) -> None:
    store = ScriptedStore()
    store.outcomes = [RecordOutcome("e1", "alice", 1, overage=False, duplicate=True)]
    tracker = scripted(store, clock)
    await tracker.record_usage(used(1_000, 1_100))
    assert await tracker.learned(MODEL) is None
    (record,) = store.records
    assert (record.counted_tokens, record.counted_as) == (1_000, f"estimate {MODEL}")


class DamagedCounter(TokenCounter):
    def text_counter(self, model: str) -> TextCounter:
        raise CorruptData(model)


async def test_what_was_spent_is_recorded_though_nothing_can_be_counted(clock: FakeClock) -> None:
    store = ScriptedStore()
    assert (await scripted(store, clock, DamagedCounter()).record_usage(used(1_000, 1_100))).recorded
    (record,) = store.records
    assert (record.counted_tokens, record.counted_as) == (None, "")
