"""The settings of the HTTP door, table ``[http]``."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tokenward.engine.errors import InvalidInput, shown

_ANY = "*"
_DAY_SECONDS = 86_400
_HOST = re.compile(r"\[[0-9a-f:.]+\](:\d{1,5})?|[^\[\]:/@\s*?#,]+(:\d{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s*?#,]+/?|null")


class HttpSettings(BaseModel):
    """Where HTTP is served and how much of it.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        allowed_hosts: Further values of the Host header that are answered, ``name`` or ``name:port``.
        allowed_origins: Web pages that may ask and read the answers (CORS), as ``https://name:port``; ``*`` is any.
        max_body_bytes: The longest request.
        max_concurrency: How many requests are worked on at once; more are told to come again.
        request_timeout_seconds: The most that a request may take; a day at most.
        drain_seconds: How long the work in progress may go on when the server is told to end; a day at most.
        workers: Processes that share the port.
        sse: Serve the legacy ``/sse`` and ``/messages/`` too.
        insecure: Listen beyond loopback without authentication.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8484
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: Annotated[int, Field(ge=1_024)] = 4 * 2**20
    max_concurrency: Annotated[int, Field(ge=1)] = 256
    request_timeout_seconds: Annotated[float, Field(gt=0, le=_DAY_SECONDS)] = 120.0
    drain_seconds: Annotated[float, Field(ge=0, le=_DAY_SECONDS)] = 10.0
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    sse: bool = False
    insecure: bool = False

    def check(self) -> None:
        """Raises InvalidInput for hosts and origins that no request can have."""
        for index, host in enumerate(self.allowed_hosts):
            if host != _ANY and not _HOST.fullmatch(host.lower()):
                expected = "give a name or name:port, as in a URL between // and /: 'tokens.example'"
                raise InvalidInput(f"http.allowed_hosts[{index}]", f"{shown(host)} is no host; {expected}, or '*'.")
        for index, origin in enumerate(self.allowed_origins):
            if origin != _ANY and not _ORIGIN.fullmatch(origin.lower()):
                expected = "give scheme://name or scheme://name:port, without a path: 'https://app.example'"
                raise InvalidInput(
                    f"http.allowed_origins[{index}]", f"{shown(origin)} is no origin; {expected}, or '*'."
                )
