"""The whole bench, stage by stage: the same load on everything, in turns, and what it cost.

One rule: turns alternate between the targets and each figure is a median of its rounds, so that a noisy minute of the
machine touches all alike.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from app.bench import books, floors, peers, replay, report, targets
from app.bench.books import Books
from app.bench.load import Outcome, Plan, in_own_process
from app.bench.measure import machine_cpu_s, spent, watching
from app.bench.ratios import add_ratios
from app.bench.report import GOALS, Figure, Report
from app.bench.scale import Scale
from app.bench.targets import TRAFFIC, Helix, Shape, Target

CONNECTIONS: Final = 64
"""Of the closed loop, as in the goals' own measurements."""

PACE_PER_S: Final = 50.0
STREAM_PACE_PER_S: Final = 20.0
"""Questions a second where latency is looked at: a machine at ease."""

HELD_WITHIN: Final = 1.1
"""A stream is held when its total is at most this much of the direct one's, for nine of ten."""


class Campaign:
    """One run of the bench on targets that are up."""

    def __init__(
        self, scale: Scale, asked: list[Target], helix: Helix, kept: Books, say: Callable[[str], None]
    ) -> None:
        self._scale = scale
        self._targets = asked
        self._helix = helix
        self._books = kept
        self._say = say
        self.figures: dict[str, Figure] = {}
        self.failures: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._roles: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._billed = 0
        self._given_up = 0
        """Streams that were too many to be carried: each may be billed or not."""

    @property
    def cpu_by_role(self) -> dict[str, dict[str, float]]:
        return {key: {role: median(runs) for role, runs in sorted(roles.items())} for key, roles in self._roles.items()}

    def _figure(self, key: str, title: str, unit: str = "") -> Figure:
        return self.figures.setdefault(key, Figure(key, title, unit))

    async def run(self) -> None:
        await self._warm_up()
        await self._idle()
        for number in range(self._scale.rounds):
            self._say(f"round {number + 1} of {self._scale.rounds}: plain, closed loop")
            for target in self._targets:
                await self._plain(target)
            self._say("plain, 50 a second")
            await self._paced()
            self._say("streams, in a burst")
            for target in self._targets:
                await self._burst(target)
            self._say("floors: XADD, COPY")
            await self._floors()
        self._say("streams at 50 chunks a second each")
        await self._held()
        await self._every_request_billed_once()
        self._say("a backlog for the projector")
        await self._projection()
        self._say("replay")
        await self._replay()
        self._figure("failures", "questions answered wrong or not at all").add(
            "helix", sum(self.failures["helix"].values())
        )

    async def _load(self, target: Target, plan: Plan) -> Outcome:
        outcome = await in_own_process(plan)
        self.failures[target.name].update(outcome.failures)
        if target is self._helix.target:
            self._billed += outcome.answered
        return outcome

    async def _warm_up(self) -> None:
        self._say("warm-up")
        shapes: tuple[Shape, ...] = ("plain", "burst")
        for target in self._targets:
            for shape in shapes:
                if shape == "plain" or target.name != "echo":
                    plan = target.plan(shape, connections=CONNECTIONS, requests=200, seconds=10)
                    await self._load(target, plan)
        await self._books.caught_up()

    async def _idle(self) -> None:
        """What a Helix costs that nobody asks, and how much of the machine is somebody else's meanwhile."""
        before, busy, started = self._helix.processes.cpu_s(), machine_cpu_s(), perf_counter()
        await asyncio.sleep(self._scale.paced_s)
        seconds = perf_counter() - started
        cost = sum(spent(before, self._helix.processes.cpu_s()).values())
        others = max(0.0, machine_cpu_s() - busy - cost)
        self._figure("idle_cpu_percent", "CPU when idle", "% of a core").add("helix", cost / seconds * 100)
        # What others use makes every time longer and leaves CPU figures nearly as they are.
        self._figure("others_cpu_percent", "CPU of everything else then", "% of a core").add(
            "floor", others / seconds * 100
        )

    async def _cost(self, target: Target, plan: Plan) -> tuple[Outcome, dict[str, float]]:
        """Run a load → what came, and the CPU seconds of each role until everything it caused was written."""
        before = target.processes.cpu_s() if target.processes else {}
        outcome = await self._load(target, plan)
        if target is self._helix.target:
            await self._books.caught_up()
        return outcome, spent(before, target.processes.cpu_s()) if target.processes else {}

    def _add_cost(self, key: str, target: Target, roles: Mapping[str, float], share: float) -> None:
        self.figures[key].add(target.name, sum(roles.values()) * share)
        if target is self._helix.target:
            for role, seconds in roles.items():
                self._roles[key][role].append(seconds * share)

    async def _plain(self, target: Target) -> None:
        requests = self._scale.plain[target.name]
        plan = target.plan("plain", connections=CONNECTIONS, requests=requests, seconds=self._scale.seconds_max)
        outcome, roles = await self._cost(target, plan)
        self._figure("requests_per_s", "plain, 64 connections", "requests/s").add(target.name, outcome.per_second)
        self._figure("cpu_s_per_1000", "plain, all processes", "CPU-s/1k")
        if roles and outcome.answered:
            self._add_cost("cpu_s_per_1000", target, roles, 1000 / outcome.answered)

    async def _burst(self, target: Target) -> None:
        if target.name not in self._scale.bursts:
            return
        requests = self._scale.bursts[target.name]
        plan = target.plan("burst", connections=CONNECTIONS, requests=requests, seconds=self._scale.seconds_max)
        outcome, roles = await self._cost(target, plan)
        self._figure("chunks_per_s", "streams of 100 in a burst", "chunks/s").add(
            target.name, outcome.words / outcome.seconds if outcome.seconds else 0.0
        )
        self._figure("chunk_cpu_us", "streams, all processes", "µs CPU a chunk")
        if roles and outcome.words:
            self._add_cost("chunk_cpu_us", target, roles, 1e6 / outcome.words)

    async def _paced(self) -> None:
        p50: dict[str, float] = {}
        for target in self._targets:
            if target.name == "echo":
                continue
            plan = target.plan(
                "plain", connections=CONNECTIONS, requests=10_000, seconds=self._scale.paced_s, rate_per_s=PACE_PER_S
            )
            outcome = await self._load(target, plan)
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                if (latency_ms := outcome.latency.quantile_ms(share)) is not None:
                    self._figure(f"{name}_ms", f"plain at 50/s, {name}", "ms").add(target.name, latency_ms)
                    if name == "p50":
                        p50[target.name] = latency_ms
            plan = target.plan(
                "burst",
                connections=CONNECTIONS,
                requests=10_000,
                seconds=self._scale.paced_s,
                rate_per_s=STREAM_PACE_PER_S,
            )
            outcome = await self._load(target, plan)
            if (first_ms := outcome.first_word.quantile_ms(0.5)) is not None:
                self._figure("first_word_ms", "streams at 20/s, first word, p50", "ms").add(target.name, first_ms)
        for name, latency_ms in p50.items():
            if name != "direct" and "direct" in p50:
                self._figure("added_p50_ms", "plain at 50/s, added p50", "ms").add(name, latency_ms - p50["direct"])

    async def _held(self) -> None:
        """How many slow streams at once Helix carries at all, and how many without slowing them."""
        direct = self._targets[0]
        carried = held = 0
        for streams in self._scale.streams:
            totals: list[float] = []
            for target, waves in ((direct, 1), (self._helix.target, 2)):
                # Begun one after the other over the length of a stream, as many end as begin from then on.
                length_s = TRAFFIC["slow"].seconds
                plan = target.plan(
                    "slow",
                    connections=streams,
                    requests=streams * waves,
                    seconds=length_s * waves + 2.0,
                    ramp_s=length_s,
                )
                outcome = await in_own_process(plan)
                if target is self._helix.target:
                    self._billed += outcome.answered
                    self._given_up += sum(outcome.failures.values())
                if outcome.failures:
                    break
                totals.append(outcome.latency.quantile_ms(0.9) or 0.0)
            if len(totals) < 2:
                break
            carried, stretch = streams, totals[1] / totals[0]
            title = f"{streams} streams at 50 chunks/s, p90 / direct"
            self._figure(f"stretch_{streams}", title, "times").add("helix", stretch)
            if stretch <= HELD_WITHIN and held == self._before(streams):
                held = streams
        self._figure("streams_carried", "streams at 50 chunks/s, every word").add("helix", carried)
        if self._scale.streams[-1] >= GOALS["streams_held"].value:  # a short run cannot say whether it is reached
            self._figure("streams_held", "streams at 50 chunks/s, p90 within 1.1 of direct").add("helix", held)

    def _before(self, streams: int) -> int:
        """The step below; 0 below the first."""
        steps = (0, *self._scale.streams)
        return steps[steps.index(streams) - 1]

    async def _floors(self) -> None:
        log_url, database_url = self._helix.ready["redis_url"], self._helix.ready["database_url"]
        seconds = self._scale.floor_s
        single = await asyncio.to_thread(floors.single_xadds_per_second, log_url, seconds)
        self._figure("xadd_per_s", "XADD, one by one", "/s").add("floor", single)
        together = await asyncio.to_thread(floors.pipelined_xadds_per_second, log_url, seconds)
        self._figure("xadd_pipelined_per_s", "XADD, 100 in a write", "/s").add("floor", together)
        copied = await floors.copied_rows_per_second(database_url, self._scale.copies)
        self._figure("copy_rows_per_s", "COPY of 5,000 usage rows", "rows/s").add("floor", copied)

    async def _every_request_billed_once(self) -> None:
        """Promise 1: as many usage rows as answers. A stream given up after its time is billed and not answered."""
        await self._books.caught_up("usage")
        rows = await self._books.usage_rows()
        self._figure("answers", "answers of Helix so far").add("helix", self._billed)
        self._figure("usage_rows", "usage rows for them").add("helix", rows)
        given_up = self._given_up + sum(self.failures["helix"].values())
        if not self._billed <= rows <= self._billed + given_up:
            self.failures["helix"]["usage_rows_wrong"] += abs(rows - self._billed)

    async def _projection(self) -> None:
        """Hold the projector, let events pile up, let it go."""
        held = self._helix.processes.stopped("projector")
        try:
            await self._books.tell_again(self._scale.backlog)
        finally:
            started = perf_counter()
            for process in held:
                process.resume()
        ended = await self._books.caught_up("usage", "requests", "conversations")
        speed = self._scale.backlog / (ended - started)
        self._figure("projection_events_per_s", "projection to Postgres", "events/s").add("helix", speed)
        if self._scale.later:
            await self._books.caught_up()
            helix = self._helix.target
            plan = helix.plan(
                "plain", connections=CONNECTIONS, requests=self._scale.plain["helix"], seconds=self._scale.seconds_max
            )
            outcome, roles = await self._cost(helix, plan)
            cost = self._figure("cpu_s_per_1000_later", f"plain, with {self._scale.backlog:,} more events", "CPU-s/1k")
            cost.add("helix", sum(roles.values()) * 1000 / outcome.answered)

    async def _replay(self) -> None:
        done = await replay.rehearse("usage", self._helix)
        self._figure("replay_events_per_s", "replay of usage, compared", "events/s").add(
            "helix", done.entries / done.seconds
        )


