"""What one worker knows of the providers: `handlers.ports.Standing` over the shared knowledge.

One rule: the hot road only adds and looks up. Everything is sent and heard by one task, a few times a second, and what the
cache server cannot tell for now is decided by what this worker has seen itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from app import telemetry
from app.standing.shared import AWAY, CLAIM_S, News, Shared, Told, merged, pruned
from app.standing.tallies import KEPT, Cells, count, counts_against, speeds, stretch_of, tallies
from handlers.rules.catalogue import Offer
from handlers.rules.circuit import (
    Circuit,
    answered,
    forgettable,
    judged,
    offer_key,
    probe_failed,
    provider_key,
    refused,
    rested,
    state,
)
from handlers.rules.failure import CONSEQUENCES
from handlers.rules.standing import Call, Picture, Speed

log = structlog.get_logger()

TURN_S: Final = 0.25
"""What is noted is known to all workers after this time."""

LISTEN_S: Final = 1.0
"""Without news of its own a worker hears the others this often."""

NEWEST: Final = 3
"""Stretches read anew at each turn; older ones do not change any more, but for a worker whose news came late."""


class Watch:
    """Start it in the event loop that uses it; until then, and without a cache, it knows what it is told."""

    def __init__(self, shared: Shared, *, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._clock = clock
        self._ahead_s = 0.0
        """Of the cache server's clock before ours."""
        self._counted: dict[int, dict[str, Cells]] = {}
        self._unsent: dict[int, dict[str, Cells]] = {}
        self._circuits: dict[str, Circuit] = {}
        self._changed: dict[str, Circuit | None] = {}
        self._speeds: dict[str, Speed] = {}
        self._probes: dict[str, float] = {}
        """Circuits that this worker may probe, until when."""
        self._probing: set[str] = set()
        self._begun: list[str] = []
        self._released: list[str] = []
        self._heard_at = 0.0
        self._alone = False
        self._shown: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hear what the others know before the first request, if the cache server can be asked."""
        await self.turn()
        self._task = asyncio.create_task(self._turn_always(), name="standing")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self.turn()
        await self._shared.close()

    # The hot road.

    def now(self) -> float:
        return self._clock() + self._ahead_s

    def picture(self) -> Picture:
        return Picture(self._circuits, self._speeds, self._probes, self.now())

    def began(self, offer: Offer, key: int) -> tuple[str, ...]:
        if not self._probes:
            return ()
        probed = self.picture().probed(offer, key)
        for name in probed:
            del self._probes[name]
            self._probing.add(name)
            self._begun.append(name)
        return probed

    def left(self, probed: tuple[str, ...]) -> None:
        for name in probed:
            self._probing.discard(name)
            self._released.append(name)

    def ended(self, call: Call) -> None:
        now = self.now()
        count(call, self._unsent.setdefault(stretch_of(now), {}).setdefault(call.offer.id, Counter()))
        if call.offer.simulated:
            return  # it fails when its question says so, which says nothing about the next
        if call.failed is None or CONSEQUENCES[call.failed].blames == "nobody":
            if self._circuits:
                self._answered(call, now)
        else:
            self._failed(call, call.failed, now)
        if call.rests_s:
            name = offer_key(call.offer.id, call.key)
            self._set(name, rested(self._circuits.get(name), call.rests_s, call.failed or "rate_limited", now))
        self.left(call.probed)

    def _answered(self, call: Call, now: float) -> None:
        offer, key = call.offer, call.key
        for name in (offer.id, provider_key(offer.provider, key)):
            if circuit := self._circuits.get(name):
                self._set(name, answered(circuit, now - call.took_s, now))

    def _failed(self, call: Call, why: str, now: float) -> None:
        offer = call.offer
        if call.failed is not None and CONSEQUENCES[call.failed].blames == "key":
            name = provider_key(offer.provider, call.key)
            self._set(name, refused(self._circuits.get(name), why, now))
        elif counts_against(call):
            circuit = self._circuits.get(offer.id)
            if circuit is not None and offer.id in call.probed:
                self._set(offer.id, probe_failed(circuit, why, now))
                return
            found = tallies((self._counted, self._unsent), offer.id, circuit, now)
            if opened := judged(circuit, found, why, now):
                self._set(offer.id, opened)

    def _set(self, name: str, circuit: Circuit) -> None:
        if self._circuits.get(name) is circuit:
            return
        self._circuits[name] = self._changed[name] = circuit
        told = "circuit_opened" if circuit.cooling else "circuit_closed"
        if not circuit.cooling or not circuit.answers:
            log.warning(told, circuit=name, why=circuit.why, rests_s=round(circuit.until - circuit.since, 1))

    # The turns.

    async def _turn_always(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            if self._has_news() or self.now() - self._heard_at >= LISTEN_S:
                await self.turn()

    def _has_news(self) -> bool:
        return bool(self._unsent or self._changed or self._released or self._begun or self._due())

    async def turn(self) -> None:
        """Say what is new here, and hear what is new elsewhere."""
        now = self.now()
        self._forget(now)
        news = News(self._unsent, self._changed, self._due(), self._begun, self._released)
        self._unsent, self._changed, self._begun, self._released = {}, {}, [], []
        try:
            told = await self._shared.exchange(news, now, NEWEST if self._heard_at else KEPT)
        except AWAY as away:
            self._go_on_alone(news, away)
        else:
            self._take_in(told)
        self._show()

    def _take_in(self, told: Told) -> None:
        if self._alone:
            log.info("standing_shared")
        self._alone = False
        self._ahead_s = told.now - self._clock()
        self._heard_at = told.now
        self._circuits = dict(told.circuits)
        for name, circuit in self._changed.items():  # decided here while the others were being heard
            if circuit is not None:
                self._circuits[name] = circuit
        self._counted.update(told.counted)
        for name in told.claimed:
            self._probes[name] = told.now + CLAIM_S
        self._speeds = speeds(self._counted, told.now)

    def _go_on_alone(self, news: News, away: BaseException) -> None:
        if not self._alone:
            log.warning("standing_alone", error=telemetry.kind_of(away))
        self._alone = True
        now = self.now()
        self._heard_at = max(self._heard_at, 0.0)
        merged(self._counted, news.counted)
        self._changed = {**news.circuits, **self._changed}
        for name in news.claims:
            self._probes[name] = now + CLAIM_S
        self._speeds = speeds(self._counted, now)

    def _due(self) -> list[str]:
        """Circuits whose time is up, and that this worker does not probe already."""
        if not self._circuits:
            return []
        now = self.now()
        return [
            name
            for name, circuit in self._circuits.items()
            if state(circuit, now) == "probing" and name not in self._probes and name not in self._probing
        ]

    def _forget(self, now: float) -> None:
        for name in [name for name, until in self._probes.items() if until <= now]:
            del self._probes[name]
        for name in [name for name, circuit in self._circuits.items() if forgettable(circuit, now)]:
            del self._circuits[name]
            self._changed[name] = None
        for number in pruned(self._counted, now):
            del self._counted[number]

    def _show(self) -> None:
        now = self.now()
        cooling = {name for name, circuit in self._circuits.items() if state(circuit, now) != "healthy"}
        for name in cooling | self._shown:
            telemetry.CIRCUITS.labels(name).set(name in cooling)
        self._shown = cooling
