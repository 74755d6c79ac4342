"""Which addresses may be used: the base URLs of counting APIs, those of hooks and of price data."""

import ipaddress
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from tokenward.engine.errors import InvalidInput

ProviderName: TypeAlias = Literal["anthropic", "gemini", "openai"]

PROVIDERS: Final[tuple[ProviderName, ...]] = get_args(ProviderName)


def check_base_url(name: str, url: str) -> None:
    """Whether keys and texts may be sent there.

    Raises:
        InvalidInput: It is not https (plain http is for this machine alone), or holds more than a place. The error
            names the setting, not the value.
    """
    if name not in PROVIDERS:
        raise InvalidInput("provider_urls", f"known names are {', '.join(PROVIDERS)}.")
    check_address(f"provider_urls.{name}", url)


def check_address(setting: str, url: str, *, query: bool = False) -> None:
    """Whether an address may be used: https, or http on this machine, and only a place, or also parameters.

    Raises:
        InvalidInput: It may not. The error names the setting, not the value.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(setting, "expected a URL, such as https://HOST/PATH.") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput(setting, "expected a URL, such as https://HOST/PATH.")
    if "@" in parts.netloc:
        raise InvalidInput(setting, "it holds a name or password; give a URL without.")
    if not query and (parts.query or parts.fragment or url.endswith(("?", "#"))):
        raise InvalidInput(setting, "expected a URL without parameters, such as https://HOST/PATH.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise InvalidInput(setting, "expected https; plain http is accepted for this machine only (127.0.0.1).")


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
