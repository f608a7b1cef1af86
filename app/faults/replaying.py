"""A year of events replayed: made up, put on a real log, read by a real projector, then every projection made anew.

The live rows are the projector's, batch by batch as events came; the log is trimmed by the product's own trimmer, so
that most of the year lies in the archive alone. `helix replay … --dry-run` then makes each projection anew in a process
of its own, whose memory is sampled and whose every connection is witnessed.

One rule: nothing here writes a row of a read model; it only says things to the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from app import migrate, trimmer
from app.bench.targets import running, without_servers
from app.embedded.postgres import Postgres
from app.embedded.valkey import Valkey
from app.faults.made_up import made_up
from app.faults.witnessed import Witnessed
from app.kept import kept
from app.log import Log
from app.log.keys import events
from app.postgres import engine
from app.readers import extent
from app.up.directory import ROOT
from projections import PROJECTIONS
from projections.partitions import PARTITIONED, make, month_after, month_of
from projections.projection import order

YEAR: Final = timedelta(days=365)
RECENT: Final = timedelta(minutes=50)
"""The last tenth happened in it: younger than what the trimmer lets go."""

RECENT_SHARE: Final = 0.1
PAGE: Final = 1000
PAGES_AHEAD_MAX: Final = 60
"""How far the log may be ahead of the projector: what it takes is memory."""

PATIENCE_S: Final = 900.0
SAMPLE_S: Final = 0.25
GROWN_MB_MAX: Final = 64
"""How much larger the second half of a replay may be than its first: some batches, and what Python does not give back."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One projection made anew."""

    projection: str
    equal: bool
    entries: int
    seconds: float
    """All of it: start, filling, and comparing row for row."""
    filling_s: float
    processor_s: float
    """What the process took of the machine's processors, start and all; Postgres' own share is not in it."""
    rss_first_mb: int
    """The largest of the first half of the filling, and of the rest."""
    rss_rest_mb: int
    addresses: tuple[str, ...]
    """Everything it connected to."""
    outside: tuple[str, ...]
    """Rooms that speak to the outside, loaded; programs started."""

    @property
    def flat(self) -> bool:
        return self.rss_rest_mb - self.rss_first_mb <= GROWN_MB_MAX

    @property
    def rate(self) -> float:
        """Entries a second, read, understood and written into the shadow."""
        return self.entries / self.filling_s


@dataclass(frozen=True, slots=True)
class Replay:
    """The whole trial."""

    seed: int
    events: int
    archived: int
    on_log: int
    live_s: float
    replayed: tuple[Replayed, ...]
    known: tuple[str, ...]
    """The addresses of log and Postgres; nothing else may have been connected to."""

    @property
    def passed(self) -> bool:
        return all(
            one.equal
            and one.flat
            and one.entries == self.events
            and not one.outside
            and set(one.addresses) == set(self.known)
            for one in self.replayed
        )

    def document(self) -> dict[str, object]:
        return {
            "scenario": "replay",
            "passed": self.passed,
            **asdict(self),
            "rates": {one.projection: round(one.rate) for one in self.replayed},
        }


async def replaying(*, seed: int, count: int, evidence: Path, say: Callable[[str], None]) -> Replay:
    """Raises RuntimeError when the projector does not come to the end of what it was told."""
    with ExitStack() as stack:
        log, postgres = Valkey(evidence / "log", "log"), Postgres(evidence / "postgres")
        for server in (log, postgres):
            stack.callback(server.stop)
            server.start()
        env = {
            **without_servers(os.environ),
            "REDIS_URL": log.url,
            "DATABASE_URL": postgres.url,
            "API_KEY_ENCRYPTION_KEY": kept(evidence / "wrapping_key"),
            "HELIX_PROCESS_NAME": "projector-1",
        }
        until = datetime.now(UTC)
        await migrate.upgrade(postgres.url)
        await _make_year(postgres.url, until)
        say(f"replay, seed {seed}: {count:,} events through a projector")
        began = time.monotonic()
        projector = (sys.executable, "-m", "app.cli", "projector")
        async with running("the projector", *projector, log=evidence / "projector.log", env=env):
            archived, on_log = await _tell(log.url, postgres.url, seed, count, until, say)
        live_s = time.monotonic() - began
        replayed = []
        for name in (one.name for one in PROJECTIONS if one.wants is not None):
            replayed.append(await asyncio.to_thread(_replay, name, evidence, env))
            one = replayed[-1]
            say(
                f"{name}: {one.rate:,.0f}/s, {'equal' if one.equal else 'DIFFERENT'},"
                f" {one.rss_first_mb} MB, then {one.rss_rest_mb} MB"
            )
        known = tuple(f"{urlsplit(url).hostname}:{urlsplit(url).port}" for url in (log.url, postgres.url))
        return Replay(seed, count, archived, on_log, live_s, tuple(replayed), known)


