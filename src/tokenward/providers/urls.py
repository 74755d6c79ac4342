"""Where keys and texts may be sent: the base URLs of counting APIs, as they can be set."""

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
    setting = f"provider_urls.{name}"
    if name not in PROVIDERS:
        raise InvalidInput("provider_urls", f"known names are {', '.join(PROVIDERS)}.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(setting, "expected a URL, such as https://HOST/PATH.") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput(setting, "expected a URL, such as https://HOST/PATH.")
    if "@" in parts.netloc:
        raise InvalidInput(setting, "it holds a name or password; keys come from the environment only.")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise InvalidInput(setting, "expected a URL without parameters, such as https://HOST/PATH.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise InvalidInput(setting, "expected https; plain http is accepted for this machine only (127.0.0.1).")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
