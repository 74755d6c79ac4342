"""Addresses that clients are told."""

from pydantic import AnyHttpUrl

from tokenward.engine.errors import InvalidInput
from tokenward.providers.urls import check_address


def check_told(setting: str, url: str) -> None:
    """Whether clients can be told an address. Raises InvalidInput, which names the setting and not the value."""
    check_address(setting, url)
    try:
        AnyHttpUrl(url)
    except ValueError:
        raise InvalidInput(setting, "expected a URL, such as https://HOST/PATH.") from None
