"""Amounts in other currencies: exact in US dollars, rounded half up elsewhere, and refused without a rate."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.currency import USD, Currencies, Currency
from tokenward.engine.errors import InvalidInput
from tokenward.engine.money import MAX_NANO, usd

EURO = Currency("EUR", Decimal("0.92"), "2026-11-20", "ECB")
YEN = Currency("JPY", Decimal("155.2"))


def test_dollars_are_shown_as_they_are_kept() -> None:
    assert USD.is_usd
    assert USD.text(4_125_000) == usd(4_125_000) == "0.004125"
    assert USD.price("2.50") == "2.50"
    assert USD.note == ""


@pytest.mark.parametrize(
    ("currency", "nano", "text"),
    [
        (EURO, 4_125_000, "0.003795"),
        (EURO, 1_000_000_000, "0.92"),
        (EURO, 0, "0.00"),
        (EURO, 1, "0.000000001"),
        (YEN, 1_000_000_000, "155.20"),
        (YEN, 1, "0.000000155"),
        (EURO, -1_000_000_000, "-0.92"),
        (Currency("KWD", Decimal("0.5")), 1, "0.000000001"),  # a half is rounded up
        (Currency("KWD", Decimal("0.5")), -1, "-0.000000001"),
        (Currency("KWD", Decimal("0.499")), 1, "0.00"),
    ],
)
def test_amounts_are_converted_and_rounded_half_up(currency: Currency, nano: int, text: str) -> None:
    assert currency.text(nano) == text


def test_prices_are_converted_as_amounts_are() -> None:
    assert EURO.price("2.50") == "2.30"
    assert EURO.price("0.075") == "0.069"
    assert YEN.price("10.00") == "1552.00"


def test_the_rate_and_its_day_are_said() -> None:
    assert EURO.note == "1 USD = 0.92 EUR, as of 2026-11-20 (ECB)"
    assert YEN.note == "1 USD = 155.20 JPY, of an unstated day"


RATES = st.decimals("0.000001", "1000000", allow_nan=False, allow_infinity=False, places=6)


@given(st.integers(-MAX_NANO, MAX_NANO), RATES)
def test_a_converted_amount_is_within_half_a_billionth_of_the_exact_one(nano: int, rate: Decimal) -> None:
    shown = Fraction(Currency("XXX", rate).text(nano))
    assert abs(shown - Fraction(nano, 10**9) * Fraction(rate)) <= Fraction(1, 2 * 10**9)


@pytest.mark.parametrize("code", ["eur", "EURO", "E", "", "€", "12A", "\uff25UR"])
def test_what_is_no_currency_code_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput, match=r"^currency: .*three capital letters"):
        Currency(code, Decimal(1))


@pytest.mark.parametrize("rate", ["0", "-1", "NaN", "Infinity"])
def test_a_rate_is_more_than_nothing(rate: str) -> None:
    with pytest.raises(InvalidInput, match=r"^exchange_rates.EUR: .*more than 0"):
        Currency("EUR", Decimal(rate))


def test_a_rate_is_no_binary_float() -> None:
    with pytest.raises(InvalidInput, match=r"^exchange_rates.EUR: "):
        Currency("EUR", 0.92)  # type: ignore[arg-type]


def test_the_dollar_has_no_other_rate() -> None:
    with pytest.raises(InvalidInput, match="one US dollar is 1"):
        Currency("USD", Decimal(2))


def test_a_day_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^exchange_rates.EUR.date: '20.11.2026' is no day"):
        Currency("EUR", Decimal(1), "20.11.2026")


def test_currencies_are_found_in_any_case_and_the_default_without_a_name() -> None:
    currencies = Currencies([EURO, YEN], "JPY")
    assert currencies.find("eur") is EURO
    assert currencies.find("USD") is USD
    assert currencies.find() is currencies.default is YEN
    assert Currencies().default is USD


def test_a_currency_without_a_rate_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^currency: no rate is set for 'GBP'.* one of: EUR, USD"):
        Currencies([EURO]).find("GBP")
    with pytest.raises(InvalidInput, match=r"^currency: no rate is set for 'GBP'"):
        Currencies([EURO], "GBP")


def test_one_currency_has_one_rate() -> None:
    with pytest.raises(InvalidInput, match="gives EUR a second time"):
        Currencies([EURO, EURO])
