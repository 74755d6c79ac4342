"""The OpenAPI document of the admin API, made from the functions that answer it."""

from collections.abc import Sequence
from functools import cache

from pydantic.json_schema import models_json_schema

from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.http.admin_operations import Operation, operations
from tokenward.server.http.paths import DOCUMENT_PATH
from tokenward.server.http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE
from tokenward.server.version import package_version

_DESCRIPTION = """\
For whoever runs agents: sets the limits they work under, and reads what they used. Every request needs a bearer token \
with the scope `admin`. Money is decimal strings in USD, times are RFC 3339. What is wrong with a request is said as \
problem+json."""

_PROBLEMS = {
    "400": "The request cannot be understood, or a value cannot be used.",
    "401": "There is no valid token.",
    "403": "The token does not have the scope admin, or the Origin is not welcome.",
    "404": "There is no such limit.",
    "413": "The request is too long.",
    "415": "The body is not JSON.",
    "421": "The Host is none of this server's.",
    "429": "The token came too often; come again after Retry-After seconds.",
    "503": "The ledger or the authorization server cannot be reached, or the server is busy or ends; come again after "
    "Retry-After seconds. What was to be changed may have been.",
    "504": "The request took too long. What was to be changed may have been.",
}
_AT_THE_DOOR = ("401", "403", "429", "503")
"""Where the token is looked at, errors are as in OAuth (RFC 6750)."""
_ONLY_WITH_BODY = ("413", "415")
_WITHOUT_BODY = [one for one in _PROBLEMS if one not in (*_ONLY_WITH_BODY, "404")]
_DOOR_SCHEMA: JsonObject = {
    "type": "object",
    "description": "What is wrong with a token, by RFC 6750.",
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    "required": ["error"],
}


@cache
def openapi_document() -> JsonObject:
    """The document, OpenAPI 3.1."""
    every = operations()
    paths: dict[str, JsonValue] = {}
    for path in dict.fromkeys(one.path for one in every):
        paths[path] = {one.method.lower(): _operation(one) for one in every if one.path == path}
    paths[DOCUMENT_PATH] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document.",
            "responses": {"200": _json({"type": "object"}, "The document."), **_problems(_WITHOUT_BODY)},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "tokenward admin API", "version": package_version(), "description": _DESCRIPTION},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                **_schemas([one.result for one in every]),
                "Problem": PROBLEM_SCHEMA,
                "TokenProblem": _DOOR_SCHEMA,
            },
        },
    }


def _schemas(models: Sequence[type]) -> JsonObject:
    _, found = models_json_schema(
        [(one, "serialization") for one in dict.fromkeys(models)], ref_template="#/components/schemas/{model}"
    )
    schemas: JsonObject = found["$defs"]
    return schemas


def _operation(one: Operation) -> JsonObject:
    problems = [status for status in _PROBLEMS if _can_answer(one, status)]
    made: JsonObject = {
        "operationId": one.tool.name,
        "summary": one.tool.description,
        "responses": {
            "200": {**_json({"$ref": f"#/components/schemas/{one.result.__name__}"}, "Done."), **_links(one)},
            **_problems(problems),
        },
    }
    if one.method == "PUT":
        schema: JsonObject = {**one.tool.input_schema, **one.rules}
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    else:
        made["parameters"] = [
            {"name": name, "in": "query", "required": parameter.required, "schema": parameter.advertised}
            for name, parameter in one.tool.parameters.items()
        ]
    return made


def _links(one: Operation) -> JsonObject:
    links: JsonObject = {
        name: {"operationId": name, "parameters": {field: f"$response.body#/{field}" for field in fields}}
        for name, fields in one.links.items()
    }
    return {"links": links} if links else {}


def _can_answer(one: Operation, status: str) -> bool:
    if status == "404":
        return one.may_miss
    return one.method == "PUT" or status not in _ONLY_WITH_BODY


def _json(schema: JsonObject, description: str) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problems(statuses: Sequence[str]) -> JsonObject:
    return {one: {"description": _PROBLEMS[one], "content": _problem_content(one)} for one in statuses}


def _problem_content(status: str) -> JsonObject:
    content: JsonObject = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if status in _AT_THE_DOOR:
        content["application/json"] = {"schema": {"$ref": "#/components/schemas/TokenProblem"}}
    return content
