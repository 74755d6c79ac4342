"""Who sent a request, as the door found out."""

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.requests import HTTPConnection

from tokenward.tools.principal import Principal

HIDDEN = "***"
"""Stands for the token where the SDK has a place for it: nothing behind the door needs it."""


class Caller(AuthenticatedUser):
    """Somebody whose token was good. The SDK compares its client, issuer and subject to tell callers apart.

    Args:
        principal: Who it is.
        client_id: The program that asks.
        issuer: Who vouches for the subject; empty for the settings.
        expires: When the token ends, seconds since 1970.
    """

    def __init__(self, principal: Principal, *, client_id: str, issuer: str = "", expires: int | None = None) -> None:
        self.principal = principal
        super().__init__(
            AccessToken(
                token=HIDDEN,
                client_id=client_id,
                scopes=sorted(principal.scopes),
                expires_at=expires,
                subject=principal.subject,
                claims={"iss": issuer},
            )
        )


def principal_of(request: object) -> Principal:
    """Who sent a request that came through the door.

    Raises:
        PermissionError: It did not, so that nobody knows. That is a mistake of ours: nothing may be answered.
    """
    user: object = request.scope.get("user") if isinstance(request, HTTPConnection) else None
    if not isinstance(user, Caller):
        raise PermissionError
    return user.principal
