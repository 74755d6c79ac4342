"""The HTTP client that everything is sent with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2


def new_http(at_once: int = 1) -> "httpx2.AsyncClient":
    """A client that verifies certificates, follows no redirect and takes proxies from the environment.

    Making one reads certificates: some tenths of a second.

    Args:
        at_once: The most connections at a time.

    Raises:
        Exception: A proxy or certificates that the environment names wrongly.
    """
    import httpx2  # noqa: PLC0415 - heavy

    return httpx2.AsyncClient(
        timeout=None,
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once),
        # Plain http stays on this machine: no proxy sees it.
        mounts={"http://": None},
    )
