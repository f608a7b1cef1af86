"""The log goes away, is full, or refuses, while answers are on their way: each ends once, and no provider is asked twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faststream.redis.subscriber.usecases.basic import CONSUME_ERROR_BACKOFF_SECONDS
from prometheus_client import REGISTRY

from app.embedded.valkey import Valkey
from app.log import Log, LogGone
from app.worker import reader, subscribe
from handlers.rules.rating import Usage
from tests.fakes.road import Says
from tests.worker.working import ask, deliver, facts, providers, request, told, until, working

HELLO = Says(["Hel", "lo"], usage=Usage(10, 2))


@pytest.fixture
async def log(own_server: Valkey) -> AsyncIterator[Log]:
    log = await Log(own_server.url, name="tests").open()
    await log.declare()
    yield log
    await log.close()


def gated(gate: asyncio.Event) -> Says:
    return Says(["Hel", "lo"], usage=Usage(10, 2), hangs=True, gate=gate)


def counted() -> tuple[float, float]:
    """Ends told as completed, and ends refused as another's, as the metrics have them."""
    completed = REGISTRY.get_sample_value("helix_terminal_events_total", {"outcome": "completed"})
    return completed or 0, REGISTRY.get_sample_value("helix_fenced_total") or 0


async def restart(server: Valkey, log: Log, *, away_s: float = 0.0) -> None:
    os.kill(server.pid, signal.SIGKILL)
    server.wait_ended()
    await asyncio.sleep(away_s)
    server.start()
    await until(lambda: log.connected and log.restored_ago_s < 60)


async def test_a_log_that_restarts_in_the_middle_of_an_answer_costs_nobody_a_second_call(
    log: Log, own_server: Valkey
) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world) as worker:
        await ask(log, *range(20))
        await deliver(log, worker)
        await until(lambda: len(world.asked) == 20)

        await restart(own_server, log)
        gate.set()

        assert sorted(await told(log, 20)) == [(request(number), "completed") for number in range(20)]
        await until(lambda: not worker.holding)
        assert (len(world.asked), len(await facts(log))) == (20, 20)


async def test_an_answer_that_ends_while_the_log_is_away_is_told_when_it_is_back(log: Log, own_server: Valkey) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world) as worker:
        await ask(log, 1, stream=False)
        await deliver(log, worker)
        await world.waiting.wait()
        os.kill(own_server.pid, signal.SIGKILL)
        own_server.wait_ended()

        gate.set()
        await asyncio.sleep(0.1)
        own_server.start()
        await until(lambda: log.connected)

        assert await told(log, 1) == [(request(1), "completed")]
        assert len(world.asked) == 1


async def test_an_end_whose_confirmation_was_lost_is_counted_once_and_not_as_anothers(
    log: Log, own_server: Valkey
) -> None:
    class Forgetful(Log):
        """Carries each end out, and loses the first reply."""

        lost = 0

        async def finish(self, *words: Any, **named: Any) -> str | None:
            entry = await super().finish(*words, **named)
            if not self.lost:
                self.lost += 1
                raise LogGone("connection lost", sent=True)
            return entry

    ended, fenced = counted()
    forgetful = await Forgetful(own_server.url, name="forgetful").open()
    world = providers(HELLO)
    async with working(forgetful, world) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await until(lambda: not worker.holding)

    assert (await facts(log), len(world.asked)) == ([(request(1), "completed")], 1)
    assert counted() == (ended + 1, fenced)
    await forgetful.close()


async def test_after_an_outage_longer_than_the_lease_the_living_keep_what_they_hold(
    log: Log, own_server: Valkey
) -> None:
    gate, lease_s = asyncio.Event(), 1.6
    mine, yours = providers(always=gated(gate)), providers(always=HELLO)
    async with working(log, mine, lease_s=lease_s) as worker, working(log, yours, consumer="b", lease_s=lease_s):
        await ask(log, 1)
        await deliver(log, worker)
        await mine.waiting.wait()

        await restart(own_server, log, away_s=lease_s + 0.1)
        await asyncio.sleep(lease_s)
        gate.set()

        assert await told(log, 1) == [(request(1), "completed")]
        assert (len(mine.asked), len(yours.asked)) == (1, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_a_full_log_refuses_is_told_when_there_is_room(log: Log, stream: bool) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world) as worker:
        await ask(log, 1, stream=stream)
        await deliver(log, worker)
        await world.waiting.wait()

        await log.command("CONFIG", "SET", "maxmemory", "1")
        gate.set()
        await asyncio.sleep(0.1)
        assert (await facts(log), worker.holding) == ([], 1)
        await log.command("CONFIG", "SET", "maxmemory", "0")

        assert await told(log, 1) == [(request(1), "completed")]
        assert len(world.asked) == 1


async def test_a_renewal_that_is_refused_is_not_the_last(log: Log) -> None:
    gate, lease_s = asyncio.Event(), 0.4
    world = providers(always=gated(gate))
    async with working(log, world, lease_s=lease_s) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()
        await log.command("ACL", "SETUSER", "default", "-evalsha")
        await asyncio.sleep(lease_s)
        await log.command("ACL", "SETUSER", "default", "+evalsha")

        await asyncio.sleep(2 * lease_s)

        assert (await log.reclaim(0, "b", idle_ms=int(lease_s * 1000), most=10)).entries == []
        gate.set()
        assert await told(log, 1) == [(request(1), "completed")]
        assert len(world.asked) == 1


async def test_the_reader_reads_on_as_soon_as_the_log_is_back(log: Log, own_server: Valkey) -> None:
    world = providers(always=HELLO)
    broker = reader(own_server.url, 10)
    async with working(log, world) as worker:
        subscribe(broker, 0, "a", worker)
        await broker.start()
        await ask(log, 1)
        assert await told(log, 1) == [(request(1), "completed")]

        await restart(own_server, log)
        await ask(log, 2)

        async with asyncio.timeout(CONSUME_ERROR_BACKOFF_SECONDS * 0.8):
            assert await told(log, 2) == [(request(1), "completed"), (request(2), "completed")]
        await broker.stop()
