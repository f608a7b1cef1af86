"""The worker process: FastStream reads the commands in batches and rules the process's life; `app.jobs` carries them out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import structlog
from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import FAKE_CONSUMER, BatchStreamMessage, RedisBatchStreamMessage
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

from app import collector, ready, telemetry
from app.consumers import dismiss_always
from app.ids import new_id
from app.jobs import BATCH, PAUSE_S, Worker
from app.log import Log, keys
from app.price_book import keep_patiently, prices_in
from app.settings import Settings, settings
from app.wiring import WorkerParts, preflight, worker_parts
from handlers.ports import Ports

log = structlog.get_logger()

POLL_MS: Final = 2000
"""How long FastStream's read waits on the server; below the socket's timeout or it would raise instead."""

SOCKET_S: Final = 10

RETRY_S: Final = 0.2
"""Between two tries to read while the log is away. Left to itself FastStream pauses five seconds after each failure, and
with a server that is read-only for a moment it does not pause at all."""

GRACE_S: Final = 1.0
"""How long FastStream waits for a batch that is just being handed over; what it holds is given back."""

Entries = list[tuple[str, int, dict[bytes, bytes]]]


async def parse(message: Mapping[str, Any]) -> RedisBatchStreamMessage:
    """FastStream's batch as it came: one body that is not UTF-8 would poison all of it in FastStream's own parser."""
    return RedisBatchStreamMessage(
        raw_message=cast(BatchStreamMessage, message), body=b"", consumer=FAKE_CONSUMER, group=None
    )


async def decode(message: RedisBatchStreamMessage) -> Entries:
    raw: Any = message.raw_message
    return [(entry.decode(), 1, words) for entry, words in zip(raw["message_ids"], raw["data"], strict=True)]


def subscribe(broker: RedisBroker, partition: int, consumer: str, worker: Worker) -> None:
    """One batch reader for one partition."""

    @broker.subscriber(
        stream=StreamSub(
            keys.commands(partition),
            group=keys.COMPLETIONS,
            consumer=consumer,
            batch=True,
            max_records=BATCH,
            polling_interval=POLL_MS,
        ),
        ack_policy=AckPolicy.MANUAL,
        parser=parse,
        decoder=decode,
        title=f"commands of partition {partition}",
    )
    async def take(entries: Any) -> None:
        await worker.take_and_wait(partition, entries)


def reader(url: str, connections_max: int) -> RedisBroker:
    """FastStream's broker: it reads, and nothing else."""
    return RedisBroker(
        url,
        socket_timeout=SOCKET_S,
        retry=Retry(ConstantBackoff(RETRY_S), -1, (ConnectionError, TimeoutError, ReadOnlyError)),
        max_connections=connections_max,
        apply_types=False,
        graceful_timeout=GRACE_S,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,  # its line a batch; what goes wrong it says at its own levels
    )


def application(chosen: Settings) -> FastStream:
    """The FastStream application of one worker process."""
    consumer = chosen.helix_process_name
    brokers: list[RedisBroker] = []

    @contextlib.asynccontextmanager
    async def life() -> AsyncIterator[None]:
        async with worker_parts(chosen) as parts:
            worker = Worker(
                parts.log,
                _ports(parts),
                parts.vault.cached,
                consumer=consumer,
                concurrency=chosen.worker_concurrency,
                lease_s=chosen.helix_lease_s,
                own_keys=parts.own_keys.ports,
            )
            away = []
            for url, partitions in parts.log.nodes.groups().items():
                if not parts.log.nodes.connected(url):
                    away.append(url)
                    continue
                brokers.append(reader(url, chosen.redis_max_connections))
                app.add_broker(brokers[-1])
                for partition in partitions:
                    subscribe(brokers[-1], partition, consumer, worker)
            await worker.start()
            beside = [
                asyncio.create_task(_leave_when_moved(app, parts.log, away), name="watch the map"),
                asyncio.create_task(dismiss_always(parts.log), name="dismiss consumers"),
                asyncio.create_task(
                    keep_patiently(parts.pool, prices_in(parts.providers.catalogue)), name="keep prices"
                ),
            ]
            collector.rest()
            log.info("worker_started", consumer=consumer, partitions=chosen.helix_partitions)
            yield  # FastStream reads until it is told to stop, and has stopped reading when it comes back
            for task in beside:
                task.cancel()
            await worker.drain()

    app = FastStream(lifespan=life, logger=None)

    @app.after_startup
    async def announce() -> None:
        ready.announce()

    @app.on_shutdown
    async def see_why() -> None:
        if not all(subscriber.running for broker in brokers for subscriber in broker.subscribers):
            # FastStream gives a lost group up and would end as if all were well; our own start declares it again.
            log.error("reader_lost")
            raise SystemExit(1)

    return app


async def _leave_when_moved(app: FastStream, of: Log, away: Sequence[str]) -> None:
    """A partition lies elsewhere, or a server that was away at the start is there: end in order, and start anew."""
    while True:
        if of.nodes.moved.is_set() or any(of.nodes.connected(url) for url in away):
            break
        await asyncio.sleep(PAUSE_S)
    log.info("worker_leaves", reason="the log's partitions lie elsewhere")
    app.exit()


def _ports(parts: WorkerParts) -> Ports:
    return Ports(
        providers=parts.providers,
        vault=parts.vault,
        clock=lambda: datetime.now(UTC),
        new_id=new_id,
        chance=random.random,
        answers=parts.answers,
        standing=parts.standing,
        nearby=parts.nearby,
        question_digests=parts.question_digests,
    )


def run() -> None:
    """The worker process, until SIGTERM."""
    import uvloop

    chosen = settings()
    telemetry.configure(chosen, "worker")
    asyncio.run(preflight(chosen))
    uvloop.run(application(chosen).run())
