"""The commands in one worker's hands: held, carried out by the thousand, and each ended exactly once.

Entries are acknowledged by the finish script alone, renewed while they are worked on, taken over when their owner has died,
and put away after five runs. The delivery count is the fencing token (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson
import structlog

from app import telemetry
from app.database import Unavailable
from app.live.last_word import last_word
from app.live.speak import Speaker
from app.log import Connection, Log, LogGone, keys
from app.log.connection import LogRefused, Reply
from app.log.values import Charge, Owned
from app.ownership import Job, Ownership
from app.parking import Parking
from app.vault import Erased, VaultRefused
from events.catalog import FromTheFuture, Unreadable, read
from events.completions import Complete, ProviderKey
from events.message import Envelope
from handlers.complete import Ending, give_up
from handlers.ports import Box, Ports
from handlers.recall import recall

log = structlog.get_logger()

BATCH: Final = 100
"""Entries a read: enough to make one read cheap, few enough that two workers share a burst."""

TRUSTED_DELIVERIES: Final = 3
"""A command that comes again more often may be what kills the workers, or may only have been beside it. From then on it is
a suspect: carried out with no other suspect beside it."""

RUNS_ALONE_MAX: Final = 2
"""What has been at work three times in company and twice alone when a worker died, is put away: five in all. The innocent
that were only held meanwhile are not counted."""

DRAIN_S: Final = 25.0
"""How long a worker that is told to stop finishes what it has begun; below the platform's patience (railway.worker.toml)."""

LEAVING_S: Final = 1.0
"""What those that are broken off then get to leave the provider in."""

PAUSE_S: Final = 0.5
"""Before asking again for something that was not to be had."""

REMIND_S: Final = 60.0
"""How often a worker that has stopped taking says so again: somebody has to come."""

PortsFor = Callable[[Ports, str, Box, tuple[ProviderKey, ...]], Awaitable[Ports]]
"""(everybody's ports, account, its box, the keys it has brought) → the ports of its request."""

RETURNED: Final = "returned"
"""On the control channel: commands have been given back, and need not wait until somebody looks."""


