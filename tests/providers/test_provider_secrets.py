"""What the providers' APIs must not be told or cost: secrets in logs, sockets that nobody asked for, wrong places."""

import json
import logging
import socket
import sys

import anyio
import pytest

from tests.providers.asking import (
    MODELS,
    SECRET_TEXT,
    one,
    opened,
    request,
)
from tests.providers.double import KEYS, ProviderDouble, always
from tests.providers.requests import OWN
from tests.waiting import NET_SECONDS
from tokenward.engine.errors import InvalidInput
from tokenward.providers.urls import ProviderName, check_base_url
from tokenward.service import Tokenward

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", [200, 401, 429, 500])
async def test_neither_texts_nor_keys_are_logged_or_shown(
    double: ProviderDouble, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if status != 200:
        double.answer = always(status, json.dumps([SECRET_TEXT, *KEYS.values()]).encode())
    async with opened(double) as service:
        results = [await one(service, SECRET_TEXT, model) for model in MODELS.values()]
        counts = [await request(service, MODELS[name], OWN[name][0]) for name in MODELS]
        told = f"{service!r} {vars(service)!r} {vars(vars(service)['_provider_counter'])!r} {results!r} {counts!r}"
    logged = "\n".join(f"{record.getMessage()} {record.args!r} {record.exc_info!r}" for record in caplog.records)
    for secret in (SECRET_TEXT, "zebra", "secret-key", *KEYS.values()):
        assert secret not in told
        assert secret not in logged


async def test_nothing_is_sent_unless_asked_for(double: ProviderDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[object] = []

    def refuse(*args: object, **_kwargs: object) -> None:
        attempts.append(args)
        raise OSError("no sockets here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.create_connection", refuse)
    async with Tokenward.open("memory://") as service:
        for name, model in MODELS.items():
            assert (await one(service, "hi", model)).method != "provider_api"
            assert (await request(service, model, OWN[name][0])).method != "provider_api"
    assert attempts == []
    async with opened(double) as service:
        await one(service, "hi")
    assert attempts, "the guard sees no socket"


async def test_without_the_backend_the_http_client_is_not_even_imported() -> None:
    script = """
import sys, anyio
from tokenward.service import Tokenward
async def main():
    async with Tokenward.open("memory://") as service:
        await service.count_texts(["hi"], "claude-haiku-4-5")
        await service.count_request([{"role": "user", "content": "hi"}], "claude-haiku-4-5")
    print(*sorted({"httpx2", "tokenward.providers.client"} & sys.modules.keys()))
anyio.run(main)
"""
    done = await anyio.run_process([sys.executable, "-c", script])
    assert done.stdout.decode().strip() == ""


@pytest.mark.parametrize(
    ("name", "url", "problem"),
    [
        ("anthropic", "http://gateway.example", "expected https"),
        ("anthropic", "http://127.0.0.1.example", "expected https"),
        ("anthropic", "ftp://127.0.0.1", "expected https"),
        ("openai", "https://user:hunter2@gateway.example", "holds a name or password"),
        ("openai", "https://hunter2@gateway.example", "holds a name or password"),
        ("openai", "https://gateway.example/v1?key=hunter2", "without parameters"),
        ("openai", "https://gateway.example/#hunter2", "without parameters"),
        ("gemini", "gateway.example", "expected a URL"),
        ("gemini", "https://", "expected a URL"),
        ("gemini", "https://gateway.example:port", "expected a URL"),
        ("gemini", "https://[hunter2", "expected a URL"),
        ("gemini", "https://gateway.example/a b", "expected a URL"),
    ],
)
def test_a_url_that_no_key_may_be_sent_to(name: ProviderName, url: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_base_url(name, url)
    assert caught.value.field == f"provider_urls.{name}"
    assert "hunter2" not in str(caught.value)
    assert "gateway" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://gateway.example", "https://gateway.example:8443/anthropic/", "http://127.0.0.1:1", "http://[::1]:1/x"],
)
def test_a_url_that_may_be_used(url: str) -> None:
    check_base_url("anthropic", url)


async def test_a_gateways_path_comes_first(double: ProviderDouble) -> None:
    urls: dict[ProviderName, str] = {"anthropic": f"{double.url}/gateway/"}
    async with Tokenward.open(
        "memory://", backend="provider_api", provider_urls=urls, provider_timeout_seconds=NET_SECONDS
    ) as service:
        await one(service, "hi")
    assert double.asked[0].path == "/gateway/v1/messages/count_tokens"


async def test_urls_are_checked_on_opening() -> None:
    with pytest.raises(InvalidInput, match="provider_urls"):
        async with Tokenward.open("memory://", backend="provider_api", provider_urls={"openai": "http://example"}):
            pass
