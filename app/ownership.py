"""Whose a command is: renewed while it is worked on, and given back when it will not be done here.

One rule: the pending list of the log server says it, by consumer and delivery count; nobody keeps a list of his own beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from app import telemetry
from app.log import Log, LogGone
from app.log.connection import LogRefused, Reply
from app.log.values import Owned
from handlers.ports import Stop

log = structlog.get_logger()

RENEWALS_A_LEASE: Final = 4
"""A renewal may be late three times before the lease is lost."""

RENEW_BATCH: Final = 200
"""Entries a renewal: one script call stays well below a millisecond of the log server's time."""


class Job:
    """One command in this worker's hands."""

    __slots__ = ("abandoned", "asking", "begun", "ending", "owned", "raw", "stop", "task")

    def __init__(self, owned: Owned, raw: bytes) -> None:
        self.owned = owned
        self.raw = raw
        self.stop = Stop()
        self.begun = False
        """Followers may have been told that this attempt is on."""
        self.asking = False
        """Providers are being asked: only then does a cancellation interrupt."""
        self.ending = False
        """The log server is being told the end: from now on it alone says whether the command was still ours."""
        self.abandoned = False
        self.task: asyncio.Task[None] | None = None

    def cancel(self, by: str) -> None:
        """The client does not want it any more."""
        if self.stop.by is None and not self.abandoned:
            self.stop.by = "disconnect" if by == "disconnect" else "client"
            if self.asking and self.task:
                self.task.cancel()

    def abandon(self) -> None:
        """Another worker has it, or this process stops: leave it without a word, or never begin it."""
        self.abandoned = True
        self.stop.by = None
        if self.task:
            self.task.cancel()

    def heed(self, begun: asyncio.Future[Reply]) -> None:
        """What the log server says when a command is taken up: perhaps it was cancelled while it waited."""
        if begun.cancelled() or begun.exception() is not None:
            return  # the next renewal says it again
        by: bytes | None = begun.result()
        if by:
            self.cancel(by.decode())

    def lost(self) -> None:
        """Another worker owns it by now, or it has just ended here."""
        if not self.abandoned and not self.ending:
            telemetry.FENCED.inc()
            self.abandon()


class Ownership:
    """One consumer's hold on the commands in its hands."""

    def __init__(self, log_: Log, consumer: str, lease_s: float, jobs: Mapping[tuple[int, str], Job]) -> None:
        self._log = log_
        self._consumer = consumer
        self._lease_s = lease_s
        self._jobs = jobs

    async def on_each_partition(self, what: str, doing: Callable[[int], Awaitable[None]]) -> None:
        """One partition after the other; one whose server is away does not keep the others from it."""
        for partition in range(self._log.partitions):
            try:
                await doing(partition)
            except LogGone:
                pass  # the next round comes in time, or the lease is lost
            except LogRefused as refused:
                log.error(f"{what}_refused", partition=partition, reason=str(refused)[:100])

    async def renew_always(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS_A_LEASE)
            await self.on_each_partition("renewal", self.renew)

    async def renew(self, partition: int) -> None:
        """Say of everything held in a partition that it is worked on; hear what was lost and what was cancelled."""
        held = [job for job in self._jobs.values() if job.owned.partition == partition]
        for first in range(0, len(held), RENEW_BATCH):
            batch = held[first : first + RENEW_BATCH]
            said = await self._log.renew(partition, self._consumer, [job.owned for job in batch])
            for job, word in zip(batch, said, strict=True):
                if word == "!":
                    job.lost()
                elif word:
                    job.cancel(word)

    async def give_back(self, jobs: Sequence[Job], *, at_once: bool = True) -> None:
        """Anyone may take them over, at once or after a lease. What cannot be given back now is free when its lease runs
        out.

        A delivery of which nothing came is not counted: it says nothing about the command.
        """
        for job in jobs:
            job.ending = True  # from now on it is not ours to lose

        async def give(partition: int) -> None:
            held = [job for job in jobs if job.owned.partition == partition]
            for first in range(0, len(held), RENEW_BATCH):
                batch = [
                    (job.owned.entry, job.owned.attempt, job.owned.attempt - (not job.begun))
                    for job in held[first : first + RENEW_BATCH]
                ]
                idle_ms = int(self._lease_s * 1000) if at_once else 0
                await self._log.give_back(partition, self._consumer, batch, idle_ms=idle_ms)

        await self.on_each_partition("giving_back", give)

    async def give_back_unseen(self) -> None:
        """What was delivered to this consumer's name while its reader stopped, and never reached us."""

        async def give(partition: int) -> None:
            lease_ms, behind = int(self._lease_s * 1000), ""
            while page := await self._log.held_by(partition, self._consumer, most=RENEW_BATCH, behind=behind):
                behind = page[-1][0]
                held = [(entry, attempt, attempt) for entry, idle_ms, attempt in page if idle_ms < lease_ms]
                await self._log.give_back(partition, self._consumer, held, idle_ms=lease_ms)

        await self.on_each_partition("giving_back", give)
