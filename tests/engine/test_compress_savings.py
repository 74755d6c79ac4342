"""Compression says what it saved of each message, and a caller's summarizer can do no harm."""

import json
import re
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, MODELS, counter, histories
from tests.engine.test_compress import BLOCKS, INLINE, compress, essay, everything_but_text, tokens
from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.history import CompressionResult, compress_messages, validate_messages
from tokenward.engine.history.summaries import Summarizer
from tokenward.engine.messages.view import Format
from tokenward.engine.tokenizers.base import Method, Tokenizer, TokenizerOptions
from tokenward.engine.types import JsonObject, JsonValue

PROPERTY: Final = settings(max_examples=25, deadline=None)
LABEL: Final = "[Summary by the caller's summarizer: "
GO_ON: Final[JsonObject] = {"role": "user", "content": "Go on."}
TALK: Final[list[JsonObject]] = [{"role": "assistant", "content": essay()}, GO_ON]


def summarized(summarizer: Summarizer, messages: Sequence[JsonObject] = TALK, target: float = 0.4) -> CompressionResult:
    return compress_messages(
        messages, "gpt-4o", counter=counter(), target_reduction=target, format="openai", summarizer=summarizer
    )


def saying(answer: str) -> Summarizer:
    def summarize(_texts: Sequence[str], _target_tokens: int) -> str:
        return answer

    return summarize


def message(format_: Format, role: str, text: str) -> JsonObject:
    """A message with one text, in a provider's way."""
    match format_:
        case "openai":
            return {"role": role, "content": text}
        case "openai_responses":
            kind = "output_text" if role == "assistant" else "input_text"
            return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        case "anthropic":
            return {"role": role, "content": [{"type": "text", "text": text}]}
        case "gemini":
            return {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]}


def text_of(item: JsonObject) -> str:
    content: JsonValue = item.get("content", item.get("parts"))
    if isinstance(content, list):
        (part,) = content
        assert isinstance(part, dict)
        content = part["text"]
    assert isinstance(content, str)
    return content


PATTERNS: Final = {
    "fences": re.compile(r"^(`{3,}|~{3,}).*?^\1$", re.MULTILINE | re.DOTALL),
    "urls": re.compile(r"(?:https?|ftp)://\S+"),
    "rows": re.compile(r"^[^\n|]*\|.*$", re.MULTILINE),
    "quotes": re.compile(r"^>.*$", re.MULTILINE),
    "ticks": re.compile(r"`[^`\n]+`"),
}


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_code_json_tables_and_urls_come_out_byte_for_byte(format_: Format, data: st.DataObject) -> None:
    kinds = st.sampled_from(("fenced code", "json", "table", "quote"))
    blocks = [data.draw(BLOCKS[kind]) for kind in data.draw(st.lists(kinds, min_size=1, max_size=3))]
    span = data.draw(st.one_of(*INLINE.values()))
    parts = [essay()]
    for block in blocks:
        parts += [block, essay().replace("what", f"which{len(parts)}")]
    text = "\n\n".join([*parts, f"It is this. See {span} for more. It was that. Then it ends."])
    messages = [message(format_, "user", text), message(format_, "assistant", text), message(format_, "user", "Go on.")]
    summarizer = data.draw(st.sampled_from((None, saying("All was said."))))
    result = compress_messages(
        messages, MODELS[format_], counter=counter(), target_reduction=0.8, format=format_, summarizer=summarizer
    )
    assert result.reduction > 0.2, "the prose should have been shortened"
    validate_messages(result.messages, format_)
    for now in result.messages[:2]:
        for pattern in PATTERNS.values():
            assert [found.group() for found in pattern.finditer(text_of(now))] == [
                found.group() for found in pattern.finditer(text)
            ]
        assert all(text_of(now).count(block) >= text.count(block) for block in [*blocks, span])


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_the_savings_add_up(format_: Format, data: st.DataObject) -> None:
    messages = data.draw(histories(format_)).messages
    result = compress(messages, data.draw(st.sampled_from((0.05, 0.5, 0.9))), format_)
    assert [saving.index for saving in result.savings] == list(range(len(messages)))
    saved = sum(saving.tokens_before - saving.tokens_after for saving in result.savings)
    assert saved == result.tokens_before - result.tokens_after
    for saving in result.savings:
        assert saving.tokens_after <= saving.tokens_before
        assert (saving.how != "unchanged") == (saving.index in result.changed)


