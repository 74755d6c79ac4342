"""What happens when a provider does not count: the count in process, and a line that says why."""

import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import anyio
import pytest

from tests.postgres import free_port
from tests.providers.asking import (
    LABELS,
    MODELS,
    PROVIDERS,
    SECRET_TEXT,
    FakeTimer,
    assert_in_process,
    by_provider,
    counting,
    one,
    opened,
    until,
)
from tests.providers.double import KEYS, VARIABLES, Asked, ProviderDouble, Reply, always, documented
from tests.waiting import NET_SECONDS, pass_seconds
from tokenward.engine.counting.results import BatchTokenCountResult
from tokenward.providers.client import AT_ONCE, LEFT_ALONE_SECONDS, MAX_ANSWER_BYTES, ProviderClient
from tokenward.providers.endpoints import ENDPOINTS, NotCounted
from tokenward.service import Tokenward

pytestmark = pytest.mark.anyio


@PROVIDERS
@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "{} fails (HTTP 500)"),
        (403, b"", "{} refuses the key of {} (HTTP 403)"),
        (429, b"", "{} asks to wait (HTTP 429)"),
        (529, b"", "{} asks to wait (HTTP 529)"),
        (404, b"", "{} has no count for this model (HTTP 404)"),
        (400, SECRET_TEXT.encode(), "{} refuses the request (HTTP 400)"),
        (204, b"", "{} fails (HTTP 204)"),
        (200, b"", "{}'s answer holds no count"),
        (200, b"\x00\xff garbage", "{}'s answer holds no count"),
        (200, b"[" * 50_000, "{}'s answer holds no count"),
        (200, b'{"input_tokens": true, "totalTokens": true}', "{}'s answer holds no count"),
        (200, b'{"input_tokens": "12", "totalTokens": "12"}', "{}'s answer holds no count"),
        (200, b'{"input_tokens": -1, "totalTokens": -1}', "{}'s answer holds no count"),
        (200, b'{"input_tokens": 5, "totalTokens": 5}' + b" " * MAX_ANSWER_BYTES, "{}'s answer holds no count"),
    ],
)
async def test_an_answer_that_is_no_count(
    double: ProviderDouble, provider: str, status: int, body: bytes, reason: str
) -> None:
    double.answer = always(status, body)
    async with opened(double) as service:
        results = (await service.count_texts([SECRET_TEXT, "another"], MODELS[provider])).results
        again = await one(service, SECRET_TEXT, MODELS[provider])
    reason = reason.format(LABELS[provider], VARIABLES[provider])
    assert_in_process(results[0], SECRET_TEXT, MODELS[provider], reason)
    assert_in_process(results[1], "another", MODELS[provider], reason)
    assert_in_process(again, SECRET_TEXT, MODELS[provider], reason)
    assert len(double.asked) == 1


