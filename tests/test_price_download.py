"""Fetching price data: whole, in time, of a sane size, over https or from this machine, or not at all."""

from collections.abc import Generator

import pytest

from tests.postgres import free_port
from tests.price_server import PriceServer, bomb, endless, price_server, redirects, sends, silent
from tokenward import price_download
from tokenward.engine.errors import InvalidInput, PricesRefused
from tokenward.price_download import download
from tokenward.providers.urls import check_address

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[PriceServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with price_server() as running:
        yield running


async def test_the_body_comes_as_it_is(server: PriceServer) -> None:
    server.answers["/data.json"] = sends(b"[1, 2]")
    assert await download(f"{server.url}/data.json") == b"[1, 2]"
    assert server.headers[0]["accept-encoding"] == "identity"


async def test_redirects_are_followed_a_few_times(server: PriceServer) -> None:
    server.answers |= {"/0": redirects("/1"), "/1": redirects(f"{server.url}/2"), "/2": sends(b"[]")}
    assert await download(f"{server.url}/0") == b"[]"
    server.answers["/2"] = redirects("/0")
    with pytest.raises(PricesRefused, match="redirects more than 3 times"):
        await download(f"{server.url}/0")
    assert len(server.asked) == 3 + 4


@pytest.mark.parametrize("target", ["http://prices.example/data.json", "ftp://127.0.0.1/x", "file:///etc/passwd"])
async def test_a_redirect_to_elsewhere_is_not_followed(server: PriceServer, target: str) -> None:
    server.answers["/"] = redirects(target)
    with pytest.raises(InvalidInput, match="https"):
        await download(f"{server.url}/")


def test_https_never_leads_to_http() -> None:
    with pytest.raises(PricesRefused, match="plain http"):
        price_download.followed("https://prices.example/a", "http://127.0.0.1/b")
    assert price_download.followed("https://prices.example/a", "b") == "https://prices.example/b"


@pytest.mark.parametrize(
    "url",
    [
        *("http://prices.example/x", "ftp://prices.example", "https://", "https://[", "https://a b/", "file:///x"),
        *("https://user:secret@prices.example/x", "https://prices.example:port/", "http://localhost.example/"),
    ],
)
async def test_only_https_or_this_machine(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await download(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://prices.example/x?y=1", "http://localhost:1/x", "http://[::1]/x"])
def test_urls_that_are_taken(url: str) -> None:
    check_address("from", url, query=True)


@pytest.mark.parametrize("status", [204, 304, 403, 404, 500, 503])
async def test_another_answer_than_the_data_is_said(server: PriceServer, status: int) -> None:
    server.answers["/"] = sends(b"", status=status)
    with pytest.raises(PricesRefused, match=f"HTTP {status}"):
        await download(f"{server.url}/")


async def test_a_body_that_breaks_off_is_refused(server: PriceServer) -> None:
    server.answers["/"] = sends(b"[1, 2", length=100)
    with pytest.raises(PricesRefused, match="cannot be read"):
        await download(f"{server.url}/")


async def test_an_endless_body_is_cut_off(server: PriceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_download, "MAX_PRICE_FILE_BYTES", 200_000)
    server.answers["/"] = endless(server.closing)
    with pytest.raises(PricesRefused, match="more than 200,000 bytes"):
        await download(f"{server.url}/")


async def test_what_is_packed_stays_packed(server: PriceServer) -> None:
    packed = bomb(50_000_000)
    server.answers["/"] = sends(packed, Content_Encoding="gzip")
    assert await download(f"{server.url}/") == packed


async def test_a_server_that_falls_silent_is_left(server: PriceServer) -> None:
    server.answers["/"] = silent(server.closing)
    with pytest.raises(PricesRefused, match=r"within 0\.2 s"):
        await download(f"{server.url}/", deadline_seconds=0.2)


async def test_nobody_there() -> None:
    with pytest.raises(PricesRefused, match="cannot be read"):
        await download(f"http://127.0.0.1:{free_port()}/")
