"""Which offer comes first, who stands behind it, and who is passed over: given a world and a wish, then this plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.completions import Optimize, Policy
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.circuit import Circuit, refused, rested
from handlers.rules.needs import Needs
from handlers.rules.routing import CANDIDATES_MAX, Plan, Tried, Wanted, route
from handlers.rules.standing import Picture, Speed
from tests.rules.offers import offer, price

USD = 1_000_000_000
CHEAP = offer("cheap", at=price(1 * USD, 4 * USD), quality=10)
MIDDLE = offer("middle", at=price(2 * USD, 8 * USD), quality=50)
DEAR = offer("dear", at=price(9 * USD, 9 * USD), quality=90)
OWN = offer("own", at=None, quality=50)
SPECIAL = offer("cheap", "special", at=price(1, 1), auto=False)
OTHER = offer("middle", "other", at=price(USD // 2, 2 * USD), quality=50)

WORLD = Catalogue.of((MIDDLE, DEAR, CHEAP, SPECIAL, OTHER))
NOW = 1000.0


def names(plan: Plan) -> list[str]:
    return [target.offer.id for target in plan.candidates]


def passed_over(plan: Plan) -> dict[str, str]:
    return {one.offer: one.why for one in plan.passed_over}


def plan(world: Catalogue, model: str = "gpt", picture: Picture | None = None, **wish: object) -> Plan:
    chance = wish.pop("chance", 0.0)
    wanted = Wanted(model, **wish)  # type: ignore[arg-type]  # a test's own words
    return route(world, wanted, picture or Picture(now=NOW), chance=float(str(chance)))


def fast(ms: Mapping[str, float]) -> Picture:
    return Picture(speeds={name: Speed(ttft, 0.0) for name, ttft in ms.items()}, now=NOW)


# The wish.


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
    chosen = plan(WORLD, model, fast(ttft_ms), optimize=optimize)

    assert names(chosen) == providers
    assert chosen.reason


@pytest.mark.parametrize(
    ("needs", "first"),
    [
        (Needs(input_tokens=100_000, output_tokens=10), "cheap/gpt"),
        (Needs(input_tokens=10, output_tokens=400), "dear/gpt"),
    ],
)
def test_the_lowest_price_is_that_of_this_very_question(needs: Needs, first: str) -> None:
    reads_cheaply = replace(CHEAP, price=price(USD, 100 * USD))

    assert names(plan(Catalogue.of((reads_cheaply, DEAR)), needs=needs, optimize="cost"))[0] == first


def test_a_model_without_a_price_is_the_cheapest() -> None:
    assert names(plan(Catalogue.of((CHEAP, OWN)), optimize="cost")) == ["own/gpt", "cheap/gpt"]


def test_speed_counts_the_whole_answer_and_not_its_first_word_alone() -> None:
    quick_start = Speed(ttft_ms=50, ms_a_token=100)
    quick_end = Speed(ttft_ms=500, ms_a_token=10)
    known = Picture(speeds={"cheap/gpt": quick_start, "dear/gpt": quick_end})

    assert names(plan(WORLD, picture=known, optimize="speed"))[0] == "dear/gpt"
    assert names(plan(WORLD, picture=known, optimize="speed", needs=Needs(output_tokens=3)))[0] == "cheap/gpt"


def test_a_few_in_a_hundred_are_asked_of_somebody_whose_speed_nobody_knows() -> None:
    known = fast({"dear/gpt": 90.0, "middle/gpt": 100.0})

    firsts = Counter(
        names(plan(WORLD, picture=known, optimize="speed", chance=(mark + 0.5) / 1000))[0] for mark in range(1000)
    )

    assert firsts == {"dear/gpt": 970, "cheap/gpt": 30}


def test_once_all_are_measured_the_others_are_looked_at_again_now_and_then() -> None:
    known = fast({"dear/gpt": 90.0, "middle/gpt": 100.0, "cheap/gpt": 500.0})

    firsts = Counter(
        names(plan(WORLD, picture=known, optimize="speed", chance=(mark + 0.5) / 1000))[0] for mark in range(1000)
    )

    assert firsts == {"dear/gpt": 970, "middle/gpt": 15, "cheap/gpt": 15}


# Weights.


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

    chosen = plan(Catalogue.of(offers), chance=chance)

    assert "".join(target.offer.provider for target in chosen.candidates) == order


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_over_all_chances_each_offer_comes_first_as_often_as_its_weight_says(weights: list[int]) -> None:
    total = sum(weights)
    catalogue = Catalogue.of(offer(str(at), weight=weight) for at, weight in enumerate(weights))

    firsts = Counter(names(plan(catalogue, chance=(mark + 0.5) / total))[0] for mark in range(total))

    assert firsts == Counter({f"{at}/gpt": weight for at, weight in enumerate(weights) if weight})


def test_one_that_is_much_slower_than_its_equals_gets_hardly_any_traffic() -> None:
    equals = Catalogue.of(offer(name) for name in "abc")
    known = fast({"a/gpt": 2000.0, "b/gpt": 100.0, "c/gpt": 120.0})

    firsts = Counter(names(plan(equals, picture=known, chance=(mark + 0.5) / 1000))[0] for mark in range(1000))

    assert firsts["a/gpt"] == 30
    assert abs(firsts["b/gpt"] - firsts["c/gpt"]) < 10
    assert names(plan(equals, picture=known))[-1] == "a/gpt"


def test_a_little_slower_is_no_reason() -> None:
    equals = Catalogue.of(offer(name) for name in "ab")

    assert names(plan(equals, picture=fast({"a/gpt": 240.0, "b/gpt": 100.0})))[0] == "a/gpt"


# What may not be asked, and what cannot serve.


@pytest.mark.parametrize(
    ("wish", "providers", "told"),
    [
        ({"policy": Policy(only=("dear", "middle"))}, ["middle/gpt", "dear/gpt"], {"cheap/gpt"}),
        ({"policy": Policy(never=("cheap",))}, ["middle/gpt", "dear/gpt"], {"cheap/gpt"}),
        ({"wire": "embeddings"}, [], {"middle/gpt", "dear/gpt", "cheap/gpt"}),
    ],
)
def test_who_may_not_be_asked_is_passed_over(wish: dict[str, object], providers: list[str], told: set[str]) -> None:
    chosen = plan(WORLD, "gpt", None, optimize="cost", **wish)

    assert names(chosen) == providers
    assert set(passed_over(chosen)) == told


def test_a_policy_that_leaves_nobody_is_a_refusal_and_not_an_unknown_model() -> None:
    assert plan(WORLD, policy=Policy(never=("cheap", "dear", "middle"))).nobody == "not_allowed"
    assert plan(WORLD, "unheard-of").nobody == "not_found"


def test_an_offer_is_for_its_tier_and_those_above() -> None:
    world = Catalogue.of((replace(CHEAP, tier="team"), DEAR))

    assert names(plan(world, tier="pro", optimize="cost")) == ["dear/gpt"]
    assert names(plan(world, tier="team", optimize="cost")) == ["cheap/gpt", "dear/gpt"]


@pytest.mark.parametrize(
    ("needs", "first", "why"),
    [
        (Needs(capabilities=frozenset({"tools"})), "able", "not known to have tools"),
        (Needs(input_tokens=9_000), "able", "about 9000 tokens do not fit into 8000"),
        (Needs(output_tokens=5_000), "able", "writes at most 4000 tokens"),
        (Needs(wire="responses"), "able", "does not speak responses, whose own tools are asked for"),
        (Needs(input_tokens=7_000), "small", None),
    ],
)
def test_who_cannot_serve_the_question_is_passed_over(needs: Needs, first: str, why: str | None) -> None:
    small = replace(offer("small", at=price(USD, USD), context_window=8_000), output_tokens_max=4_000)
    able = offer("able", at=price(9 * USD, 9 * USD), context_window=100_000, capabilities=("tools", "responses"))

    chosen = plan(Catalogue.of((small, able)), needs=needs, optimize="cost")

    assert names(chosen)[0] == f"{first}/gpt"
    assert passed_over(chosen).get("small/gpt") == why


def test_when_nobody_is_known_to_serve_the_question_the_providers_are_the_judges() -> None:
    asked = plan(WORLD, needs=Needs(capabilities=frozenset({"images"})), optimize="cost")

    assert names(asked) == ["cheap/gpt", "middle/gpt", "dear/gpt"]
    assert passed_over(asked) == {}


# Chains.


def test_a_name_of_a_chain_that_cannot_serve_the_question_gives_way_to_one_that_can() -> None:
    world = Catalogue.of((offer("a", "plain"), offer("b", "able", capabilities=("tools",))))
    chain = Policy(chain=("plain", "able"))

    assert names(plan(world, "plain", policy=chain, needs=Needs(capabilities=frozenset({"tools"})))) == ["b/able"]
    assert names(plan(world, "plain", policy=chain)) == ["a/plain", "b/able"]


def test_a_chain_is_tried_name_by_name_and_every_name_is_reached() -> None:
    chosen = plan(WORLD, "gpt", policy=Policy(chain=("gpt", "special")), optimize="cost")

    assert names(chosen) == ["cheap/gpt", "middle/gpt", "cheap/special"]
    assert "gpt → special" in chosen.reason


def test_an_offer_that_two_names_of_a_chain_stand_for_is_asked_once() -> None:
    chosen = plan(WORLD, "gpt", policy=Policy(chain=("cheap/gpt", "gpt")), optimize="cost")

    assert names(chosen) == ["cheap/gpt", "middle/gpt", "dear/gpt"]


def test_after_a_refused_question_only_later_names_of_the_chain_are_left() -> None:
    wanted = Wanted("gpt", optimize="cost", policy=Policy(chain=("gpt", "other")))

    left = route(WORLD, wanted, tried=Tried(offers=frozenset({"cheap/gpt"}), behind=0))

    assert names(left) == ["middle/other"]


def test_after_an_overflow_only_larger_windows_are_left() -> None:
    world = Catalogue.of(offer(name, context_window=window) for name, window in (("a", 8), ("b", 8), ("c", 9)))

    left = route(world, Wanted("gpt"), tried=Tried(offers=frozenset({"a/gpt"}), larger_than=8))

    assert names(left) == ["c/gpt"]


# Health.

DOWN = Circuit(True, since=NOW - 1, until=NOW + 3, why="server_error")
HANGS = replace(DOWN, why="timeout")


def standing(**circuits: Circuit) -> Picture:
    return Picture({name.replace("__", "/"): circuit for name, circuit in circuits.items()}, now=NOW)


def test_who_rests_is_passed_over_and_it_is_said_why() -> None:
    chosen = plan(WORLD, picture=standing(cheap__gpt=DOWN), optimize="cost")

    assert names(chosen) == ["middle/gpt", "dear/gpt"]
    assert passed_over(chosen) == {"cheap/gpt": "cooling down after server_error, 3.0 s left"}


def test_whose_time_is_up_is_asked_by_the_worker_that_has_the_turn_to_probe() -> None:
    due = replace(DOWN, until=NOW - 1)

    others = plan(WORLD, picture=standing(cheap__gpt=due), optimize="cost")
    ours = plan(WORLD, picture=replace(standing(cheap__gpt=due), probes=("cheap/gpt",)), optimize="cost")

    assert (names(others)[0], names(ours)[0]) == ("middle/gpt", "cheap/gpt")


def test_when_all_rest_the_best_of_those_that_fail_quickly_is_asked_all_the_same() -> None:
    chosen = plan(WORLD, picture=standing(cheap__gpt=HANGS, middle__gpt=DOWN, dear__gpt=DOWN), optimize="cost")

    assert names(chosen) == ["middle/gpt"]


def test_when_all_hang_the_client_is_told_when_to_come_again() -> None:
    chosen = plan(WORLD, "special", picture=standing(cheap__special=HANGS))

    assert (names(chosen), chosen.nobody, chosen.free_in_s) == ([], "cooling_down", 3.0)
    assert not chosen.worth_waiting


@pytest.mark.parametrize(("rests_s", "worth_waiting"), [(2.0, True), (60.0, False)])
def test_a_limit_is_waited_for_when_it_is_short(rests_s: float, worth_waiting: bool) -> None:
    limited = Picture({"cheap/special#0": rested(None, rests_s, "rate_limited", NOW)}, now=NOW)

    chosen = plan(WORLD, "special", picture=limited)

    assert (names(chosen), chosen.nobody, chosen.free_in_s) == ([], "rate_limited", rests_s)
    assert chosen.worth_waiting is worth_waiting


# Keys.

TWO_KEYS = offer("p", keys=(1, 3))


def test_keys_share_the_traffic_by_weight() -> None:
    drawn = Counter(
        plan(Catalogue.of((TWO_KEYS,)), chance=(mark + 0.5) / 1000).candidates[0].key for mark in range(1000)
    )

    assert abs(drawn[1] - 750) < 10
    assert abs(drawn[0] - 250) < 10


@pytest.mark.parametrize("circuit", ["p#1", "p/gpt#1"])
def test_a_key_that_was_refused_or_is_at_its_limit_rests_while_the_other_serves(circuit: str) -> None:
    rest = refused(None, "auth", NOW)

    for mark in range(10):
        chosen = plan(Catalogue.of((TWO_KEYS,)), picture=Picture({circuit: rest}, now=NOW), chance=mark / 10)
        assert [target.key for target in chosen.candidates] == [0]


def test_a_key_that_failed_in_this_request_is_not_asked_again_by_it() -> None:
    tried = Tried(keys_of_offers=frozenset({("p/gpt", 0)}))

    assert [target.key for target in route(Catalogue.of((TWO_KEYS,)), Wanted("gpt"), tried=tried).candidates] == [1]


# Whatever the world is like.


@given(
    st.lists(st.builds(offer, st.text("abcdefgh", min_size=1, max_size=2), quality=st.integers(0, 100)), max_size=9),
    st.sampled_from([None, "cost", "speed", "quality"]),
    st.floats(0, 1, exclude_max=True),
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2).map(lambda name: f"{name}/gpt"), st.floats(1, 9999)),
)
def test_a_plan_holds_each_offer_once_and_no_more_than_a_client_waits_for(
    offers: list[Offer], optimize: Optimize | None, chance: float, ttft_ms: dict[str, float]
) -> None:
    distinct = {one.id: one for one in offers}

    chosen = plan(Catalogue.of(distinct.values()), picture=fast(ttft_ms), optimize=optimize, chance=chance)

    ids = names(chosen)
    assert len(ids) == len(set(ids)) == min(len(distinct), CANDIDATES_MAX)
    assert set(ids) <= set(distinct)
