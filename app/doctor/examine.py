"""Everything that `helix doctor` looks at, put together. One rule: it never raises for what is only broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
from redis.exceptions import RedisError

from app.database import Unavailable, connected
from app.doctor import partitions
from app.doctor.checks import WORST_FIRST, Check
from app.doctor.partitions import Partition, Stand
from app.doctor.people import check_people
from app.doctor.servers import LogNode, check_cache, log_nodes, settings_of, standing_of
from app.doctor.surroundings import check_disk, check_postgres, check_prices, check_providers
from app.log import LogGone
from app.log.connection import LogRefused
from app.log.nodes import looking
from app.settings import Settings
from app.shedding import SHED_ABOVE
from projections import PROJECTIONS


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; the checks with the worst first."""

    checks: tuple[Check, ...]
    nodes: tuple[LogNode, ...]
    partitions: tuple[Partition, ...]
    readers: tuple[Stand, ...]

    @property
    def healthy(self) -> bool:
        return all(check.verdict != "bad" for check in self.checks)

    def as_document(self) -> dict[str, object]:
        """For `--json`."""
        facts = asdict(self)
        for node in facts["nodes"]:
            if node["facts"]:
                node["facts"]["clock"] = node["facts"]["clock"].isoformat()
        return {"healthy": self.healthy, **facts}


async def examine(settings: Settings, data: Path) -> Report:
    """Look at everything."""
    nodes, found, readers, log_checks = await _log(settings)
    checks = [
        *log_checks,
        await check_cache(settings.cache, settings.log),
        *await check_postgres(settings.database),
        check_providers(settings),
        check_prices(settings),
        *check_people(settings),
        check_disk(data),
    ]
    ordered = sorted(checks, key=lambda check: WORST_FIRST.index(check.verdict))
    return Report(tuple(ordered), tuple(nodes), tuple(found), tuple(readers))


async def _log(settings: Settings) -> tuple[Sequence[LogNode], Sequence[Partition], Sequence[Stand], list[Check]]:
    try:
        nodes = await log_nodes(settings.log, partitions=settings.helix_partitions)
        async with looking(settings.log, name="helix-doctor", partitions=settings.helix_partitions) as over:
            found = await partitions.survey(over, settings.helix_partitions, settings.helix_lease_s)
            readers: Sequence[Stand] = ()
            try:
                async with connected(settings.database) as connection:
                    readers = await partitions.stands(over, connection, found, [one.name for one in PROJECTIONS])
            except (Unavailable, asyncpg.PostgresError, ValueError):
                pass  # said where Postgres is looked at
    except (RedisError, LogRefused, LogGone, OSError) as failed:
        mend = "see REDIS_URL and the server behind it"
        return (), (), (), [Check("log", "bad", f"does not answer: {type(failed).__name__}", mend)]
    checks = [
        *standing_of(nodes, SHED_ABOVE),
        *settings_of(nodes),
        *partitions.judge(found, readers, settings.helix_partitions),
    ]
    return nodes, found, readers, checks
