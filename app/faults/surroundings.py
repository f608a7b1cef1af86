"""The hands that break what is around a Helix: its lines, its clocks, its memory, its tables, one of its log's nodes.

One rule: whatever is spoiled is put right again before the next fault, also when this one fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import asyncpg
from redis.asyncio import Redis

from app.faults.proxy import Rules
from app.faults.reach import Reach, Role, Server, must_be_child

Fault = Literal["network", "line", "flush", "clock", "memory", "locked", "node"]

LINES: Final[tuple[tuple[Role, Server], ...]] = (
    ("web", "log"),
    ("worker", "log"),
    ("projector", "log"),
    ("web", "postgres"),
    ("worker", "postgres"),
    ("projector", "postgres"),
    ("worker", "provider"),
)
"""Every line of a Helix; the cache is none that matters, and is killed elsewhere."""

NETWORK_S: Final = (0.3, 3.0)
LINE_S: Final = (0.5, 5.0)
"""Longer than a lease, now and then."""

HOURS: Final = (-24, -1, 1, 24)
SHIFTED_S: Final = (1.0, 4.0)
LOCKED_S: Final = 30.0
FULL_S: Final = 4.0
"""Long enough for the door to look, and for what runs to end."""

FULL_SHARE: Final = (0.71, 0.84)
"""Of the log's memory, from when on; above the share at which new work is refused."""

NODE_DOWN_S: Final = (0.5, 3.0)


class Surroundings:
    """Does one fault and puts it right."""

    def __init__(self, reach: Reach, dice: random.Random) -> None:
        self._reach = reach
        self._dice = dice

    async def do(self, fault: Fault) -> str:
        """→ what was done. Raises NotBroken."""
        match fault:
            case "network":
                return await self._spoil("log", None, NETWORK_S)
            case "line":
                role, server = self._dice.choice(LINES)
                return f"{role} to {server}: {await self._spoil(server, role, LINE_S)}"
            case "flush":
                return await self._flush()
            case "clock":
                return await self._shift()
            case "memory":
                return await self._fill()
            case "locked":
                return await self._lock()
            case "node":
                return await self._lose_node()

    async def _spoil(self, server: Server, role: Role | None, seconds_between: tuple[float, float]) -> str:
        proxy = self._reach.proxies[server]
        only = None if server == "provider" else role
        what = self._dice.choice(("cut", "slow", "late", "mute", "deaf", "half"))
        seconds = self._dice.uniform(*seconds_between)
        match what:
            case "cut":
                proxy.cut_all(only=only)
                return what
            case "slow":
                proxy.set(Rules(bytes_per_s=200_000), Rules(bytes_per_s=200_000), only=only)
            case "late":
                proxy.set(Rules(delay_s=0.05), Rules(delay_s=0.05), only=only)
            case "mute":
                proxy.set(to_server=Rules(drop=True), only=only)
            case "deaf":
                proxy.set(to_client=Rules(drop=True), only=only)
            case "half":
                spoiled = Rules(cut_after=self._dice.randint(1, 20_000)), Rules(half_close_after=2_000)
                proxy.set(*spoiled, only=only)
        try:
            await asyncio.sleep(seconds)
        finally:
            # What was dropped has left a hole in the line: a real line loses its connections with it.
            proxy.cut_all(only=only)
            proxy.set()
        return f"{what} for {seconds:.1f} s"

    async def _flush(self) -> str:
        async with Redis.from_url(self._reach.facts()["cache_url"], socket_timeout=5) as cache:
            await cache.flushall()
        return "cache"

    async def _shift(self) -> str:
        clocks = self._reach.clocks
        assert clocks is not None
        name = self._dice.choice(("web-1", "worker-1", "worker-2", "projector-1"))
        hours = self._dice.choice(HOURS)
        clocks.shift(name, hours * 3600)
        try:
            await asyncio.sleep(self._dice.uniform(*SHIFTED_S))
        finally:
            clocks.shift(name, 0)
        return f"{name} by {hours:+d} h and back"

    async def _fill(self) -> str:
        """The log has as much memory as it needs to be over the limit, and its readers stand still for a while."""
        share = self._dice.uniform(*FULL_SHARE)
        async with Redis.from_url(self._reach.facts()["redis_url"], socket_timeout=5) as log:
            before = int((await log.config_get("maxmemory"))["maxmemory"] or 0)
            used = (await log.info("memory"))["used_memory"]
            with self._stopped("projector"):
                await log.config_set("maxmemory", int(used / share))
                try:
                    await asyncio.sleep(FULL_S)
                finally:
                    await log.config_set("maxmemory", before)
        return f"log {share:.0%} full"

    @contextmanager
    def _stopped(self, role: Role) -> Iterator[None]:
        pids = self._reach.pids(role)
        for pid in pids:
            must_be_child(pid, self._reach.supervisor)
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                must_be_child(pid, self._reach.supervisor)
                os.kill(pid, signal.SIGCONT)

    async def _lock(self) -> str:
        database: Any = await asyncpg.connect(self._reach.facts()["database_url"])
        try:
            async with database.transaction():
                await database.execute("LOCK TABLE usage IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(LOCKED_S)
        finally:
            await database.close()
        return f"usage for {LOCKED_S:.0f} s"

    async def _lose_node(self) -> str:
        number = self._dice.randrange(len(self._reach.nodes))
        node = self._reach.nodes[number]
        must_be_child(node.pid, os.getpid())
        os.kill(node.pid, signal.SIGKILL)
        await asyncio.to_thread(node.wait_ended)
        seconds = self._dice.uniform(*NODE_DOWN_S)
        try:
            await asyncio.sleep(seconds)
        finally:
            node.spawn()
        await asyncio.to_thread(node.wait_ready)
        return f"node-{number + 1} for {seconds:.1f} s"
