"""Compression saves tokens and leaves alone what must not change."""

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, MODELS, counter, histories
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.history import CompressionResult, TokenOptimizer, compress_messages, validate_messages
from tokenward.engine.history.prose import join_pieces, read_pieces
from tokenward.engine.history.regions import split_regions
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject, JsonValue

PROPERTY: Final = settings(max_examples=40, deadline=None)

_NOUNS: Final = ("cart", "coupon", "invoice", "payment", "customer", "total", "line", "refund", "order")
_VERBS: Final = ("changes", "rounds", "shows", "stores", "loses", "repeats", "doubles", "misses")


def compress(messages: list[JsonObject], target: float = 0.2, format_: Format = "openai") -> CompressionResult:
    return compress_messages(messages, MODELS[format_], counter=counter(), target_reduction=target, format=format_)


def squeezed(text: str) -> str:
    """What compression without loss makes of a text."""
    return join_pieces(read_pieces(text))


@st.composite
def sentences(draw: st.DrawFn) -> str:
    spaces = draw(st.sampled_from((" ", " ", "  ", "   ")))
    words = ("The", draw(st.sampled_from(_NOUNS)), draw(st.sampled_from(_VERBS)), "the", draw(st.sampled_from(_NOUNS)))
    return spaces.join(words) + draw(st.sampled_from((".", "!", "!!!!", "?")))


@st.composite
def paragraphs(draw: st.DrawFn) -> str:
    return draw(st.sampled_from((" ", "  ", "\n"))).join(draw(st.lists(sentences(), min_size=1, max_size=6)))


