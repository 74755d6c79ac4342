"""An authorization server's public keys: fetched when they are needed, remembered, and never asked for in a flood."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from tokenward.engine.errors import TokenwardError
from tokenward.engine.types import SECOND_US, Clock, JsonObject, JsonValue
from tokenward.providers.http import new_http

MAX_BYTES = 1_048_576
"""The longest key set that is read."""

MAX_KEYS = 100
"""The most keys of a set that are looked at."""

TIMEOUT_SECONDS = 5.0
"""The most that a fetch may take."""

REFETCH_SECONDS = 30
"""Between two fetches there is at least as much time, whatever tokens name and whatever fails."""

STALE_SECONDS = 86_400
"""How long keys are used while no newer ones can be fetched."""

MIN_RSA_BITS = 2048
"""Shorter keys can be broken (NIST SP 800-131A)."""

_LOG = logging.getLogger(__name__)

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]


class KeysUnavailable(TokenwardError):  # noqa: N818 - named for what it is
    """No keys could be fetched, so that nobody can say whether a token is good."""

    def __init__(self) -> None:
        super().__init__("The authorization server's keys cannot be fetched right now. Try again in a moment.")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key.

    Attributes:
        kid: Its name, or empty.
        algorithm: The only signature that it is for.
        key: What checks signatures.
    """

    kid: str
    algorithm: str
    key: PyJWK


async def fetch(url: str) -> bytes:
    """What stands at an address.

    Raises:
        Exception: It cannot be fetched, is too long or takes too long.
    """
    with anyio.fail_after(TIMEOUT_SECONDS):
        async with new_http() as http, http.stream("GET", url, headers={"Accept": "application/json"}) as response:
            response.raise_for_status()
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError("the key set is too long")
            return bytes(content)


class KeySet:
    """The keys of one authorization server.

    Args:
        url: Where they are.
        algorithms: The signatures that are accepted.
        keys_seconds: How long they are used before they are fetched again.
        clock: Now, microseconds UTC.
        fetch: Gets them.
    """

    def __init__(
        self, url: str, *, algorithms: Sequence[str], keys_seconds: int, clock: Clock, fetch: Fetch = fetch
    ) -> None:
        self._url = url
        self._algorithms = tuple(algorithms)
        self._keys_us = keys_seconds * SECOND_US
        self._clock = clock
        self._fetch = fetch
        self._fetching: asyncio.Task[None] | None = None
        self._keys: tuple[PublicKey, ...] = ()
        self._fetched_us: int | None = None
        self._tried_us: int | None = None

    async def find(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key of that name for that signature.

        A name that is not known may be new: the keys are fetched again, but not more often than may be.

        Raises:
            KeysUnavailable: There are none.
        """
        if self._old(self._keys_us):
            await self._refresh()
        if self._fetched_us is None or self._old(STALE_SECONDS * SECOND_US):
            raise KeysUnavailable
        found = self._named(kid, algorithm)
        if found is None:
            await self._refresh()
            found = self._named(kid, algorithm)
        return found

    def _old(self, age_us: int) -> bool:
        return self._fetched_us is None or self._clock() - self._fetched_us >= age_us

    def _named(self, kid: str, algorithm: str) -> PublicKey | None:
        """A token that names no key can only mean the one there is."""
        fitting = [one for one in self._keys if one.algorithm == algorithm and (not kid or one.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None

    async def _refresh(self) -> None:
        """Fetch the keys, once for all who wait, and to the end even if none of them does: the next one needs them."""
        if self._fetching is None or self._fetching.done():
            now_us = self._clock()
            if self._tried_us is not None and now_us - self._tried_us < REFETCH_SECONDS * SECOND_US:
                return
            self._tried_us = now_us
            self._fetching = asyncio.create_task(self._load(now_us))
        await asyncio.shield(self._fetching)

    async def _load(self, now_us: int) -> None:
        """What fails leaves the keys as they are."""
        try:
            keys = read_keys(await self._fetch(self._url), self._algorithms)
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys stay; texts of others are not logged
            _LOG.warning("The authorization server's keys could not be fetched (%s).", type(error).__name__)
            return
        self._keys, self._fetched_us = keys, now_us


def read_keys(content: bytes, algorithms: Sequence[str]) -> tuple[PublicKey, ...]:
    """The keys of a set that can be used; the others are passed over.

    Raises:
        ValueError: It is no key set, or none can be used.
    """
    try:
        read: JsonValue = json.loads(content)
    except RecursionError:
        raise ValueError("no key set") from None
    entries = read.get("keys") if isinstance(read, dict) else None
    listed = entries if isinstance(entries, list) else []
    keys = [key for one in listed[:MAX_KEYS] if isinstance(one, dict) for key in _usable(one, algorithms)]
    if not keys:
        raise ValueError("no key can be used")
    return tuple(keys)


def _usable(entry: JsonObject, algorithms: Sequence[str]) -> list[PublicKey]:
    """One key, for each accepted signature that it is for."""
    kid, use, stated, uses = entry.get("kid", ""), entry.get("use", "sig"), entry.get("alg"), entry.get("key_ops")
    # A key that others share could sign what it checks.
    if not isinstance(kid, str) or use != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return []
    if isinstance(uses, list) and "verify" not in uses:
        return []
    found: list[PublicKey] = []
    for algorithm in algorithms:
        if stated in (None, algorithm) and _kind(algorithm, entry):
            try:
                key = PyJWK.from_dict(dict(entry), algorithm)
            except (PyJWTError, ValueError, TypeError):
                continue
            if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= MIN_RSA_BITS:
                found.append(PublicKey(kid, algorithm, key))
    return found


_CURVES = {"ES256": ("P-256",), "ES384": ("P-384",), "ES512": ("P-521",), "EdDSA": ("Ed25519", "Ed448")}


def _kind(algorithm: str, entry: JsonObject) -> bool:
    """Whether a key is of the kind that a signature needs, and holds no private part."""
    if "d" in entry:
        return False
    if algorithm in _CURVES:
        return entry.get("crv") in _CURVES[algorithm] and entry["kty"] == ("OKP" if algorithm == "EdDSA" else "EC")
    return entry["kty"] == "RSA"