@PROVIDERS
async def test_a_wrong_key_is_said_and_not_shown(
    double: ProviderDouble, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[provider], "wrong-key")
    async with opened(double) as service:
        result = await one(service, "hi", MODELS[provider])
    status = 400 if provider == "gemini" else 401
    reason = f"{LABELS[provider]} refuses the key of {VARIABLES[provider]} (HTTP {status})"
    assert_in_process(result, "hi", MODELS[provider], reason)


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "ключ"])
async def test_without_a_usable_key_nothing_is_sent(
    double: ProviderDouble, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    async with opened(double) as service:
        result = await one(service, "hi")
    reason = "ANTHROPIC_API_KEY holds characters that no key has"
    if not key.strip():
        reason = "there is no key for Anthropic; set ANTHROPIC_API_KEY"
    assert_in_process(result, "hi", MODELS["anthropic"], reason)
    assert double.asked == []


async def test_geminis_key_has_two_names(double: ProviderDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    async with opened(double) as service:
        result = await one(service, "hi", MODELS["gemini"])
        monkeypatch.setenv("GOOGLE_API_KEY", KEYS["gemini"])
        later = await one(service, "hi", MODELS["gemini"])
    assert result.warnings == ("Counted in process: there is no key for Gemini; set GEMINI_API_KEY or GOOGLE_API_KEY.",)
    assert later.method == "provider_api"


async def test_a_slow_provider_is_not_waited_for(double: ProviderDouble) -> None:
    double.answer = double.never
    async with opened(double, timeout_seconds=0.3) as service:
        with anyio.fail_after(NET_SECONDS):
            batch = await service.count_texts([f"text {number}" for number in range(30)], MODELS["anthropic"])
            await one(service, "at once")
    reason = "Anthropic did not answer within 0.3 s"
    for number, result in enumerate(batch.results):
        assert_in_process(result, f"text {number}", MODELS["anthropic"], reason)
    assert len(double.asked) <= 1


async def test_what_was_counted_in_time_is_kept(double: ProviderDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    def some(asked: Asked) -> Reply:
        return double.never(asked) if "slow" in json.dumps(asked.body) else documented(asked)

    double.answer = some
    batches: list[BatchTokenCountResult] = []
    async with opened(double, timeout_seconds=60) as service:

        async def count() -> None:
            batches.append(await service.count_texts(["one two", "slow", "three"], MODELS["anthropic"]))

        async with anyio.create_task_group() as group:
            group.start_soon(count)
            # The frame and three texts are asked for, and two of them counted.
            await until(lambda: len(double.asked) == 4)
            await until(lambda: service.counter.get_performance_metrics()["total_calls"] == 2)
            pass_seconds(60, monkeypatch)
        later = await one(service, "later")
    (batch,) = batches
    assert by_provider(*batch.results) == [True, False, True]
    assert batch.results[1].warnings[-1] == "Counted in process: Anthropic did not answer within 60 s."
    # It answers well, only not to everything.
    assert later.method == "provider_api"


async def test_a_server_that_is_not_there(double: ProviderDouble) -> None:
    async with Tokenward.open(
        "memory://",
        backend="provider_api",
        provider_urls={"openai": f"http://127.0.0.1:{free_port()}"},
        provider_timeout_seconds=NET_SECONDS,
    ) as service:
        result = await one(service, "hi", "gpt-4o")
    assert_in_process(result, "hi", "gpt-4o", "OpenAI cannot be reached")


async def test_a_server_that_hangs_up(double: ProviderDouble) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        async with Tokenward.open(
            "memory://", backend="provider_api", provider_urls={"openai": url}, provider_timeout_seconds=NET_SECONDS
        ) as service:
            result = await one(service, "hi", "gpt-4o")
        thread.join(NET_SECONDS)
    assert_in_process(result, "hi", "gpt-4o", "OpenAI cannot be reached")


async def test_a_redirect_is_not_followed(double: ProviderDouble) -> None:
    with ProviderDouble().running() as elsewhere:
        double.answer = always(307, location=f"{elsewhere.url}/v1/messages/count_tokens")
        async with opened(double) as service:
            result = await one(service, "hi")
        assert_in_process(result, "hi", MODELS["anthropic"], "Anthropic redirects (HTTP 307), which is not followed")
        assert elsewhere.asked == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, with its key, that nobody else has signed."""
    file = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(tmp_path / "public.pem")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "public.pem").read_text())
    return file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_certificate_must_be_good(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProviderDouble(certificate).running() as double:
        async with opened(double) as service:
            refused = await one(service, "hi", "gpt-4o")
        assert double.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with opened(double) as service:
            trusted = await one(service, "hi", "gpt-4o")
    assert_in_process(refused, "hi", "gpt-4o", "OpenAI cannot be reached")
    assert trusted.method == "provider_api"


async def test_a_proxy_that_is_none_is_said(double: ProviderDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://user:hunter2@proxy")
    async with opened(double) as service:
        result = await one(service, "hi", "gpt-4o")
    reason = "the environment's proxy or certificates cannot be used (ValueError)"
    assert_in_process(result, "hi", "gpt-4o", reason)


async def test_a_proxy_of_the_environment_sees_no_plain_http(
    double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProviderDouble().running() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with opened(double) as service:
            result = await one(service, "hi")
        assert (result.method, proxy.asked) == ("provider_api", [])


async def test_a_failure_is_remembered_for_a_while(double: ProviderDouble) -> None:
    timer = FakeTimer()
    double.answer = always(500)
    async with counting(double, timer) as provider:
        await one(provider, "hi")
        double.answer = documented
        timer.seconds = LEFT_ALONE_SECONDS - 1
        before = await one(provider, "hi")
        other = await one(provider, "hi", "gpt-4o")
        timer.seconds = LEFT_ALONE_SECONDS
        after = await one(provider, "hi")
    assert by_provider(before, other, after) == [False, True, True]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0.5", 0.5), ("Sat, 21 Nov 2026 12:01:30 GMT", 90), ("soon", 30), ("-5", 30), ("nan", 30)],
)
async def test_a_provider_says_when_to_ask_again(double: ProviderDouble, header: str, seconds: float) -> None:
    timer = FakeTimer()
    double.answer = always(429, retry_after=header)
    async with counting(double, timer) as provider:
        await one(provider, "hi")
        double.answer = documented
        timer.seconds = seconds - 0.1
        before = await one(provider, "hi")
        timer.seconds = seconds
        after = await one(provider, "hi")
    assert before.warnings[-1] == "Counted in process: Anthropic asks to wait (HTTP 429)."
    assert after.method == "provider_api"


async def test_one_refused_text_does_not_stop_the_others(double: ProviderDouble) -> None:
    def picky(asked: Asked) -> Reply:
        return always(400)(asked) if "bad" in json.dumps(asked.body) else documented(asked)

    double.answer = picky
    async with opened(double) as service:
        batch = await service.count_texts(["one", "bad", "two"], MODELS["gemini"])
        later = await one(service, "three", MODELS["gemini"])
    assert by_provider(*batch.results) == [True, False, True]
    assert later.method == "provider_api"


async def test_an_unknown_model_is_left_alone_and_no_other(double: ProviderDouble) -> None:
    def knows_haiku(asked: Asked) -> Reply:
        return documented(asked) if asked.body.get("model") == "claude-haiku-4-5" else always(404)(asked)

    double.answer = knows_haiku
    async with opened(double) as service:
        results = [await one(service, "hi", model) for model in ("claude-opus-77", "claude-haiku-4-5")]
        await one(service, "hi", "claude-opus-77")
    assert by_provider(*results) == [False, True]
    assert sum(asked.body.get("model") == "claude-opus-77" for asked in double.asked) == 1


@pytest.mark.parametrize("model", ["cl100k_base", "my-own-model", "claud-haiku-45", "mistral-large", "llama-3.1-8b"])
async def test_no_text_leaves_for_a_model_that_is_not_plainly_a_providers(double: ProviderDouble, model: str) -> None:
    async with opened(double) as service:
        result = await one(service, "hi", model)
    assert_in_process(result, "hi", model, "no provider's counting API has this model")
    assert double.asked == []


async def test_kept_counts_need_neither_the_provider_nor_a_key(
    double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(double) as service:
        await one(service, "one two")
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        double.answer = always(500)
        kept = await one(service, "one two")
    assert (kept.token_count, kept.method, kept.cache_hit) == (2, "provider_api", True)


async def test_a_cancelled_count_leaves_a_usable_service(double: ProviderDouble) -> None:
    double.answer = double.never
    texts = [f"text {number}" for number in range(20)]
    async with opened(double) as service:
        for asked in range(1, 2 * AT_ONCE + 1):
            async with anyio.create_task_group() as group:
                group.start_soon(service.count_texts, texts, MODELS["openai"])
                await until(lambda asked=asked: len(double.asked) == asked)  # type: ignore[misc]
                group.cancel_scope.cancel()
        double.answer = documented
        result = await one(service, "one two", MODELS["openai"])
    assert (result.token_count, result.method) == (2, "provider_api")


def test_a_wait_that_was_asked_for_is_not_made_shorter() -> None:
    timer = FakeTimer()
    client = ProviderClient({}, timeout_seconds=1, environment={}, timer=timer)
    anthropic = ENDPOINTS[0]
    client.leave_alone(anthropic, "asks to wait", seconds=120)
    client.leave_alone(anthropic, "cannot be reached")
    timer.seconds = 119
    with pytest.raises(NotCounted, match="asks to wait"):
        client.check_left_alone(anthropic, "claude-haiku-4-5")
    timer.seconds = 120
    client.check_left_alone(anthropic, "claude-haiku-4-5")
