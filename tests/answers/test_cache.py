"""The kept answers on a real cache: one leader, answers for its followers alone, and nothing wrong when it goes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from app.answers import AnswerCache, CacheAway, keys
from app.answers.cache import LEADERS_MAX
from app.answers.lead import SEALED_BYTES_MAX
from app.embedded.valkey import Valkey
from app.log.connection import Connection
from handlers.ports import Box, Lead, Place, Recalled
from tests.answers.conftest import ACCOUNT, box_of, place
from tests.log.conftest import own_server

__all__ = ["own_server"]

PATIENCE_S: Final = 20.0


def as_text(content: bytes) -> str:
    if content == b"poison":
        raise ValueError("no good")
    return content.decode()


async def find(
    cache: AnswerCache,
    box: Box,
    at: Place | None = None,
    *,
    age_s: int = 60,
    patience_s: float = PATIENCE_S,
    anew: bool = False,
) -> Recalled[str]:
    return await cache.find(at or place(), box, as_text, age_s_max=age_s, patience_s=patience_s, anew=anew)


async def lead(cache: AnswerCache, box: Box, at: Place | None = None, **more: bool) -> Lead:
    found = await find(cache, box, at, **more)
    assert found.value is None
    assert found.lead is not None
    return found.lead


async def keep(cache: AnswerCache, box: Box, content: bytes = b"42", at: Place | None = None, ttl_s: int = 60) -> None:
    (await lead(cache, box, at)).keep(content, ttl_s=ttl_s)


@asynccontextmanager
async def seen(url: str) -> AsyncIterator[Connection]:
    """Eyes and hands of our own on the cache server."""
    connection = await Connection(url, name="tests").open()
    try:
        yield connection
    finally:
        await connection.close()


async def test_what_one_process_keeps_another_finds(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    await keep(cache, box)

    assert (await find(other, box)).value == "42"
    assert (await find(cache, box)).value == "42"


@pytest.mark.parametrize(
    "elsewhere", [place("d2"), place(account="01900000-0000-7000-8000-000000000002"), place(scope="agent:writer")]
)
async def test_another_place_is_another_answer(cache: AnswerCache, elsewhere: Place) -> None:
    box = box_of()
    await keep(cache, box)

    assert (await find(cache, box, elsewhere)).value is None


async def test_nothing_lies_on_the_server_that_can_be_read(cache: AnswerCache, cache_url: str) -> None:
    await keep(cache, box_of(), b"the canary sings")
    async with seen(cache_url) as server:
        held = [await server("DUMP", key) for key in await server("KEYS", "*")]

    assert len(held) == 3
    assert not any(b"canary" in each for each in held)


async def test_who_asks_for_a_fresher_answer_does_not_get_an_older_one(cache: AnswerCache) -> None:
    box = box_of()
    await keep(cache, box)
    await asyncio.sleep(0.01)

    assert (await find(cache, box, age_s=0)).value is None


async def test_an_answer_ends_by_itself(cache: AnswerCache, cache_url: str) -> None:
    await keep(cache, box_of(), ttl_s=60)
    async with seen(cache_url) as server:
        left = [await server("PTTL", key) for key in await server("KEYS", "*")]

    assert all(each > 0 for each in left)
    assert min(left) <= 60_000


async def test_anew_waits_for_nobody_and_replaces_what_is_kept(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    await keep(cache, box)

    again = await lead(other, box, anew=True)
    assert (await find(cache, box)).value == "42"
    again.keep(b"43", ttl_s=60)

    assert (await find(other, box)).value == "43"


# A burst.


async def test_of_many_at_once_one_leads_and_the_others_get_its_answer(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    leads: list[Lead] = []

    async def ask(way: AnswerCache) -> str:
        found = await find(way, box)
        if found.lead:
            leads.append(found.lead)
            await asyncio.sleep(0.05)
            found.lead.keep(b"42", ttl_s=60)
        return found.value or "led"

    told = await asyncio.gather(*(ask(way) for way in (cache, other) * 50))

    assert len(leads) == 1
    assert sorted(told) == ["42"] * 99 + ["led"]


async def test_a_leader_without_an_answer_lets_the_next_go(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    first = await lead(cache, box)
    waiting = asyncio.create_task(find(other, box))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    first.leave()
    first.keep(b"too late", ttl_s=60)
    found = await waiting

    assert (found.value, found.lead is None) == (None, False)


async def test_a_question_that_fails_for_all_is_not_failed_one_after_the_other(cache: AnswerCache) -> None:
    box = box_of()
    at_once = most = 0

    async def ask() -> None:
        nonlocal at_once, most
        found = await find(cache, box)
        assert found.lead
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.1)
        at_once -= 1
        found.lead.leave()

    await asyncio.gather(*(ask() for _ in range(50)))

    assert most == 50 - LEADERS_MAX


async def test_a_lead_that_is_worked_on_is_kept_and_one_that_died_is_not(
    cache: AnswerCache, other: AnswerCache, cache_url: str
) -> None:
    box = box_of()
    held = await lead(cache, box)
    async with seen(cache_url) as server:
        await server("PEXPIRE", keys.lease(place()), 1700)  # a renewal comes within 1.5 s
        waiting = asyncio.create_task(find(other, box))
        await asyncio.sleep(2)
        assert not waiting.done()

        cache._leads.clear()  # the leader's process dies
        await server("PEXPIRE", keys.lease(place()), 50)

        assert (await waiting).lead is not None
    held.leave()


async def test_who_waits_too_long_asks_for_himself(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    held = await lead(cache, box)

    found = await find(other, box, patience_s=0.05)
    assert found.lead
    found.lead.keep(b"42", ttl_s=60)

    assert (await find(cache, box)).value == "42"
    held.leave()


async def test_who_leaves_while_he_waits_leaves_nothing_behind(cache: AnswerCache, other: AnswerCache) -> None:
    box = box_of()
    held = await lead(cache, box)
    waiting = asyncio.create_task(find(other, box))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    held.keep(b"42", ttl_s=60)
    assert (await find(other, box)).value == "42"


# What is worth nothing.


async def poisoned(server: Connection, key: str) -> None:
    await server("DEL", key)
    await server("LPUSH", key, "nonsense")


@pytest.mark.parametrize("which", [keys.entry, keys.lease])
async def test_what_is_not_of_our_making_is_forgotten(
    cache: AnswerCache, cache_url: str, which: Callable[[Place], str]
) -> None:
    box = box_of()
    async with seen(cache_url) as server:
        await poisoned(server, which(place()))
        await keep(cache, box)

        assert (await find(cache, box)).value == "42"


async def test_a_spoilt_generation_forgets_its_answers(cache: AnswerCache, cache_url: str) -> None:
    box = box_of()
    await keep(cache, box)
    async with seen(cache_url) as server:
        await poisoned(server, keys.account(ACCOUNT))

    assert (await find(cache, box)).value is None


async def test_a_spoilt_seal_is_a_miss_and_the_next_answer_is_kept(cache: AnswerCache, cache_url: str) -> None:
    box = box_of()
    await keep(cache, box)
    async with seen(cache_url) as server:
        await server("HSET", keys.entry(place()), "sealed", "nonsense")
    await keep(cache, box, b"43")

    assert (await find(cache, box)).value == "43"


async def test_what_its_reader_refuses_is_a_miss(cache: AnswerCache) -> None:
    box = box_of()
    await keep(cache, box, b"poison")
    await keep(cache, box, b"43")

    assert (await find(cache, box)).value == "43"


async def test_an_answer_moved_to_another_place_does_not_open(cache: AnswerCache, cache_url: str) -> None:
    box = box_of()
    await keep(cache, box)
    async with seen(cache_url) as server:
        await server("COPY", keys.entry(place()), keys.entry(place("d2")))

    assert (await find(cache, box, place("d2"))).value is None


async def test_with_the_accounts_key_its_answers_are_gone(cache: AnswerCache) -> None:
    await keep(cache, box_of())

    assert (await find(cache, box_of())).value is None


async def test_an_answer_that_is_too_large_is_not_kept(cache: AnswerCache) -> None:
    box = box_of()
    await keep(cache, box, b"x" * SEALED_BYTES_MAX)

    assert (await find(cache, box)).value is None


# Forgetting.


async def test_what_an_account_forgets_is_found_by_nobody_any_more(cache: AnswerCache, other: AnswerCache) -> None:
    mine, another = box_of(), box_of("another")
    elsewhere = place(account="another")
    await keep(cache, mine)
    await keep(cache, another, b"theirs", elsewhere)

    await other.forget(ACCOUNT)

    assert (await find(cache, mine)).value is None
    assert (await find(cache, another, elsewhere)).value == "theirs"


async def test_one_scope_is_forgotten_by_itself(cache: AnswerCache) -> None:
    box, prompt = box_of(), place(scope="prompt:7")
    await keep(cache, box)
    await keep(cache, box, b"by the prompt", prompt)

    await cache.forget(ACCOUNT, "prompt:7")

    assert (await find(cache, box)).value == "42"
    assert (await find(cache, box, prompt)).value is None


async def test_what_is_being_found_when_all_is_forgotten_is_not_kept(cache: AnswerCache) -> None:
    box = box_of()
    held = await lead(cache, box)

    await cache.forget(ACCOUNT)
    held.keep(b"of before", ttl_s=60)

    assert (await find(cache, box)).value is None


async def test_a_generation_that_was_pushed_out_brings_nothing_back(cache: AnswerCache, cache_url: str) -> None:
    box = box_of()
    await keep(cache, box)
    await cache.forget(ACCOUNT)
    async with seen(cache_url) as server:
        await server("DEL", keys.account(ACCOUNT))

    assert (await find(cache, box)).value is None


# The cache away.


async def test_without_a_cache_everyone_asks_for_himself() -> None:
    cache = await AnswerCache(None, name="none").open()

    assert await find(cache, box_of()) == Recalled(None, None)
    await cache.forget(ACCOUNT)
    await cache.close()


async def test_a_cache_that_dies_frees_those_who_wait_and_serves_again_when_it_is_back(own_server: Valkey) -> None:
    cache, other = [await AnswerCache(own_server.url, name=name).open() for name in ("one", "other")]
    box = box_of()
    held = await lead(cache, box)
    waiting = asyncio.create_task(find(other, box))
    await asyncio.sleep(0.05)

    os.kill(own_server.pid, signal.SIGKILL)
    own_server.wait_ended()
    assert await waiting == Recalled(None, None)
    held.keep(b"42", ttl_s=60)
    assert await find(cache, box) == Recalled(None, None)
    with pytest.raises(CacheAway):
        await cache.forget(ACCOUNT)

    own_server.start()
    async with asyncio.timeout(20):
        while (await find(cache, box, place("d2"))).lead is None:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)
    await cache.close()
    await other.close()


async def test_a_cache_that_falls_silent_is_waited_for_no_longer_than_a_provider(own_server: Valkey) -> None:
    cache = await AnswerCache(own_server.url, name="one").open()
    box = box_of()
    await keep(cache, box)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        assert await find(cache, box) == Recalled(None, None)
        assert await cache.peek(place(), box, as_text, age_s_max=60) is None
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
        await cache.close()