class Worker:
    """All jobs of one process."""

    def __init__(
        self,
        log_: Log,
        ports: Ports,
        vault_cached: Any,
        *,
        consumer: str,
        concurrency: int,
        lease_s: float,
        own_keys: PortsFor | None = None,
    ) -> None:
        """`own_keys` makes the ports of a request whose account has brought provider keys."""
        self._log = log_
        self._ports = ports
        self._cached = vault_cached
        self._own_keys = own_keys
        self._consumer = consumer
        self._lease_s = lease_s
        self._room = asyncio.Semaphore(concurrency)
        self._alone = asyncio.Lock()
        self._jobs: dict[tuple[int, str], Job] = {}
        self._by_request: dict[str, Job] = {}
        self._ownership = Ownership(log_, consumer, lease_s, self._jobs)
        self._speaker = Speaker(log_, telemetry.FLUSH_FRAMES.observe)
        self._parking = Parking()
        self._draining = False
        self._stopped = asyncio.Event()
        """Too much has been put away: nothing more is taken."""
        self._returned = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._controls: list[Connection] = []

    async def start(self) -> None:
        """Hear cancellations, take back what a former life of this consumer left, and begin to renew and reclaim."""
        for url, partitions in self._log.nodes.groups().items():
            control = Connection(
                url,
                name=f"{self._consumer}-control",
                on_connect=partial(_subscribe, partitions),
                on_push=self._told,
            )
            self._controls.append(await control.open(patiently=True))
        self._keepers = [asyncio.create_task(self._ownership.renew_always(), name="renew")]
        await self._ownership.on_each_partition("reclaim", partial(self._reclaim, own=True))
        self._keepers.append(asyncio.create_task(self._reclaim_always(), name="reclaim"))

    @property
    def holding(self) -> int:
        """How many commands are in this worker's hands, begun or not."""
        return len(self._jobs)

    async def take(self, partition: int, entries: Sequence[tuple[str, int, Mapping[bytes, bytes]]]) -> None:
        """Hold the entries, and start each as soon as there is room. Returns when all have been started: until then
        nothing more is read, which is the back-pressure."""
        jobs = [self._hold(partition, entry, attempt, words) for entry, attempt, words in entries]
        for job in jobs:
            await self._room.acquire()
            if not self._taking or job.abandoned:
                self._room.release()
                self._let_go(job)
                continue
            job.task = asyncio.create_task(self._run(job), name=job.owned.request)
            job.task.add_done_callback(partial(self._ended, job))
            telemetry.CALLS_IN_FLIGHT.inc()
        if not self._taking:
            await self._ownership.give_back([job for job in jobs if job.task is None])

    async def take_and_wait(self, partition: int, entries: Sequence[tuple[str, int, Mapping[bytes, bytes]]]) -> None:
        """The same for a reader that reads on when this returns: not at all when this worker has stopped taking."""
        await self.take(partition, entries)
        if self._stopped.is_set():
            with contextlib.suppress(asyncio.CancelledError):  # it stops us like this, and would call it an error
                await asyncio.Event().wait()

    @property
    def _taking(self) -> bool:
        return not (self._draining or self._stopped.is_set())

    def _hold(self, partition: int, entry: str, attempt: int, words: Mapping[bytes, bytes]) -> Job:
        raw = words.get(b"__data__", b"")
        try:
            said = read(raw)
            reply_to = said.body.reply_to if isinstance(said.body, Complete) else None
            owned = Owned(partition, entry, attempt, said.subject, said.account, reply_to, held=b"held" in words)
        except Unreadable:
            owned = Owned(partition, entry, attempt, "", "", None)
        former = self._jobs.get((partition, entry))
        if former:
            former.abandon()
        job = self._jobs[partition, entry] = Job(owned, raw)
        self._by_request[owned.request] = job
        return job

    async def _run(self, job: Job) -> None:
        try:
            await self._carry_out(job)
        except asyncio.CancelledError:
            log.info("command_abandoned", request_id=job.owned.request, attempt=job.owned.attempt)
        except Exception as fault:  # ours: the entry stays pending and comes again
            log.error("command_broke", request_id=job.owned.request, exc_info=fault)

    def _ended(self, job: Job, _: asyncio.Task[None]) -> None:
        """Called for each task, one that was cancelled before its first step too."""
        telemetry.CALLS_IN_FLIGHT.dec()
        self._room.release()
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        place = job.owned.partition, job.owned.entry
        if self._jobs.get(place) is job:
            del self._jobs[place]
        if self._by_request.get(job.owned.request) is job:
            del self._by_request[job.owned.request]

    async def _carry_out(self, job: Job) -> None:
        owned = job.owned
        try:
            at = read(job.raw)
            ask = at.body
            if not isinstance(ask, Complete):
                raise Unreadable(f"{at.type} is no command for this group")
        except FromTheFuture as unreadable:
            # After a lease it comes to whoever is there, at last to one that can read it.
            log.warning("command_from_the_future", entry=owned.entry, reason=str(unreadable))
            await self._ownership.give_back([job], at_once=False)
            return
        except Unreadable as unreadable:
            if not await self._may_park(job, str(unreadable)):
                return
            job.ending = True
            await self._log.park(owned.partition, owned.entry, owned.attempt, self._consumer, str(unreadable))
            telemetry.UNREADABLE.inc()
            log.error("command_parked", entry=owned.entry, reason=str(unreadable))
            return
        job.begun = True
        begun = self._log.begin(owned)
        begun.add_done_callback(job.heed)
        try:
            box = self._cached(owned.account) or await self._box(owned.account, ask.deadline)
        except VaultRefused as refused:
            erased = isinstance(refused, Erased)
            why = "erased" if erased else str(refused)
            if not erased and not await self._may_park(job, why):
                return
            log.error("command_parked", request_id=owned.request, reason=why)
            ending = give_up(ask, at, None, self._ports, why="parked", attempts=1)
            await self._finish(job, at, ask, ending, frames=0, parked=why)
            return
        if owned.attempt <= TRUSTED_DELIVERIES:
            await self._answer(job, at, ask, box)
            return
        async with self._alone:
            runs = await self._log.suspect(owned)
            try:
                await self._answer(job, at, ask, box, runs_alone=runs)
            except asyncio.CancelledError:
                await self._log.acquit(owned)
                raise

    async def _answer(self, job: Job, at: Envelope, ask: Complete, box: Box, *, runs_alone: int = 0) -> None:
        voice = self._speaker.voice(job.owned, box)
        if runs_alone > RUNS_ALONE_MAX:
            runs = TRUSTED_DELIVERIES + RUNS_ALONE_MAX
            ending = give_up(ask, at, box, self._ports, why="parked", attempts=runs)
            parked = f"{runs} workers have died over it"
            if not await self._may_park(job, parked):
                return
            log.error("command_parked", request_id=job.owned.request, reason=parked)
        else:
            ports = self._ports if not ask.provider_keys else await self._ports_with_keys(job.owned, ask, box)
            job.asking = True
            ending = await recall(ask, at, ports, listener=voice, stop=job.stop)
            job.asking = False
            parked = ""
        try:
            await voice.settled()
            recorded = await self._finish(job, at, ask, ending, frames=voice.number, parked=parked)
            if recorded and ending.keep:
                ending.keep.lead.keep(ending.keep.content, ttl_s=ending.keep.ttl_s)
        finally:
            if ending.keep:
                ending.keep.lead.leave()

    async def _ports_with_keys(self, owned: Owned, ask: Complete, box: Box) -> Ports:
        """For an account that has brought provider keys; waits for Postgres as `_box` does."""
        assert self._own_keys is not None
        while True:
            try:
                return await self._own_keys(self._ports, owned.account, box, ask.provider_keys)
            except Unavailable:
                if self._ports.clock() > ask.deadline:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _box(self, account: str, deadline: datetime) -> Box:
        """The account's box, waiting for Postgres as long as the request may wait."""
        while True:
            try:
                return await self._ports.vault.box(account)
            except Unavailable:
                if self._ports.clock() > deadline:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _finish(self, job: Job, at: Envelope, ask: Complete, ending: Ending, *, frames: int, parked: str) -> bool:
        """Tell the log server the end → whether it was ours to tell."""
        job.ending = True
        owned, event = job.owned, ending.event
        fact = at.follow(event, id=self._ports.new_id(), at=self._ports.clock())
        meta = orjson.dumps(last_word(event, retry_after_s=ending.retry_after_s, events=ending.events))
        # A client that has had every word over its stream needs none of them again, but for a response, whose closing
        # event repeats it whole.
        told = ask.stream and frames and event.outcome == "completed" and ask.wire != "responses"
        body = b"" if told else ending.answer
        used = 0 if event.cached else event.input_tokens + event.output_tokens
        uncertain = False
        while True:
            try:
                entry = await self._log.finish(
                    owned,
                    self._consumer,
                    fact,
                    event.outcome,
                    meta=meta,
                    body=body,
                    number=frames + 1,
                    parked=parked,
                    charge=Charge(event.cost_nanousd, used),
                )
                if entry is None and uncertain:
                    entry = await self._recorded(owned, fact)
                break
            except LogGone as gone:
                uncertain |= gone.sent  # asking again is safe: a finished entry has no owner any more
            except LogRefused as refused:
                if not refused.passing:
                    raise
                log.warning("outcome_not_taken", request_id=owned.request, reason=str(refused)[:100])
            await asyncio.sleep(PAUSE_S)
        if entry is None:
            telemetry.FENCED.inc()
            log.warning("outcome_fenced", request_id=owned.request, attempt=owned.attempt)
            return False
        if not parked:
            self._parking.ended()
        _count(ask, ending)
        log.info(
            f"completion_{'finished' if event.outcome == 'completed' else event.outcome}",
            request_id=owned.request,
            account=owned.account,
            provider=event.provider,
            model=event.model,
            attempts=len(event.attempts),
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            cost_nanousd=event.cost_nanousd,
            cached=event.cached,
            latency_ms=event.latency_ms,
        )
        return True

    async def _recorded(self, owned: Owned, fact: Envelope) -> str | None:
        """The event's entry id when the end on the log is this very fact: it was recorded, and the reply was lost."""
        standing = await self._log.standing(owned.account, owned.request)
        raw = await self._log.event(owned.account, standing.event) if standing and standing.event else None
        try:
            return standing.event if standing and raw and read(raw).id == fact.id else None
        except FromTheFuture:
            return None  # a newer worker's

    # What can never succeed.

    async def _may_park(self, job: Job, why: str) -> bool:
        """Whether one more may be put away. If not, it is left for a mended worker, and so is everything else."""
        if self._parking.one_more():
            return True
        if not self._stopped.is_set():
            self._stopped.set()
            telemetry.ALARMS.labels("worker_stopped").inc()
            telemetry.WORKERS_STOPPED.set(1)
            self._keepers.append(asyncio.create_task(self._stop_taking(why), name="stop taking"))
        await self._ownership.give_back([job])
        return False

    async def _stop_taking(self, why: str) -> None:
        """Hand over what has not begun; then say what happened, again and again. This process ends when it is told to,
        and not before: one that was started again would put away as much again."""
        waiting = self._waiting_jobs()
        await self._ownership.give_back(waiting)
        while True:
            log.error("worker_stopped_taking", reason=why, given_back=len(waiting), running=len(self._jobs))
            await asyncio.sleep(REMIND_S)

    def _waiting_jobs(self) -> list[Job]:
        """Take out those that have not been started."""
        waiting = [job for job in self._jobs.values() if job.task is None]
        for job in waiting:
            self._let_go(job)
        return waiting

    # What others have left behind.

    async def _reclaim_always(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / 2 * (0.75 + random.random() / 2)):  # noqa: S311  # apart
                    await self._returned.wait()
            self._returned.clear()
            if self._log.restored_ago_s < self._lease_s / 2:
                continue  # in the outage nobody could renew: the living come first
            await self._ownership.on_each_partition("reclaim", self._take_over)

    async def _take_over(self, partition: int) -> None:
        await self._ownership.renew(partition)  # or what we could not renew in time would be begun anew beside itself
        await self._reclaim(partition)

    async def _reclaim(self, partition: int, *, own: bool = False) -> None:
        behind = ""
        while self._taking:  # who is about to leave takes nothing over
            found = await self._log.reclaim(
                partition, self._consumer, idle_ms=int(self._lease_s * 1000), most=BATCH, own=own, behind=behind
            )
            behind = found.last
            if found.gone:
                log.error("commands_missing", partition=partition, count=found.gone)
            if found.entries:
                telemetry.RECLAIMED.inc(len(found.entries))
                log.warning("commands_reclaimed", partition=partition, count=len(found.entries), own=own)
                await self.take(partition, found.entries)
            if len(found.entries) + found.gone < BATCH:
                return

    # Cancellation.

    def _told(self, push: list[Reply]) -> None:
        by, _, request = push[2].decode().partition(" ")
        if by == RETURNED:
            self._returned.set()
            return
        job = self._by_request.get(request)
        if job:
            job.cancel(by)

    # The end.

    async def drain(self, within_s: float = DRAIN_S) -> None:
        """Give back what has not begun, finish what has, give back too what is not finished in time."""
        self._draining = True
        waiting = self._waiting_jobs()
        running = {job.task: job for job in self._jobs.values() if job.task is not None}
        log.info("worker_draining", running=len(running), waiting=len(waiting))
        await self._ownership.give_back(waiting)
        left = (await asyncio.wait(running, timeout=within_s))[1] if running else set()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for task in left:
            running[task].abandon()
        if left:
            await asyncio.wait(left, timeout=LEAVING_S)
        await self._ownership.give_back([running[task] for task in left])
        await self._ownership.give_back_unseen()
        for control in self._controls:
            await control.close()
        log.info("worker_drained", finished=len(running) - len(left), given_back=len(waiting) + len(left))


async def _subscribe(partitions: Sequence[int], connection: Connection) -> None:
    for partition in partitions:
        await connection("SUBSCRIBE", keys.control(partition))


def _count(ask: Complete, ending: Ending) -> None:
    event = ending.event
    telemetry.TERMINAL_EVENTS.labels(event.outcome).inc()
    for attempt in event.attempts:
        telemetry.PROVIDER_CALLS.labels(attempt.provider, attempt.outcome).inc()
    if event.outcome == "completed":
        telemetry.API_CALLS.labels(event.model, event.provider, ask.tier).inc()
        if event.attempts and event.provider and (first := event.attempts[0].provider) != event.provider:
            telemetry.FALLBACKS.labels(first, event.provider).inc()
    if event.ttft_ms is not None and event.provider:
        telemetry.TIME_TO_FIRST_TOKEN.labels(event.provider).observe(event.ttft_ms / 1000)
    if event.billable and not event.cached:
        telemetry.TOKENS.labels("input").inc(event.input_tokens)
        telemetry.TOKENS.labels("output").inc(event.output_tokens)
        telemetry.COST.inc(event.cost_nanousd)
