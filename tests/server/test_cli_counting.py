"""What the commands say about ways of counting: plug-ins, vocabulary files, extras, and what a count is worth."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import vocabularies
from tests.plugin_packages import BROKEN, GOOD, write_package
from tests.server.conftest import Json, Run
from tokenward.engine.errors import ConfigurationError
from tokenward.engine.tokenizers import tekken
from tokenward.engine.tokenizers.files import installed
from tokenward.engine.tokenizers.plugins import found_plugins
from tokenward.server.commands import doctor_counting
from tokenward.server.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]


def findings(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["subject"]: (one["verdict"], one["detail"]) for one in document["findings"]}


def process(*arguments: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own, with the packages of ``folder/site`` installed."""
    (folder / "config.toml").touch()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(folder / "site"))),
        "TOKENWARD_CONFIG": str(folder / "config.toml"),
        "TOKENWARD_STORE": "memory://",
        **variables,
    }
    command = [sys.executable, "-m", "tokenward", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# Plug-ins


def test_a_plugin_counts_and_doctor_says_so(tmp_path: Path) -> None:
    write_package(tmp_path / "site")
    counted = process("count", "--text", "three words here", "--model", "acme-1", "--json", folder=tmp_path)
    assert counted.stderr == ""
    result = json.loads(counted.stdout)
    assert (result["tokens"], result["exact"], result["encoding"]) == (3, True, "acme:acme-words")
    examined = process("doctor", "--json", folder=tmp_path, TOKENWARD_ALIASES='{"ours": "acme-1"}')
    verdict, detail = findings(json.loads(examined.stdout))["plug-in acme"]
    assert (examined.returncode, verdict) == (0, "ok")
    assert detail.startswith("acme_tokens 1.0: serves 1 of ")


def test_a_plugin_that_panics_is_reported_and_counting_goes_on(tmp_path: Path) -> None:
    source, said = BROKEN["panic"]
    write_package(tmp_path / "site", source=source)
    counted = process("count", "--text", "a secret", "--model", "acme-1", "--json", folder=tmp_path)
    assert counted.returncode == 0
    assert json.loads(counted.stdout)["method"] == "estimate"
    assert said in counted.stderr
    assert "secret" not in counted.stderr
    assert len(counted.stderr.splitlines()) == 1
    examined = process("doctor", "--json", folder=tmp_path, TOKENWARD_ALIASES='{"ours": "acme-1"}')
    verdict, detail = findings(json.loads(examined.stdout))["plug-in acme"]
    assert (examined.returncode, verdict) == (1, "broken")
    assert detail.startswith("acme_tokens 1.0: ")
    assert said in detail


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A plug-in of this source in this process; gone after the test, and with it what was found."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])

    def installs(source: str) -> None:
        write_package(tmp_path / "site", source=source)
        found_plugins.cache_clear()

    yield installs
    found_plugins.cache_clear()
    sys.modules.pop("acme_tokens", None)


@pytest.mark.parametrize("kind", ["import raises", "raises in count"])
def test_a_broken_plugin_is_reported_and_counting_goes_on(
    kind: str,
    install: Callable[[str], None],
    run: Run,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, said = BROKEN[kind]
    install(source)
    environment["TOKENWARD_ALIASES"] = '{"ours": "acme-1"}'
    counted = run("count", "--text", "a secret", "--model", "acme-1", "--json")
    assert counted.exit_code == 0
    assert json.loads(counted.stdout)["method"] == "estimate"
    (warning,) = caplog.messages
    assert said in warning
    assert "secret" not in counted.stderr + warning
    found_plugins.cache_clear()
    examined = run("doctor", "--json")
    verdict, detail = findings(json.loads(examined.stdout))["plug-in acme"]
    assert (examined.exit_code, verdict) == (1, "broken")
    assert detail.startswith("acme_tokens 1.0: ")
    assert said in detail


def test_plugins_can_be_switched_off(
    install: Callable[[str], None],
    run: Run,
    answer: Json,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(GOOD + "raise SystemExit('imported')\n")
    environment["TOKENWARD_PLUGINS"] = "false"
    counted = run("count", "--text", "x", "--model", "acme-1", "--json")
    assert (json.loads(counted.stdout)["method"], counted.stderr, caplog.messages) == ("estimate", "", [])
    assert findings(answer("doctor"))["plug-ins"] == ("ok", "switched off by the setting plugins")
    assert "acme_tokens" not in sys.modules


# Vocabulary files


def test_a_file_of_the_settings_counts(answer: Json, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tekken.json").write_bytes(vocabularies.tekken(tekken.PATTERN))
    environment["HOME"] = str(tmp_path)
    environment["TOKENWARD_TOKENIZERS"] = '{"deepseek": "~/tekken.json", "lama": "~/tekken.json"}'
    counted = answer("count", "--text", "hello world", "--model", "deepseek-chat")
    assert (counted["tokens"], counted["exact"], counted["method"]) == (2, True, "mistral-common")
    found = findings(answer("doctor"))
    assert found["tokenizers.deepseek"][0] == "ok"
    assert found["tokenizers.deepseek"][1].startswith("tekken, tekken.json:")
    assert found["tokenizers.lama"][0] == "note", "it serves no model that is known"
    (model,) = answer("models", "--search", "deepseek-r1")["models"]
    assert (model["exact"], model["make_exact"]) == (True, None)


def test_a_broken_file_is_reported_and_counting_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[tokenizers]\n"llama-3" = "gone.json"\n', encoding="utf-8")
    counted = run("count", "--text", "hello", "--model", "llama-3.1", "--json")
    assert counted.exit_code == 0
    (warning,) = json.loads(counted.stdout)["warnings"]
    assert "tokenizers.llama-3 does not exist" in warning
    examined = run("doctor", "--json")
    assert examined.exit_code == 1
    assert findings(json.loads(examined.stdout))["tokenizers.llama-3"] == ("broken", "gone.json does not exist")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('tokenizers = "gone.json"', "Setting tokenizers: expected a table"),
        ("[tokenizers]\nllama = 3", "Setting tokenizers.llama: "),
        ('[tokenizers]\n"" = "a"', "Setting tokenizers"),
        ('plugins = "perhaps"', "Setting plugins: "),
        ("fast = 2", "Setting fast: "),
    ],
)
def test_settings_that_cannot_be_used(written: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(written, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        load_settings(tmp_path / "config.toml")


def test_settings_reach_the_options(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('fast = false\nplugins = false\n[tokenizers]\nqwen = "q.json"', "utf-8")
    options = load_settings(tmp_path / "config.toml").tokenizer_options
    assert (options.fast, options.plugins, dict(options.files)) == (False, False, {"qwen": Path("q.json")})


# Extras and cores


def test_doctor_lists_the_extras(answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(answer("doctor"))
    for extra, library in doctor_counting.EXTRAS:
        expected = f"{library} {installed(library)}" if installed(library) else f"pip install 'tokenward[{extra}]'"
        assert found[f"extra {extra}"][0] == "ok"
        assert found[f"extra {extra}"][1].endswith(expected)
    core = "toktok" if installed("toktok-rs") else "tiktoken"
    assert found["openai"][1].startswith(f"exact, counted by {core}")
    assert ("ctok" in found["claude"][1]) or not installed("ctok")
    monkeypatch.setenv("TOKENWARD_FAST", "false")
    assert findings(answer("doctor"))["openai"] == ("ok", "exact, counted by tiktoken")


def test_doctor_says_which_keys_the_providers_are_asked_with(answer: Json, environment: dict[str, str]) -> None:
    assert not any(name.startswith("api ") for name in findings(answer("doctor")))
    environment |= {"TOKENWARD_BACKEND": "provider_api", "ANTHROPIC_API_KEY": "s3cret", "OPENAI_API_KEY": ""}
    found = findings(answer("doctor"))
    assert found["api anthropic"] == ("ok", "key in ANTHROPIC_API_KEY")
    assert found["api openai"][0] == "note"
    assert "s3cret" not in str(found)


# What a count is worth


def test_models_say_what_their_counts_are_worth(answer: Json, run: Run) -> None:
    found = {one["model"]: one for one in answer("models")["models"]}
    assert (found["gpt-4o"]["exact"], found["gpt-4o"]["make_exact"]) == (True, None)
    gemini = found["gemini-2.5-pro"]
    assert (gemini["exact"], gemini["method"], gemini["learned"]) == (False, "estimate", None)
    assert "tokenizers.gemini" in gemini["make_exact"]
    assert all(one["exact"] or one["method"] for one in found.values())
    shown = run("models", "--search", "gemini-2.5-pro").stdout
    assert "Exact counts for gemini: pip install 'tokenward[sentencepiece]'" in shown


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"exact": True}, "exact"),
        ({"exact": False, "learned": {"ratio": 1.1}}, "learned"),
        ({"exact": False, "learned": None, "mean_error_percent": 6.6}, "± 7 %"),
        ({"exact": False, "learned": None, "mean_error_percent": None, "method": "estimate"}, "estimate"),
        ({"exact": False, "learned": None, "mean_error_percent": None, "method": "ctok"}, "assumed"),
    ],
)
def test_worth_in_words(row: dict[str, Any], words: str) -> None:
    from tokenward.server.commands.worth import in_words

    assert in_words(row) == words
