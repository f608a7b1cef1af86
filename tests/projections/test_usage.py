"""What a usage row says of its cost, and how an adjustment corrects it: exactly once, by a row of its own."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from events.completions import CompletionFinished, Metered
from events.message import Envelope
from tests.projections import NOON, MemoryLog, adjusted, finished, rows, running, until


def ended(**changed: object) -> Envelope:
    said = finished(at=NOON)
    body = CompletionFinished.model_validate(said.body.model_dump() | changed)
    return said.model_copy(update={"body": body})


async def remembered(database: AsyncEngine, *said: Envelope) -> None:
    log = MemoryLog()
    log.add(*said)
    async with running(database, log):
        await until(database, log)


async def test_a_row_names_its_price_and_all_that_it_was_reckoned_from(database: AsyncEngine) -> None:
    metered = Metered(cache_write_1h_tokens=2, searches=1, service="flex")
    await remembered(
        database,
        ended(cache_write_tokens=3, price_version="price_abc", metered=metered, question_digest="same"),
    )

    [row] = await rows(
        database,
        "SELECT cached, cached_input_tokens, cache_write_tokens, metered::text, price_version, price_as_of, saved_usd,"
        " question_digest FROM usage",
    )
    assert row[:3] == (False, 4, 3)
    assert Metered.model_validate_json(str(row[3])) == metered
    assert row[4:] == ("price_abc", "2026-11-01", 0, "same")


async def test_an_answer_from_the_cache_costs_nothing_and_says_what_it_saved(database: AsyncEngine) -> None:
    await remembered(database, ended(cached=True, cost_nanousd=0, saved_nanousd=1_234_567))

    assert await rows(database, "SELECT cached, cost_usd, saved_usd FROM usage") == [(True, 0, Decimal("0.001234567"))]


async def test_an_adjustment_that_is_published_twice_counts_once(database: AsyncEngine) -> None:
    used = finished(cost_nanousd=1_500_000)
    once = adjusted(used, cost_nanousd=1_000_000)

    await remembered(database, used, once, once)

    assert await rows(database, "SELECT amount_usd, cost_usd FROM usage_adjustments") == [
        (Decimal("-0.000500000"), Decimal("0.001000000"))
    ]


async def test_of_two_adjustments_of_one_entry_the_first_on_the_log_counts(database: AsyncEngine) -> None:
    used = finished(cost_nanousd=1_500_000)
    first = adjusted(used, cost_nanousd=1_000_000)
    second = adjusted(used, cost_nanousd=9_000_000)

    await remembered(database, used, first, second)

    assert await rows(database, "SELECT event_id::text FROM usage_adjustments") == [(first.id,)]


async def test_a_price_that_comes_back_is_another_entry_and_the_sum_is_what_the_newest_says(
    database: AsyncEngine,
) -> None:
    used = finished(cost_nanousd=1_500_000)
    there = adjusted(used, cost_nanousd=1_000_000, price_version="price_new")
    back = adjusted(used, follows=there, cost_nanousd=1_500_000, price_version="price_old")
    again = adjusted(used, follows=back, cost_nanousd=1_000_000, price_version="price_new")

    await remembered(database, used, there, back, again)

    sums = "SELECT count(*), sum(amount_usd) FROM usage_adjustments"
    assert await rows(database, sums) == [(3, Decimal("-0.000500000"))]
    assert await rows(database, "SELECT cost_usd FROM usage") == [(Decimal("0.001500000"),)]
