"""What past requests would have cost elsewhere, and what could be saved: given, and then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.rules.catalogue import Catalogue, Offer, Rates, Step
from handlers.rules.optimizing import confidence, monthly, spending, switches
from handlers.rules.rating import Usage
from handlers.rules.simulation import Elsewhere, Line, Simulation, Used, by_wish, on_model
from handlers.rules.standing import Speed
from tests.rules.offers import offer, price


def model(name: str, dollars: int, *, quality: int = 50, window: int | None = None, **changed: object) -> Offer:
    made = offer("p", name, at=price(dollars * 10**9, dollars * 10**9), quality=quality)
    return replace(made, context_window=window, **changed)  # type: ignore[arg-type]  # each test spells its own


CHEAP, GOOD, SMALL = model("cheap", 1), model("good", 5, quality=80), model("small", 2, window=1_000)
EMBED = model("embed", 1, kind="embedding", auto=False)
WORLD = Catalogue.of((CHEAP, GOOD, SMALL, EMBED))


def used(
    name: str = "good", *, requests: int = 1, tokens: int = 2_000, cost: int = 10_000_000, **changed: object
) -> Used:
    half = tokens * requests // 2
    made = Used("p", name, "chat", requests, Usage(half, half), tokens, cost)
    return replace(made, **changed)  # type: ignore[arg-type]  # each test spells its own


def simulated(elsewhere: Elsewhere, *all_: Used) -> list[Line]:
    simulation = Simulation(elsewhere)
    for one in all_:
        simulation.add(one)
    return simulation.lines()


def test_requests_cost_what_their_tokens_cost_on_the_other_model() -> None:
    [line] = simulated(on_model([CHEAP]), used(), used(requests=3, cost=30_000_000))

    assert (line.provider, line.model, line.requests) == ("p", "good", 4)
    assert (line.cost_nanousd, line.then_nanousd) == (40_000_000, 8_000_000)
    assert line.chosen == {"p/cheap": 4}


def test_where_several_offer_the_model_each_request_goes_to_the_cheapest() -> None:
    """One is cheap for long questions only."""
    long = replace(price(9 * 10**9, 9 * 10**9), steps=(Step("standard", 10_000, Rates(1, 1, 1, 1)),))

    [line] = simulated(on_model([CHEAP, offer("q", at=long)]), used(), used(tokens=40_000))

    assert line.chosen == {"p/cheap": 1, "q/gpt": 1}


@pytest.mark.parametrize(
    ("offers", "one", "why"),
    [
        ([SMALL], used(tokens=1_001), "longer than its context window"),
        ([EMBED], used(), "a chat request"),
        ([CHEAP], used("embed", kind="embedding"), "an embedding request"),
    ],
)
def test_what_could_not_have_gone_there_is_in_no_sum_and_says_why(offers: list[Offer], one: Used, why: str) -> None:
    [line] = simulated(on_model(offers), one)

    assert (line.requests, line.cost_nanousd, line.then_nanousd) == (0, 0, 0)
    assert line.left_out == {why: 1}


def test_the_operator_s_own_model_costs_nothing() -> None:
    [line] = simulated(on_model([replace(CHEAP, price=None)]), used())

    assert (line.cost_nanousd, line.then_nanousd) == (10_000_000, 0)


@pytest.mark.parametrize(
    ("wish", "speeds", "chosen"),
    [
        ("cost", {}, "p/cheap"),
        ("quality", {}, "p/good"),
        ("speed", {"p/cheap": Speed(900, 1), "p/good": Speed(100, 1)}, "p/good"),
        ("speed", {"p/cheap": Speed(100, 20), "p/good": Speed(500, 1)}, "p/good"),
    ],
)
def test_by_a_wish_a_request_goes_where_the_router_would_send_it(
    wish: str, speeds: dict[str, Speed], chosen: str
) -> None:
    [line] = simulated(by_wish(WORLD, wish, speeds), used())  # type: ignore[arg-type]  # the words of Optimize

    assert line.chosen == {chosen: 1}


def test_by_a_wish_what_is_too_long_for_the_best_goes_to_the_next() -> None:
    best = replace(GOOD, context_window=1_000)

    lines = simulated(by_wish(Catalogue.of((CHEAP, best)), "quality", {}), used(), used(tokens=500))

    assert lines[0].chosen == {"p/cheap": 1, "p/good": 1}


@pytest.mark.parametrize(
    ("wish", "one", "why"),
    [
        ("speed", used(), "no measured model fits"),
        ("cost", used("embed", kind="embedding"), "an embedding request: the router does not choose for these"),
    ],
)
def test_by_a_wish_what_nobody_can_be_chosen_for_is_left_out(wish: str, one: Used, why: str) -> None:
    [line] = simulated(by_wish(WORLD, wish, {}), one)  # type: ignore[arg-type]  # the words of Optimize

    assert line.left_out == {why: 1}


def test_lines_come_the_dearest_first() -> None:
    lines = simulated(on_model([CHEAP]), used("small", cost=1), used("good", cost=9), used("cheap", cost=5))

    assert [line.model for line in lines] == ["good", "cheap", "small"]


# What could be saved.


def test_spending_is_told_by_model_and_carried_on_to_a_month() -> None:
    found = spending([used(cost=6), used(requests=2, cost=4), used("cheap", cost=1)], days=10)

    assert [(one.model, one.requests, one.cost_nanousd, one.monthly_nanousd) for one in found] == [
        ("good", 3, 10, 30),
        ("cheap", 1, 1, 3),
    ]


def test_a_month_is_not_foretold_from_an_hour() -> None:
    assert monthly(100, days=0.01) == 30 * 100


ALIKE = model("alike", 2, quality=76)


@pytest.mark.parametrize(
    ("others", "to"),
    [
        ([ALIKE], "p/alike"),
        ([ALIKE, model("cheaper", 1, quality=75)], "p/cheaper"),
        ([model("dearer", 9, quality=99)], None),
        ([model("worse", 1, quality=74)], None),
        ([replace(ALIKE, auto=False)], None),
        ([replace(ALIKE, context_window=1_999)], None),
        ([replace(ALIKE, kind="embedding")], None),
        ([replace(ALIKE, simulated=True)], None),
    ],
)
def test_another_model_is_named_where_it_costs_less_fits_and_ranks_about_as_high(
    others: list[Offer], to: str | None
) -> None:
    found = switches([used()], Catalogue.of((GOOD, *others)), days=30)

    assert [one.to.id for one in found] == ([to] if to else [])


def test_a_model_that_can_do_less_is_never_named() -> None:
    with_tools = replace(GOOD, capabilities=frozenset({"tools"}))
    more = replace(ALIKE, capabilities=frozenset({"tools", "images"}))

    assert switches([used()], Catalogue.of((with_tools, ALIKE)), days=30) == []
    assert len(switches([used()], Catalogue.of((with_tools, more)), days=30)) == 1


def test_a_saving_is_the_difference_over_all_its_requests() -> None:
    [found] = switches([used(requests=100, cost=1_000_000_000), used(cost=10_000_000)], Catalogue.of((GOOD, ALIKE)), 15)

    assert (found.requests, found.cost_nanousd, found.then_nanousd) == (101, 1_010_000_000, 404_000_000)
    assert found.monthly_saving_nanousd == 2 * (1_010_000_000 - 404_000_000)
    assert found.confidence == "medium"


def test_of_a_model_that_is_offered_no_more_nothing_is_said() -> None:
    assert switches([used("gone")], WORLD, days=30) == []


@pytest.mark.parametrize(
    ("requests", "days", "word"),
    [(0, 30, "low"), (29, 30, "low"), (30, 1, "medium"), (299, 30, "medium"), (300, 6.9, "medium"), (300, 7, "high")],
)
def test_few_requests_are_called_few(requests: int, days: float, word: str) -> None:
    assert confidence(requests, days) == word
