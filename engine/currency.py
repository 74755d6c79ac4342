"""Amounts in another currency than US dollars, by rates that the owner sets.

Inside, money is whole nano-dollars and stays so: limits, events and comparisons never see another currency. Only what
is shown is converted, at the door, and says its rate and the rate's day. Nothing is downloaded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.money import decimal_text, usd
from tokenward.engine.types import NANO_PER_USD

DECIMALS = 9
"""Decimals that a converted amount is rounded to, half up: as many as a nano-dollar has."""

_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
_UNITS = 10**DECIMALS
_DOLLAR = "USD"


def _check_rate(code: str, rate: object) -> None:
    """Callers without a type checker give binary floats."""
    if not isinstance(rate, Decimal) or not rate.is_finite() or rate <= 0:
        raise InvalidInput(f"exchange_rates.{code}", "give units per US dollar, more than 0: '0.92'.")


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and what one US dollar is in it.

    Attributes:
        code: Three capital letters (ISO 4217).
        rate: Units of it for one US dollar, more than 0.
        date: The day of the rate (ISO 8601), or empty where nobody said.
        source: Where the rate is from, in the owner's words, or empty.

    Raises:
        InvalidInput: A code, rate or day that cannot be.
    """

    code: str = _DOLLAR
    rate: Decimal = Decimal(1)
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise InvalidInput("currency", f"{shown(self.code)} is no currency code; give three capital letters: EUR.")
        _check_rate(self.code, self.rate)
        if self.code == _DOLLAR and self.rate != 1:
            raise InvalidInput("exchange_rates.USD", "one US dollar is 1; amounts are kept in US dollars.")
        if self.date:
            _checked_day(self.date, self.code)

    @property
    def is_usd(self) -> bool:
        """Amounts are shown as they are kept."""
        return self.code == _DOLLAR

    def text(self, nano: int) -> str:
        """Nano-dollars as a decimal string in this currency: exact in USD, else rounded half up to nine decimals.

        Args:
            nano: An amount, possibly negative; ``4_125_000`` at a rate of 0.92 is ``"0.003795"``.
        """
        return usd(nano) if self.is_usd else usd(self.units(nano))

    def units(self, nano: int) -> int:
        """Nano-dollars in billionths of this currency, rounded half up (away from 0)."""
        converted = abs(nano) * Fraction(self.rate) * _UNITS / NANO_PER_USD
        rounded = int(converted + Fraction(1, 2))
        return rounded if nano >= 0 else -rounded

    def price(self, amount: str) -> str:
        """A price in USD, a decimal string, in this currency: rounded half up to nine decimals, unchanged in USD."""
        if self.is_usd:
            return amount
        billionths = int(Fraction(amount) * Fraction(self.rate) * _UNITS + Fraction(1, 2))
        return usd(billionths)

    def label(self, amount: str) -> str:
        """An amount in this currency with its unit: ``$2.50``, ``2.30 EUR``."""
        return f"${amount}" if self.is_usd else f"{amount} {self.code}"

    @property
    def note(self) -> str:
        """The rate in words: ``1 USD = 0.92 EUR, as of 2026-11-20 (ECB)``; empty for US dollars."""
        if self.is_usd:
            return ""
        day = f", as of {self.date}" if self.date else ", of an unstated day"
        return f"1 USD = {decimal_text(self.rate)} {self.code}{day}{f' ({self.source})' if self.source else ''}"


USD = Currency()
"""US dollars: what everything is kept in, and shown in where nothing else is set."""


class Currencies:
    """The currencies that amounts can be shown in: US dollars and those with a rate.

    Args:
        rates: The others. A code given twice is refused.
        default: The code of the one to show where nobody asks for another.

    Raises:
        InvalidInput: A code twice, or a default without a rate.
    """

    def __init__(self, rates: Iterable[Currency] = (), default: str = _DOLLAR) -> None:
        self._known = {_DOLLAR: USD}
        for one in rates:
            if one.code in self._known and not (one.is_usd and one.rate == 1):
                raise InvalidInput("exchange_rates", f"gives {one.code} a second time; keep one of them.")
            self._known[one.code] = one
        self.default = self.find(default)

    def find(self, code: str | None = None) -> Currency:
        """The currency of a code, in any case; the default without one.

        Raises:
            InvalidInput: There is no rate for it.
        """
        if code is None:
            return self.default
        found = self._known.get(code.strip().upper())
        if found is None:
            known = ", ".join(sorted(self._known))
            raise InvalidInput(
                "currency", f"no rate is set for {shown(code)}; set one in exchange_rates, or use one of: {known}."
            )
        return found


def _checked_day(text: str, code: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"exchange_rates.{code}.date", f"{shown(text)} is no day; give it as 2026-11-20.") from None
