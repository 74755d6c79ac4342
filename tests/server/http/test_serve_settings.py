"""The settings that workers serve with, the first and those that come later."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.server.http.test_serve import ENVIRONMENT, HEADERS, ROOT, SERVE, ended, message, two_workers_of, workers_of
from tests.waiting import NET_SECONDS, until
from tokenward.engine.errors import ConfigurationError
from tokenward.server.auth.tokens import hash_of
from tokenward.server.http.app import without_folders
from tokenward.server.http.serve import handed_over
from tokenward.server.settings import Settings, load_settings

pytestmark = pytest.mark.anyio

TOKEN = "tw_" + "a" * 43

EVERYTHING = f"""
store = "postgresql://alice:secret@db.example/ledger"
user = "bob"
log_level = "error"
timezone = "Europe/Berlin"

[aliases]
mine = "gpt-4o"

[[limits]]
subject = "user:alice"
metric = "tokens"
window = "day"
limit = 100

[prices.mine]
input = "1.50"

[[prices.other]]
input = "2.50"
date = 2026-01-02

[[alerts]]
url = "https://alerts.example/secret-path"
secret_variable = "ALERTS_SECRET"

[http]
port = 1234
workers = 2

[[auth.tokens]]
hash = "{hash_of(TOKEN)}"
subject = "alice"
expires = 2030-01-01T00:00:00+02:00

[auth.jwt]
issuer = "https://issuer.example"
audience = "https://tokens.example/mcp"
jwks_url = "https://issuer.example/keys"

[telemetry]
logs = "json"
"""


def arrived(settings: Settings) -> Settings:
    """As a worker gets them."""
    copy: Settings = pickle.loads(pickle.dumps(handed_over(settings)))
    return copy


@pytest.mark.parametrize("roots", ["", 'roots = ["/srv"]\n'])
def test_workers_get_all_settings_as_they_were_read(tmp_path: Path, roots: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(roots + EVERYTHING)
    settings = load_settings(file, http={"port": 5})
    prices = vars(settings.own_prices)
    copy = arrived(settings)
    assert {**dict(copy), "prices": None} == {**dict(settings), "prices": None}
    assert copy.model_fields_set == settings.model_fields_set
    assert copy.http.model_fields_set == settings.http.model_fields_set
    assert without_folders(copy).roots == without_folders(settings).roots == ((Path("/srv"),) if roots else ())
    assert repr(copy.http) == repr(settings.http)
    os.utime(file, (0, 0))
    assert vars(copy.own_prices) == prices
    file.unlink()
    assert vars(copy.own_prices) == prices


def test_workers_get_settings_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWARD_PRICES", '{"mine": {"input": "1.50"}}')
    monkeypatch.setenv("TOKENWARD_AUTH__TOKENS", json.dumps([{"hash": hash_of(TOKEN), "subject": "alice"}]))
    settings = Settings()
    assert arrived(settings) == settings
    assert vars(arrived(settings).own_prices) == vars(settings.own_prices)


@pytest.mark.parametrize("name", ["drain_seconds", "request_timeout_seconds"])
@pytest.mark.parametrize("seconds", ["inf", "nan", "86400.1"])
def test_seconds_are_at_most_a_day(tmp_path: Path, name: str, seconds: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[http]\n{name} = {seconds}\n")
    with pytest.raises(ConfigurationError, match=rf"^Setting http\.{name}: "):
        load_settings(file)
    file.write_text(f"[http]\n{name} = 86400\n")
    assert getattr(load_settings(file).http, name) == 86_400


@contextmanager
def started_with(file: Path, *options: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it says."""
    command = [*SERVE, "--config", str(file), "serve", "--transport", "http", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            said = (re.search(r"Listening on (http://[^ \"]+/mcp)", line) for line in process.stderr)
            yield process, next(found[1] for found in said if found)
        finally:
            process.kill()


def status(url: str, headers: dict[str, str]) -> int:
    body = json.dumps(message("record_usage", model="gpt-4o", input_tokens=1, output_tokens=0)).encode()
    try:
        with urlopen(Request(url, body, {**HEADERS, **headers}), timeout=NET_SECONDS) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
@pytest.mark.parametrize("later", ['store = "sqlite:///{folder}/other.db"\n', "[auth\n"], ids=["other", "broken"])
async def test_a_worker_that_is_replaced_serves_with_the_same_settings(tmp_path: Path, later: str) -> None:
    """Whatever the file says by then: that everybody may come in, for one thing."""
    file = tmp_path / "config.toml"
    tokens = f'[[auth.tokens]]\nhash = "{hash_of(TOKEN)}"\nsubject = "alice"\n'
    logs = '[telemetry]\nlogs = "json"\n'
    file.write_text(f'store = "sqlite:///{tmp_path}/ledger.db"\nlog_level = "info"\n{tokens}{logs}')
    with started_with(file, "--workers", "2") as (process, url):
        first = await two_workers_of(process)
        file.write_text(later.format(folder=tmp_path))
        for one in first:
            os.kill(one, signal.SIGKILL)

        async def replaced() -> bool:
            return len(set(workers_of(process)) - set(first)) == 2

        await until(replaced)
        for _ in range(10):
            assert status(url, {}) == 401
            assert status(url, {"Authorization": f"Bearer {TOKEN}"}) == 200
        second = {f"Started server process [{one}]" for one in workers_of(process)}
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert not (tmp_path / "other.db").exists()
    assert second & {json.loads(line)["message"] for line in errors.splitlines()}
