"""`/metrics`: the counts of all processes of this machine, in Prometheus' text format.

One rule: it tells of the machine, never of a customer; no key is needed to read it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.database import Pool, Unavailable, borrowed

log = structlog.get_logger()

ACTIVE_USERS_KEPT_S: Final = 60.0
"""A number about the last thirty days; scrapes come every few seconds."""

ACTIVE_USERS: Final = """
SELECT a.tier, count(*) AS users
FROM (SELECT id, tier FROM users UNION ALL SELECT id, tier FROM organizations) a
WHERE EXISTS (SELECT FROM usage g WHERE g.user_id = a.id AND g.created_at > now() - interval '30 days')
GROUP BY a.tier
"""

Census = Callable[[], Awaitable[Mapping[str, int]]]
"""How many accounts of each tier, people and teams, were active in the last thirty days. Raises Unavailable."""


def census(pool: Pool) -> Census:
    """The census from Postgres."""

    async def ask() -> Mapping[str, int]:
        async with borrowed(pool) as connection:
            return {row["tier"]: row["users"] for row in await connection.fetch(ACTIVE_USERS)}

    return ask


class Metrics:
    """The page. With a `directory` it adds up what all processes have written there; without, it shows its own."""

    def __init__(self, active_users: Census, directory: Path | None = None) -> None:
        self._census = active_users
        self._directory = directory
        self._users: Mapping[str, int] = {}
        self._users_until = 0.0

    def routes(self) -> list[Route]:
        return [Route("/metrics", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        users = await self._active_users()
        return Response(self._text(users), 200, {"cache-control": "no-store"}, CONTENT_TYPE_LATEST)

    async def _active_users(self) -> Mapping[str, int]:
        now = asyncio.get_running_loop().time()
        if now >= self._users_until:
            self._users_until = now + ACTIVE_USERS_KEPT_S
            try:
                self._users = await self._census()
            except Unavailable:
                # The other metrics are wanted most just then.
                log.warning("active_users_not_counted")
        return self._users

    def _text(self, users: Mapping[str, int]) -> bytes:
        counted = CollectorRegistry()
        counted.register(_ActiveUsers(users))
        if self._directory is None:
            return generate_latest(REGISTRY) + generate_latest(counted)
        forget_the_dead(self._directory)
        MultiProcessCollector(counted, path=str(self._directory))  # type: ignore[no-untyped-call]  # registers itself
        return generate_latest(counted)


class _ActiveUsers(Collector):
    def __init__(self, users: Mapping[str, int]) -> None:
        self._users = users

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("active_users_total", "Users active in the last 30 days", labels=["tier"])
        for tier, users in self._users.items():
            family.add_metric([tier], users)
        yield family


def forget_the_dead(directory: Path) -> None:
    """Takes away what processes that are gone were doing at the time; what they have counted stays."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*.db")}:
        if not _lives(pid):
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
