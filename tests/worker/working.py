"""A worker in this process, on a real log, with providers that play a script; and the eyes to see what it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.jobs import Worker
from app.log import Log, keys
from app.log.values import Limits, Repeat
from events.catalog import read
from events.completions import CompletionEnded
from handlers.rules.catalogue import Catalogue
from tests.fakes.road import PlainVault, Says, ScriptedProviders, command, ports
from tests.rules.offers import offer, price

NEVER_S = 1000.0
"""The lease of a worker that stalls: it renews nothing while the test runs."""


def providers(*scripts: Says, always: Says | None = None) -> ScriptedProviders:
    return ScriptedProviders(Catalogue.of((offer("one", at=price()),)), list(scripts), always)


@asynccontextmanager
async def working(
    log: Log,
    world: ScriptedProviders,
    *,
    consumer: str = "a",
    concurrency: int = 1000,
    lease_s: float = NEVER_S,
    vault: PlainVault | None = None,
) -> AsyncIterator[Worker]:
    """A worker that reads only what `deliver` hands it."""
    vault = vault or PlainVault()
    worker = Worker(
        log, ports(world, vault=vault), vault.cached, consumer=consumer, concurrency=concurrency, lease_s=lease_s
    )
    await worker.start()
    try:
        yield worker
    finally:
        await worker.drain(within_s=0)


def request(number: int) -> str:
    return f"req_{number:032x}"


async def ask(log: Log, *numbers: int, stream: bool = True) -> None:
    for number in numbers:
        at = command(request=request(number), stream=stream, reply_to="web")
        await log.admit(at, Limits(), Repeat("key"), {"model": "gpt"})


async def deliver(log: Log, worker: Worker | None, consumer: str = "a") -> None:
    """Hand the worker what nobody has had; with None the entries are read and nobody works on them."""
    said = await log.command(
        "XREADGROUP", "GROUP", keys.COMPLETIONS, consumer, "COUNT", 1000, "STREAMS", keys.commands(0), ">"
    )
    entries = [(entry.decode(), 1, dict(zip(words[::2], words[1::2], strict=True))) for entry, words in said[0][1]]
    if worker:
        await worker.take(0, entries)


async def facts(log: Log) -> list[tuple[str, str]]:
    """(request, outcome) of each fact, in the order of the log."""
    told = [read(raw) for _, raw in await log.read_events(0, "0-0", count=10_000)]
    return [(one.subject, one.body.outcome) for one in told if isinstance(one.body, CompletionEnded)]


async def told(log: Log, count: int) -> list[tuple[str, str]]:
    """The facts, once there are so many."""
    await until_async(lambda: log.command("XLEN", keys.events(0)), count)
    return await facts(log)


async def until_async(look: Callable[[], asyncio.Future[object]], least: int) -> None:
    """Until a count on the log server is at least so much."""
    async with asyncio.timeout(30):
        while int(str(await look())) < least:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


async def pending(log: Log) -> list[tuple[str, int]]:
    """(consumer, deliveries) of each entry somebody holds."""
    said = await log.command("XPENDING", keys.commands(0), keys.COMPLETIONS, "-", "+", 1000)
    return [(consumer.decode(), count) for _, consumer, _, count in said]


async def parked(log: Log) -> list[str]:
    """Why each dead letter was parked."""
    said = await log.command("XRANGE", keys.parked(0), "-", "+")
    return [dict(zip(words[::2], words[1::2], strict=True))[b"why"].decode() for _, words in said]
