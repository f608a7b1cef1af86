"""Given for these tests: a log in memory, events of made-up requests, and a watch that writes down what it is told."""

from __future__ import annotations

import asyncio
import base64
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.ids import new_id, request_id
from events.accounts import KeyCreated
from events.billing import UsageAdjusted
from events.completions import Attempt, CompletionCancelled, CompletionFailed, CompletionFinished, Routing, Turn, Turns
from events.erasure import AccountErased
from events.message import Envelope
from projections import PROJECTIONS
from projections.projection import BEGINNING, Projection, Source, order
from projections.runner import Runner

ALICE = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"
CAROL = "00000000-0000-4000-8000-00000000000c"
KEY = "00000000-0000-4000-8000-0000000000cc"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SEALED = base64.urlsafe_b64encode(b"sealed by the vault").decode()


def finished(
    account: str = ALICE,
    *,
    at: datetime = NOON,
    model: str = "small",
    cost_nanousd: int = 1_234_567,
    billable: bool = True,
    conversation: str | None = None,
    api_key_id: str = KEY,
) -> Envelope:
    turns = tuple(Turn(id=new_id(), role=role, content=SEALED) for role in ("user", "assistant"))
    ended = CompletionFinished(
        endpoint="/v1/chat/completions",
        wire="openai",
        api_key_id=api_key_id,
        tier="pro",
        asked_model=model,
        stream=True,
        accepted_at=at - timedelta(seconds=2),
        provider="local",
        model=model,
        input_tokens=10,
        cached_input_tokens=4,
        output_tokens=20,
        cost_nanousd=cost_nanousd,
        price_as_of="2026-11-01",
        usage_source="provider",
        billable=billable,
        latency_ms=2000,
        ttft_ms=300,
        attempts=(
            Attempt(
                provider="local", model=model, started_at=at - timedelta(seconds=2), ended_at=at, outcome="answered"
            ),
        ),
        routing=Routing(reason="only", considered=(f"local/{model}",)),
        answer=SEALED,
        http_status=200,
        finish_reason="stop",
        conversation=Turns(conversation=conversation, turns=turns) if conversation else None,
    )
    return Envelope.begin(ended, id=new_id(), at=at, account=account, subject=request_id())


def failed(account: str = ALICE, *, at: datetime = NOON, billable: bool = False) -> Envelope:
    shape = finished(account, at=at, billable=billable).body.model_dump(exclude={"finish_reason", "conversation"})
    ended = CompletionFailed.model_validate(
        {**shape, "why": "timeout", "http_status": 504, "provider": None, "model": None}
    )
    return Envelope.begin(ended, id=new_id(), at=at, account=account, subject=request_id())


