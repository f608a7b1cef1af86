"""Which offer comes first, and who stands behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.completions import Optimize
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.routing import CANDIDATES_MAX, route
from tests.rules.offers import offer, price

CHEAP = offer("cheap", at=price(100, 400), quality=10)
MIDDLE = offer("middle", at=price(200, 800), quality=50)
DEAR = offer("dear", at=price(900, 900), quality=90)
OWN = offer("own", at=None, quality=50)
SPECIAL = offer("cheap", "special", at=price(1, 1), auto=False)
OTHER = offer("middle", "other", at=price(50, 200), quality=50)

WORLD = Catalogue.of((MIDDLE, DEAR, CHEAP, SPECIAL, OTHER))


@pytest.mark.parametrize(
    ("model", "optimize", "ttft_ms", "providers"),
    [
        ("gpt", "cost", {}, ["cheap/gpt", "middle/gpt", "dear/gpt"]),
        ("gpt", "quality", {}, ["dear/gpt", "middle/gpt", "cheap/gpt"]),
        ("gpt", "speed", {"dear/gpt": 90.0, "middle/gpt": 100.0}, ["dear/gpt", "middle/gpt", "cheap/gpt"]),
        # Nobody has been measured: the cheapest of the equals.
        ("gpt", "speed", {}, ["cheap/gpt", "middle/gpt", "dear/gpt"]),
        # Whoever leaves the choice to us gets the lowest price, and no special model.
        ("auto", None, {}, ["middle/other", "cheap/gpt", "middle/gpt", "dear/gpt"]),
        ("auto", "quality", {}, ["dear/gpt", "middle/other", "middle/gpt", "cheap/gpt"]),
        # Exactly this offer, and no other behind it.
        ("middle/gpt", "cost", {}, ["middle/gpt"]),
        ("special", None, {}, ["cheap/special"]),
        ("nobody/gpt", "cost", {}, []),
        ("unheard-of", None, {}, []),
    ],
)
def test_the_offers_stand_in_the_order_of_the_wish(
    model: str, optimize: Optimize | None, ttft_ms: dict[str, float], providers: list[str]
) -> None:
    plan = route(WORLD, model, optimize=optimize, ttft_ms=ttft_ms)

    assert [one.id for one in plan.candidates] == providers
    assert plan.reason


def test_a_model_without_a_price_is_the_cheapest() -> None:
    plan = route(Catalogue.of((CHEAP, OWN)), "gpt", optimize="cost")

    assert plan.candidates == (OWN, CHEAP)


@pytest.mark.parametrize(
    ("weights", "chance", "order"),
    [
        ((1, 3), 0.0, "ab"),
        ((1, 3), 0.2499, "ab"),
        ((1, 3), 0.25, "ba"),
        ((1, 3), 0.9999, "ba"),
        ((1, 1, 2), 0.0, "abc"),
        ((1, 1, 2), 0.3, "bac"),
        ((1, 1, 2), 0.5, "cab"),
        ((0, 1), 0.0, "ba"),
        ((1, 0), 0.9999, "ab"),
    ],
)
def test_equal_offers_are_chosen_by_their_share_of_the_weights(
    weights: Sequence[int], chance: float, order: str
) -> None:
    offers = [offer(name, weight=weight) for name, weight in zip("abc", weights, strict=False)]

    plan = route(Catalogue.of(offers), "gpt", chance=chance)

    assert "".join(one.provider for one in plan.candidates) == order


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_over_all_chances_each_offer_comes_first_as_often_as_its_weight_says(weights: list[int]) -> None:
    total = sum(weights)
    catalogue = Catalogue.of(offer(str(at), weight=weight) for at, weight in enumerate(weights))

    firsts = Counter(
        route(catalogue, "gpt", chance=(mark + 0.5) / total).candidates[0].provider for mark in range(total)
    )

    assert firsts == Counter({str(at): weight for at, weight in enumerate(weights) if weight})


@given(
    st.lists(st.builds(offer, st.text("abcdefgh", min_size=1, max_size=2), quality=st.integers(0, 100)), max_size=9),
    st.sampled_from([None, "cost", "speed", "quality"]),
    st.floats(0, 1, exclude_max=True),
)
def test_a_plan_holds_each_offer_once_and_no_more_than_a_client_waits_for(
    offers: list[Offer], optimize: Optimize | None, chance: float
) -> None:
    distinct = {one.id: one for one in offers}

    plan = route(Catalogue.of(distinct.values()), "gpt", optimize=optimize, chance=chance)

    ids = [one.id for one in plan.candidates]
    assert len(ids) == len(set(ids)) == min(len(distinct), CANDIDATES_MAX)
    assert set(ids) <= set(distinct)
