"""What an operation may ask: checked before it waits with others, so that a wrong one harms nobody."""

from collections.abc import Sequence

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.limits import MAX_LIMIT, Amounts
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import MAX_TOKENS
from tokenward.storage.base import (
    CloseBudget,
    Extend,
    OpenBudget,
    Operation,
    ReadBudget,
    Record,
    RecordMany,
    Release,
    Reserve,
)
from tokenward.storage.claims import ClaimAlert, ClaimSession

MAX_TTL_US = 366 * DAY_US
"""Longest life of a hold or a budget that a store accepts."""

LATEST_US = 250_000_000_000 * 1_000_000
"""Latest moment that a store accepts, in the year 9892: every zone's calendar knows it."""

_MOST_PERCENT = 1_000_000


def check(operation: Operation) -> None:
    """Raises InvalidInput for numbers out of range and texts that no database keeps."""
    match operation:
        case Record():
            _check_record(operation)
        case RecordMany():
            _check_records(operation.records)
        case Reserve():
            _check_amounts(operation.amounts)
            _check_ttl(operation.ttl_us)
            check_texts(model=operation.model, key=operation.key)
        case OpenBudget():
            _check_ttl(operation.ttl_us)
            check_texts(parent=operation.parent)
        case Extend():
            _check_ttl(operation.ttl_us)
            check_texts(reservation_id=operation.reservation_id)
        case Release():
            check_texts(reservation_id=operation.reservation_id)
        case CloseBudget() | ReadBudget() | ClaimSession():
            check_texts(user=operation.user, session=operation.session)
        case ClaimAlert():
            check_texts(subject=operation.subject, metric=operation.metric, window=operation.window)
            _check_number("window_start_us", operation.window_start_us, LATEST_US)
            _check_number("percent", operation.percent, _MOST_PERCENT)
        case _:
            pass


def _check_records(records: Sequence[Record]) -> None:
    for index, one in enumerate(records):
        try:
            _check_record(one)
        except InvalidInput as error:
            raise InvalidInput(f"records[{index}].{error.field}", error.problem) from None


def _check_record(one: Record) -> None:
    if one.cost_nano is not None:
        _check_number("cost_nano", one.cost_nano, MAX_LIMIT)
    if one.at_us is not None:
        _check_number("at_us", one.at_us, LATEST_US)
    if one.counted_tokens is not None:
        _check_number("counted_tokens", one.counted_tokens, MAX_TOKENS)
    if type(one.estimated) is not bool:
        raise InvalidInput("estimated", f"{shown(one.estimated)} is neither true nor false.")
    texts = f"{one.model}{one.price_source}{one.endpoint}{one.reservation_id}{one.key}{one.event_id}{one.counted_as}"
    if not texts.isprintable():
        check_texts(
            model=one.model,
            price_source=one.price_source,
            endpoint=one.endpoint,
            reservation_id=one.reservation_id,
            key=one.key,
            event_id=one.event_id,
            counted_as=one.counted_as,
        )


def _check_amounts(amounts: Amounts) -> None:
    _check_number("tokens", amounts.tokens, MAX_LIMIT)
    _check_number("requests", amounts.requests, MAX_LIMIT)
    if amounts.cost_nano is not None:
        _check_number("cost_nano", amounts.cost_nano, MAX_LIMIT)


def _check_ttl(ttl_us: int | None) -> None:
    if ttl_us is not None and not (type(ttl_us) is int and 0 < ttl_us <= MAX_TTL_US):
        raise InvalidInput("ttl_us", f"{shown(ttl_us)} is not from 1 to {MAX_TTL_US}.")


def _check_number(name: str, value: int, most: int) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidInput(name, f"{shown(value)} is not an integer from 0 to {most}.")


def check_texts(**texts: str) -> None:
    """Raises InvalidInput for a text that no database keeps."""
    for name, text in texts.items():
        if not text.isprintable() and ("\0" in text or any("\ud800" <= one <= "\udfff" for one in text)):
            raise InvalidInput(name, f"{shown(text)} holds characters that no database keeps (NUL, lone surrogates).")
