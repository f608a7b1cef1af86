"""What workers know of the providers, alone and together over a real cache server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count

import pytest

from app.standing.shared import News, Shared, Told
from app.standing.watch import Watch
from app.up.directory import ROOT
from handlers.rules.catalogue import Offer
from handlers.rules.circuit import COOLING_S, KEY_COOLING_S
from handlers.rules.failure import FailureKind
from handlers.rules.standing import Call
from tests.rules.offers import offer

NOWHERE = "redis://127.0.0.1:1"
OFFER = offer("p")
PROGRAM = "tests.standing.other_worker"


class Later(Shared):
    """The cache server, with its clock put forward."""

    ahead_s = 0.0

    async def exchange(self, news: News, now: float, stretches: int) -> Told:
        told = await super().exchange(news, now, stretches)
        return replace(told, now=told.now + self.ahead_s)

    async def lose_everything(self) -> None:
        await self._redis.flushall()


@dataclass
class Worker:
    """One worker's watch, which turns only when the test says so."""

    watch: Watch
    cache: Later

    async def turn(self, later_s: float = 0.0) -> None:
        self.cache.ahead_s += later_s
        await self.watch.turn()

    def ended(self, call: Call, times: int = 1) -> None:
        for _ in range(times):
            self.watch.ended(call)

    def rests(self, of: Offer = OFFER, key: int = 0) -> bool:
        return self.watch.picture().resting(of, key) is not None


Hire = Callable[[str], Awaitable[Worker]]


@pytest.fixture
async def hire() -> AsyncIterator[Hire]:
    """Workers beside this cache server."""
    async with AsyncExitStack() as stack:

        async def make(url: str) -> Worker:
            cache = Later(url, f"w{next(numbers)}")
            stack.push_async_callback(cache.close)
            worker = Worker(Watch(cache), cache)
            await worker.turn()
            return worker

        numbers = count()
        yield make


def failed(
    kind: FailureKind = "server_error", *, of: Offer = OFFER, key: int = 0, rests_s: float | None = None
) -> Call:
    return Call(of, key, kind, took_s=0.01, rests_s=rests_s)


def said(*, of: Offer = OFFER, ttft_ms: float = 100.0, tokens: int = 10, took_s: float = 0.2) -> Call:
    return Call(of, 0, None, took_s=took_s, ttft_ms=ttft_ms, output_tokens=tokens)


async def test_what_one_worker_has_seen_fail_all_leave_alone(hire: Hire, cache_url: str) -> None:
    one, other = await hire(cache_url), await hire(cache_url)

    one.ended(failed(), 10)
    assert one.rests()  # at once, before anything was sent
    await one.turn()
    await other.turn()

    assert other.rests()


async def test_failures_too_few_for_each_worker_are_enough_for_all(hire: Hire, cache_url: str) -> None:
    one, other = await hire(cache_url), await hire(cache_url)

    one.ended(failed(), 9)
    await one.turn()
    await other.turn()
    assert not other.rests()
    other.ended(failed())

    assert other.rests()


async def test_what_clients_do_wrong_says_nothing_about_a_provider(hire: Hire, cache_url: str) -> None:
    one = await hire(cache_url)

    for kind in ("bad_request", "context_overflow", "content_policy") * 10:
        one.ended(failed(kind))

    assert not one.rests()


async def test_one_worker_at_a_time_probes(hire: Hire, cache_url: str) -> None:
    workers = [await hire(cache_url) for _ in range(3)]
    workers[0].ended(failed(), 10)
    for worker in workers:
        await worker.turn()
    for worker in workers:
        await worker.turn(later_s=COOLING_S)
    for worker in workers:
        await worker.turn()

    (free,) = [worker for worker in workers if not worker.rests()]

    assert free.watch.began(OFFER, 0) == (OFFER.id,)
    assert free.rests()  # the next request is no probe


async def test_two_answers_bring_the_traffic_back_everywhere(hire: Hire, cache_url: str) -> None:
    one, other = await hire(cache_url), await hire(cache_url)
    one.ended(failed(), 10)
    await one.turn()
    await other.turn()
    assert other.rests()

    one.ended(said(took_s=0.0))
    one.ended(said(took_s=0.0))
    await one.turn()
    await other.turn()

    assert not one.rests()
    assert not other.rests()


async def test_a_refused_key_rests_while_the_other_serves(hire: Hire, cache_url: str) -> None:
    one, other = await hire(cache_url), await hire(cache_url)

    one.ended(failed("auth", key=1))
    await one.turn()
    await other.turn()

    for worker in (one, other):
        assert worker.rests(key=1)
        assert worker.rests(offer("p", "another model"), key=1)
        assert not worker.rests(key=0)
        circuit = worker.watch.picture().circuits["p#1"]
        assert circuit.until - circuit.since == KEY_COOLING_S


async def test_a_limit_that_the_provider_told_of_rests_one_key_for_one_model(hire: Hire, cache_url: str) -> None:
    one = await hire(cache_url)

    one.ended(failed("rate_limited", rests_s=30.0))

    assert one.rests()
    assert not one.rests(key=1)
    assert not one.rests(offer("p", "another model"))


async def test_speeds_are_measured_by_all_and_the_newest_count_most(hire: Hire, cache_url: str) -> None:
    one, other = await hire(cache_url), await hire(cache_url)

    one.ended(said(ttft_ms=100, tokens=10, took_s=0.2))
    one.ended(said(ttft_ms=300, tokens=30, took_s=0.6))
    await one.turn()
    await other.turn()

    speed = other.watch.picture().speeds[OFFER.id]
    assert (round(speed.ttft_ms), round(speed.ms_a_token)) == (200, 10)


async def test_a_worker_without_the_cache_goes_by_what_it_has_seen(hire: Hire) -> None:
    alone = await hire(NOWHERE)

    alone.ended(failed(), 5)
    await alone.turn()
    alone.ended(failed(), 5)
    alone.ended(said(of=offer("q")))
    await alone.turn()
    assert alone.rests()
    assert alone.watch.picture().speeds["q/gpt"].ttft_ms == pytest.approx(100)

    assert alone.watch.began(OFFER, 0) == ()


async def test_a_cache_that_forgot_everything_is_only_a_lack_of_news(hire: Hire, cache_url: str) -> None:
    one = await hire(cache_url)
    one.ended(failed(), 10)
    await one.turn()
    await one.cache.lose_everything()

    await one.turn()

    assert not one.rests()


async def test_two_processes_know_the_same(hire: Hire, cache_url: str) -> None:
    """Another process sees ten failures; this one leaves the provider alone, probes it, and the other hears of it."""
    here = await hire(cache_url)
    there = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PROGRAM,
        cache_url,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ,
    )
    assert there.stdin is not None and there.stdout is not None

    async def tell(word: str) -> str:
        assert there.stdin is not None and there.stdout is not None
        there.stdin.write(f"{word}\n".encode())
        return (await there.stdout.readline()).decode().strip()

    assert await tell("fail") == "rests"
    await here.turn()
    assert here.rests()
    here.ended(said(took_s=0.0))
    here.ended(said(took_s=0.0))
    await here.turn()
    assert await tell("look") == "serves"
    there.stdin.close()
    assert await there.wait() == 0
