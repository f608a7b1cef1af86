"""The hands that break a Helix: they kill, freeze, cut its power, take its database away.

One rule: what was done is written down when it has been done, with how much work it struck.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.faults.clocks import named
from app.faults.history import Broken, FaultName, History
from app.faults.reach import AlreadyDead, NotBroken, Reach, Role, must_be_child
from app.faults.surroundings import Surroundings
from app.log import keys
from app.up.answers import answers

SUCCESSOR_S: Final = 20.0
"""How long a killed child may take to be started again; the contract says a second, a busy machine needs more."""

AT_WORK_S: Final = 10.0
"""How long to wait for a victim that has work in its hands; then it is taken as it is."""

STALE_HELD: Final = 3
"""Commands that the worker without a fence shall have in its hands, so that one of them ends twice."""

FROZEN_OVER_LEASE_S: Final = (0.8, 2.0)
"""How much longer than its lease a process is frozen: time for another to take over, and to get on."""

_LOOK_S: Final = 0.02


class Breaker:
    """Does one fault at a time and writes it down."""

    def __init__(self, reach: Reach, history: History, dice: random.Random, began: float) -> None:
        self._reach = reach
        self._history = history
        self._dice = dice
        self._began = began
        self._around = Surroundings(reach, dice)

    async def do(self, fault: FaultName) -> None:
        """Raises NotBroken."""
        until = time.monotonic() + SUCCESSOR_S
        while True:
            try:
                await self._do(fault)
                return
            except AlreadyDead:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(_LOOK_S)

    async def _do(self, fault: FaultName) -> None:
        at_s = round(time.monotonic() - self._began, 3)
        match fault:
            case "freeze" | "stale":
                target, held = await self._freeze(fault)
            case "outage":
                target, held = await self._outage()
            case "power":
                await self._power(at_s)
                return
            case "network" | "line" | "flush" | "clock" | "memory" | "locked" | "node":
                held = await self._held()
                target = await self._around.do(fault)
            case _:
                target, held = await self._kill(fault)
        self._history.write(Broken(fault=fault, at_s=at_s, target=target, held=held))

    async def _kill(self, role: Role) -> tuple[str, int]:
        place, held = await self._victim(role)
        pid = self._reach.pids(role)[place]
        must_be_child(pid, self._reach.supervisor)
        os.kill(pid, signal.SIGKILL)
        await self._followed(role, place, pid)
        if role == "web":
            await self._served()
        return f"{role}-{place + 1}", held

    async def _power(self, at_s: float) -> None:
        assert self._reach.power is not None
        held = await self._held()
        (pid,) = self._reach.pids("log")
        must_be_child(pid, self._reach.supervisor)
        before = len(self._reach.power.lost_bytes())
        self._reach.power.cut(pid)
        await self._followed("log", 0, pid)
        async with asyncio.timeout(SUCCESSOR_S):
            while len(self._reach.power.lost_bytes()) == before:  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(_LOOK_S)
        lost = self._reach.power.lost_bytes()[-1]
        self._history.write(Broken(fault="power", at_s=at_s, target="log", held=held, lost_bytes=lost))

    async def _freeze(self, fault: Literal["freeze", "stale"]) -> tuple[str, int]:
        if fault == "stale" and self._reach.stale:
            name, pid_of = self._reach.stale
            held = await self._at_work(lambda: self._held(name), least=STALE_HELD)
            pid, parent = pid_of(), os.getpid()
        else:
            place, held = await self._victim("worker")
            name, pid, parent = f"worker-{place + 1}", self._reach.pids("worker")[place], self._reach.supervisor
        must_be_child(pid, parent)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._reach.lease_s + self._dice.uniform(*FROZEN_OVER_LEASE_S))
        finally:
            must_be_child(pid, parent)
            os.kill(pid, signal.SIGCONT)
        return name, held

    async def _outage(self) -> tuple[str, int]:
        postgres = self._reach.postgres
        assert postgres is not None
        held = await self._held()
        os.kill(postgres.pid, signal.SIGQUIT)  # immediate: no checkpoint, recovery at the next start
        await asyncio.to_thread(postgres.wait_ended)
        try:
            await asyncio.sleep(self._reach.outage_s)
        finally:
            postgres.spawn()
        await asyncio.to_thread(postgres.wait_ready)
        return f"postgres for {self._reach.outage_s:.0f} s", held

    async def _victim(self, role: Role) -> tuple[int, int]:
        """→ place among its kind, commands in its hands; a worker is taken while it has some."""
        places = range(len(self._reach.pids(role)))
        chosen = self._dice.choice(places)
        if role != "worker":
            return chosen, await self._held()
        held = await self._at_work(lambda: self._held(f"worker-{chosen + 1}"))
        return chosen, held

    async def _at_work(self, look: Callable[[], Awaitable[int]], *, least: int = 1) -> int:
        until = time.monotonic() + AT_WORK_S
        while (held := await look()) < least and time.monotonic() < until:  # noqa: ASYNC110  # it happens in other processes
            await asyncio.sleep(_LOOK_S)
        return held

    async def _held(self, consumer: str | None = None) -> int:
        """Commands pending with this consumer, or with all; 0 where a log server does not say."""
        held = 0
        for url in [node.url for node in self._reach.nodes] or [self._reach.facts()["redis_url"]]:
            redis = Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
            async with redis:
                for partition in range(self._reach.partitions):
                    with contextlib.suppress(RedisError, OSError, TimeoutError):  # one that lies on another node, too
                        said = await redis.xinfo_consumers(keys.commands(partition), keys.COMPLETIONS)
                        held += sum(
                            one["pending"] for one in said if consumer is None or named(one["name"].decode(), consumer)
                        )
        return held

    async def _served(self) -> None:
        """Return when the door answers: one that is killed before it has opened once shows nothing."""
        until = time.monotonic() + SUCCESSOR_S
        while not await answers(f"{self._reach.facts()['base_url']}/readyz"):
            if time.monotonic() > until:
                raise NotBroken(f"no web process answers within {SUCCESSOR_S:.0f} s")
            await asyncio.sleep(_LOOK_S)

    async def _followed(self, role: Role, place: int, pid: int) -> None:
        until = time.monotonic() + SUCCESSOR_S
        while self._reach.pids(role)[place] == pid:
            if time.monotonic() > until:
                raise NotBroken(f"{role} {pid} was killed and nobody followed within {SUCCESSOR_S:.0f} s")
            await asyncio.sleep(_LOOK_S)
