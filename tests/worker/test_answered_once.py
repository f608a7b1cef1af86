"""Equal questions at once, over two workers: one call to a provider, and everyone has his answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.answers import AnswerCache
from app.jobs import Worker
from app.log import Log, keys
from app.log.values import Limits, Repeat
from events.catalog import read
from events.completions import CompletionEnded, CompletionFinished
from events.message import sealed_bytes
from handlers.ports import ProviderFailed
from handlers.rules.rating import Usage
from tests.fakes.road import PlainVault, Says, ScriptedProviders, command, ports
from tests.worker.working import deliver, providers, request, told, until

PATIENCE_S = 30.0
"""A cache that answers late on a busy machine is not away."""


def account(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012x}"


@asynccontextmanager
async def remembering(log: Log, world: ScriptedProviders, consumer: str, cache_url: str) -> AsyncIterator[Worker]:
    """A worker with a way of its own to the kept answers."""
    answers = await AnswerCache(cache_url, name=consumer, reply_s_max=PATIENCE_S).open()
    vault = PlainVault()
    worker = Worker(
        log,
        ports(world, vault=vault, answers=answers),
        vault.cached,
        consumer=consumer,
        concurrency=1000,
        lease_s=1000.0,
    )
    await worker.start()
    try:
        yield worker
    finally:
        await worker.drain(within_s=0)
        await answers.close()


async def ask(log: Log, number: int, *, of: int = 1, words: str = "hi") -> None:
    body = json.dumps({"messages": [{"role": "user", "content": words}]}).encode()
    at = command(
        request=request(number), account=account(of), stream=bool(number % 2), body=body, cache_ttl_s=60, reply_to="web"
    )
    await log.admit(at, Limits(), Repeat("key"), {"model": "gpt"})


async def ends(log: Log) -> list[tuple[str, CompletionEnded]]:
    said = [read(raw) for _, raw in await log.read_events(0, "0-0", count=10_000)]
    return [(one.account, one.body) for one in said if isinstance(one.body, CompletionEnded)]


async def test_a_hundred_equal_questions_over_two_workers_are_one_call_and_a_hundred_answers(
    log: Log, cache_url: str
) -> None:
    gate = asyncio.Event()
    world = providers(Says(["forty", "two"], usage=Usage(1000, 20), hangs=True, gate=gate))
    async with remembering(log, world, "a", cache_url) as one, remembering(log, world, "b", cache_url) as other:
        for worker, consumer, numbers in ((one, "a", range(50)), (other, "b", range(50, 100))):
            for number in numbers:
                await ask(log, number)
            await deliver(log, worker, consumer)
        await until(world.waiting.is_set)
        await asyncio.sleep(0.1)  # the others look, and wait
        gate.set()

        assert {outcome for _, outcome in await told(log, 100)} == {"completed"}
        facts = [body for _, body in await ends(log)]

    assert len(facts) == 100
    assert world.asked == ["one/gpt"]
    assert all(isinstance(fact, CompletionFinished) and fact.billable for fact in facts)
    paid = [fact for fact in facts if not fact.cached]
    given = [fact for fact in facts if fact.cached]
    assert (len(paid), len(given)) == (1, 99)
    assert paid[0].cost_nanousd > 0
    assert {(fact.cost_nanousd, fact.saved_nanousd) for fact in given} == {(0, paid[0].cost_nanousd)}


async def test_when_the_first_fails_the_next_goes_and_the_others_have_its_answer(log: Log, cache_url: str) -> None:
    world = providers(
        Says(fails=ProviderFailed("bad_request", "no", status=400)), Says(["forty", "two"], usage=Usage(1, 1))
    )
    async with remembering(log, world, "a", cache_url) as worker:
        for number in range(20):
            await ask(log, number)
        await deliver(log, worker, "a")
        outcomes = [outcome for _, outcome in await told(log, 20)]

    assert sorted(outcomes) == ["completed"] * 19 + ["failed"]
    assert len(world.asked) == 2


async def test_a_worker_that_dies_while_it_asks_keeps_nobody_from_asking(log: Log, cache_url: str) -> None:
    hanging, world = providers(Says(["for"], hangs=True)), providers(always=Says(["forty"], usage=Usage(1, 1)))
    async with remembering(log, world, "b", cache_url) as other:
        async with remembering(log, hanging, "a", cache_url) as dying:
            await ask(log, 1)
            await deliver(log, dying, "a")
            await hanging.waiting.wait()
            await ask(log, 2)
            await deliver(log, other, "b")

        assert sorted(await told(log, 2)) == [(request(number), "completed") for number in (1, 2)]
    assert world.asked == ["one/gpt"]


async def test_two_hundred_accounts_with_the_same_questions_never_share_an_answer(log: Log, cache_url: str) -> None:
    """A box opens nothing of another account's, so a mixed-up answer could not even be told."""
    world = providers(always=Says(["mine"], usage=Usage(1, 1)))
    async with remembering(log, world, "a", cache_url) as one, remembering(log, world, "b", cache_url) as other:
        number = 0
        for round_, (worker, consumer) in enumerate(((one, "a"), (other, "b"), (one, "a"))):
            for of in range(200):
                number += 1
                await ask(log, number, of=of, words="the same")
            await deliver(log, worker, consumer)
            await told(log, 200 * (round_ + 1))
        facts = await ends(log)

    assert len(world.asked) == 200
    given = [who for who, fact in facts if fact.cached]
    assert sorted(given) == sorted(account(of) for of in range(200) for _ in range(2))
    assert all(sealed_bytes(fact.answer).startswith(who.encode()) for who, fact in facts)


async def test_with_the_cache_gone_everyone_asks_for_himself(log: Log) -> None:
    world = providers(always=Says(["forty"], usage=Usage(1, 1)))
    async with remembering(log, world, "a", "redis://127.0.0.1:1") as worker:
        for number in range(10):
            await ask(log, number)
        await deliver(log, worker, "a")
        assert [outcome for _, outcome in await told(log, 10)] == ["completed"] * 10

    assert len(world.asked) == 10


@pytest.mark.parametrize("stream", [0, 1])
async def test_a_given_answer_comes_with_the_last_word(log: Log, cache_url: str, stream: int) -> None:
    world = providers(Says(["forty"], usage=Usage(1, 1)))
    async with remembering(log, world, "a", cache_url) as worker:
        for number in (3, 10 + stream):
            await ask(log, number)
            await log.heed(account(1), request(number))
            await deliver(log, worker, "a")
            await told(log, 1 if number == 3 else 2)
        frames = [
            frame
            for frame in await log.frames(account(1), request(10 + stream), "0-0")
            if frame.kind == "e" and json.loads(frame.meta)["cached"]
        ]

    assert len(frames) == 1
    assert await log.command("XLEN", keys.commands(0)) == 0
