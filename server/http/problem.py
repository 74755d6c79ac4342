"""Errors over HTTP as problem+json, by RFC 9457."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from tokenward.engine.types import JsonObject

PROBLEM_TYPE = "application/problem+json"

PROBLEM_SCHEMA: JsonObject = {
    "type": "object",
    "description": "What is wrong, by RFC 9457. `field` is the parameter or field that is to blame, where one is.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
    },
    "required": ["title", "status", "detail"],
}


def problem(
    status: HTTPStatus, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as an answer.

    Args:
        status: Its status, whose phrase is the title.
        detail: What is wrong and what to do, safe to show to whoever called.
        field: The parameter or field that is to blame.
        headers: Further headers, such as ``Retry-After``.
    """
    said: JsonObject = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    if field is not None:
        said["field"] = field
    return Response(json.dumps(said, separators=(",", ":")), status, headers=headers, media_type=PROBLEM_TYPE)
