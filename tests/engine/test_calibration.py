"""What recorded usage teaches: estimates come nearer, bounds get narrower and still hold, and nothing runs away."""

import math
import random
from collections.abc import Callable
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.counting.calibration import (
    HIGHEST_RATIO,
    LOWEST_RATIO,
    MAX_MODELS,
    MIN_SAMPLES,
    SMALLEST_TOKENS,
    WINDOW,
    Calibration,
    Learned,
    Sample,
    counted_as,
)
from tokenward.engine.counting.counter import TextCounter, TokenCounter
from tokenward.engine.tokenizers.base import Method

NAME = "some-model"
AS_ESTIMATE = f"estimate {NAME}"
LOW, HIGH = 0.75, 1.4


class Characters:
    """Counts a token for each character, right to between ``LOW`` and ``HIGH`` of it, and a little more for digits."""

    info: ModelInfo = Catalog().resolve(NAME)
    method: Method = "estimate"
    inline_characters = 1_000

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact

    def count(self, text: str) -> int:
        return len(text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        if self.exact or not tokens:
            return tokens, tokens
        high = HIGH - 0.2 if text.isdigit() else HIGH
        return max(1, math.floor(tokens * LOW) - 2), math.ceil(tokens * high) + 2


COUNTER: TextCounter = Characters()


def sample(ratio: float, tokens: int = 1_000) -> Sample:
    return Sample(AS_ESTIMATE, tokens, round(tokens * ratio))


def taught(ratios: list[float]) -> Calibration:
    calibration = Calibration()
    calibration.add(map(sample, ratios))
    return calibration


def numbers(counter: TextCounter, text: str) -> tuple[int, int, int]:
    """The count and its bounds."""
    tokens = counter.count(text)
    return tokens, *counter.bounds(text, tokens)


def learned(calibration: Calibration) -> Learned:
    found = calibration.learned(NAME, "estimate")
    assert found is not None
    return found


def test_without_samples_a_counter_is_itself() -> None:
    calibration = Calibration()
    assert calibration.applied(COUNTER) is COUNTER
    assert calibration.learned(NAME, "estimate") is None


def test_counts_move_when_there_are_enough_samples() -> None:
    calibration = taught([1.2] * (MIN_SAMPLES - 1))
    assert calibration.applied(COUNTER) is COUNTER
    assert learned(calibration) == Learned(MIN_SAMPLES - 1, 1.2, 1.2, 1.2)
    assert not learned(calibration).enough
    calibration.add([sample(1.2)])
    assert learned(calibration).enough
    applied = calibration.applied(COUNTER)
    assert numbers(COUNTER, "a" * 1_000) == (1_000, 748, 1_402)
    assert numbers(applied, "a" * 1_000) == (1_200, 1_198, 1_202)
    assert numbers(applied, "") == (0, 0, 0)
    assert (applied.method, applied.exact, applied.inline_characters) == ("estimate", False, 1_000)
    assert applied.info.warnings == (*COUNTER.info.warnings, "calibrated on 20 recorded requests")


def test_bounds_are_the_outer_twentieths() -> None:
    ratios = [1 + index / 1_000 for index in range(99)]
    random.Random(1).shuffle(ratios)
    # Of 100 that are as likely in any order, 5 are below the fifth of 99 and 5 above the fifth from the end.
    assert learned(taught(ratios)) == Learned(99, 1.049, 1.004, 1.094)


def test_what_is_exact_is_only_compared() -> None:
    exact: TextCounter = Characters(exact=True)
    calibration = taught([1.1] * 30)
    assert calibration.applied(exact) is exact
    assert calibration.correction(exact) is None
    assert learned(calibration).ratio == 1.1


def test_methods_and_models_are_learned_apart() -> None:
    calibration = taught([1.1] * 30)
    assert calibration.learned(NAME, "ctok") is None
    assert calibration.learned("another", "estimate") is None
    assert counted_as(COUNTER) == AS_ESTIMATE


def test_tiny_requests_and_other_requests_counts_teach_nothing() -> None:
    calibration = Calibration()
    calibration.add([sample(1.1, SMALLEST_TOKENS - 1), sample(LOWEST_RATIO - 0.01), sample(HIGHEST_RATIO + 0.01)])
    calibration.add([Sample(AS_ESTIMATE, 0, 100)])
    assert calibration.learned(NAME, "estimate") is None
    calibration.add([sample(1.1, SMALLEST_TOKENS), sample(LOWEST_RATIO), sample(HIGHEST_RATIO)])
    assert learned(calibration).samples == 3


@given(
    st.lists(st.floats(0.01, 10), min_size=MIN_SAMPLES, max_size=60),
    st.text(alphabet="ab1", max_size=300),
)
def test_no_sample_leads_out_of_the_known_bounds(ratios: list[float], text: str) -> None:
    tokens, lower, upper = numbers(taught(ratios).applied(COUNTER), text)
    _, least, most = numbers(COUNTER, text)
    assert least <= lower <= tokens <= upper <= most


@pytest.mark.parametrize("ratio", [0.3, 3.9])
def test_samples_against_all_that_is_known_narrow_nothing(ratio: float) -> None:
    _, lower, upper = numbers(taught([ratio] * 200).applied(COUNTER), "a" * 1_000)
    assert (lower, upper) == COUNTER.bounds("a" * 1_000, 1_000)


def test_a_text_with_tighter_bounds_keeps_them() -> None:
    tokens, lower, upper = numbers(taught([1.35] * 30).applied(COUNTER), "1" * 1_000)
    assert (tokens, lower, upper) == (1_202, 748, 1_202)


def normal(chance: random.Random) -> float:
    return chance.gauss(1.15, 0.06)


def skewed(chance: random.Random) -> float:
    return 1.08 + chance.expovariate(15)


def two_kinds(chance: random.Random) -> float:
    return chance.gauss(0.92, 0.02) if chance.random() < 0.3 else chance.gauss(1.2, 0.03)


@pytest.mark.parametrize("provider", [normal, skewed, two_kinds])
@pytest.mark.parametrize("samples", [MIN_SAMPLES, 50, WINDOW])
def test_bounds_hold_for_nine_in_ten_and_are_narrower(provider: Callable[[random.Random], float], samples: int) -> None:
    chance, text = random.Random(samples), "a" * 2_000
    tokens, least, most = numbers(COUNTER, text)
    inside: list[bool] = []
    widths: list[int] = []
    errors: list[float] = []
    errors_before: list[float] = []
    for _ in range(20_000 // samples):
        applied = taught([provider(chance) for _ in range(samples)]).applied(COUNTER)
        calibrated, lower, upper = numbers(applied, text)
        widths.append(upper - lower)
        for _ in range(20):
            real = tokens * provider(chance)
            inside.append(lower <= real <= upper)
            errors.append(abs(calibrated - real))
            errors_before.append(abs(tokens - real))
    assert mean(inside) >= 0.9
    assert max(widths) < most - least
    assert mean(widths) < 0.8 * (most - least)
    assert median(errors) < 0.6 * median(errors_before)


def test_a_new_tokenizer_of_the_provider_is_followed() -> None:
    calibration = taught([0.9] * 5_000)
    calibration.add([sample(1.3)] * (WINDOW // 2 + 1))
    assert (learned(calibration).samples, learned(calibration).ratio) == (WINDOW, 1.3)
    calibration.add([sample(1.3)] * WINDOW)
    assert learned(calibration) == Learned(WINDOW, 1.3, 1.3, 1.3)


class Client:
    """Counts requests, has the provider answer, and records both."""

    def __init__(self, ratio: float, seed: int = 1) -> None:
        self.calibration = Calibration()
        self.ratio = ratio
        self._chance = random.Random(seed)

    def request(self, text: str = "a", *, elsewhere: bool = False) -> float:
        """The ratio of the real number to the count."""
        text *= self._chance.randrange(500, 5_000)
        counter = COUNTER if elsewhere else self.calibration.applied(COUNTER)
        counted, real = counter.count(text), round(len(text) * self.ratio * self._chance.gauss(1, 0.02))
        self.calibration.add([self.calibration.sample(COUNTER, counted, real)])
        return real / counted

    def requests(self, count: int, share_elsewhere: float = 0.0) -> Learned:
        for _ in range(count):
            self.request(elsewhere=self._chance.random() < share_elsewhere)
        return learned(self.calibration)


@pytest.mark.parametrize("ratio", [0.8, 0.95, 1.0, 1.2, 1.35])
def test_adjusted_counts_do_not_feed_on_themselves(ratio: float) -> None:
    client = Client(ratio)
    assert client.requests(3_000).ratio == pytest.approx(ratio, rel=0.01)
    assert median(client.request() for _ in range(50)) == pytest.approx(1, rel=0.01)


def test_a_new_tokenizer_is_followed_from_adjusted_counts_too() -> None:
    client = Client(0.8)
    client.requests(1_000)
    client.ratio = 1.3
    assert client.requests(WINDOW * 2).ratio == pytest.approx(1.3, rel=0.01)


@pytest.mark.parametrize("ratio", [0.6, 1.7])
def test_what_lies_outside_the_known_bounds_is_seen_and_stays_where_it_is(ratio: float) -> None:
    client = Client(ratio)
    assert client.requests(3_000).ratio == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("ratio", [0.8, 1.2])
def test_a_minority_of_counts_from_elsewhere_does_little(ratio: float) -> None:
    assert Client(ratio).requests(5_000, share_elsewhere=0.2).ratio == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize("ratio", [0.8, 1.3])
def test_even_wrong_divisions_only_do_not_run_away(ratio: float) -> None:
    """Every count is made without a factor, and recorded by somebody who divides one out."""
    client = Client(ratio)
    for _ in range(2_000):
        client.calibration.applied(COUNTER).count("a" * 1_000)
        client.request(elsewhere=True)
    assert LOW * ratio * 0.98 <= learned(client.calibration).ratio <= HIGH * ratio * 1.02


def test_texts_whose_bounds_hold_the_factor_back_are_divided_by_what_they_had() -> None:
    client = Client(1.35)
    for _ in range(1_000):
        client.request("1")
    assert learned(client.calibration).ratio == pytest.approx(1.35, rel=0.01)


def test_kinds_of_text_that_are_held_back_differently_do_not_run_away() -> None:
    client = Client(1.35)
    for text in "1a" * 1_000:
        client.request(text)
    assert learned(client.calibration).ratio == pytest.approx(1.35, rel=0.05)


def test_many_requests_at_once_are_divided_by_the_same() -> None:
    client = Client(1.25)
    for _ in range(100):
        applied = client.calibration.applied(COUNTER)
        for tokens, count in [(tokens, applied.count("a" * tokens)) for tokens in range(500, 5_000, 90)]:
            client.calibration.add([client.calibration.sample(COUNTER, count, round(tokens * 1.25))])
    assert learned(client.calibration).ratio == pytest.approx(1.25, rel=0.01)


def test_counts_from_before_anything_was_known_have_no_factor() -> None:
    calibration = Calibration()
    counted = calibration.applied(COUNTER).count("a" * 1_000)
    calibration.add([sample(1.2)] * 30)
    calibration.applied(COUNTER)
    assert calibration.sample(COUNTER, counted, 1_200) == Sample(AS_ESTIMATE, 1_000, 1_200)
    counted = calibration.applied(COUNTER).count("a" * 1_000)
    assert calibration.sample(COUNTER, counted, 1_200) == Sample(AS_ESTIMATE, 1_000, 1_200)


def test_a_count_in_the_making_heeds_no_new_samples() -> None:
    calibration = taught([1.2] * 30)
    applied = calibration.applied(COUNTER)
    calibration.add([sample(0.9)] * WINDOW)
    assert applied.count("a" * 1_000) == 1_200
    assert calibration.applied(COUNTER).count("a" * 1_000) == 900


def test_models_are_forgotten_when_there_are_too_many() -> None:
    calibration = Calibration()
    for index in range(MAX_MODELS + 1):
        calibration.add([Sample(f"estimate m{index}", 1_000, 1_100)])
    assert calibration.learned("m0", "estimate") is None
    assert calibration.learned("m1", "estimate") is not None
    assert calibration.learned(f"m{MAX_MODELS}", "estimate") is not None


def test_a_models_own_counter_is_adjusted() -> None:
    calibration = Calibration()
    counter = TokenCounter(calibration=calibration)
    model, text = "gemini-2.5-pro", "Nobody reads the manual before the machine has stopped. " * 40
    before = counter.count_tokens(text, model)
    name = counted_as(counter.text_counter(model))
    calibration.add([Sample(name, before.token_count, round(before.token_count * 0.93))] * 30)
    after = counter.count_tokens(text, f"google/{model}")
    assert after.token_count == round(before.token_count * 0.93)
    assert before.lower <= after.lower < after.token_count < after.upper <= before.upper
    assert after.upper - after.lower < (before.upper - before.lower) / 5
    assert (after.method, after.exact) == ("estimate", False)
    assert after.warnings == ("calibrated on 30 recorded requests",)
    applied = counter.text_counter(model)
    assert numbers(applied, text) == (after.token_count, after.lower, after.upper)
    # Another model of the same family, and what is exact, stay as they are.
    assert counter.count_tokens(text, "gemini-2.5-flash").token_count == before.token_count
    assert counter.count_tokens(text, "gpt-4o").exact
