"""Fetching published price data: https only, bounded in time and size, and only when somebody asks for it."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

import anyio

from tokenward.engine.errors import PricesRefused
from tokenward.engine.prices.data import MAX_PRICE_FILE_BYTES
from tokenward.providers.http import new_http
from tokenward.providers.urls import check_address

if TYPE_CHECKING:
    import httpx2

DEADLINE_SECONDS: Final = 60.0
"""The most that a download takes as a whole."""

MAX_REDIRECTS: Final = 3

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


async def download(url: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> bytes:
    """What a URL holds.

    Redirects are followed a few times, but never from https to http.

    Args:
        url: Where from.
        deadline_seconds: The most that it may take as a whole.

    Raises:
        InvalidInput: The URL, or one that it leads to, is not https.
        PricesRefused: It cannot be fetched whole, in time, or within ``MAX_PRICE_FILE_BYTES``.
    """
    check_address("from", url, query=True)
    with anyio.move_on_after(deadline_seconds):
        return await _downloaded(url)
    raise PricesRefused(f"{_host(url)} did not send the data within {deadline_seconds:g} s.")


async def _downloaded(url: str) -> bytes:
    import httpx2  # noqa: PLC0415 - heavy

    try:
        async with new_http() as http:
            for _ in range(MAX_REDIRECTS + 1):
                found = await _asked(http, url)
                if isinstance(found, bytes):
                    return found
                url = followed(url, found)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise PricesRefused(f"{_host(url)} cannot be read ({type(error).__name__}).") from None
    raise PricesRefused(f"{_host(url)} redirects more than {MAX_REDIRECTS} times.")


async def _asked(http: "httpx2.AsyncClient", url: str) -> bytes | str:
    """The body, or where the answer leads to instead."""
    # A packed answer could be any size once it is unpacked.
    async with http.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
        if response.status_code in _REDIRECTS:
            return response.headers.get("location", "")
        if response.status_code != 200:
            raise PricesRefused(f"{_host(url)} answers with HTTP {response.status_code}.")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > MAX_PRICE_FILE_BYTES:
                raise PricesRefused(f"{_host(url)} sends more than {MAX_PRICE_FILE_BYTES:,} bytes.")
        return bytes(content)


def followed(url: str, location: str) -> str:
    """Where a redirect leads to.

    Raises:
        InvalidInput: To what is neither https nor this machine.
        PricesRefused: From https to http.
    """
    target = urljoin(url, location)
    check_address("from", target, query=True)
    if urlsplit(url).scheme == "https" != urlsplit(target).scheme:
        raise PricesRefused(f"{_host(url)} redirects to plain http, which is not followed.")
    return target


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the server"
