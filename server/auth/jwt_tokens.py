"""Tokens of an OAuth authorization server: signed JWTs, checked here with its public keys."""

from dataclasses import dataclass
from typing import TypeGuard

import jwt
from jwt.exceptions import PyJWTError

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import check_name
from tokenward.engine.types import SECOND_US, Clock, JsonObject, JsonValue
from tokenward.server.auth.jwks import Fetch, KeySet, PublicKey, fetch
from tokenward.server.auth.settings import JwtSetting
from tokenward.tools.principal import Principal, Scope

MAX_GROUPS = 200
"""The most groups of a token that are looked at."""

_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
"""Kinds of JWT that may be shown as an access token; others are for other purposes (RFC 9068)."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Whom a token stands for, and until when (seconds since 1970)."""

    principal: Principal
    client_id: str
    expires: int


class JwtVerifier:
    """Says whom a JWT stands for.

    Args:
        setting: What is accepted.
        clock: Now, microseconds UTC.
        fetch: Gets the keys.
    """

    def __init__(self, setting: JwtSetting, clock: Clock, fetch: Fetch = fetch) -> None:
        self._setting = setting
        self._clock = clock
        self._keys = KeySet(
            setting.jwks_url,
            algorithms=setting.algorithms,
            keys_seconds=setting.keys_seconds,
            clock=clock,
            fetch=fetch,
        )

    async def verify(self, token: str) -> Verified | None:
        """Whom the token stands for; ``None`` if it is not good.

        Raises:
            KeysUnavailable: Nobody can say.
        """
        named = self._named(token)
        key = await self._keys.find(*named) if named else None
        claims = self._claims(token, key) if key else None
        return self._verified(claims) if claims else None

    def _named(self, token: str) -> tuple[str, str] | None:
        """The name of the key and the signature, as the token says; nothing of it is believed yet."""
        try:
            header: JsonObject = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            return None
        kid, algorithm, kind = header.get("kid", ""), header.get("alg"), header.get("typ")
        if not isinstance(kid, str) or not isinstance(algorithm, str) or algorithm not in self._setting.algorithms:
            return None
        # What must be understood and is not; and other uses of a JWT than an access token.
        if "crit" in header or (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
            return None
        return kid, algorithm

    def _claims(self, token: str, key: PublicKey) -> JsonObject | None:
        """What the token says, once its signature, issuer, audience and times are good."""
        try:
            claims: JsonObject = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._setting.audience,
                issuer=self._setting.issuer,
                # The times are compared below, with the clock that was handed in.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except (PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return claims if self._in_time(claims) else None

    def _in_time(self, claims: JsonObject) -> bool:
        now, leeway = self._clock() / SECOND_US, self._setting.leeway_seconds
        begins = [claims[name] for name in ("nbf", "iat") if name in claims]
        expires = claims["exp"]
        if not _is_time(expires) or expires + leeway <= now:
            return False
        return all(_is_time(one) and one - leeway <= now for one in begins)

    def _verified(self, claims: JsonObject) -> Verified | None:
        setting = self._setting
        subject, expires = claim(claims, setting.subject_claim), claims["exp"]
        # A token that is bound to its holder's key proves nothing without that proof (RFC 9449, RFC 8705).
        if not isinstance(subject, str) or not subject or "cnf" in claims or not isinstance(expires, int | float):
            return None
        try:
            name = check_name("sub", setting.subject_prefix + subject)
            groups = {check_name("groups", one) for one in words(claim(claims, setting.groups_claim))[:MAX_GROUPS]}
        except InvalidInput:
            return None
        scopes: set[Scope] = {
            setting.scopes[one] for one in words(claim(claims, setting.scopes_claim)) if one in setting.scopes
        }
        client = next((one for one in (claims.get("azp"), claims.get("client_id")) if isinstance(one, str)), name)
        return Verified(Principal(name, frozenset(scopes), frozenset(groups)), client, int(expires))


def _is_time(value: object) -> TypeGuard[int | float]:
    """Whether a value is a moment: a number, and neither endless nor none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def claim(claims: JsonObject, name: str) -> JsonValue:
    """A claim by its name, or by its path with dots (``realm_access.roles``); ``None`` if there is none."""
    if name in claims:
        return claims[name]
    value: JsonValue = claims
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def words(value: JsonValue) -> list[str]:
    """The words of a claim: a list of texts, or one text with spaces."""
    if isinstance(value, str):
        return value.split(" ") if value else []
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
