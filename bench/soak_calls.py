"""The mixed load of the soak: calls of all nine tools, what each answer must say, and what was acknowledged."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.types import JsonObject, JsonValue

MODEL = "gpt-4o"
PEOPLE = tuple(f"user-{number}" for number in range(8))
POOR = "poor"
POOR_REQUESTS = 50
"""The day's limit of the user who is soon refused."""

_WORDS = "ledger token agent model price the of to is not before Überweisung 予算 запрос naïve 🚀 {x} == None; 3.14"
_TEXTS = 40

Answered = Callable[[JsonObject], None]
"""Looks at what a tool said; an AssertionError ends the soak."""


@dataclass(frozen=True)
class Call:
    """A call, and who looks at its answer.

    Attributes:
        refused: The tool must say that the arguments are wrong.
    """

    tool: str
    arguments: JsonObject
    answered: Answered
    refused: bool = False


@dataclass
class Acknowledged:
    """Sums over the events whose receipt came back, and the holds that are still to be settled."""

    events: set[str] = field(default_factory=set[str])
    tokens: Counter[str] = field(default_factory=Counter[str])
    requests: Counter[str] = field(default_factory=Counter[str])
    cost: Decimal = Decimal(0)
    denied: int = 0
    holds: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Load:
    """Makes calls for one door from a seed, and remembers what was acknowledged at it."""

    def __init__(self, door: str, seed: int) -> None:
        self.acknowledged = Acknowledged()
        self._door = door
        self._random = random.Random(seed)
        self._keys = 0
        counter = TokenCounter()
        texts = [self._words(self._random.randint(1, 120)) for _ in range(_TEXTS)]
        self._known = [(text, counter.count_tokens(text, MODEL).token_count) for text in texts]
        self._makers = (
            (self._count, 30),
            (self._count_new, 15),
            (self._messages, 10),
            (self._estimate, 8),
            (self._reserve, 15),
            (self._record, 8),
            (self._truncate, 4),
            (self._compress, 4),
            (self._report, 1),
            (self._wrong, 5),
        )

    def calls(self, count: int) -> Iterator[Call]:
        """So many calls, and those that end what they hold, in two rounds: a hold must have been answered before."""
        makers, weights = zip(*self._makers, strict=True)
        for make in self._random.choices(makers, weights, k=count):
            yield make()

    def endings(self) -> Iterator[Call]:
        """Settles or releases all holds; one in four settlements is sent a second time under the same key."""
        holds, self.acknowledged.holds = self.acknowledged.holds, []
        for user, hold in holds:
            if self._random.random() < 0.2:
                yield Call("release_quota", {"reservation_id": hold}, _released)
                continue
            call = self._record(user, hold)
            yield call
            if self._random.random() < 0.25:
                yield call

    def _words(self, count: int) -> str:
        return " ".join(self._random.choices(_WORDS.split(), k=count))

    def _history(self) -> list[JsonValue]:
        roles = ("user", "assistant")
        return [{"role": roles[one % 2], "content": self._words(12)} for one in range(self._random.randint(2, 9))]

    def _user(self) -> str:
        return POOR if self._random.random() < 0.05 else self._random.choice(PEOPLE)

    def _count(self) -> Call:
        text, tokens = self._random.choice(self._known)

        def answered(said: JsonObject) -> None:
            assert said["tokens"] == tokens, said

        return Call("count_tokens", {"text": text, "model": MODEL}, answered)

    def _count_new(self) -> Call:
        texts: list[JsonValue] = [self._words(self._random.randint(5, 60)) for _ in range(3)]

        def answered(said: JsonObject) -> None:
            items, tokens = said["items"], said["tokens"]
            assert isinstance(items, list), said
            assert isinstance(tokens, int), said
            assert len(items) == 3, said
            assert 0 < tokens <= sum(len(str(text).encode()) for text in texts), said

        return Call("count_tokens", {"texts": texts, "model": MODEL}, answered)

    def _messages(self) -> Call:
        return Call("count_messages", {"messages": self._history(), "model": MODEL}, _positive("tokens"))

    def _estimate(self) -> Call:
        tokens = self._random.randint(1, 9_000)

        def answered(said: JsonObject) -> None:
            parts = [Decimal(str(said[name])) for name in ("input_cost", "output_cost", "cache_cost")]
            assert Decimal(str(said["total_cost"])) == sum(parts), said
            assert said["input_tokens"] == tokens, said

        return Call("estimate_cost", {"model": MODEL, "input_tokens": tokens, "output_tokens": 7}, answered)

    def _reserve(self) -> Call:
        user = self._user()

        def answered(said: JsonObject) -> None:
            if said["allowed"]:
                self.acknowledged.holds.append((user, str(said["reservation_id"])))
            else:
                assert user == POOR, said
                self.acknowledged.denied += 1

        wanted: JsonObject = {"model": MODEL, "input_tokens": 900, "max_output_tokens": 500}
        return Call("check_quota", {**wanted, "user": user, "reserve": True}, answered)

    def _record(self, user: str | None = None, hold: str | None = None) -> Call:
        self._keys += 1
        who = user or self._random.choice(PEOPLE)
        used = (self._random.randint(1, 900), self._random.randint(0, 500))
        arguments: JsonObject = {
            "model": MODEL,
            "input_tokens": used[0],
            "output_tokens": used[1],
            "user": who,
            "idempotency_key": f"{self._door}-{self._keys}",
        }
        if hold is not None:
            arguments["reservation_id"] = hold
        return Call("record_usage", arguments, lambda said: self._receipt(said, who, sum(used)))

    def _receipt(self, said: JsonObject, user: str, tokens: int) -> None:
        acknowledged, event = self.acknowledged, str(said["event_id"])
        assert said["recorded"] or said["duplicate"], said
        assert said["user"] == user, said
        if event in acknowledged.events:
            return
        acknowledged.events.add(event)
        acknowledged.tokens[user] += tokens
        acknowledged.requests[user] += 1
        acknowledged.cost += Decimal(str(said["cost"]))

    def _truncate(self) -> Call:
        history = self._history()

        def answered(said: JsonObject) -> None:
            before, after = said["tokens_before"], said["tokens_after"]
            assert isinstance(before, int), said
            assert isinstance(after, int), said
            assert after <= before, said
            assert not said["fits"] or after <= 120, said

        return Call("truncate_history", {"messages": history, "max_tokens": 120, "model": MODEL}, answered)

    def _compress(self) -> Call:
        return Call("compress_messages", {"messages": self._history(), "model": MODEL}, _positive("tokens_before"))

    def _report(self) -> Call:
        def answered(said: JsonObject) -> None:
            assert isinstance(said["totals"], dict), said

        return Call("usage_report", {"period": "24h"}, answered)

    def _wrong(self) -> Call:
        wrong: tuple[tuple[str, JsonObject], ...] = (
            ("count_tokens", {"txt": "a", "model": MODEL}),
            ("count_tokens", {"model": MODEL}),
            ("check_quota", {"user": "a" * 2_000, "tokens": 1}),
            ("record_usage", {"model": MODEL, "input_tokens": -1, "output_tokens": 1}),
            ("truncate_history", {"messages": "no", "max_tokens": 1, "model": MODEL}),
            ("no_such_tool", {}),
        )
        tool, arguments = self._random.choice(wrong)
        return Call(tool, arguments, _anything, refused=True)


def _anything(_: JsonObject) -> None:
    """Whatever it says."""


def _released(said: JsonObject) -> None:
    assert said["released"], said


def _positive(name: str) -> Answered:
    def answered(said: JsonObject) -> None:
        number = said[name]
        assert isinstance(number, int), said
        assert number > 0, said

    return answered