_CODE_LINES: Final = st.lists(
    st.sampled_from(
        ("x  =  1", "", "def f(a,  b):", "    return  a!!!!", "# note...... end  ", "'odd  quote", '"', "`")
    )
).map("\n".join)
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab  {}[]"\\\n!', max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("a", "b  c", "{")), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def fences(draw: st.DrawFn) -> str:
    fence = draw(st.sampled_from(("```", "````", "~~~")))
    return f"{fence}python\n{draw(_CODE_LINES)}\n{fence}"


@st.composite
def json_blocks(draw: st.DrawFn) -> str:
    value = draw(_JSON.filter(lambda value: isinstance(value, dict | list) and bool(value)))
    return json.dumps(value, indent=draw(st.sampled_from((None, 1, 2))), separators=(",", ":  "))


BLOCKS: Final[dict[str, st.SearchStrategy[str]]] = {
    "fenced code": fences(),
    "indented code": st.sampled_from(("    x  =  1\n\n\n\n    y  =  2", "\tgo  run", "    if  a:\n        b!!!!")),
    "json": json_blocks(),
    "table": st.sampled_from(("| a  | b  |\n|----|----|\n| 1  | 2!!!!  |", "a  | b\n---|---\n1  | 2")),
    "quote": st.sampled_from(("> He said:   no!!!!\n> Twice.", ">  a\n>  b")),
}
UNMARKED: Final = {
    "loop": "for i in range(3):\n  print(i)\n  total = total  +  i",
    "calls": "x = foo(1,  2)\ny = bar(x)",
    "one statement": "Total  =  compute(a,  b).",
    "csv": "name,age,city\nbob,3,Rome\nann,4,Oslo",
    "csv with spaces": "Name, Age, City\nBob, 3, Rome.\nAnn, 4, Oslo.",
    "one csv row": "Bob,3,Rome",
    "tsv": "name\tage\nBob\t3\nAnn\t4.",
    "settings": "host:   localhost\nport:   80\nmode:   fast.",
    "yaml": "steps:\n  - uses: checkout\n  - run: make  all",
    "shell": "ls  -la\ncd  src\nmake  all",
    "one command": "ls  -la",
    "bare command": "git  push  origin",
    "prompt": "$ ls  -la\n$ cd  src",
    "markup": "<p>a  b</p>",
    "markup with a sentence": "<p>One  here. Two there. Three  there.</p>",
    "columns": "Name  Age  Town.\nAda  36  London.",
    "tree": "src\n├──  a.py\n└──  b.py",
    "else": "if ready:\n  go  on\nelse:\n  stop.",
    "arrow": "Start  -> stop.\nStop  -> start.",
    "numbers": "1  2  3\n4  5  6",
    "traceback": "Traceback (most recent call last):\n  File a.py, line 3, in run\nNo such thing.",
}
BLOCKS["unmarked"] = st.sampled_from(sorted(UNMARKED.values()))
INLINE: Final[dict[str, st.SearchStrategy[str]]] = {
    "inline code": st.sampled_from(("`a  =  1`", "``b  `  c``", "`f(x). Then  y!!!!`")),
    "url": st.sampled_from(("https://example.com/a?b=c!!!!", "ftp://host/x....", "www.example.com/a//b")),
    "quoted text": st.sampled_from(
        ('"Stop.  Go on!!!!"', "\u201cStop.  Go on\u201d", "«a  b. C»", "'it isn't  so. No'", '"two\nlines.  Yes"')
    ),
    "tag": st.sampled_from(("<a  href='x'>", "</b >")),
}


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A text of prose with protected parts in it, and those parts."""
    parts: list[str] = []
    protected: list[str] = []
    for kind in draw(st.lists(st.sampled_from(("prose", "prose", "block", "inline")), min_size=1, max_size=8)):
        if kind == "block":
            block = draw(st.one_of(*BLOCKS.values()))
            protected.append(block)
            parts.append(block)
        elif kind == "inline":
            span = draw(st.one_of(*INLINE.values()))
            protected.append(span)
            parts.append(f"{draw(paragraphs())} See  {span}  for more. {draw(paragraphs())}")
        else:
            parts.append(draw(paragraphs()))
    return draw(st.sampled_from(("\n\n", "\n\n\n\n"))).join(parts), protected


@PROPERTY
@given(document=documents(), target=st.sampled_from((0.1, 0.5, 0.9)))
def test_protected_parts_survive_verbatim(document: tuple[str, list[str]], target: float) -> None:
    text, protected = document
    # The text stands where sentences may be left out; the last user message only loses white space.
    result = compress([{"role": "assistant", "content": text}, {"role": "user", "content": text}], target)
    for message in result.messages:
        content = message["content"]
        assert isinstance(content, str)
        for part in protected:
            assert content.count(part) >= text.count(part)


@pytest.mark.parametrize("block", UNMARKED.values(), ids=UNMARKED)
def test_code_and_data_need_no_fence(block: str) -> None:
    text = f"{essay()}\n\n{block}\n\n{essay().replace('what', 'which')}"
    result = compress([{"role": "assistant", "content": text}, {"role": "user", "content": "Go on."}], 0.5)
    content = result.messages[0]["content"]
    assert isinstance(content, str)
    assert f"\n\n{block}\n\n" in content
    assert result.reduction > 0.4, "the prose around it should have been shortened"


def test_wrapped_prose_is_prose() -> None:
    lines = [" ".join(essay().split()[start : start + 11]) for start in range(0, len(essay().split()), 11)]
    result = compress([{"role": "assistant", "content": "\n".join(lines)}, {"role": "user", "content": "Go on."}], 0.5)
    assert result.reduction >= 0.5


def test_a_quote_over_several_paragraphs_stays() -> None:
    text = f'{essay()}\n\nHe wrote: "one\n\nOne here. Two there.  Three there.\n\nlast" and so on\n\n{essay()}'
    result = compress([{"role": "assistant", "content": text}, {"role": "user", "content": "Go on."}], 0.9)
    assert "One here. Two there.  Three there." in str(result.messages[0]["content"])


@PROPERTY
@given(document=documents())
def test_regions_are_the_text(document: tuple[str, list[str]]) -> None:
    assert "".join(region.text for region in split_regions(document[0])) == document[0]


@PROPERTY
@given(document=documents())
def test_without_loss_no_word_is_lost(document: tuple[str, list[str]]) -> None:
    text, _ = document
    assert set(squeezed(text).split()) >= {word.rstrip("!") for word in text.split() if word.isalpha()}


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_only_prose_changes_and_never_grows(format_: Format, data: st.DataObject) -> None:
    messages = data.draw(histories(format_)).messages
    original = deepcopy(messages)
    result = compress(messages, data.draw(st.sampled_from((0.05, 0.3, 0.9))), format_)
    assert messages == original, "the caller's objects were changed"
    assert result.tokens_before == tokens(original, format_)
    assert result.tokens_after == tokens(result.messages, format_) <= result.tokens_before
    assert result.reduction == 1 - result.tokens_after / result.tokens_before
    validate_messages(result.messages, format_)
    for index, (now, then) in enumerate(zip(result.messages, messages, strict=True)):
        assert (now is not then) == (index in result.changed)
    assert everything_but_text(result.messages, format_) == everything_but_text(original, format_)


def tokens(messages: list[JsonObject], format_: Format) -> int:
    return count_messages(messages, MODELS[format_], counter=counter(), format=format_).tokens


def everything_but_text(messages: list[JsonObject], format_: Format) -> list[tuple[str, str, JsonValue]]:
    parts = (part for message in read_messages(messages, format_).messages for part in message.parts)
    return [(part.kind, part.text, part.raw) for part in parts if part.kind != "text"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two  spaces   and\ttabs.", "Two spaces and\ttabs."),
        ("End of line. \nNext.  ", "End of line.\nNext."),
        ("A break.  \nNext. \n\nLast.  \n", "A break.  \nNext.\n\nLast."),
        ("One.\n\n\n\nTwo.", "One.\n\nTwo."),
        ("Stop!!!! Really??? Well......", "Stop! Really? Well..."),
        ("An ellipsis... stays.", "An ellipsis... stays."),
        (f"{'A long paragraph that says it. ' * 2}\n\nB.\n\n{'A long paragraph that says it. ' * 2}",
         "A long paragraph that says it. A long paragraph that says it.\n\nB."),
        ("Yes.\n\nNo.\n\nYes.", "Yes.\n\nNo.\n\nYes."),
        ("An odd \" quote  stays  as it is.", "An odd \" quote  stays  as it is."),
        ("name     age     town\nAda      36      London", "name     age     town\nAda      36      London"),
        ('Send {"a":  1,\n"b":  ["}"]} now', 'Send {"a":  1,\n"b":  ["}"]} now'),
    ],
)  # fmt: skip
def test_compression_without_loss(text: str, expected: str) -> None:
    assert squeezed(text).strip() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One here. Two there. Three.", ["One here.", "Two there.", "Three."]),
        ("See e.g. Fig. 3 by Dr. Smith. Then go.", ["See e.g. Fig. 3 by Dr. Smith.", "Then go."]),
        ("Version 1.2.3 is out. Use it!", ["Version 1.2.3 is out.", "Use it!"]),
        ("Steps:\n- one. And more\n- two", ["Steps:", "- one.", "And more", "- two"]),
        ("# Title\nText", ["# Title", "Text"]),
        ("它坏了。请修好。", ["它坏了。", "请修好。"]),
        ('He said "Stop. Go." Then left.', ['He said "Stop. Go." Then left.']),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [piece.text for piece in read_pieces(text)] == expected


@pytest.mark.parametrize("word", ["../../src/utils", "main..HEAD", "ASP.NET", "a?B", "x!Y", "v1.Beta"])
def test_nothing_is_cut_inside_a_word(word: str) -> None:
    prose = "The parser fails on the parser input and the parser must be fixed. "
    messages: list[JsonObject] = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": f"{prose}Take the parser of {word} for it. {prose}"},
        {"role": "user", "content": "Go on."},
    ]
    for target in (0.02, 0.2, 0.6):
        now = str(compress(messages, target).messages[1]["content"])
        assert f"Take the parser of {word} for it." in now or "Take" not in now
        assert "for it" not in now or word in now


@pytest.mark.parametrize(
    "kept",
    [
        "\u201aein  zitat\u2018",
        "\u201ait\u2019s  so\u2019",
        "\u2039un  texte\u203a",
        "\u300a一个  标题\u300b",
        "\u3008一个  标题\u3009",
        "\uff02a  b\uff02",
        "github.com/foo/bar/issues/12....",
        "docs.example.org:8080/a....b....",
        "localhost:3000/x....",
        "127.0.0.1/x....",
    ],
)
def test_quotes_of_any_kind_and_urls_without_a_scheme_stay(kept: str) -> None:
    text = f"It  is so. It says {kept} and more. It  ends."
    assert squeezed(text) == f"It is so. It says {kept} and more. It ends."
    assert [piece.locked for piece in read_pieces(text)] == [False, True, False]


@pytest.mark.parametrize("mark", ["\u201a", "\u2039", "\u300a", "\u3008", "\uff02"])
def test_a_quote_that_never_closes_protects_all(mark: str) -> None:
    assert squeezed(f"It  is {mark}so. It  ends.") == f"It  is {mark}so. It  ends."


def essay() -> str:
    return " ".join(
        f"Sentence {chr(97 + i)} talks about {_NOUNS[i % 9]} and what it {_VERBS[i % 8]}." for i in range(20)
    )


def test_sentences_go_until_the_target_is_met_and_no_further() -> None:
    messages: list[JsonObject] = [{"role": "assistant", "content": essay()}, {"role": "user", "content": "Go on."}]
    result = compress(messages, 0.3)
    assert 0.3 <= result.reduction < 0.4
    content = result.messages[0]["content"]
    assert isinstance(content, str)
    assert content.startswith("Sentence a talks")
    assert content.endswith(essay().rsplit(". ", 1)[1])
    assert result.changed == (0,)


def test_system_and_the_last_user_message_only_lose_white_space() -> None:
    text = essay().replace(" talks", "   talks")
    messages: list[JsonObject] = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    result = compress(messages, 0.9)
    assert [message["content"] for message in result.messages] == [essay(), essay()]


def test_the_assistants_sentences_go_before_the_users() -> None:
    messages: list[JsonObject] = [
        {"role": "user", "content": essay()},
        {"role": "assistant", "content": essay()},
        {"role": "user", "content": "Go on."},
    ]
    assert compress(messages, 0.2).changed == (1,)
    assert compress(messages, 0.8).changed == (0, 1)


def test_what_cannot_be_compressed_stays_the_same_object() -> None:
    messages: list[JsonObject] = [{"role": "user", "content": "Short."}]
    result = compress(messages, 0.9)
    assert result.messages[0] is messages[0]
    assert (result.reduction, result.changed) == (0.0, ())


def test_signed_and_cited_texts_stay() -> None:
    signed: JsonObject = {"role": "model", "parts": [{"text": "a  b.   C  d.", "thoughtSignature": "c2ln"}]}
    thought: JsonObject = {"role": "model", "parts": [{"text": "a  b.   C  d.", "thought": True}]}
    asked: JsonObject = {"role": "user", "parts": [{"text": "Why?"}]}
    assert compress([asked, signed, asked, thought], 0.9, "gemini").changed == ()
    cited: JsonObject = {"type": "text", "text": "a  b.   C  d.", "citations": [{"type": "char_location"}]}
    answered: list[JsonObject] = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": [cited]}]
    assert compress(answered, 0.9, "anthropic").changed == ()


def chat(text: str) -> list[JsonObject]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("target", [0, -0.1, 0.95, 1, float("nan"), "0.2", None, True])
def test_a_target_out_of_range_is_refused(target: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        TokenOptimizer(counter()).compress_messages(
            [{"role": "user", "content": "Hi"}],
            "gpt-4o",
            target_reduction=target,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        )
    assert caught.value.field == "target_reduction"


_AWKWARD: Final = (
    "{", "{a} ", "[a ", "[1,\n", '{"\\"', "`", "``` ", "'a ", "a'", "<a ", "(. ", " \n", "a    ", '"a" ', '"', "A. ",
    "\t", "- ", "> ", "!", "?", "?!", "…", ".", ".…", "a.", "a-", "a", "+a", "|", "]", "\u201d", "; ", "a:", "\u2018",
    "«", "_", "A b\n", "\u201a", "\u201a\u2019", "\u2039", "\u2039\u203a", "\u300a", "\uff02", "a.b", "a.b ", "a.b/",
)  # fmt: skip


@pytest.fixture
def no_time() -> Iterator[None]:
    """Less than 20 seconds of the processor's; those in which the machine does something else do not count."""
    start = time.thread_time()
    yield
    assert time.thread_time() - start < 20


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("unit", _AWKWARD)
def test_awkward_texts_take_no_time(unit: str) -> None:
    """A hang's guard: what is quadratic takes minutes at this size."""
    for text in (unit * (200_000 // len(unit)), f"A sentence {unit * (200_000 // len(unit))} goes on. And on."):
        assert squeezed(text) or not text.strip()


_BASE64: Final = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0"


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("unit", ["?!", "…", ".…", "a.", "a-", "a", _BASE64, "\t", "[", '"', "`", "|", " word"])
def test_long_runs_compress_in_no_time(unit: str) -> None:
    text = f"It is   this: {unit * (40_000 // len(unit))} and more. Then it goes on. Then it ends."
    messages: list[JsonObject] = [{"role": "assistant", "content": text}, {"role": "user", "content": "Go on."}]
    assert compress(messages, 0.5).tokens_after > 0
