"""What a request may come to: never less than it can cost, as far as a body tells."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handlers.rules.catalogue import Offer, Price, Rates, SearchFee, Step
from handlers.rules.rating import Usage, rate
from handlers.rules.reservation import (
    ATTACHMENT_TOKENS,
    OUTPUT_TOKENS_EXPECTED,
    OUTPUT_TOKENS_UNBOUNDED,
    Size,
    cost_at_most,
    size_of,
    tokens_expected,
)

PRICE = Price(1_000_000_000, 2_000_000_000, 100_000_000, 1_250_000_000, as_of="2026-11-01", source="test")
"""A thousand nano-dollars for a token in, two thousand for one out."""


def offer(price: Price | None = PRICE, **more: Any) -> Offer:
    return Offer("near", "small", "small", "openai", price, **more)


def sized(**body: Any) -> Size:
    return size_of(body, json.dumps(body).encode())


def test_input_is_estimated_from_bytes_and_output_is_what_the_client_allows() -> None:
    size = sized(messages=[{"role": "user", "content": "x" * 3000}], max_tokens=50)
    assert 1000 < size.input_tokens < 1050
    assert cost_at_most(size, [offer()]) == size.input_tokens * 1000 + 50 * 2000


def test_a_picture_counts_as_a_picture_and_not_as_its_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
    size = sized(messages=[{"role": "user", "content": [picture, {"type": "text", "text": "what?"}]}])
    assert ATTACHMENT_TOKENS <= size.input_tokens < ATTACHMENT_TOKENS + 100


def test_without_a_limit_the_model_s_own_bound_counts_and_with_one_the_lower() -> None:
    assert cost_at_most(sized(), [offer(output_tokens_max=100)]) == 1000 + 100 * 2000
    assert cost_at_most(sized(max_tokens=900), [offer(output_tokens_max=100)]) == 7 * 1000 + 100 * 2000
    assert cost_at_most(sized(max_output_tokens=7), [offer()]) == 9 * 1000 + 7 * 2000
    assert cost_at_most(sized(), [offer()]) == 1000 + OUTPUT_TOKENS_UNBOUNDED * 2000


def test_each_choice_counts() -> None:
    one, three = (cost_at_most(sized(n=n, max_tokens=100), [offer()]) for n in (1, 3))
    assert three - one == 2 * 100 * 2000


def test_the_dearest_of_those_who_may_answer_counts_and_who_asks_nothing_does_not() -> None:
    dear = Price(9_000_000_000, 9_000_000_000, 0, 0, as_of="2026-11-01", source="test")
    size = sized(max_tokens=10)
    assert cost_at_most(size, [offer(), offer(dear), offer(None)]) == cost_at_most(size, [offer(dear)])
    assert cost_at_most(size, [offer(None)]) == cost_at_most(size, []) == 0


def test_a_dearer_service_a_mark_a_fee_and_the_prompt_cache_count_where_they_are_asked_for() -> None:
    rich = Price(
        1_000_000_000,
        2_000_000_000,
        100_000_000,
        1_250_000_000,
        as_of="2026-11-01",
        source="test",
        steps=(Step("priority", 0, Rates(3_000_000_000, 6_000_000_000, 0, 0)),),
        search=SearchFee(1, 2, 500_000, every_request=True),
        request=7,
        marks=(("fast", 6_000),),
    )
    plain = cost_at_most(sized(max_tokens=100), [offer(rich)])
    assert plain == 7 * 1000 + 100 * 2000 + 500_007
    assert cost_at_most(sized(max_tokens=100, service_tier="priority"), [offer(rich)]) > 2 * (plain - 500_007)
    assert cost_at_most(sized(max_tokens=100, speed="fast"), [offer(rich)]) > 5 * (plain - 500_007)
    cached = sized(
        max_tokens=100, system=[{"type": "text", "text": "x" * 3000, "cache_control": {"type": "ephemeral"}}]
    )
    assert cost_at_most(cached, [offer(rich)]) == cached.input_tokens * 1250 + 100 * 2000 + 500_007


def test_an_embedding_writes_nothing() -> None:
    assert cost_at_most(sized(input="text"), [offer(kind="embedding", output_tokens_max=100)]) < 20_000


def test_no_more_is_read_than_the_window_holds() -> None:
    size = sized(messages=[{"role": "user", "content": "x" * 300_000}], max_tokens=1)
    assert cost_at_most(size, [offer(context_window=1000)]) == 1000 * 1000 + 2000


@given(used_input=st.integers(0, 2000), used_output=st.integers(0, 500), limit=st.integers(0, 500))
def test_what_stays_within_the_estimate_costs_no_more_than_was_held(
    used_input: int, used_output: int, limit: int
) -> None:
    size = sized(messages=[{"role": "user", "content": "x" * 3 * used_input}], max_tokens=limit)
    held = cost_at_most(size, [offer()])
    assert rate(Usage(used_input, min(used_output, limit)), PRICE) <= held


def test_the_pace_expects_an_ordinary_answer_and_never_more_than_a_minute_holds() -> None:
    assert tokens_expected(sized(), 10_000) == 1 + OUTPUT_TOKENS_EXPECTED
    assert tokens_expected(sized(max_tokens=20), 10_000) == 27
    assert tokens_expected(sized(max_tokens=10**9), 10_000) == 10_000


@given(
    st.dictionaries(
        st.sampled_from(["n", "max_tokens", "service_tier", "speed", "messages", "input"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_no_body_is_too_strange(body: dict[str, object]) -> None:
    assert cost_at_most(size_of(body, b"{}"), [offer()]) >= 0
