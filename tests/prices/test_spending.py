"""Sums over what was spent, adjustments included, and questions that were asked again."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.completions import CompletionFinished, Metered
from events.message import Envelope
from projections.spending import repeats, shapes, spent
from tests.prices.conftest import Books
from tests.projections import ALICE, BOB, NOON, adjusted, finished

SINCE, UNTIL = NOON - timedelta(days=7), NOON + timedelta(days=7)


def ended(at: datetime = NOON, **changed: object) -> Envelope:
    said = finished(at=at)
    return said.model_copy(update={"body": CompletionFinished.model_validate(said.body.model_dump() | changed)})


async def test_spending_is_added_up_by_group_with_its_adjustments(books: Books) -> None:
    one, other = finished(cost_nanousd=100), finished(at=NOON + timedelta(days=1), model="large", cost_nanousd=50)
    first = adjusted(one, cost_nanousd=80)
    await books.say(one, other, finished(BOB, cost_nanousd=7), first, adjusted(one, follows=first, cost_nanousd=70))
    await books.say(ended(cached=True, cost_nanousd=0, saved_nanousd=33))

    async with books.database.connect() as connection:
        by_model = await spent(connection, ALICE, since=SINCE, until=UNTIL, group_by="model")
        by_day = await spent(connection, ALICE, since=SINCE, until=UNTIL, group_by="day")
        none = await spent(connection, ALICE, since=SINCE, until=NOON, group_by="key")

    assert [(one.group, one.requests, one.cost_nanousd, one.adjusted_nanousd) for one in by_model] == [
        ("local/large", 1, 50, 0),
        ("local/small", 2, 70, -30),
    ]
    assert [(one.cached_requests, one.saved_nanousd) for one in by_model] == [(0, 0), (1, 33)]
    assert [(one.group, one.cost_nanousd) for one in by_day] == [("2026-11-30", 70), ("2026-12-01", 50)]
    assert none == []


async def test_requests_of_one_size_and_service_are_one_shape(books: Books) -> None:
    def asked(tokens: int, **metered: object) -> Envelope:
        more = Metered.model_validate(metered).model_dump() if metered else None
        return ended(input_tokens=tokens, cost_nanousd=10, metered=more)

    await books.say(asked(10), asked(1_000), asked(1_001), asked(5, service="flex", marks=["us"], searches=2))
    await books.say(ended(cached=True), ended(endpoint="/v1/embeddings"))

    async with books.database.connect() as connection:
        found = await shapes(connection, ALICE, since=SINCE, until=UNTIL, sizes=(1_001,))

    summed = {(one.embedding, one.input_tokens): one for one in found}
    assert set(summed) == {(False, 1_010), (False, 1_001), (False, 5), (True, 10)}
    assert (summed[False, 1_010].requests, summed[False, 1_010].cost_nanousd) == (2, 20)
    assert summed[False, 1_010].largest_tokens == 1_020
    assert summed[False, 5].metered == Metered(service="flex", marks=("us",), searches=2)


async def test_a_question_asked_again_soon_enough_is_a_repeat(books: Books) -> None:
    def asked(minutes: int, **changed: object) -> Envelope:
        given = {"question_digest": "a", "cost_nanousd": 10}
        return ended(NOON + timedelta(minutes=minutes), **{**given, **changed})

    await books.say(
        asked(0),
        asked(30),  # a repeat
        asked(91),  # too late
        asked(92, question_digest="b"),
        asked(93, question_digest=None),
        asked(94, cached=True, cost_nanousd=0),  # paid for by nobody
        asked(95),  # a repeat of the one at 91
    )

    async with books.database.connect() as connection:
        found = await repeats(connection, ALICE, since=SINCE, until=UNTIL, within_s=3600)

    assert (found.compared, found.repeated, found.cost_nanousd) == (5, 2, 20)