def test_the_savings_say_how() -> None:
    spaced: JsonObject = {"role": "user", "content": "It is  what it is, and it is  good."}
    result = compress([spaced, *TALK], 0.3)
    assert [saving.how for saving in result.savings] == ["lossless", "extractive", "unchanged"]


def test_the_target_is_met_while_there_are_sentences() -> None:
    for target in (0.1, 0.3, 0.5, 0.7, 0.8):
        assert target <= compress(TALK, target).reduction < target + 0.08
    least = compress(TALK, 0.9)
    assert compress(least.messages, 0.9).changed == (), "what was left could not have gone"


@pytest.mark.parametrize(
    ("sentence", "join"),
    [
        ("服务器在第{}天重新启动并且丢失了数据。", ""),
        ("सर्वर दिन {} पर फिर से चालू हुआ और डेटा खो गया।", " "),
        ("تعطل الخادم في اليوم {} وفقدت البيانات؟", " "),
    ],
)
def test_languages_without_a_latin_full_stop_are_compressed_too(sentence: str, join: str) -> None:
    text = join.join(sentence.format(day) for day in range(20))
    result = compress([{"role": "assistant", "content": text}, GO_ON], 0.3)
    assert 0.3 <= result.reduction < 0.45


def test_quotes_of_japanese_stay() -> None:
    days = "".join(f"第{day}日に動きました。" for day in range(20))
    text = f"{days}彼は「止まれ。  行け。」と言った。終わり。"
    result = compress([{"role": "assistant", "content": text}, GO_ON], 0.5)
    assert "「止まれ。  行け。」" in text_of(result.messages[0])


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one message"):
        compress([])


# Summarizers --------------------------------------------------------------------------------------------------------


def test_a_summary_stands_for_the_sentences_and_says_what_it_is() -> None:
    asked: list[tuple[list[str], int]] = []

    def summarize(texts: Sequence[str], target_tokens: int) -> str:
        asked.append((list(texts), target_tokens))
        return "Things change,\nround and are lost."

    result = summarized(summarize)
    first, summary, last = text_of(result.messages[0]).split("\n")
    assert summary == f"{LABEL}Things change, round and are lost.]"
    assert essay().startswith(first)
    assert essay().endswith(last)
    ((texts, target),) = asked
    assert essay() == f"{first} {texts[0]} {last}"
    assert 0 < target < tokens(TALK, "openai")
    assert [saving.how for saving in result.savings] == ["summary", "unchanged"]
    assert (result.changed, result.warnings) == ((0,), ())
    assert result.tokens_after == tokens(result.messages, "openai")


def test_code_between_the_prose_stays_where_it_was() -> None:
    code = "```python\nx  =  1\n```"
    text = f"{essay()}\n\n{code}\n\n{essay().replace('what', 'which')}"

    def count(texts: Sequence[str], _target_tokens: int) -> str:
        return f"{len(texts)} stretches."

    result = summarized(count, [{"role": "assistant", "content": text}, GO_ON])
    assert f"{LABEL}2 stretches.]" in text_of(result.messages[0])
    assert f"\n\n{code}\n\n" in text_of(result.messages[0])


def test_a_summary_is_not_touched_again() -> None:
    once = summarized(saying("One is here. Two is   there. Three is gone. Four stays. Five goes."), target=0.5)
    again = compress(once.messages, 0.9)
    assert f"{LABEL}One is here. Two is there. Three is gone. Four stays. Five goes.]" in text_of(again.messages[0])
    assert summarized(saying("never"), once.messages, 0.9).messages == once.messages


def test_no_summary_is_asked_for_when_nothing_needs_one() -> None:
    def refuse(*_: object) -> str:
        raise AssertionError

    wordy: list[JsonObject] = [{"role": "assistant", "content": essay().replace(" ", "   ")}, GO_ON]
    assert summarized(refuse, wordy, 0.05).warnings == ()
    assert LABEL not in json.dumps(compress(TALK, 0.5).messages)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [("", "empty"), (" \n", "empty"), (essay() * 2, "as long as the")],
)
def test_a_summary_of_no_use_is_not_used(answer: str, problem: str) -> None:
    result = summarized(saying(answer))
    assert [problem in warning for warning in result.warnings] == [True]
    assert result.messages == compress(TALK, 0.4).messages, "sentences should have been left out as without one"


FILLER: Final = (
    "I had a look at the situation in the repository today. There is a lot to say about it. Nothing else matters in "
    "this case. The build was slow again. We could try some other thing. It went on like that for hours. "
)


