"""What a completion costs, to the nano-dollar."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.completions import Metered
from handlers.rules.catalogue import Price, Rates, SearchFee, Step
from handlers.rules.rating import Usage, content, fee_of, price_version, rate

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


SEARCHED = SearchFee(5_000_000, 8_000_000, 12_000_000, every_request=False)
ALWAYS = SearchFee(5_000_000, 8_000_000, 12_000_000, every_request=True)

WHOLE = Price(
    1_000_000,
    4_000_000,
    100_000,
    1_250_000,
    2_000_000,
    audio_input=16_000_000,
    image_input=3_000_000,
    audio_output=64_000_000,
    reasoning=3_000_000,
    citation=2_000_000,
    as_of="2026-03-01",
    source="test",
    steps=(
        Step("flex", 0, Rates(500_000, 2_000_000, 50_000, 625_000)),
        Step("flex", 200_000, Rates(1_000_000, 3_000_000, 100_000, 1_250_000)),
        Step("standard", 200_000, Rates(2_000_000, 6_000_000, 200_000, 2_500_000)),
        Step("standard", 500_000, Rates(3_000_000, 6_000_000, 300_000, 3_750_000)),
    ),
    search=SEARCHED,
    marks=(("fast", 2000), ("us", 1100)),
)
"""A nano-dollar a token and simple multiples of it."""


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # A question of exactly the size is below the step; one token more, and every token costs the step's price.
        (Usage(200_000, 1), 200_000 + 4),
        (Usage(200_001, 1), 2 * 200_001 + 6),
        (Usage(500_001, 0), 3 * 500_001),
        # Cached tokens count for the size.
        (Usage(300_000, 0, 299_000), 2 * 1_000 + 299_000 // 5),
        # Of 100 tokens written to the cache 40 stay for an hour.
        (Usage(100, 0, 0, 100, metered=Metered(cache_write_1h_tokens=40)), 60 * 5 // 4 + 40 * 2),
        # A provider that says more of them than were written at all.
        (Usage(100, 0, 0, 10, metered=Metered(cache_write_1h_tokens=40)), 90 + 10 * 2),
        # Above the step an hour costs what the step says of cache writes, where it says nothing of an hour.
        (Usage(300_000, 0, 0, 300_000, metered=Metered(cache_write_1h_tokens=300_000)), 300_000 * 5 // 2),
        # Sound and pictures are parts of the input, sound is part of the output.
        (Usage(100, 50, metered=Metered(audio_input_tokens=30, image_input_tokens=20)), 50 + 480 + 60 + 200),
        (Usage(100, 50, metered=Metered(audio_output_tokens=10)), 100 + 160 + 640),
        # Reasoning and citations are counted apart.
        (Usage(10, 10, metered=Metered(reasoning_tokens=100, citation_tokens=100)), 10 + 40 + 300 + 200),
        # Another service, above a step too; one that the price does not know is the standard one.
        (Usage(1_000, 1_000, metered=Metered(service="flex")), 500 + 2_000),
        (Usage(200_002, 0, metered=Metered(service="flex")), 200_002),
        (Usage(1_000, 1_000, metered=Metered(service="unheard-of")), 1_000 + 4_000),
        # Marks multiply tokens, one upon the other, and no fee.
        (Usage(1_000, 0, metered=Metered(marks=("us",))), 1_100),
        (Usage(1_000, 0, metered=Metered(marks=("us", "fast"), searches=1)), 2_200 + 5_000_000),
        (Usage(1_000, 0, metered=Metered(marks=("mars",))), 1_000),
        # Searches by their size.
        (Usage(0, 0, metered=Metered(searches=3)), 15_000_000),
        (Usage(0, 0, metered=Metered(searches=2, search_size="high")), 24_000_000),
        (Usage(0, 0), 0),
    ],
)
def test_whatever_a_provider_charges_for_is_charged_once(usage: Usage, cost: int) -> None:
    assert rate(usage, WHOLE) == cost


def test_a_model_that_always_searches_charges_each_request_for_one_search_whatever_it_says() -> None:
    at = Price(0, 0, 0, 0, as_of="2026-03-01", source="test", search=ALWAYS, request=7)

    assert rate(Usage(10, 10), at) == 5_000_007
    assert rate(Usage(10, 10, metered=Metered(searches=9, search_size="medium")), at) == 8_000_007


def test_many_requests_together_cost_what_they_cost_one_by_one() -> None:
    one = Usage(250_000, 1_000, metered=Metered(searches=2))
    three = Usage(750_000, 3_000, metered=Metered(searches=6))

    assert rate(three, WHOLE, requests=3) == 3 * rate(one, WHOLE)


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


def test_a_price_is_named_by_what_it_charges_and_for_whom() -> None:
    same = Price(1, 2, 3, 4, as_of="2026-01-01", source="a sheet")
    seen_again = Price(1, 2, 3, 4, as_of="2026-02-01", source="another sheet")
    changed = Price(1, 2, 3, 4, 5, as_of="2026-01-01", source="a sheet")

    assert price_version("openai", "gpt", same) == price_version("openai", "gpt", seen_again)
    names = [price_version("openai", "gpt", same), price_version("openai", "gpt", changed)]
    names += [price_version("openai", "gpt-x", same), price_version("xai", "gpt", same), price_version("a", "b", WHOLE)]
    assert len(set(names)) == len(names)


def test_the_name_of_a_price_is_for_ever() -> None:
    """Events of years ago name prices so: what this test says must never change."""
    flat = Price(1, 2, 3, 4, as_of="", source="")

    assert content(flat) == ('{"cache_write":4,"cached_input":3,"citation":0,"input":1,"output":2,"request":0}')
    assert price_version("openai", "gpt", flat) == "price_6de04bfccbaf202a15a0"
    assert price_version("openai", "gpt", WHOLE) == "price_07ccb3673dd7ae076527"


def test_a_fee_is_what_each_request_costs_beside_its_tokens() -> None:
    always = Price(1, 1, 1, 1, as_of="", source="", search=ALWAYS, request=7)

    assert fee_of(always) == rate(Usage(0, 0), always) == 5_000_007
    assert fee_of(WHOLE) == rate(Usage(0, 0), WHOLE) == 0
