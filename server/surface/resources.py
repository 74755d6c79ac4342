"""What the resources hold, as compact JSON."""

import json
from collections.abc import Iterable, Sequence
from functools import partial

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.errors import InvalidInput, UnknownPrice, shown
from tokenward.engine.limits import check_name
from tokenward.engine.types import DAY_US, JsonObject, JsonValue
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.server.surface.uris import MODEL, Place
from tokenward.service import Tokenward
from tokenward.tools import usage_report
from tokenward.tools.check_quota import limit_states
from tokenward.tools.definition import ToolContext
from tokenward.tools.permission import run_for
from tokenward.workers import run_in_thread


async def read(place: Place, context: ToolContext) -> str:
    """A resource's content.

    Raises:
        InvalidInput: There is no such model, user or period.
        Forbidden: The caller may not read it.
        StoreError: The ledger cannot be read.
    """
    principal = context.principal
    if principal is not None:
        principal.require("report" if place.kind == "report" else "use", "this resource")
    match place.kind:
        case "models":
            return _json(await run_in_thread(partial(_models, context.service)))
        case "model":
            return _json(await run_in_thread(partial(_model, context.service, place.name)))
        case "quota":
            return await _quota(context, place.name)
        case "report":
            return await _report(context, place.name)


def _json(content: JsonValue) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


# Models --------------------------------------------------------------------------------------------------------------


def _models(service: Tokenward) -> JsonObject:
    """The models with a price, by how they are counted. A dated release that differs in nothing is not repeated."""
    groups: dict[tuple[str, str, str, bool], JsonObject] = {}
    ways: dict[tuple[str, str, bool], TextCounter] = {}
    catalog = service.counter.catalog
    own = [info for info in map(catalog.resolve, service.calculator.own_names) if not info.known]
    omitted = 0
    for info in [*catalog.models(), *own]:
        facts = _facts(service, info)
        if facts is None or facts in _shorter(service, info):
            omitted += 1
            continue
        way = (info.family, info.encoding, bool(info.warnings))
        counter = ways.get(way) or ways.setdefault(way, service.counter.text_counter(info.requested))
        key = (info.provider or "", counter.info.encoding, counter.method, counter.exact)
        groups.setdefault(key, {})[info.requested] = facts
    state = service.calculator.price_state
    return {
        "columns": ["context_window", "input_usd_per_million", "output_usd_per_million"],
        "groups": [
            {"provider": provider, "encoding": encoding, "method": method, "exact": exact, "models": models}
            for (provider, encoding, method, exact), models in groups.items()
        ],
        "omitted": omitted,
        "more": f"{MODEL}: all that is known of one model, in any spelling; also of those omitted here, "
        "which have no known price or are dated releases of one that is listed.",
        "price_source": state.source,
        "price_date": state.date,
    }


def _facts(service: Tokenward, info: ModelInfo) -> list[JsonValue] | None:
    """Window and prices, or ``None`` for a model without a price."""
    prices = _prices(service, info.requested)
    return [info.context_window, prices.get("input"), prices.get("output")] if prices else None


def _prices(service: Tokenward, model: str) -> JsonObject:
    try:
        return {**service.calculator.calculate_cost(TokenUsage(1, 1), model).prices}
    except UnknownPrice:
        return {}


def _shorter(service: Tokenward, info: ModelInfo) -> Iterable[list[JsonValue] | None]:
    """The facts of the model that this one is a dated release of, if there is one."""
    name = service.counter.catalog.undated(info.requested)
    return () if name is None else (_facts(service, service.counter.catalog.resolve(name)),)


def _model(service: Tokenward, name: str) -> JsonObject:
    counter = service.counter.text_counter(name)
    info = counter.info
    state = service.calculator.price_state
    known: JsonObject = {
        "model": info.requested,
        "known": info.known,
        "provider": info.provider,
        "family": info.family,
        "encoding": info.encoding,
        "method": counter.method,
        "exact": counter.exact,
        "context_window": info.context_window,
        "max_input_tokens": info.max_input_tokens,
        "max_output_tokens": info.max_output_tokens,
        "usd_per_million": _prices(service, name) or None,
        "price_source": state.source,
        "price_date": state.date,
        "warnings": [*info.warnings] or None,
    }
    return {key: value for key, value in known.items() if value is not None}


# The ledger ----------------------------------------------------------------------------------------------------------


async def _quota(context: ToolContext, user: str) -> str:
    check_name("user", user)
    groups: list[str | None] = [None]
    if context.principal is not None:
        user = context.principal.user(user)
        if user == context.principal.subject:
            groups = [*sorted(context.principal.groups)] or groups
    await _check_known(context, user)
    statuses = [await context.service.quota_status(user, group) for group in groups]
    # Each group's answer also holds the limits that bind the user in all of them.
    standing = {one.limit: one for status in statuses for one in status.limits}
    limits: list[JsonValue] = [
        {**state.model_dump(mode="json", exclude_none=True), **_group(limit.subject, groups)}
        for limit, state in zip(standing, limit_states([*standing.values()]), strict=True)
    ]
    warnings: list[JsonValue] = [*dict.fromkeys(warning for status in statuses for warning in status.warnings)]
    return _json({"user": user, "limits": limits, "warnings": warnings})


def _group(subject: str, groups: Sequence[str | None]) -> JsonObject:
    """Which of several groups a limit is for."""
    kind, _, name = subject.partition(":")
    return {"group": name} if kind == "group" and len(groups) > 1 else {}


async def _check_known(context: ToolContext, user: str) -> None:
    """Refuse a user of whom nothing is known, who may be a spelling mistake. Raises InvalidInput, StoreError."""
    principal = context.principal
    if user == (context.service.default_user if principal is None else principal.subject):
        return
    store = await context.service.ledger()
    if await store.limits(f"user:{user}"):
        return
    if not await store.usage(UsageQuery(0, context.service.clock() + DAY_US, "model", user=user)):
        raise InvalidInput("user", f"nothing is known of {shown(user)}: no usage and no limit of their own.")


async def _report(context: ToolContext, period: str) -> str:
    async def opened() -> ToolContext:
        return context

    report = await run_for(context.principal, usage_report.TOOL, {"period": period}, opened)
    return report.model_dump_json(exclude_none=True)