def barely(texts: Sequence[str], _target_tokens: int) -> str:
    return " ".join(texts)[:-70]


def a_little(texts: Sequence[str], _target_tokens: int) -> str:
    text = " ".join(texts)
    return text[: int(len(text) * 0.8)]


@pytest.mark.parametrize("summarizer", [barely, a_little])
@pytest.mark.parametrize("count", [1, 4])
def test_a_summary_that_hardly_saves_is_not_used(summarizer: Summarizer, count: int) -> None:
    talk: list[JsonObject] = [*[dict[str, JsonValue](role="assistant", content=FILLER * 4)] * count, GO_ON]
    result = summarized(summarizer, talk, 0.5)
    assert result.messages == compress(talk, 0.5).messages
    assert "it saves only" in result.warnings[0]


def test_summaries_that_miss_a_target_that_is_met_without_them_are_not_used() -> None:
    def shorter(texts: Sequence[str], _target_tokens: int) -> str:
        text = " ".join(texts)
        return text[: int(len(text) * 0.55)]

    talk: list[JsonObject] = [{"role": "assistant", "content": FILLER * 4}, GO_ON]
    plain = compress(talk, 0.5)
    assert plain.reduction >= 0.5
    result = summarized(shorter, talk, 0.5)
    assert result.messages == plain.messages
    assert "missed the target" in result.warnings[-1]
    unreachable = summarized(saying("All of it."), talk, 0.9)
    assert LABEL in text_of(unreachable.messages[0])


def test_a_summarizer_that_fails_loses_nothing_and_is_not_asked_again() -> None:
    calls: list[object] = []

    def fail(*arguments: object) -> str:
        calls.append(arguments)
        raise TimeoutError("the text itself must not be said")

    result = summarized(fail, [*TALK, *TALK], 0.4)
    assert len(calls) == 1
    assert result.messages == compress([*TALK, *TALK], 0.4).messages
    (warning,) = result.warnings
    assert warning.startswith("the summarizer failed at messages[0] (TimeoutError) and was not asked again; ")


def test_an_answer_that_is_no_text_is_refused() -> None:
    def forget(*_: object) -> object:
        return None

    async def late(*_: object) -> str:
        return "x"

    with pytest.raises(InvalidInput, match="summarizer: must return a string, not NoneType"):
        summarized(forget)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="it is asynchronous"):
        summarized(late)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_summarizer_leaves_alone_what_compression_does() -> None:
    call: JsonValue = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}]
    messages: list[JsonObject] = [
        {"role": "system", "content": essay()},
        {"role": "user", "content": "Do it."},
        {"role": "assistant", "content": essay(), "tool_calls": call},
        {"role": "tool", "tool_call_id": "c", "content": essay()},
        {"role": "user", "content": essay()},
    ]
    result = summarized(saying("Short."), messages, 0.9)
    assert result.changed == (2,)
    assert everything_but_text(result.messages, "openai") == everything_but_text(messages, "openai")


def test_a_message_that_stays_as_it_is_is_counted_once() -> None:
    quiet: list[JsonObject] = [{"role": "user", "content": f"Question {number}?"} for number in range(50)]
    uncached = TokenCounter(cache_size=0)
    compress_messages(quiet, "gpt-4o", counter=uncached, target_reduction=0.5)
    counted = uncached.get_performance_metrics()["total_calls"]
    uncached = TokenCounter(cache_size=0)
    count_messages(quiet, "gpt-4o", counter=uncached)
    assert counted == uncached.get_performance_metrics()["total_calls"]


class Failing:
    """Fails at its tenth text, as a provider's API may; its successor counts characters."""

    method: Method = "tiktoken"
    exact = True
    warnings: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.counted = 0

    @property
    def encoding(self) -> str:
        return "first" if self.counted < 10 else "second"

    def count(self, text: str) -> int:
        self.counted += 1
        return 2 * len(text) if self.counted < 10 else len(text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text
        return tokens, tokens


def test_a_tokenizer_that_fails_halfway_does_not_look_like_a_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
        del info, options
        return Failing()

    monkeypatch.setattr("tokenward.engine.counting.counter.tokenizer_for", make)
    failing = TokenCounter()
    result = compress_messages(TALK, "gpt-4o", counter=failing)
    assert result.tokens_before == count_messages(TALK, "gpt-4o", counter=failing).tokens
    assert result.tokens_after == count_messages(result.messages, "gpt-4o", counter=failing).tokens
