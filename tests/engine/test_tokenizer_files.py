"""Vocabulary files that users give: exact by the library they belong to, safe for any string, never in the way."""

import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import vocabularies
from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers import claude, files, registry, tekken
from tokenward.engine.tokenizers.base import ExactTokenizer, Method, TokenizerOptions
from tokenward.engine.tokenizers.parts import count_in_parts

Encode: TypeAlias = Callable[[str], Sequence[int]]

MAKERS: Mapping[str, Callable[[], bytes]] = {
    "bytes": lambda: vocabularies.huggingface("bytes"),
    "spaces": lambda: vocabularies.huggingface("spaces"),
    "unigram": lambda: vocabularies.huggingface("unigram"),
    "words": lambda: vocabularies.huggingface("words"),
    "gemma": lambda: vocabularies.sentencepiece(prefix=False),
    "mistral": vocabularies.sentencepiece,
    "t5": lambda: vocabularies.sentencepiece(model_type="unigram", normalization="nmt_nfkc"),
}

HOSTILE = ("", " ", "\0", "a\0b", "\ud800", "a\udfffb", "\U0001f600", "\u0378", "a" * 5_000, " " * 5_000, "\n" * 5_000)


def clean(text: str) -> str:
    """The text with lone surrogates replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


LETTERS = st.sampled_from("ab Z09 \n\t.,éжλعकि漢字、。\u0301\u200d▁<|end|>") | st.characters()
TEXT = st.text(LETTERS, max_size=400).map(clean)


@cache
def vocabulary(kind: str) -> bytes:
    return MAKERS[kind]()


@cache
def truth(kind: str) -> Encode:
    """How the library itself encodes a text, in one go."""
    data = vocabulary(kind)
    if kind in ("gemma", "mistral", "t5"):
        model: Any = importlib.import_module("sentencepiece").SentencePieceProcessor(model_proto=data)
        encode: Encode = model.encode
        return encode
    tokenizer: Any = importlib.import_module("tokenizers").Tokenizer.from_str(data.decode())
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def options(path: Path, key: str = "llama-3") -> TokenizerOptions:
    return TokenizerOptions(files={key: path}, plugins=False)


@pytest.fixture
def give(tmp_path: Path) -> Callable[..., TokenCounter]:
    """A counter with a file of some content."""

    def gives(data: bytes, name: str = "tokenizer.json", key: str = "llama-3") -> TokenCounter:
        (tmp_path / name).write_bytes(data)
        return TokenCounter(options=options(tmp_path / name, key))

    return gives


Give: TypeAlias = Callable[..., TokenCounter]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_counts_as_its_own_library_does(kind: str, give: Give) -> None:
    counter = give(vocabulary(kind))
    for text in ("hello world", vocabularies.sample(), "def f(x):\n    return x + 1\n", "春眠不覚暁"):
        result = counter.count_tokens(text, "meta-llama/Llama-3.1-8B-Instruct")
        assert result.token_count == result.lower == result.upper == len(truth(kind)(text)) > 0
        assert (result.exact, result.method, result.warnings) == (True, "huggingface", ())


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("text", HOSTILE)
def test_every_string_is_counted_by_the_file(kind: str, text: str, give: Give) -> None:
    counted = give(vocabulary(kind)).count_tokens(text, "llama-3")
    assert counted.method == "huggingface"
    assert counted.token_count == len(truth(kind)(clean(text)))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_text_in_parts_has_the_tokens_of_the_whole(kind: str) -> None:
    encode = truth(kind)

    @settings(max_examples=150, deadline=None)
    @given(TEXT, st.integers(1, 60))
    def compare(text: str, part: int) -> None:
        assert count_in_parts(encode, text, part) == len(encode(text))

    compare()
    sample = vocabularies.sample()
    for part in (50, 333, 5_000):
        assert count_in_parts(encode, sample, part) == len(encode(sample))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_long_text_is_given_to_the_library_in_parts(kind: str) -> None:
    whole, longest = truth(kind), 0

    def encode(text: str) -> Sequence[int]:
        nonlocal longest
        longest = max(longest, len(text))
        return whole(text)

    sample = vocabularies.sample() * 10
    assert count_in_parts(encode, sample, 10_000) == len(whole(sample))
    assert longest < 12_000


@pytest.mark.parametrize("kind", MAKERS)
def test_a_stretch_without_a_good_cut_is_passed_over(kind: str) -> None:
    """Not the rest of the text in one go because a page of it is alike."""
    whole, longest = truth(kind), 0

    def encode(text: str) -> Sequence[int]:
        nonlocal longest
        longest = max(longest, len(text))
        return whole(text)

    prose = vocabularies.sample()[:8_000]
    chinese = "春眠不覚暁、処処聞啼鳥。夜来風雨声,花落知多少。" * 150
    sample = (prose + chinese) * 10
    assert count_in_parts(encode, sample, 10_000) == len(whole(sample))
    assert longest < 16_000


SCRIPTS = {
    "cyrillic": "Сначала было слово, и слово это считали по частям. Остальное пришло позже\n",
    "greek": "Κάθε λέξη μετράει, και κάθε μέρος του κειμένου αθροίζεται στο σύνολο\n",
    "arabic": "في البدء كانت الكلمة، ثم جاء العدّ بعدها، وكل جزء يساوي ما في النص كله\n",
    "devanagari": "शब्द गिने जाते हैं, और हर भाग का योग पूरे पाठ के बराबर होता है\n",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_long_text_of_any_script_is_given_in_parts(kind: str, script: str) -> None:
    whole, longest = truth(kind), 0

    def encode(text: str) -> Sequence[int]:
        nonlocal longest
        longest = max(longest, len(text))
        return whole(text)

    text = SCRIPTS[script] * 500
    for one in (text, text.replace("\n", " ")):
        longest = 0
        assert count_in_parts(encode, one, 10_000) == len(whole(one))
        assert longest < 12_000


def test_eight_threads_count_alike(give: Give) -> None:
    texts = [vocabularies.sample()[start : start + 2_000] for start in range(0, 16_000, 500)]
    for kind in ("bytes", "gemma"):
        counter = give(vocabulary(kind))
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(counter.count_tokens, texts, ["llama-3"] * len(texts)))
        assert [result.token_count for result in results] == [len(truth(kind)(text)) for text in texts]


def test_special_tokens_truncation_and_padding_of_the_file_do_not_count(give: Give) -> None:
    document = json.loads(vocabulary("bytes"))
    document["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    document["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<unk>",
    }
    counter = give(json.dumps(document).encode())
    for text in ("hello world, how are you?", "<|end|>", "a<|end|>b"):
        assert counter.count_tokens(text, "llama-3").token_count == len(truth("bytes")(text))
    assert counter.count_tokens("<|end|>", "llama-3").token_count > 1, "what spells a special token is ordinary text"


def test_a_tekken_file_needs_no_extra(give: Give) -> None:
    for pattern, tokens in ((tekken.PATTERN, 2), (r"\S+|\s+", 5)):
        result = give(vocabularies.tekken(pattern), "tekken.json", "mistral").count_tokens("hello world", "codestral-9")
        assert (result.token_count, result.exact, result.method) == (tokens, True, "mistral-common")
        assert result.encoding.startswith("tekken.json:")
        assert result.warnings == ()


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("llama-3-8b-instruct", "llama-3"),
        ("llama-3.1-8b", "llama-3.1"),
        ("meta-llama/Llama-3.1-70B", "llama-3.1-70b"),
        ("llama-2-13b-chat", "llama"),
        ("codellama-7b", None),
        ("gpt-4o", None),
        ("cl100k_base", None),
    ],
)
def test_the_longest_key_serves_a_model(model: str, key: str | None, tmp_path: Path) -> None:
    keys = ("llama", "llama-3", "Llama-3.1", "llama-3.1-70b", "cl100k")
    given = TokenizerOptions(files={one: tmp_path / one for one in keys})
    found = files.file_for(Catalog().resolve(model), given)
    assert (found and found.key.lower()) == key


def test_a_key_may_be_an_own_name(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(vocabularies.tekken(tekken.PATTERN))
    counter = TokenCounter(options=options(tmp_path / "t.json", "our-model"))
    result = counter.count_tokens("hello world", "local/our-model-7b")
    assert (result.token_count, result.exact, result.warnings) == (2, True, ())


def test_files_of_the_same_name_are_different_encodings(tmp_path: Path) -> None:
    for folder, pattern in (("one", tekken.PATTERN), ("two", r"\S+|\s+")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tekken.json").write_bytes(vocabularies.tekken(pattern))
    given = {"llama-2": tmp_path / "one" / "tekken.json", "llama-3": tmp_path / "two" / "tekken.json"}
    counter = TokenCounter(options=TokenizerOptions(files=given))
    first, second = (counter.count_tokens("a b", model) for model in ("llama-2", "llama-3"))
    assert first.encoding != second.encoding
    assert not second.cache_hit


BROKEN = {
    "missing": (None, "does not exist"),
    "empty": (b"", "is empty"),
    "text": (b"not a tokenizer", "raised RuntimeError"),
    "json": (b"{}", "raised Exception"),
    "other json": (b'{"version": "1.0", "model": {"type": "Nothing"}}', "raised Exception"),
    "broken tekken": (b'{"token_bytes": 1}', "raised ValueError"),
    "no tokens": (
        b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}',
        "raised EmptyVocabulary when counting",
    ),
    "ranks": (b"IQ== 0\nIg== 1\n", "give the model's tokenizer.json"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_used_is_said_and_counting_goes_on(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("sentencepiece")
    data, said = BROKEN[kind]
    path = tmp_path / "secret-folder.json"
    if data is not None:
        path.write_bytes(data)
    own = TokenCounter(options=TokenizerOptions(plugins=False)).count_tokens("some text", "llama-3")
    counter = TokenCounter(options=options(path))
    with caplog.at_level(logging.WARNING):
        results = [counter.count_tokens("some text", "llama-3") for _ in range(2)]
    for result in results:
        assert (result.token_count, result.lower, result.upper) == (own.token_count, own.lower, own.upper)
        assert (result.method, result.exact, result.encoding) == ("estimate", False, own.encoding)
        (warning,) = result.warnings
        assert "tokenizers.llama-3" in warning
        assert said in warning
        assert "secret" not in warning
    assert len(caplog.records) == 1
    assert counter.count_tokens("some text", "gpt-4o").warnings == ()
    (file,) = files.given_files(options(path))
    assert said in (file.problem or "")


class FailingLater(ExactTokenizer):
    """Counts one text, and no second one."""

    method: Method = "ctok"
    encoding = "claude-v3"

    def count(self, text: str) -> int:
        return 1 // (text == "one")


def test_every_failure_is_told_once_and_later_ones_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = claude.Ctok()

    def only_source() -> claude.Ctok:
        return source

    def loaded(_family: str) -> FailingLater:
        return FailingLater()

    monkeypatch.setattr(registry, "claude_source", only_source)
    monkeypatch.setattr(claude, "_loaded", loaded)
    counter = TokenCounter(options=options(tmp_path / "none.json", "claude"))
    missing = "The file of the setting tokenizers.claude does not exist; the model is counted without it."
    first, second = (counter.count_tokens(text, "claude-opus-4-6") for text in ("one", "two"))
    assert (first.method, first.warnings) == ("ctok", (missing,))
    assert (second.method, second.warnings) == ("estimate", (missing, "ctok raised ZeroDivisionError when counting."))


def test_a_folder_and_a_device_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        assert TokenCounter(options=options(path)).count_tokens("x", "llama-3").method == "estimate"
        (file,) = files.given_files(options(path))
        assert file.problem == "is no file"


def test_a_file_too_large_to_be_a_vocabulary_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as large:
        large.truncate(files.MAX_FILE_BYTES + 1)
    assert TokenCounter(options=options(path)).count_tokens("x", "llama-3").method == "estimate"


def test_without_its_library_the_warning_names_the_extra(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(library: str) -> None:
        del library

    monkeypatch.setattr(files, "installed", not_installed)
    for data, extra in ((b"{}", "hf"), (b"\x0a\x01", "sentencepiece")):
        (warning,) = give(data, f"{extra}.model").count_tokens("x", "llama-3").warnings
        assert f"pip install 'tokenward[{extra}]'" in warning


def test_an_examination_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tekken.json"
    path.write_bytes(vocabularies.tekken(tekken.PATTERN))
    assert files.VocabularyFile("x", path).examine().startswith("tekken, tekken.json:")
    path.write_bytes(b'{"token_bytes": 1}')
    broken = files.VocabularyFile("x", path)
    assert broken.examine() == ""
    assert broken.problem == "raised ValueError when it was read"
