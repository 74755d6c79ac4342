"""Bearer tokens of the settings: made once, known by their hashes only."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tokenward.engine.types import Clock
from tokenward.server.auth.settings import TokenSetting

PREFIX = "tw_"
"""What tells a token from other texts, for people and for scanners of leaked secrets."""

EXAMPLES = frozenset(
    {
        "sha256:acb09644f9f3950ec768cb257f01e58f2260e5911a124a2f912c81b6d8629e72",
        "sha256:e075dcb4cde04b04600163c84c49edd7f2801927b81d3bd2ef856800553ffb52",
    }
)
"""The hashes in ``docs/examples/auth.toml``, whose tokens everybody can read."""

TOKEN_BYTES = 32
"""Too many tokens to try, so that a plain hash tells nobody the token."""


def new_token(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A token that was never given before."""
    return PREFIX + random_bytes(TOKEN_BYTES).hex()


def hash_of(token: str) -> str:
    """What the settings hold of a token: ``sha256:…``."""
    return f"sha256:{hashlib.sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}"


_LOG = logging.getLogger(__name__)


class TokenBook:
    """The tokens that are accepted.

    Args:
        tokens: The settings.
        clock: Now, microseconds UTC.
    """

    def __init__(self, tokens: Iterable[TokenSetting], clock: Clock) -> None:
        self._by_hash = {one.hash: one for one in tokens}
        if not EXAMPLES.isdisjoint(self._by_hash):
            _LOG.warning("A token of the documentation is accepted, which everybody knows. Make your own.")
        self._clock = clock

    def find(self, token: str) -> TokenSetting | None:
        """The setting of a token; ``None`` if there is none, or its time is over.

        How long this takes tells something about the hash of what was sent, which leads to no token.
        """
        found = self._by_hash.get(hash_of(token))
        if found is None or (found.expires is not None and found.expires <= self._now()):
            return None
        return found

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1_000_000, UTC)
