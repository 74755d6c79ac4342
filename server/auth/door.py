"""The door that asks for a token: around every route that is not open to all."""

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from mcp.server.auth.routes import build_resource_metadata_url, cors_middleware
from pydantic import AnyHttpUrl
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.engine.types import Clock, system_clock
from tokenward.server.auth.caller import Caller
from tokenward.server.auth.jwks import REFETCH_SECONDS, Fetch, KeysUnavailable, fetch
from tokenward.server.auth.rates import Rates
from tokenward.server.auth.settings import AuthSettings
from tokenward.server.auth.verifier import Verifier

_SCHEME = "bearer "


def authenticated(
    app: ASGIApp,
    settings: AuthSettings,
    *,
    clock: Clock = system_clock,
    fetch: Fetch = fetch,
) -> ASGIApp:
    """An application that only callers with a good token reach, and each not more often than is set.

    Others get 401 with ``WWW-Authenticate``; who has no scope at all 403, who comes too often 429. When keys are
    needed and cannot be fetched, it is 503. Without any way to authenticate in the settings it is the application.

    Args:
        app: What is behind the door. It finds the caller in its scope; see :mod:`tokenward.server.auth.caller`.
        settings: Who may pass.
        clock: Now, microseconds UTC.
        fetch: Gets an authorization server's keys.
    """
    if not settings.enabled:
        return app
    limited = _Limited(app, Rates(settings.requests_per_minute, clock))
    required = RequireAuthMiddleware(AuthContextMiddleware(limited), [], _metadata_url(settings))
    backend = _Bearer(Verifier(settings, clock, fetch))
    return AuthenticationMiddleware(required, backend=backend, on_error=_unavailable)


def metadata_routes(settings: AuthSettings) -> list[Route]:
    """Where clients find the authorization server (RFC 9728). These routes are open to all.

    None without an authorization server, or where nothing says under which address clients know this server.
    """
    jwt, url = settings.jwt, _metadata_url(settings)
    if jwt is None or url is None:
        return []
    # As texts, which clients compare (RFC 8414, section 3.3): the SDK's own route spells addresses anew.
    told = {
        "resource": jwt.resource,
        "authorization_servers": [jwt.issuer],
        "scopes_supported": [*jwt.scopes],
        "bearer_methods_supported": ["header"],
    }

    async def metadata(_: Request) -> Response:
        return JSONResponse(told, headers={"Cache-Control": "public, max-age=3600"})

    methods = ["GET", "OPTIONS"]
    return [Route(url.path or "/", cors_middleware(metadata, methods), methods=methods)]


def _metadata_url(settings: AuthSettings) -> AnyHttpUrl | None:
    if settings.jwt is None or not settings.jwt.resource:
        return None
    return build_resource_metadata_url(AnyHttpUrl(settings.jwt.resource))


class _Bearer(AuthenticationBackend):
    """Reads the header. Two of them are as none: a proxy might have looked at the other one."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Who calls; ``None`` for nobody. Raises AuthenticationError if nobody can say."""
        given = conn.headers.getlist("authorization")
        if len(given) != 1 or not given[0].lower().startswith(_SCHEME):
            return None
        try:
            caller = await self._verifier.caller(given[0][len(_SCHEME) :].strip(" "))
        except KeysUnavailable as error:
            raise AuthenticationError(str(error)) from None
        return (AuthCredentials(caller.scopes), caller) if caller else None


def _unavailable(_: HTTPConnection, error: AuthenticationError) -> Response:
    body = {"error": "temporarily_unavailable", "error_description": str(error)}
    return JSONResponse(body, 503, {"Retry-After": str(REFETCH_SECONDS)})


class _Limited:
    """Lets nobody pass too often, and nobody whose token allows nothing."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("user")
        if not isinstance(caller, Caller):
            raise PermissionError
        await (self._refusal(caller) or self._app)(scope, receive, send)

    def _refusal(self, caller: Caller) -> Response | None:
        if not caller.principal.scopes:
            body = {"error": "insufficient_scope", "error_description": "The token has none of this server's scopes."}
            return JSONResponse(body, 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
        seconds = self._rates.take(caller.principal.subject)
        if not seconds:
            return None
        body = {"error": "too_many_requests", "error_description": f"Try again in {seconds} seconds."}
        return JSONResponse(body, 429, {"Retry-After": str(seconds)})
