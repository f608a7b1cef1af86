"""Earlier questions on a real cache: bounded, sealed, forgettable."""

from __future__ import annotations

import os
import signal

import pytest

from app.answers import AnswerCache, NearbyQuestions, keys
from app.embedded.valkey import Valkey
from app.log.connection import Connection
from handlers.rules.likeness import NEIGHBOURS_MAX, Neighbour
from tests.answers.conftest import box_of, place
from tests.log.conftest import own_server

__all__ = ["own_server"]

GROUP = place("group")


def neighbour(number: int) -> Neighbour:
    return Neighbour(f"{number:064x}", bytes([number]) * 8)


@pytest.fixture
def nearby(cache: AnswerCache) -> NearbyQuestions:
    return NearbyQuestions(cache, "embedder")


async def test_what_was_noted_is_found_the_newest_first_and_no_more_than_the_bound(nearby: NearbyQuestions) -> None:
    box = box_of()
    for number in range(NEIGHBOURS_MAX + 6):
        nearby.note(GROUP, neighbour(number), box, ttl_s=60)

    found = await nearby.neighbours(GROUP, box)

    assert len(found) == NEIGHBOURS_MAX
    assert found[0] == neighbour(NEIGHBOURS_MAX + 5)
    assert await nearby.neighbours(place("another group"), box) == []


async def test_the_longest_kept_decides_how_long_and_nothing_can_be_read(
    nearby: NearbyQuestions, cache_url: str
) -> None:
    box = box_of()
    for ttl_s in (60, 3600, 60):
        nearby.note(GROUP, Neighbour("c" * 64, b"canary"), box, ttl_s=ttl_s)
    server = await Connection(cache_url, name="tests").open()
    left = await server("PTTL", keys.neighbours(GROUP))
    held = await server("LRANGE", keys.neighbours(GROUP), 0, -1)
    await server.close()

    assert 3_000_000 < left <= 3_600_000
    assert not any(b"canary" in each for each in held)


async def test_what_does_not_open_is_passed_by(nearby: NearbyQuestions, cache_url: str) -> None:
    box = box_of()
    nearby.note(GROUP, neighbour(1), box, ttl_s=60)
    nearby.note(GROUP, neighbour(2), box_of(), ttl_s=60)
    server = await Connection(cache_url, name="tests").open()
    await server("LPUSH", keys.neighbours(GROUP), "nonsense")

    assert await nearby.neighbours(GROUP, box) == [neighbour(1)]

    await server("SET", keys.neighbours(GROUP), "nonsense")
    assert await nearby.neighbours(GROUP, box) == []
    nearby.note(GROUP, neighbour(3), box, ttl_s=60)
    assert await nearby.neighbours(GROUP, box) == [neighbour(3)]
    await server.close()


async def test_with_the_cache_gone_nobody_is_near(own_server: Valkey) -> None:
    cache = await AnswerCache(own_server.url, name="one").open()
    nearby, box = NearbyQuestions(cache, "embedder"), box_of()
    nearby.note(GROUP, neighbour(1), box, ttl_s=60)
    assert await nearby.neighbours(GROUP, box) == [neighbour(1)]

    os.kill(own_server.pid, signal.SIGKILL)
    own_server.wait_ended()

    assert await nearby.neighbours(GROUP, box) == []
    nearby.note(GROUP, neighbour(2), box, ttl_s=60)
    await cache.close()
