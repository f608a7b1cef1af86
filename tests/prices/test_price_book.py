"""The list of prices: a row a price, for ever, under the name that everybody makes for himself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.database import connected
from app.doctor.surroundings import check_prices
from app.price_book import Prices, entries, entry, keep, newest_prices, prices_in
from app.providers.catalogue import known_prices, load_catalogue
from handlers.rules.catalogue import Price
from handlers.rules.rating import price_version
from tests.providers.test_catalogue import settings
from tests.providers.test_prices import ALL_KEYS


def at(usd: int, as_of: str = "2026-11-01") -> Prices:
    nano = usd * 10**9
    return {("near", "small"): Price(nano, nano, nano, nano, as_of=as_of, source="a sheet")}


async def test_what_was_kept_is_kept_once_and_seen_again(database_url: str) -> None:
    async with connected(database_url) as connection:
        assert await keep(connection, at(1)) == 1
        [before] = await entries(connection)
        assert await keep(connection, at(1, as_of="2026-12-01")) == 0
        [after] = await entries(connection)

    assert after.seen_at and before.seen_at and after.seen_at > before.seen_at
    assert (after.version, after.valid_from, after.as_of) == (before.version, before.valid_from, "2026-11-01")


async def test_a_changed_price_is_a_new_row_and_the_old_one_stays(database_url: str) -> None:
    async with connected(database_url) as connection:
        await keep(connection, at(1))
        await keep(connection, at(2))
        all_ = await entries(connection, model="small", former=True)
        [newest] = await entries(connection)

    assert [one.input_usd_per_million for one in all_] == [1, 2]
    assert newest.version == all_[1].version == price_version("near", "small", at(2)["near", "small"])


async def test_a_price_that_comes_back_is_the_newest_again(database_url: str) -> None:
    async with connected(database_url) as connection:
        for usd in (1, 2, 1):
            await keep(connection, at(usd))
        [newest] = await entries(connection)

    assert newest.input_usd_per_million == 1


async def test_a_price_that_requests_are_only_rated_anew_with_is_kept_and_is_not_today_s(database_url: str) -> None:
    async with connected(database_url) as connection:
        await keep(connection, at(1))
        await keep(connection, at(2), hold=False)
        await keep(connection, at(1), hold=False)
        [newest] = await entries(connection)
        former = await entries(connection, former=True)

    assert newest.input_usd_per_million == 1
    assert [one.seen_at is None for one in former] == [False, True]


async def test_processes_that_write_the_list_at_once_do_not_disturb_each_other(database_url: str) -> None:
    prices = prices_in(load_catalogue(settings(**ALL_KEYS)))

    async def write(backwards: bool) -> int:
        async with connected(database_url) as connection:
            return await keep(connection, dict(sorted(prices.items(), reverse=backwards)))

    new = await asyncio.gather(*(write(number % 2 == 0) for number in range(4)))

    assert sum(new) == len(prices) > 100


async def test_a_row_gives_back_the_price_it_was_made_of(database_url: str) -> None:
    prices = known_prices(settings())
    async with connected(database_url) as connection:
        await keep(connection, prices)
        found = await newest_prices(connection)
        one = await entry(connection, price_version("openai", "gpt-4o", prices["openai", "gpt-4o"]))

    assert found == prices
    assert one is not None and (one.provider, one.model) == ("openai", "gpt-4o")


@pytest.mark.parametrize("place", [("openai", "gpt-4-turbo"), ("anthropic", "claude-haiku-5-5")])
def test_prices_are_known_of_retired_models_and_without_any_key(place: tuple[str, str]) -> None:
    assert place in known_prices(settings())


def test_the_doctor_names_what_is_wrong_with_the_prices(tmp_path: Path) -> None:
    wrong = tmp_path / "prices.toml"
    wrong.write_text("[[model]]\n")

    assert check_prices(settings(**ALL_KEYS)).verdict == "good"
    assert check_prices(settings(helix_prices=wrong, openai_api_key="k")).verdict == "bad"
