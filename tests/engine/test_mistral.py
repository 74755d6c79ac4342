"""Mistral's models, by the vocabularies that mistral-common ships: as that library counts, and offline."""

import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import vocabularies
from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers import mistral, tekken
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.tokenizers.text import DIRECT_CHARACTERS

PROTOTYPES = {
    "mistral-v1": "mistral-medium-2312",
    "mistral-v3": "mistral-large-2407",
    "mistral-v7": "mistral-large-2411",
    "tekken": "open-mistral-nemo-2407",
}

SAME = {".model.v2": "mistral-v1", ".model.v7m1": "mistral-v7", "tekken_240911.json": "tekken"}
"""Further files with the same vocabularies, and other control tokens or settings for images."""

HOSTILE = (
    "",
    "\0",
    "a\ud800b",
    "\U0001f600\u0378",
    "<s>[INST] hi [/INST]</s>",
    " " * 2_000,
    "a" * 2_000,
    "\r\n\t" * 700,
    "1234567890" * 20,
)


@pytest.fixture(autouse=True, scope="module")
def library() -> Any:
    """The library itself, which only tests import."""
    pytest.importorskip("sentencepiece")
    return pytest.importorskip("mistral_common.tokens.tokenizers.mistral")


@cache
def truth(encoding: str) -> Callable[[str], int]:
    """How mistral-common counts: its own raw tokenizer, without tokens for the beginning and the end."""
    made: Any = importlib.import_module("mistral_common.tokens.tokenizers.mistral").MODEL_NAME_TO_TOKENIZER_CLS
    raw: Any = made[PROTOTYPES[encoding]]().instruct_tokenizer.tokenizer

    def count(text: str) -> int:
        cleaned = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return len(raw.encode(cleaned, bos=False, eos=False))

    return count


def test_every_model_of_the_library_has_the_librarys_vocabulary(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_named(path: str, mode: object) -> str:
        del mode
        return Path(path).name

    expected = {encoding: truth(encoding)(vocabularies.sample()) for encoding in PROTOTYPES}
    monkeypatch.setattr(library.MistralTokenizer, "from_file", only_named)
    by_file = {library.MODEL_NAME_TO_TOKENIZER_CLS[name](): encoding for encoding, name in PROTOTYPES.items()}
    by_file |= {file: encoding for file in data_files() for end, encoding in SAME.items() if file.endswith(end)}
    for model, make in library.MODEL_NAME_TO_TOKENIZER_CLS.items():
        published = mistral.published_vocabulary(model) or "none"
        assert published == by_file[make()], model
        assert mistral.count_function(published)(vocabularies.sample()) == expected[published]


def test_files_that_are_not_used_hold_the_same_vocabularies(library: Any) -> None:
    sample = vocabularies.sample()
    for file, encoding in (
        (".model.v2", "mistral-v1"),
        (".model.v7m1", "mistral-v7"),
        ("tekken_240911.json", "tekken"),
    ):
        (found,) = [path for name, path in data_files().items() if name.endswith(file)]
        raw = library.MistralTokenizer.from_file(found).instruct_tokenizer.tokenizer
        assert len(raw.encode(sample, bos=False, eos=False)) == mistral.count_function(encoding)(sample)


def data_files() -> dict[str, Path]:
    folder = Path(importlib.import_module("mistral_common").__file__ or "").parent / "data"
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("encoding", PROTOTYPES)
@pytest.mark.parametrize("text", HOSTILE)
def test_any_string_is_counted_as_the_library_does(encoding: str, text: str) -> None:
    assert mistral.count_function(encoding)(text) == truth(encoding)(text)


@pytest.mark.parametrize("encoding", PROTOTYPES)
def test_random_texts_are_counted_as_the_library_does(encoding: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.text(st.sampled_from("abZ09 \n\t.'é漢字。\u0301\u200d▁[]") | st.characters(), max_size=200))
    def compare(text: str) -> None:
        assert mistral.count_function(encoding)(text) == truth(encoding)(text)

    compare()


@pytest.mark.parametrize("encoding", PROTOTYPES)
def test_a_long_text_is_counted_in_parts(encoding: str) -> None:
    text = vocabularies.sample() * 30
    assert len(text) > DIRECT_CHARACTERS
    assert mistral.count_function(encoding)(text) == truth(encoding)(text)


def test_a_run_that_the_library_refuses_is_counted() -> None:
    with pytest.raises(ValueError, match="stack"):
        truth("tekken")(" " * 1_200_000)
    short, long = (mistral.count_function("tekken")(" " * length) for length in (400_000, 1_200_000))
    assert short == truth("tekken")(" " * 400_000)
    assert long == pytest.approx(3 * short, abs=3)
    assert mistral.count_function("tekken")("a" * 600_000) > 0


def test_eight_threads_count_alike() -> None:
    texts = [vocabularies.sample()[start : start + 2_000] for start in range(0, 16_000, 500)]
    for encoding in PROTOTYPES:
        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(mistral.count_function(encoding), texts))
        assert counts == [truth(encoding)(text) for text in texts]


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-v1"),
        ("mistral-7b-instruct-v0.3", "mistral-v3"),
        ("mistral:open-mixtral-8x7b", "mistral-v1"),
        ("open-mixtral-8x22b", "mistral-v3"),
        ("codestral-2405", "mistral-v3"),
        ("mistral-large-2411", "mistral-v7"),
        ("openrouter/mistralai/mistral-nemo", "tekken"),
        ("mistral-small-3.1-24b-instruct", "tekken"),
        ("pixtral-12b-2409", "tekken"),
    ],
)
def test_a_published_vocabulary_is_exact(model: str, encoding: str) -> None:
    result = TokenCounter().count_tokens("Hello, world!", model)
    assert (result.encoding, result.method, result.exact) == (encoding, "mistral-common", True)
    assert result.token_count == result.lower == result.upper == truth(encoding)("Hello, world!")
    assert result.warnings == ()


