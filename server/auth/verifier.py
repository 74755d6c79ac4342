"""Whom a bearer token stands for, whatever kind of token it is."""

from tokenward.engine.types import Clock
from tokenward.server.auth.caller import Caller
from tokenward.server.auth.jwks import Fetch, fetch
from tokenward.server.auth.jwt_tokens import JwtVerifier
from tokenward.server.auth.settings import AuthSettings
from tokenward.server.auth.tokens import TokenBook
from tokenward.tools.principal import Principal

MAX_CHARACTERS = 8_192
"""The longest token that is looked at."""


class Verifier:
    """Says who calls.

    Args:
        settings: Which tokens are accepted.
        clock: Now, microseconds UTC.
        fetch: Gets an authorization server's keys.
    """

    def __init__(self, settings: AuthSettings, clock: Clock, fetch: Fetch = fetch) -> None:
        self._book = TokenBook(settings.tokens, clock)
        self._jwt = JwtVerifier(settings.jwt, clock, fetch) if settings.jwt else None
        self._issuer = settings.jwt.issuer if settings.jwt else ""

    async def caller(self, token: str) -> Caller | None:
        """Whom a token stands for; ``None`` if it is not good.

        Raises:
            KeysUnavailable: Nobody can say right now.
        """
        if not token or len(token) > MAX_CHARACTERS or not token.isascii():
            return None
        found = self._book.find(token)
        if found is not None:
            principal = Principal(found.subject, frozenset(found.scopes), frozenset(found.groups))
            expires = None if found.expires is None else int(found.expires.timestamp())
            return Caller(principal, client_id=found.hash, expires=expires)
        if self._jwt is None or token.count(".") != 2:
            return None
        verified = await self._jwt.verify(token)
        if verified is None:
            return None
        return Caller(verified.principal, client_id=verified.client_id, issuer=self._issuer, expires=verified.expires)