async def _make_year(database_url: str, until: datetime) -> None:
    """The months that a Helix of that age would have made as they came."""
    months = [month_after(month_of(until - YEAR), count) for count in range(13)]
    async with engine(database_url) as database, database.begin() as connection:
        for table in PARTITIONED:
            await make(connection, table, months)


async def _tell(
    log_url: str, database_url: str, seed: int, count: int, until: datetime, say: Callable[[str], None]
) -> tuple[int, int]:
    """Put every event on the log, trimming behind the readers → entries in the archive, entries on the log."""
    recent = round(count * RECENT_SHARE)
    old = made_up(seed, count - recent, until - YEAR, until - RECENT - timedelta(hours=1))
    new = made_up(seed + 1, recent, until - RECENT, until)
    stream = await Log(log_url, name="replay").open()
    database: Any = await asyncpg.connect(database_url)
    ends: list[str] = []
    """The last entry of each page."""
    try:
        async with engine(database_url) as trimming:
            for entries in (old, new):
                while page := list(islice(entries, PAGE)):
                    ends.append(page[-1][0])
                    told = (stream.command("XADD", events(0), entry, "__data__", raw) for entry, raw in page)
                    await asyncio.gather(*told)
                    if len(ends) % PAGES_AHEAD_MAX == 0:
                        await _passed(database, ends[-PAGES_AHEAD_MAX // 2])
                        await trimmer.trim_all(stream, trimming)
                        say(f"{len(ends) * PAGE:,} told")
            await _passed(database, ends[-1])
            (cut,) = await trimmer.trim_all(stream, trimming)
            if cut.refused:
                raise RuntimeError(f"the log was not trimmed: {cut.refused}")
        archived: int = await database.fetchval("SELECT sum(events) FROM archive")
        return archived, (await extent(stream, 0)).length
    finally:
        await database.close()
        await stream.close()


async def _passed(database: Any, entry: str) -> None:
    """Wait until every projection stands at this entry or behind it."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        stands = [row["entry_id"] for row in await database.fetch("SELECT entry_id FROM checkpoints")]
        if len(stands) == len(PROJECTIONS) and all(order(one) >= order(entry) for one in stands):
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the projector did not come to the end of what it was told")


def _replay(projection: str, evidence: Path, env: dict[str, str]) -> Replayed:
    """`helix replay … --dry-run` in a process of its own, watched from beside."""
    report = evidence / f"witnessed-{projection}.json"
    words = (sys.executable, "-m", "app.faults.witnessed", str(report), "replay", projection, "--dry-run", "--json")
    began, before_s = time.monotonic(), _spent_s()
    with open(evidence / f"replay-{projection}.log", "w") as complaints:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=complaints, text=True)
    assert process.stdout
    sizes = list(_sizes(process))
    said = process.stdout.read()
    process.stdout.close()
    seconds = time.monotonic() - began
    if process.returncode not in (0, 1) or not said:
        raise RuntimeError(f"the replay of {projection} ended with {process.returncode}; see {complaints.name}")
    document = json.loads(said)
    seen: Witnessed = json.loads(report.read_text())
    half = len(sizes) // 2
    return Replayed(
        projection,
        bool(document["equal"]),
        int(document["entries"]),
        round(seconds, 1),
        document["filled_s"],
        round(_spent_s() - before_s, 1),
        max(sizes[:half], default=0),
        max(sizes[half:], default=0),
        tuple(sorted(seen["addresses"])),
        (*seen["outside"], *seen["programs"]),
    )


def _spent_s() -> float:
    """Processor time of all children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _sizes(process: subprocess.Popen[str]) -> Iterator[int]:
    """Resident megabytes of a process, again and again until it ends."""
    while process.poll() is None:
        shown = subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True).stdout
        if shown.strip():
            yield int(shown) // 1024
        time.sleep(SAMPLE_S)
