"""Every error tokenward raises on purpose, in one tree.

::

    TokenwardError
    ├── InvalidInput              a value the caller can correct: which field, what is accepted
    │   ├── WrongArguments        unknown, missing or given twice; the message names them
    │   ├── UnknownEncoding       an encoding name that does not exist
    │   ├── InvalidMessages       a message list its provider's format does not allow
    │   └── AmbiguousFormat       a message list whose parts are written for different providers
    ├── UnknownPrice              no price is known for a model (never priced at 0)
    ├── PricesRefused             price data that is not taken over
    ├── ConfigurationError        a setting that cannot be used
    ├── Forbidden                 what the caller's token does not allow
    ├── CorruptData               a data file of the package is not what was shipped
    └── StoreError                the ledger
        ├── StoreUnavailable      cannot be reached or written right now
        │   └── StoreOverloaded   has too much waiting already
        ├── SchemaTooNew          written by a newer tokenward
        ├── UnknownBudget         no such budget is open
        └── UnknownReservation    no such hold was ever given

An error takes facts and writes its own message: what happened, with which value, what to do next. Messages never
contain prompt text, secrets or paths of the machine. They are translated once per door: to MCP tool errors in
``server/strict.py`` and to exit codes in ``server/cli.py``.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN_CHARACTERS = 60

_COMPARED_CHARACTERS = 200
"""No name is longer; what is takes long to compare."""


def shown(value: object) -> str:
    """A caller's value, quoted, on one line and cut so that it can stand in a message."""
    # A long text is cut before it is quoted too: that alone would take a moment.
    part = value[: _SHOWN_CHARACTERS + 1] if isinstance(value, str) else value
    text = repr(part).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def nearest(value: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """`` Did you mean 'x'?`` with the closest known name, or an empty string if none is as like it (1 is the same)."""
    if len(value) > _COMPARED_CHARACTERS:
        return ""
    match = get_close_matches(value.lower(), list(known), n=1, cutoff=likeness)
    return f" Did you mean {match[0]!r}?" if match else ""


class TokenwardError(Exception):
    """Root of the tree. ``str(error)`` is safe to show to whoever called."""


class InvalidInput(TokenwardError):  # noqa: N818 - named for what it is, as in the field's libraries
    """A value that the caller can correct.

    Args:
        field: The argument's name as the caller wrote it.
        problem: What is wrong and what is accepted, as one sentence without the field's name.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class WrongArguments(InvalidInput):
    """Arguments that cannot be taken together: unknown, missing, or given twice.

    Args:
        field: One of them.
        message: What is wrong and what to do, in whole sentences.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.args = (message,)


def in_range(field: str, value: int, low: int, high: int) -> None:
    """Refuse a number outside its range. Raises InvalidInput."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(field, f"{shown(value)} is out of range; give an integer from {low} to {high}.")


class UnknownEncoding(InvalidInput):
    """An encoding name that does not exist."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            "model", f"no encoding is called {shown(name)}.{nearest(name, names)} Known: {', '.join(names)}."
        )


class InvalidMessages(InvalidInput):
    """A message list that its provider would refuse.

    Args:
        index: Position of the offending message, or ``None`` when it concerns the whole list.
        problem: What is wrong and what to do, as one sentence.
    """

    def __init__(self, problem: str, index: int | None = None) -> None:
        self.index = index
        super().__init__("messages" if index is None else f"messages[{index}]", problem)


class AmbiguousFormat(InvalidInput):
    """A message list whose parts are written for different providers.

    Args:
        before: The formats that everything so far could be.
        found: The formats that the offending message could be.
        index: Its position; ``None`` for the request's system text.
    """

    def __init__(self, before: Iterable[str], found: Iterable[str], index: int | None) -> None:
        field = "system" if index is None else f"messages[{index}]"
        super().__init__(
            field,
            f"it is written for {' or '.join(found)}, what stands before it for {' or '.join(before)}; "
            "a request has one format.",
        )


class UnknownPrice(TokenwardError):  # noqa: N818
    """No price is known for a model; an unknown price is never taken for 0.

    Args:
        model: The model's name as the caller wrote it.
        reason: Why there is none.
        field: The argument that asks for the price: ``model`` or ``tier``.
    """

    def __init__(self, model: str, reason: str = "", field: str = "model") -> None:
        self.model = model
        self.reason = reason
        self.field = field
        detail = f" ({reason})" if reason else ""
        advice = "Use a model with a known price, or an alias for one."
        super().__init__(f"{field}: no price is known for {shown(model)}{detail}. {advice}")


class PricesRefused(TokenwardError):  # noqa: N818
    """Price data that is not taken over: why, and what to do. What was in force stays in force."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem} The prices stay as they are.")


class ConfigurationError(TokenwardError):
    """A setting that cannot be used: which one, why, and what is accepted."""


class Forbidden(TokenwardError):  # noqa: N818
    """What the caller's token does not allow.

    Args:
        what: What was asked for, as the beginning of a sentence.
        scope: The scope that allows it.
    """

    def __init__(self, what: str, scope: str) -> None:
        self.scope = scope
        super().__init__(f"Forbidden: {what} needs a token with the scope {scope!r}.")


class CorruptData(TokenwardError):  # noqa: N818
    """A data file of the package is not the one that was shipped."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The package's data file {name!r} is damaged (its SHA-256 differs). Reinstall tokenward.")


class StoreError(TokenwardError):
    """The ledger could not do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store cannot be reached or written right now; nothing was acknowledged.

    Args:
        message: What is wrong and what to do.
        lasting: Waiting does not help.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        self.lasting = lasting
        super().__init__(message)


class StoreOverloaded(StoreUnavailable):
    """More operations are waiting than the store accepts; this one was not done."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"The ledger is overloaded: {waiting} operations are waiting. Nothing was done; try again in a moment.",
            lasting=True,
        )


class SchemaTooNew(StoreError):  # noqa: N818
    """The store was written by a newer version of tokenward."""

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"The store has schema version {found}; this tokenward supports up to {supported}. Upgrade tokenward."
        )


class UnknownBudget(StoreError):  # noqa: N818
    """No such budget is open."""

    def __init__(self, session: str) -> None:
        super().__init__(f"session: {shown(session)} has no open budget. Open one first, or leave it out.")


class UnknownReservation(StoreError):  # noqa: N818
    """No hold with this id was ever given, or it was forgotten after its keeping time."""

    def __init__(self, reservation_id: str) -> None:
        super().__init__(
            f"reservation_id: no reservation {shown(reservation_id)} is known. "
            "Use the id that check_quota(reserve=true) returned; usage can be recorded without one."
        )
