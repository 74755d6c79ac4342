"""Nano-dollars to text and back, exactly: the only places where money changes its form.

Inside, money is an integer number of nano-dollars (10⁻⁹ USD). At the edges it is a decimal string. Binary floats are
never involved.
"""

import re
from decimal import Decimal

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import NANO_PER_USD

MAX_NANO = 2**63 - 1
"""Largest amount that the ledger's 64-bit columns hold, about 9.2 billion USD."""

NANO_PER_TOKEN = NANO_PER_USD // 1_000_000
"""Nano-dollars per token, of a price of one dollar per million tokens."""

NANO_PER_REQUEST = NANO_PER_USD // 1_000
"""Nano-dollars per request, of a price of one dollar per thousand requests."""

_AMOUNT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?", re.ASCII)


def usd(nano: int) -> str:
    """Nano-dollars as a decimal string in USD, exact, without exponent, with at least two decimals.

    Args:
        nano: An amount; ``4_125_000`` gives ``"0.004125"``, ``0`` gives ``"0.00"``.
    """
    whole, fraction = divmod(abs(nano), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{decimals}"


def nano(usd: str) -> int:
    """A decimal string in USD as nano-dollars, exact: the inverse of :func:`usd`.

    Raises:
        InvalidInput: Anything but digits with at most nine decimals, or more than ``MAX_NANO``.
    """
    match = _AMOUNT.fullmatch(usd)
    amount = int(match[1]) * NANO_PER_USD + int((match[2] or "").ljust(9, "0")) if match else MAX_NANO + 1
    if amount > MAX_NANO:
        raise InvalidInput(
            "usd",
            f"{shown(usd)} is not an amount in USD; give digits with at most nine decimals, such as '12.50', "
            f"up to {_LARGEST}.",
        )
    return amount


_LARGEST = usd(MAX_NANO)


def decimal_text(amount: Decimal) -> str:
    """A non-negative decimal without exponent or needless zeros, with at least two decimals (``"0.30"``)."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
