"""History is corrected by entries that stand beside it: once, however often it is asked for or broken off."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from app import rerating
from app.database import connected
from app.log import Log, LogGone
from app.price_book import Prices, keep
from app.readers import LogSource
from app.rerating import CannotRerate, Result, Stretch, rerate
from events.completions import CompletionFinished, Metered
from events.message import Envelope
from handlers.rules.catalogue import Price
from projections.adjustments import USAGE_ADJUSTMENTS
from projections.rebuild import Wish, rebuild
from projections.shadow import Stretch as Span
from tests.prices.conftest import Books
from tests.projections import BOB, NOON, finished

TWO = Price(2_000_000_000, 2_000_000_000, 2_000_000_000, 2_000_000_000, as_of="2026-12-01", source="test")
"""Two dollars for a million tokens of whatever kind: 30 tokens, as the tests' events have them, cost 60,000."""
THREE = Price(3_000_000_000, 3_000_000_000, 3_000_000_000, 3_000_000_000, as_of="2026-12-02", source="test")

ALL = Stretch(NOON - timedelta(days=1), NOON + timedelta(days=1))

SUM = "SELECT (SELECT sum(cost_usd) FROM usage) + (SELECT coalesce(sum(amount_usd), 0) FROM usage_adjustments)"


def at(price: Price, model: str = "small") -> Prices:
    return {("local", model): price}


async def run(books: Books, prices: Prices, of: Stretch = ALL, *, dry_run: bool = False) -> Result:
    async def write(some: Prices) -> None:
        async with connected(books.database_url) as connection:
            await keep(connection, some, hold=False)

    result = await rerate(books.log, books.database, prices, of, None if dry_run else write)
    await books.caught_up()
    return result


def nanousd(result: Result) -> tuple[int, int, int]:
    (only,) = result.sums.values()
    return only.adjusted, only.before_nanousd, only.after_nanousd


async def test_each_request_that_costs_something_else_gets_one_entry_that_says_so(books: Books) -> None:
    await books.say(finished(cost_nanousd=50_000), finished(BOB, cost_nanousd=60_000), finished(cost_nanousd=90_000))

    result = await run(books, at(TWO))

    assert nanousd(result) == (2, 200_000, 180_000)
    amounts = await books.rows("SELECT amount_usd, cost_usd, price_as_of FROM usage_adjustments ORDER BY amount_usd")
    assert amounts == [
        (Decimal("-0.000030000"), Decimal("0.000060000"), "2026-12-01"),
        (Decimal("0.000010000"), Decimal("0.000060000"), "2026-12-01"),
    ]
    assert await books.rows("SELECT sum(cost_usd) FROM usage") == [(Decimal("0.000200000"),)]


async def test_run_twice_is_run_once(books: Books) -> None:
    await books.say(*(finished(cost_nanousd=50_000) for _ in range(5)))

    await run(books, at(TWO))
    again = await run(books, at(TWO))

    assert nanousd(again) == (0, 300_000, 300_000)
    assert await books.rows("SELECT count(*) FROM usage_adjustments") == [(5,)]


async def test_a_dry_run_says_what_it_would_come_to_and_changes_nothing(books: Books) -> None:
    await books.say(finished(cost_nanousd=50_000))

    assert nanousd(await run(books, at(TWO), dry_run=True)) == (1, 50_000, 60_000)
    assert await books.rows("SELECT count(*) FROM usage_adjustments") == [(0,)]
    assert await books.rows("SELECT count(*) FROM prices") == [(0,)]


class Dying(Log):
    """Lets so many facts through, then breaks; the one at which it breaks is on the log."""

    left = 0

    async def publish(self, envelope: Envelope) -> str:
        said = await super().publish(envelope)
        self.left -= 1
        if self.left < 0:
            raise LogGone("died in the middle", sent=True)
        return said


async def test_a_run_that_died_in_the_middle_goes_on(books: Books, log_url: str) -> None:
    await books.say(*(finished(cost_nanousd=50_000) for _ in range(10)))
    dying = Dying(log_url, name="dying")
    dying.left = 4
    await dying.open()
    with pytest.raises(LogGone):
        await run(Books(dying, books.database, books.database_url), at(TWO))
    await dying.close()
    await books.caught_up()

    await run(books, at(TWO))

    assert await books.rows("SELECT count(*), sum(cost_usd) FROM usage_adjustments") == [(10, Decimal("0.000600000"))]
    assert await books.rows(SUM) == [(Decimal("0.000600000"),)]


