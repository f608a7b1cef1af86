"""The bounded cache forgets in time and in order; the single flight goes once for all."""

from __future__ import annotations

import asyncio

from app.bounded_cache import BoundedCache
from app.single_flight import SingleFlight
from tests.accounts.records import HandClock


def test_a_value_ends_when_its_time_is_over() -> None:
    clock = HandClock()
    cache: BoundedCache[str, int] = BoundedCache(10, clock=clock)
    cache.put("a", 1, keep_s=60)

    clock.seconds += 59.9
    assert cache.get("a") == 1
    clock.seconds += 0.1
    assert cache.get("a") is None
    assert len(cache) == 0


def test_the_least_recently_used_goes_first() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, keep_s=60)
    cache.put("b", 2, keep_s=60)
    cache.get("a")
    cache.put("c", 3, keep_s=60)

    assert [cache.get(key) for key in "abc"] == [1, None, 3]


async def test_one_journey_serves_all_who_ask_meanwhile() -> None:
    journeys = 0

    async def journey(key: str) -> str:
        nonlocal journeys
        journeys += 1
        await asyncio.sleep(0)
        return key.upper()

    flight: SingleFlight[str, str] = SingleFlight()

    assert await asyncio.gather(*(flight.fetch("a", journey) for _ in range(100))) == ["A"] * 100
    assert journeys == 1


async def test_who_stops_waiting_does_not_end_the_journey_for_the_others() -> None:
    home = asyncio.Event()

    async def journey(key: str) -> str:
        await home.wait()
        return key

    flight: SingleFlight[str, str] = SingleFlight()
    impatient = asyncio.create_task(flight.fetch("a", journey))
    patient = asyncio.create_task(flight.fetch("a", journey))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    home.set()

    assert await patient == "a"


async def test_a_failed_journey_fails_for_all_and_the_next_goes_again() -> None:
    failing = True

    async def journey(key: str) -> str:
        if failing:
            raise ValueError("no road")
        return key

    flight: SingleFlight[str, str] = SingleFlight()
    ends = await asyncio.gather(*(flight.fetch("a", journey) for _ in range(3)), return_exceptions=True)
    failing = False

    assert [type(end) for end in ends] == [ValueError] * 3
    assert await flight.fetch("a", journey) == "a"
