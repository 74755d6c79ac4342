"""Completions: models' names, users of the ledger as far as the caller may see them, and periods."""

import re
from collections.abc import Iterable

from mcp_types import CompleteRequestParams, Completion, PromptReference

from tokenward.engine.types import DAY_US
from tokenward.engine.usage import UsageQuery
from tokenward.server.surface.prompts import PLAN
from tokenward.server.surface.uris import MODEL, QUOTA, REPORT
from tokenward.tools.definition import ToolContext

MAX_VALUES = 100
"""As many as the protocol allows."""

_USERS_OF_DAYS = 400
"""Who has used nothing for longer is not offered."""

PERIODS = ("24h", "7d", "30d", "12w", "today", "month")
_NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


async def complete(params: CompleteRequestParams, context: ToolContext) -> Completion:
    """The values that begin as what is written so far, without regard to case; none for what cannot be completed."""
    written = params.argument.value
    asked = (_reference(params), params.argument.name)
    if asked in ((MODEL, "model"), (PLAN, "model")):
        return _beginning(written, context.service.counter.catalog.names())
    if asked == (QUOTA, "user"):
        return _beginning(written, await known_users(context))
    if asked == (REPORT, "period"):
        return _beginning(written, _periods(written), in_order=True)
    return Completion(values=[], total=0, has_more=False)


def _reference(params: CompleteRequestParams) -> str:
    return params.ref.name if isinstance(params.ref, PromptReference) else params.ref.uri


def _beginning(written: str, names: Iterable[str], *, in_order: bool = False) -> Completion:
    prefix = written.casefold()
    found = dict.fromkeys(name for name in names if name.casefold().startswith(prefix))
    values = list(found) if in_order else sorted(found)
    return Completion(values=values[:MAX_VALUES], total=len(values), has_more=len(values) > MAX_VALUES)


def _periods(written: str) -> Iterable[str]:
    if _NUMBER.fullmatch(written):
        return (*PERIODS, *(f"{written}{unit}" for unit in "hdw"))
    return (*PERIODS, written) if _NUMBER.fullmatch(written[:-1]) and written[-1] in "hdw" else PERIODS


async def known_users(context: ToolContext) -> set[str]:
    """The users that the caller may see: those of the ledger and of its limits, or only itself. Raises StoreError."""
    principal = context.principal
    if principal is not None and not principal.has("admin"):
        return {principal.subject}
    store = await context.service.ledger()
    now_us = context.service.clock()
    used = await store.usage(UsageQuery(max(0, now_us - _USERS_OF_DAYS * DAY_US), now_us + DAY_US, "user"))
    limited = (limit.subject.partition(":")[2] for limit in await store.limits() if limit.scope == "user")
    own = context.service.default_user if principal is None else principal.subject
    return {own, *(one.key for one in used), *limited}