@pytest.mark.parametrize("model", ["mistral-large-2512", "codestral-latest", "mistral-medium-3-5", "ministral-99"])
def test_an_assumed_vocabulary_is_not_exact(model: str) -> None:
    result = TokenCounter().count_tokens("Hello, world! " * 20, model)
    assert (result.encoding, result.method, result.exact) == ("tekken", "mistral-common", False)
    assert result.lower < result.token_count < result.upper
    (warning,) = result.warnings
    assert "tekken is assumed" in warning
    assert TokenCounter().count_tokens("", model).upper == 0


def test_all_known_models_of_mistral_are_counted() -> None:
    counter = TokenCounter(options=TokenizerOptions(plugins=False))
    for info in Catalog().models():
        if info.family == mistral.FAMILY:
            assert counter.text_counter(info.name).method == "mistral-common"


def test_without_the_library_it_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistral, "_PACKAGE", "a_library_that_is_not_there")
    assert TokenCounter().count_tokens("Hello", "mistral-7b").method == "estimate"


def test_without_sentencepiece_the_tekken_models_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def hidden(name: str) -> Any:
        return None if name == "sentencepiece" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    assert TokenCounter().count_tokens("Hello", "mistral-7b").method == "estimate"
    assert TokenCounter().count_tokens("Hello", "mistral-nemo").method == "mistral-common"


def test_a_damaged_file_leads_to_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "tekken.json"
    broken.write_text('{"config": {}}', encoding="utf-8")

    def damaged(_encoding: str) -> Path:
        return broken

    def new_source() -> mistral.MistralCommon:
        return source

    source = mistral.MistralCommon()
    monkeypatch.setattr(mistral, "_file", damaged)
    monkeypatch.setattr(mistral, "count_function", inspect.unwrap(mistral._count_function))  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr("tokenward.engine.tokenizers.registry.mistral_source", new_source)
    result = TokenCounter().count_tokens("Hello", "mistral-nemo")
    assert result.method == "estimate"
    assert "raised ValueError" in result.warnings[-1]


def test_the_expression_is_the_one_of_the_shipped_files() -> None:
    found = [path.read_text(encoding="utf-8") for name, path in data_files().items() if name.startswith("tekken")]
    assert found
    for text in found:
        assert json.loads(text)["config"]["pattern"] == tekken.PATTERN


def test_counting_opens_no_socket_and_does_not_import_the_library() -> None:
    code = """
import socket, sys

def refuse(*_args, **_kwargs):
    raise AssertionError("a socket was opened")

socket.socket = refuse
from tokenward.engine.counting.counter import TokenCounter

counter = TokenCounter()
for model in ("mistral-7b", "mistral-nemo", "mistral-large-2411", "codestral-latest"):
    assert counter.count_tokens("Hello", model).method == "mistral-common"
assert "mistral_common" not in sys.modules
assert "huggingface_hub" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
