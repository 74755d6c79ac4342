"""Asking a counting API over HTTP: bounded in time, size and number, and not again for a while after a failure."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from tokenward.engine.types import SECOND_US, Clock, system_clock
from tokenward.providers.endpoints import Endpoint, NotCounted, RequestRefused, Timer
from tokenward.providers.http import new_http
from tokenward.providers.urls import ProviderName
from tokenward.secret_files import ENVIRONMENT

if TYPE_CHECKING:
    import httpx2

AT_ONCE: Final = 8
"""How many requests are under way at once."""

LEFT_ALONE_SECONDS: Final = 30.0
"""How long an API that failed is not asked again, if it does not say itself when to."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""The longest answer that is read; the documented ones have some hundred bytes."""

_MAX_RETRY_AFTER_SECONDS: Final = 3_600.0
_READ: Final = frozenset((200, 400))
_WRONG_KEY: Final = frozenset((401, 403))
_BUSY: Final = frozenset((429, 503, 529))


class ProviderClient:
    """Asks the counting APIs. For one event loop.

    Keys are read from the environment for each request and kept nowhere.

    Args:
        urls: Base URLs that replace the providers' own, by the provider's name.
        timeout_seconds: The most that a call waits for its provider.
        environment: Where keys are looked up.
        timer: Seconds that only go up.
        clock: Now, microseconds UTC, for a ``Retry-After`` that is a date.
    """

    def __init__(
        self,
        urls: Mapping[ProviderName, str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] = ENVIRONMENT,
        timer: Timer = time.monotonic,
        clock: Clock = system_clock,
    ) -> None:
        self._urls = urls
        self._timeout_seconds = timeout_seconds
        self._environment = environment
        self._timer = timer
        self._clock = clock
        self._turns = anyio.Semaphore(AT_ONCE)
        self._opening = anyio.Lock()
        self._http: httpx2.AsyncClient | None = None
        self._left_alone: dict[tuple[ProviderName, str], tuple[float, str]] = {}
        self._answered: dict[ProviderName, float] = {}

    def deadline(self) -> float:
        """Until when a call that begins now may wait, on the event loop's clock."""
        return anyio.current_time() + self._timeout_seconds

    async def ask(self, endpoint: Endpoint, model: str, body: bytes, deadline: float) -> int:
        """The tokens of a request's body. Raises NotCounted."""
        key = endpoint.key(self._environment)
        with anyio.CancelScope(deadline=deadline):
            async with self._turns:
                self.check_left_alone(endpoint, model)
                return await self._ask(endpoint, model, body, key)
        reason = f"{endpoint.label} did not answer within {self._timeout_seconds:g} s"
        # A call with many texts can run out of time although the API answers well.
        if self._answered.get(endpoint.name, -math.inf) < deadline - self._timeout_seconds:
            raise self.leave_alone(endpoint, reason)
        raise NotCounted(reason)

    def leave_alone(
        self, endpoint: Endpoint, reason: str, *, model: str = "", seconds: float = LEFT_ALONE_SECONDS
    ) -> NotCounted:
        """Do not ask an API again for a while, or only not for one model; returns what to raise."""
        now = self._timer()
        self._left_alone = {key: one for key, one in self._left_alone.items() if one[0] > now}
        until = (now + seconds, reason)
        # What was under way when the API said how long to wait may fail for less.
        self._left_alone[endpoint.name, model] = max(until, self._left_alone.get((endpoint.name, model), until))
        return NotCounted(reason)

    def check_left_alone(self, endpoint: Endpoint, model: str) -> None:
        """Whether an API may be asked for a model. Raises NotCounted."""
        for concerned in ("", model):
            until, reason = self._left_alone.get((endpoint.name, concerned), (-math.inf, ""))
            if self._timer() < until:
                raise NotCounted(reason)

    async def aclose(self) -> None:
        """Close the connections. A later call opens them again."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _ask(self, endpoint: Endpoint, model: str, body: bytes, key: str) -> int:
        http = await self._opened(endpoint)
        import httpx2  # noqa: PLC0415 - heavy, and by now imported in a worker thread

        headers = {
            "content-type": "application/json",
            # A packed answer could be any size once it is unpacked.
            "accept-encoding": "identity",
            **dict(endpoint.headers),
            endpoint.key_header: endpoint.key_prefix + key,
        }
        try:
            async with http.stream("POST", endpoint.url(model, self._urls), content=body, headers=headers) as response:
                self._answered[endpoint.name] = anyio.current_time()
                content = await _bounded(response) if response.status_code in _READ else b""
                self._check_status(endpoint, model, response, content)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
            raise self.leave_alone(endpoint, f"{endpoint.label} cannot be reached") from None
        try:
            return endpoint.read_answer(content)
        except NotCounted as error:
            raise self.leave_alone(endpoint, str(error)) from None

    async def _opened(self, endpoint: Endpoint) -> "httpx2.AsyncClient":
        async with self._opening:
            if self._http is None:
                try:
                    # The import and the certificates take longer than others should wait.
                    self._http = await anyio.to_thread.run_sync(new_http, AT_ONCE)
                except Exception as error:  # noqa: BLE001 - a proxy or certificates that the environment names wrongly
                    reason = f"the environment's proxy or certificates cannot be used ({type(error).__name__})"
                    raise self.leave_alone(endpoint, reason) from None
            return self._http

    def _check_status(self, endpoint: Endpoint, model: str, response: "httpx2.Response", content: bytes) -> None:
        """Whether it is an answer. Raises NotCounted."""
        status = response.status_code
        if status == 200:
            return
        where = f"(HTTP {status})"
        match status:
            case _ if status in _WRONG_KEY or (endpoint.wrong_key and endpoint.wrong_key in content):
                variable = endpoint.key_variable(self._environment)
                raise self.leave_alone(endpoint, f"{endpoint.label} refuses the key of {variable} {where}")
            case _ if status in _BUSY:
                seconds = self._retry_after(response.headers.get("retry-after"))
                raise self.leave_alone(endpoint, f"{endpoint.label} asks to wait {where}", seconds=seconds)
            case 404:
                reason = f"{endpoint.label} has no count for this model {where}"
                raise self.leave_alone(endpoint, reason, model=model)
            case _ if 300 <= status < 400:
                raise self.leave_alone(endpoint, f"{endpoint.label} redirects {where}, which is not followed")
            case _ if 400 <= status < 500:
                # It is this request that is refused; the next one may be counted.
                raise RequestRefused(f"{endpoint.label} refuses the request {where}")
            case _:
                raise self.leave_alone(endpoint, f"{endpoint.label} fails {where}")

    def _retry_after(self, given: str | None) -> float:
        """Seconds until the API may be asked again: its own number or date, else ours."""
        seconds = math.nan
        if given is not None:
            try:
                seconds = float(given)
            except ValueError:
                seconds = self._until(given)
        return min(seconds, _MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else LEFT_ALONE_SECONDS

    def _until(self, date: str) -> float:
        try:
            return parsedate_to_datetime(date).timestamp() - self._clock() / SECOND_US
        except (ValueError, OverflowError):
            return math.nan


async def _bounded(response: "httpx2.Response") -> bytes:
    """The body, or as much of it as shows that it is too long."""
    content = b""
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            return b""
    return content