async def run(scale: Scale, *, peer: str | None, say: Callable[[str], None]) -> Report:
    """Start everything, measure, stop everything.

    Raises RuntimeError when a part does not start, `books.Behind` when the projector does not keep up, and
    `peers.PeerFailed`.
    """
    running = asyncio.current_task()
    assert running
    # As Ctrl-C does: everything that was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    at, started = report.now(), perf_counter()
    with tempfile.TemporaryDirectory(prefix="helix-bench-", ignore_cleanup_errors=True) as directory:
        scratch = Path(directory)
        async with AsyncExitStack() as stack:
            direct = await stack.enter_async_context(targets.mock_provider(scratch))
            echo = await stack.enter_async_context(targets.echo(scratch))
            say("starting Helix")
            helix = await stack.enter_async_context(targets.helix(scratch, direct.port))
            asked = [direct, echo, helix.target]
            if peer == "litellm":
                say("starting LiteLLM proxy (the first time, installing it)")
                asked.append(await stack.enter_async_context(peers.litellm(scratch, direct.port)))
            kept = await stack.enter_async_context(books.opened(helix.ready["database_url"], helix.ready["redis_url"]))
            campaign = Campaign(scale, asked, helix, kept, say)
            peaks = {
                target.name: await stack.enter_async_context(watching(target.processes))
                for target in asked
                if target.processes
            }
            await campaign.run()
    add_ratios(campaign.figures)
    return Report(
        at=at,
        scale=asdict(scale),
        seconds=perf_counter() - started,
        machine=report.machine(),
        figures=campaign.figures,
        cpu_by_role=campaign.cpu_by_role,
        memory_mb={
            name: {role: size / 1e6 for role, size in sorted(peak.bytes.items())} for name, peak in peaks.items()
        },
        failures={name: dict(kinds) for name, kinds in campaign.failures.items() if kinds},
    )