def cancelled(account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    shape = finished(account, at=at).body.model_dump(exclude={"finish_reason", "conversation"})
    ended = CompletionCancelled.model_validate({**shape, "by": "client"})
    return Envelope.begin(ended, id=new_id(), at=at, account=account, subject=request_id())


def responded(account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    """A response that its account wants kept."""
    said = finished(account, at=at)
    kept = said.body.model_dump() | {"wire": "responses", "kept": SEALED}
    return said.model_copy(update={"body": CompletionFinished.model_validate(kept)})


def adjusted(
    of: Envelope, *, follows: Envelope | None = None, cost_nanousd: int = 1_000_000, price_version: str = "price_new"
) -> Envelope:
    """A correction of what an ended request costs, or of an earlier correction."""
    ended, before = of.body, (follows or of).body
    assert isinstance(ended, CompletionFinished) and isinstance(before, CompletionFinished | UsageAdjusted)
    body = UsageAdjusted(
        usage_event=of.id,
        used_at=of.at,
        follows=(follows or of).id,
        api_key_id=ended.api_key_id,
        provider="local",
        model="small",
        cost_before_nanousd=before.cost_nanousd,
        cost_nanousd=cost_nanousd,
        price_version=price_version,
        price_as_of="2026-12-01",
    )
    return Envelope.begin(body, id=new_id(), at=of.at + timedelta(days=1), account=of.account, subject=of.subject)


def changed(account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    """A key that was made."""
    made = KeyCreated(api_key_id=new_id(), prefix="hx_user_abc...", scopes=("chat",), by="operator")
    return Envelope.begin(made, id=new_id(), at=at, account=account, subject=made.api_key_id)


def erased(account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    body = AccountErased(kind="person", receipt_sha256="ab" * 32, by="operator")
    return Envelope.begin(body, id=new_id(), at=at, account=account, subject=account)


class MemoryLog:
    """A log of as many partitions as it is told of. Entry ids are the milliseconds of the events they hold."""

    def __init__(self) -> None:
        self.entries: dict[int, list[tuple[str, bytes]]] = {}
        self.trimmed: dict[int, str] = {}
        self.reads = 0
        self._more = asyncio.Event()

    def add(self, *said: Envelope | bytes, partition: int = 0) -> list[str]:
        entries = self.entries.setdefault(partition, [])
        added = []
        for one in said:
            last = order(entries[-1][0] if entries else self.trimmed.get(partition, BEGINNING))
            ms = int(one.at.timestamp() * 1000) if isinstance(one, Envelope) else last[0]
            entry_id = f"{ms}-0" if ms > last[0] else f"{last[0]}-{last[1] + 1}"
            entries.append((entry_id, one.encode() if isinstance(one, Envelope) else one))
            added.append(entry_id)
        self._more.set()
        return added

    def trim(self, partition: int, to: str) -> None:
        self.trimmed[partition] = to
        self.entries[partition] = [entry for entry in self.entries[partition] if order(entry[0]) > order(to)]

    async def read(self, partition: int, after: str, *, count: int, block_ms: int | None) -> list[tuple[str, bytes]]:
        self.reads += 1
        found = self._behind(partition, after)
        if not found and block_ms is not None:
            self._more.clear()
            try:
                async with asyncio.timeout(min(block_ms, 100) / 1000):
                    await self._more.wait()
            except TimeoutError:
                return []
            found = self._behind(partition, after)
        return found[:count]

    async def trimmed_to(self, partition: int) -> str:
        return self.trimmed.get(partition, BEGINNING)

    def _behind(self, partition: int, after: str) -> list[tuple[str, bytes]]:
        entries = self.entries.get(partition, [])
        return entries[bisect_right(entries, order(after), key=lambda entry: order(entry[0])) :]


class Notes:
    """A watch that writes down what it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, str]] = []
        self.entries = 0
        self.unread: list[tuple[str, int, str, str]] = []
        self.gaps: list[tuple[str, int, str, str]] = []
        self.outages: list[Exception] = []
        self.waiting: list[tuple[int, str]] = []

    def took_over(self, projection: str, partition: int, entry_id: str) -> None:
        self.taken.append((projection, partition, entry_id))

    def applied(self, projections: Sequence[str], partition: int, entries: int, entry_id: str) -> None:
        self.entries += entries

    def passed_by(self, projection: str, partition: int, entry_id: str, reason: str) -> None:
        self.unread.append((projection, partition, entry_id, reason))

    def gap(self, projection: str, partition: int, entry_id: str, trimmed_to: str) -> None:
        self.gaps.append((projection, partition, entry_id, trimmed_to))

    def interrupted(self, partition: int, error: Exception, again_s: float) -> None:
        self.outages.append(error)

    def waits(self, partition: int, entry_id: str, reason: str) -> None:
        self.waiting.append((partition, entry_id))


READ_MODELS = tuple(projection for projection in PROJECTIONS if projection.name != "archive")
ARCHIVE = next(projection for projection in PROJECTIONS if projection.name == "archive")


@asynccontextmanager
async def running(
    database: AsyncEngine,
    source: Source,
    notes: Notes | None = None,
    projections: Sequence[Projection] = READ_MODELS,
    partition: int = 0,
) -> AsyncIterator[asyncio.Task[None]]:
    runner = Runner(database, source, projections, partition, notes or Notes())
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def rows(database: AsyncEngine | AsyncConnection, query: str) -> list[tuple[object, ...]]:
    if isinstance(database, AsyncConnection):
        return [tuple(row) for row in await database.execute(text(query))]
    async with database.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def until(database: AsyncEngine, log: MemoryLog, projections: Sequence[Projection] = READ_MODELS) -> None:
    """Wait until each projection has applied every entry of the log."""
    ends = {partition: entries[-1][0] for partition, entries in log.entries.items() if entries}
    wanted = {(projection.name, partition, end) for projection in projections for partition, end in ends.items()}
    async with asyncio.timeout(30):
        stands = "SELECT projection, partition, entry_id FROM checkpoints"
        while not wanted <= set(await rows(database, stands)):  # noqa: ASYNC110  # rows of Postgres wake nobody
            await asyncio.sleep(0.02)
