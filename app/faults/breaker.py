"""The hands that break a Helix: they kill, freeze, cut its power, take its database away, spoil its line.

One rule: only a process that is a child of the campaign's own `up`, or of the campaign itself, is ever touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.embedded.postgres import Postgres
from app.faults.history import Broken, FaultName, History
from app.faults.power import PowerCuts
from app.faults.proxy import Proxy, Rules
from app.log import keys
from app.up.directory import Facts

Role = Literal["worker", "web", "projector", "log", "cache", "postgres"]

SUCCESSOR_S: Final = 20.0
"""How long a killed child may take to be started again; the contract says a second, a busy machine needs more."""

AT_WORK_S: Final = 10.0
"""How long to wait for a victim that has work in its hands; then it is taken as it is."""

STALE_HELD: Final = 3
"""Commands that the worker without a fence shall have in its hands, so that one of them ends twice."""

FROZEN_OVER_LEASE_S: Final = (0.8, 2.0)
"""How much longer than its lease a process is frozen: time for another to take over, and to get on."""

NETWORK_S: Final = (0.3, 3.0)
_LOOK_S: Final = 0.02


class NotBroken(Exception):
    """The fault could not be done; the message says why."""


class AlreadyDead(NotBroken):
    """The victim has ended by itself, and its successor is not there yet: to be tried again."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the hands can reach."""

    facts_file: Path
    supervisor: int
    """The pid of `up`."""
    lease_s: float
    outage_s: float
    power: PowerCuts | None = None
    postgres: Postgres | None = None
    proxy: Proxy | None = None
    stale: tuple[str, Callable[[], int]] | None = None
    """Consumer's name and pid of the worker without a fence."""


class Breaker:
    """Does one fault at a time and writes it down."""

    def __init__(self, reach: Reach, history: History, dice: random.Random, began: float) -> None:
        self._reach = reach
        self._history = history
        self._dice = dice
        self._began = began

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
            case "network":
                target, held = await self._spoil_line()
            case "power":
                await self._power(at_s)
                return
            case _:
                target, held = await self._kill(fault)
        self._history.write(Broken(fault=fault, at_s=at_s, target=target, held=held))

    async def _kill(self, role: Role) -> tuple[str, int]:
        place, held = await self._victim(role)
        pid = self._pids(role)[place]
        must_be_child(pid, self._reach.supervisor)
        os.kill(pid, signal.SIGKILL)
        await self._followed(role, place, pid)
        return f"{role}-{place + 1}", held

    async def _power(self, at_s: float) -> None:
        assert self._reach.power is not None
        held = await self._held()
        (pid,) = self._pids("log")
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
            name, pid, parent = f"worker-{place + 1}", self._pids("worker")[place], self._reach.supervisor
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

    async def _spoil_line(self) -> tuple[str, int]:
        proxy = self._reach.proxy
        assert proxy is not None
        held = await self._held()
        what = self._dice.choice(("cut", "slow", "late", "mute", "deaf", "half"))
        seconds = self._dice.uniform(*NETWORK_S)
        match what:
            case "cut":
                proxy.cut_all()
                return what, held
            case "slow":
                proxy.set(Rules(bytes_per_s=200_000), Rules(bytes_per_s=200_000))
            case "late":
                proxy.set(Rules(delay_s=0.05), Rules(delay_s=0.05))
            case "mute":
                proxy.set(to_server=Rules(drop=True))
            case "deaf":
                proxy.set(to_client=Rules(drop=True))
            case "half":
                proxy.set(Rules(cut_after=self._dice.randint(1, 20_000)), Rules(half_close_after=2_000))
        await asyncio.sleep(seconds)
        # What was dropped has left a hole in the line: a real line loses its connections with it.
        proxy.cut_all()
        proxy.set()
        return f"{what} for {seconds:.1f} s", held

    async def _victim(self, role: Role) -> tuple[int, int]:
        """→ place among its kind, commands in its hands; a worker is taken while it has some."""
        places = range(len(self._pids(role)))
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
        """Commands pending with this consumer, or with all; 0 while the log does not say."""
        redis = Redis.from_url(self._facts()["redis_url"], socket_timeout=1, socket_connect_timeout=1)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with redis:
                said = await redis.xinfo_consumers(keys.commands(0), keys.COMPLETIONS)
                return sum(one["pending"] for one in said if consumer in (None, one["name"].decode()))
        return 0

    async def _followed(self, role: Role, place: int, pid: int) -> None:
        until = time.monotonic() + SUCCESSOR_S
        while self._pids(role)[place] == pid:
            if time.monotonic() > until:
                raise NotBroken(f"{role} {pid} was killed and nobody followed within {SUCCESSOR_S:.0f} s")
            await asyncio.sleep(_LOOK_S)

    def _facts(self) -> Facts:
        return cast(Facts, json.loads(self._reach.facts_file.read_text()))

    def _pids(self, role: Role) -> list[int]:
        return self._facts()["pids"][role]


def must_be_child(pid: int, parent: int) -> None:
    """Raises AlreadyDead where the pid is not, or no more, a living child of the parent."""
    shown = subprocess.run(["/bin/ps", "-o", "ppid=,stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    words = shown.split()
    if len(words) < 2 or int(words[0]) != parent or words[1].startswith("Z"):
        raise AlreadyDead(f"{pid} is not a living child of {parent}")
