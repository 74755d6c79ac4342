"""What schemathesis is told of the admin API besides its OpenAPI document. It loads this module as its hooks.

The document says in words which texts are names, and which parameters of a report exclude each other. Requests that
are to be accepted are made so here; those that are to be refused are left as they are.
"""

from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext

_KINDS = st.sampled_from(["user", "group", "session"])
_NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20)

schemathesis.openapi.format("name", _NAMES)
schemathesis.openapi.format(
    "subject", st.sampled_from(["default", "global"]) | st.builds("{}:{}".format, _KINDS, _NAMES)
)
schemathesis.openapi.format("timezone", st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]))
schemathesis.openapi.format("moment", st.sampled_from(["2026-01-01", "2026-02-03T04:05:06.789+05:45"]))
schemathesis.openapi.format("period", st.sampled_from(["1h", "7d", "12w", "today", "month"]))
schemathesis.openapi.format("usd", st.decimals(0, 9_000_000, places=9).map("{:f}".format))


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, object]) -> None:
    """Make a request that is to be accepted one that can be."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    query = case.query
    query.pop("cursor", None)  # only the server makes them
    if "start" in query:
        query.pop("period", None)
        query["end"] = "2026-11-22"
    else:
        query.pop("end", None)
    if isinstance(case.body, dict) and case.body.get("timezone"):
        case.body["timezone"] = "UTC" if case.body.get("mode") == "rolling" else "Europe/Berlin"
