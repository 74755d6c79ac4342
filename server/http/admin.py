"""The admin API: JSON over HTTP for whoever runs agents, at ``/admin/…``. It asks for a token with the scope admin."""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tokenward.engine.errors import Forbidden, InvalidInput, StoreError, TokenwardError, WrongArguments, shown
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.auth.caller import principal_of
from tokenward.server.crashes import log_crash
from tokenward.server.http.admin_operations import Operation, UnknownLimit, operations
from tokenward.server.http.openapi import openapi_document
from tokenward.server.http.paths import DOCUMENT_PATH
from tokenward.server.http.problem import problem
from tokenward.tools.definition import ToolContext
from tokenward.tools.permission import run_for
from tokenward.tools.principal import Principal

_MAX_PARAMETERS = 50

Answer: TypeAlias = Callable[[Request, Principal], Awaitable[Response]]
Opened: TypeAlias = Callable[[], Awaitable[ToolContext]]


class _Refused(Exception):  # noqa: N818 - it is an answer
    """An answer other than 200 that is no error of the engine's."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def admin_routes(opened: Opened) -> list[Route]:
    """The routes of the admin API. They are to stand behind authentication, and refuse everybody where there is none.

    Args:
        opened: Gives the context that the whole process shares.
    """
    answers: dict[str, dict[str, Answer]] = {DOCUMENT_PATH: {"GET": _document}}
    for one in operations():
        answers.setdefault(one.path, {})[one.method] = _operation(one, opened)
    routes = [Route(path, _Endpoint(path, by_method)) for path, by_method in answers.items()]
    return [*routes, Route("/admin/{other:path}", _unknown)]


async def _unknown(_: Request) -> Response:
    return problem(HTTPStatus.NOT_FOUND, f"There is nothing here; GET {DOCUMENT_PATH} names all paths.")


class _Endpoint:
    """One path: finds the method's answer, and says everything that goes wrong as problem+json."""

    def __init__(self, path: str, answers: Mapping[str, Answer]) -> None:
        self._path = path
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the client
            response = _problem(error, f"{request.method} {self._path}")
        response.headers["Cache-Control"] = "no-store"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            principal = principal_of(request)
        except PermissionError:
            problem = "The admin API is open only to tokens; set up authentication."
            raise _Refused(HTTPStatus.FORBIDDEN, problem) from None
        principal.require("admin", "the admin API")
        answer = self._answers.get("GET" if request.method == "HEAD" else request.method)
        if answer is None:
            allowed = [*(["HEAD"] if "GET" in self._answers else []), *self._answers]
            methods = ", ".join(sorted(allowed))
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self._path} takes {methods}.", Allow=methods)
        return await answer(request, principal)


def _operation(one: Operation, opened: Opened) -> Answer:
    async def answer(request: Request, principal: Principal) -> Response:
        query = _query(request, one)
        given = await _body(request) if one.method == "PUT" else query
        result = await run_for(principal, one.tool, given, opened)
        return Response(result.model_dump_json(), media_type="application/json")

    return answer


async def _document(request: Request, _: Principal) -> Response:
    if request.url.query:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{DOCUMENT_PATH} takes no parameters.")
    return Response(json.dumps(openapi_document()), media_type="application/json")


# Reading ------------------------------------------------------------------------------------------------------------


def _query(request: Request, one: Operation) -> dict[str, JsonValue]:
    """The parameters, each once, numbers as numbers."""
    try:
        written: bytes = request.scope["query_string"]
        pairs = parse_qsl(
            written.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(written),
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        problem = "The query cannot be read; write it as name=value&name=value, percent-encoded UTF-8."
        raise _Refused(HTTPStatus.BAD_REQUEST, problem) from None
    if pairs and one.method == "PUT":
        raise _Refused(HTTPStatus.BAD_REQUEST, f"PUT {one.path} takes its fields in a JSON body and no query.")
    given: dict[str, JsonValue] = {}
    for name, value in pairs:
        if name in given:
            raise WrongArguments(name[:60], f"{shown(name)} is given twice; keep one of them.")
        given[name] = _number(value) if _is_integer(one, name) else value
    return given


def _is_integer(one: Operation, name: str) -> bool:
    return name in one.tool.parameters and one.tool.parameters[name].schema.get("type") == "integer"


def _number(written: str) -> int | str:
    """The number; what is none stays text, which is then refused by name."""
    digits = written.removeprefix("-")
    return int(written) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else written


async def _body(request: Request) -> JsonObject:
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON in UTF-8 as Content-Type application/json.")
    try:
        body: JsonValue = json.loads((await request.body()).decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _Refused(HTTPStatus.BAD_REQUEST, "The body is not JSON in UTF-8.") from None
    if not isinstance(body, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, "The body is to be a JSON object.")
    return body


def _once(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    made = dict[str, JsonValue]()
    for name, value in pairs:
        if name in made:
            raise WrongArguments(name[:60], f"The body gives {shown(name)} twice; keep one of them.")
        made[name] = value
    return made


def _refuse(constant: str) -> JsonValue:
    raise ValueError(constant)  # NaN and the infinities are no JSON


# Answering ----------------------------------------------------------------------------------------------------------


_STATUS: tuple[tuple[type[TokenwardError], HTTPStatus], ...] = (
    (Forbidden, HTTPStatus.FORBIDDEN),
    (UnknownLimit, HTTPStatus.NOT_FOUND),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TokenwardError, HTTPStatus.BAD_REQUEST),
)
"""The first that an error is an instance of."""
_HEADERS = {
    HTTPStatus.FORBIDDEN: {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="admin"'},
    # Group commit tries again within it.
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
}


def _problem(error: Exception, asked: str) -> Response:
    """What went wrong, for the client."""
    if isinstance(error, _Refused):
        return problem(error.status, error.detail, headers=error.headers)
    if not isinstance(error, TokenwardError):
        log_crash(asked, error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; see the server's log.")
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    field = error.field if isinstance(error, InvalidInput) else None
    return problem(status, str(error), field=field, headers=_HEADERS.get(status))