async def test_a_correction_can_be_corrected_and_taken_back(books: Books) -> None:
    await books.say(finished(cost_nanousd=60_000))

    await run(books, at(THREE))
    assert await books.rows(SUM) == [(Decimal("0.000090000"),)]
    await run(books, at(TWO))
    assert await books.rows(SUM) == [(Decimal("0.000060000"),)]
    await run(books, at(THREE))
    assert await books.rows(SUM) == [(Decimal("0.000090000"),)]
    assert await books.rows("SELECT count(*) FROM usage_adjustments") == [(3,)]


async def test_all_that_was_metered_is_rated_anew(books: Books) -> None:
    priced = Price(1_000_000, 0, 1_000_000, 1_000_000, 9_000_000, citation=2_000_000, as_of="2026-12-01", source="test")
    said = finished(cost_nanousd=0)
    metered = Metered(cache_write_1h_tokens=2, citation_tokens=5)
    changed = said.body.model_dump() | {"cache_write_tokens": 6, "metered": metered.model_dump()}
    await books.say(said.model_copy(update={"body": CompletionFinished.model_validate(changed)}))

    assert nanousd(await run(books, at(priced))) == (1, 0, 4 + 4 + 2 * 9 + 5 * 2)


async def test_what_the_response_cache_answered_stays_free(books: Books) -> None:
    said = finished(cost_nanousd=0)
    free = CompletionFinished.model_validate(said.body.model_dump() | {"cached": True, "saved_nanousd": 7})
    await books.say(said.model_copy(update={"body": free}))

    assert (await run(books, at(TWO))).sums == {}


async def test_only_the_stretch_and_the_model_that_are_named_are_touched(books: Books) -> None:
    early, late = finished(at=NOON - timedelta(hours=2), cost_nanousd=1), finished(cost_nanousd=1)
    await books.say(early, late, finished(model="large", cost_nanousd=1))
    both = {**at(TWO), **at(TWO, "large")}

    result = await run(books, both, Stretch(NOON - timedelta(hours=1), NOON + timedelta(hours=1), model="small"))

    assert nanousd(result) == (1, 1, 60_000)
    assert await books.rows("SELECT usage_event_id::text FROM usage_adjustments") == [(late.id,)]


async def test_a_model_without_a_price_stays_as_it_is_and_is_named(books: Books) -> None:
    await books.say(finished(model="odd", cost_nanousd=5))

    result = await run(books, at(TWO))

    assert (result.sums, result.unpriced) == ({}, {("local", "odd"): 1})


async def test_the_price_that_an_entry_names_is_in_the_list(books: Books) -> None:
    await books.say(finished(cost_nanousd=50_000))
    await run(books, at(TWO))

    named = await books.rows(
        "SELECT prices.model, input_usd_per_million FROM prices JOIN usage_adjustments ON price_version = version"
    )
    assert named == [("small", 2)]


async def test_a_replay_gives_the_same_entries(books: Books) -> None:
    await books.say(*(finished(cost_nanousd=50_000) for _ in range(5)))
    await run(books, at(TWO))
    await run(books, at(THREE))

    result = await rebuild(
        books.database, LogSource(books.log), USAGE_ADJUSTMENTS, 1, Wish(Span(), compare=True, swap=True)
    )

    assert result.differences is not None and all(one.none for one in result.differences)
    assert await books.rows(SUM) == [(Decimal("0.000450000"),)]


async def test_without_a_projector_that_has_read_the_log_nothing_is_adjusted(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerating, "CAUGHT_UP_S", 0.3)
    await books.say(finished(cost_nanousd=50_000))
    async with books.database.begin() as connection:
        await connection.exec_driver_sql("SELECT 1 FROM checkpoints FOR UPDATE")  # the projector stands still
        await books.log.publish(finished())
        with pytest.raises(CannotRerate, match="behind the log"):
            await rerate(books.log, books.database, at(TWO), ALL, None)
