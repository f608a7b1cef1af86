"""What a completion costs, to the nano-dollar."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.rules.catalogue import Price
from handlers.rules.rating import Usage, rate

TOKENS = st.integers(0, 2**40)
PRICES = st.integers(0, 10**12)


def price(input: int = 0, output: int = 0, cached_input: int = 0, cache_write: int = 0) -> Price:
    return Price(input, output, cached_input, cache_write, as_of="2026-03-01", source="test")


any_price = st.builds(price, PRICES, PRICES, PRICES, PRICES)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    cached, written, fresh = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    return Usage(cached + written + fresh, draw(TOKENS), cached, written)


@pytest.mark.parametrize(
    ("usage", "at", "cost"),
    [
        # 1000 in at $3 and 500 out at $15 a million: 3,000,000 + 7,500,000 nano-dollars.
        (Usage(1000, 500), price(3_000_000_000, 15_000_000_000), 10_500_000),
        # 900 of them from the cache at a tenth, 50 written to it at 1.25.
        (Usage(1000, 0, 900, 50), price(3_000_000_000, 0, 300_000_000, 3_750_000_000), 150_000 + 270_000 + 187_500),
        (Usage(0, 0), price(3_000_000_000, 15_000_000_000), 0),
        (Usage(10**6, 10**6), price(), 0),
        (Usage(1, 0), price(499_999), 0),
        (Usage(1, 0), price(500_000), 1),
        (Usage(1, 0), price(1_499_999), 1),
        (Usage(1, 0), price(1_500_000), 2),
        # Two halves are one whole: rounded at the total, not each part for itself.
        (Usage(1, 1), price(500_000, 500_000), 1),
        (Usage(1, 1), price(400_000, 400_000), 1),
        # A provider that counts more tokens as cached than as read: never a negative remainder.
        (Usage(10, 0, 20), price(1_000_000, 0, 1_000_000), 20),
    ],
)
def test_tokens_cost_what_the_price_sheet_says_rounded_half_up_once(usage: Usage, at: Price, cost: int) -> None:
    assert rate(usage, at) == cost


@given(usages(), any_price)
def test_a_cost_is_an_integer_within_half_a_nano_dollar_of_the_exact_sum(usage: Usage, at: Price) -> None:
    fresh = usage.input - usage.cached - usage.cache_write
    exact = Fraction(
        fresh * at.input
        + usage.cached * at.cached_input
        + usage.cache_write * at.cache_write
        + usage.output * at.output,
        10**6,
    )

    cost = rate(usage, at)

    assert type(cost) is int
    assert Fraction(-1, 2) < cost - exact <= Fraction(1, 2)


@given(usages(), any_price, TOKENS, TOKENS)
def test_more_tokens_never_cost_less(usage: Usage, at: Price, more_input: int, more_output: int) -> None:
    more = Usage(usage.input + more_input, usage.output + more_output, usage.cached, usage.cache_write)

    assert rate(more, at) >= rate(usage, at)


@given(usages(), PRICES, st.integers(0, 100))
def test_what_the_cache_gave_never_costs_more_than_what_was_read(usage: Usage, input: int, share: int) -> None:
    at = price(input, 0, cached_input=input * share // 100)
    without = Usage(usage.input - usage.cache_write, 0)
    cached = Usage(usage.input - usage.cache_write, 0, usage.cached)

    assert rate(cached, at) <= rate(without, at)
