"""What a Helix needs of its surroundings, checked and said with what to mend. One rule: what was not seen is not called good.

Web and worker ask `check_log` at their start; `helix doctor` asks everything.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, cast

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.database import Unavailable, connected
from app.log import keys
from app.settings import PROVIDER_KEYS, Settings

Verdict = Literal["good", "warning", "bad", "unknown"]

REDIS_VERSION_MIN: Final = 7
POSTGRES_VERSION_MIN: Final = 15
CLOCK_S_MAX: Final = 2.0
"""Rates and ends of keys are judged by different clocks; a difference above this is seen by customers."""
DISK_BYTES_MIN: Final = 2 * 1024**3
"""A rewrite of the append-only file needs room for the old and the new one at once."""
ANSWER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `mend` is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What the log server says about itself; None where it will not say."""

    version: int
    version_text: str
    policy: str | None
    append_only: str | None
    fsync: str | None
    clock: datetime


async def check_log(url: str) -> list[str]:
    """What makes this log unsafe, a line each; empty when nothing acknowledged can be lost or evicted.

    Where the server hides a setting that could be wrong, that is no fault: `doctor` warns of it.
    Raises redis.exceptions.RedisError or OSError when it does not answer.
    """
    facts = await _ask_log(url)
    return [f"{check.name}: {check.found}; {check.mend}" for check in _judge_log(facts) if check.verdict == "bad"]


async def examine(settings: Settings, data: Path) -> list[Check]:
    """Everything, in the order in which things depend on each other. Never raises for what is only broken."""
    return [
        *await _log(settings),
        *await _cache(settings),
        *await _postgres(settings),
        *_providers(settings),
        _disk(data),
    ]


def as_document(checks: list[Check]) -> dict[str, object]:
    """For `--json`."""
    return {"healthy": all(check.verdict != "bad" for check in checks), "checks": [asdict(check) for check in checks]}


async def _ask_log(url: str) -> LogFacts:
    async with _client(url) as redis:
        info = cast(Mapping[str, object], await redis.info("server"))
        memory = cast(Mapping[str, object], await redis.info("memory"))
        persistence = cast(Mapping[str, object], await redis.info("persistence"))
        try:
            config = await redis.config_get("maxmemory-policy", "appendonly", "appendfsync")
        except RedisError:  # managed servers forbid CONFIG; INFO tells the half of it
            config = {}
        seconds, microseconds = await redis.time()
    text = str(info.get("valkey_version") or info.get("redis_version") or "0")
    aof = persistence.get("aof_enabled")
    policy = config.get("maxmemory-policy") or memory.get("maxmemory_policy")
    return LogFacts(
        version=int(text.partition(".")[0]),
        version_text=f"{'Valkey' if 'valkey_version' in info else 'Redis'} {text}",
        policy=None if policy is None else str(policy),
        append_only=config.get("appendonly") or (None if aof is None else "yes" if str(aof) == "1" else "no"),
        fsync=config.get("appendfsync"),
        clock=datetime.fromtimestamp(seconds + microseconds / 1e6, UTC),
    )


def _judge_log(facts: LogFacts) -> list[Check]:
    old = facts.version < REDIS_VERSION_MIN
    return [
        Check(
            "log version",
            "bad" if old else "good",
            facts.version_text,
            f"use Redis {REDIS_VERSION_MIN} or newer, or Valkey" if old else "",
        ),
        _setting("maxmemory-policy", facts.policy, "noeviction", "entries nobody has read would be evicted"),
        _setting("appendonly", facts.append_only, "yes", "what was acknowledged would be gone after a crash"),
        _setting("appendfsync", facts.fsync, "always", "a power cut would lose what was acknowledged"),
    ]


def _setting(name: str, found: str | None, wanted: str, danger: str) -> Check:
    if found is None:
        return Check(f"log {name}", "unknown", "the server does not say", f"see that it is `{wanted}`: else {danger}")
    if found == wanted:
        return Check(f"log {name}", "good", found)
    return Check(f"log {name}", "bad", found, f"set it to `{wanted}`: else {danger}")


async def _log(settings: Settings) -> list[Check]:
    try:
        facts = await _ask_log(settings.log)
        return [*_judge_log(facts), _clock("log", facts.clock), await _groups(settings)]
    except (RedisError, OSError) as failed:
        return [
            Check("log", "bad", f"does not answer: {type(failed).__name__}", "see REDIS_URL and the server behind it")
        ]


async def _groups(settings: Settings) -> Check:
    missing = []
    async with _client(settings.log) as redis:
        for partition in range(settings.helix_partitions):
            stream = keys.commands(partition)
            groups = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
            if keys.COMPLETIONS.encode() not in [group["name"] for group in groups]:
                missing.append(stream)
    if missing:
        return Check("log groups", "bad", f"not declared: {', '.join(missing)}", "run `./helix migrate`")
    return Check("log groups", "good", f"declared in {settings.helix_partitions} partitions")


async def _cache(settings: Settings) -> list[Check]:
    if settings.cache == settings.log:
        mend = "set CACHE_URL to a server of its own: a cache must evict, the log must not"
        return [Check("cache", "warning", "shares the log's server", mend)]
    try:
        async with _client(settings.cache) as redis:
            await redis.ping()
            memory = cast(Mapping[str, object], await redis.info("memory"))
    except (RedisError, OSError) as failed:
        return [Check("cache", "bad", f"does not answer: {type(failed).__name__}", "see CACHE_URL")]
    policy = str(memory.get("maxmemory_policy"))
    if policy == "noeviction":
        return [
            Check("cache", "warning", "noeviction", "set maxmemory and `allkeys-lru`: it would refuse writes when full")
        ]
    return [Check("cache", "good", policy)]


async def _postgres(settings: Settings) -> list[Check]:
    try:
        async with connected(settings.database) as connection:
            version = connection.get_server_version()
            clock = await connection.fetchval("SELECT clock_timestamp()")
            vector = await connection.fetchval(
                "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
            )
            fsync = await connection.fetchval("SHOW fsync")
            shown = await connection.fetchval("SHOW server_version")
    except (Unavailable, asyncpg.PostgresError, ValueError) as failed:
        return [Check("Postgres", "bad", f"does not answer: {type(failed).__name__}", "see DATABASE_URL")]
    old = version.major < POSTGRES_VERSION_MIN
    return [
        Check(
            "Postgres version",
            "bad" if old else "good",
            shown,
            f"use Postgres {POSTGRES_VERSION_MIN} or newer" if old else "",
        ),
        Check(
            "Postgres fsync", "good" if fsync == "on" else "bad", fsync, "" if fsync == "on" else "set fsync to `on`"
        ),
        Check("Postgres vector", "good", vector)
        if vector
        else Check("Postgres vector", "warning", "not available", "install pgvector for search by meaning"),
        _clock("Postgres", clock),
        await _migrations(settings),
    ]


async def _migrations(settings: Settings) -> Check:
    from app.migrate import at_head  # pulls in Alembic, which web and worker do without

    if await at_head(settings.database):
        return Check("migrations", "good", "at head")
    return Check("migrations", "bad", "not at head", "run `./helix migrate`")


def _providers(settings: Settings) -> list[Check]:
    found = [name for name in PROVIDER_KEYS if getattr(settings, f"{name}_api_key")]
    if settings.helix_providers:
        found.append(str(settings.helix_providers))
    if found:
        return [Check("providers", "good", ", ".join(found))]
    names = ", ".join(f"{name.upper()}_API_KEY" for name in PROVIDER_KEYS)
    return [Check("providers", "warning", "none of your own", f"set one of {names}, or HELIX_PROVIDERS")]


def _disk(data: Path) -> Check:
    place = next(each for each in (data.absolute(), *data.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if free < DISK_BYTES_MIN:
        return Check("disk", "bad", found, "make room: a full disk stops the log")
    return Check("disk", "good", found)


def _clock(name: str, theirs: datetime) -> Check:
    apart_s = abs((datetime.now(UTC) - theirs).total_seconds())
    if apart_s > CLOCK_S_MAX:
        return Check(f"{name} clock", "warning", f"{apart_s:.1f} s apart from ours", "synchronise the clocks (NTP)")
    return Check(f"{name} clock", "good", f"{apart_s:.1f} s apart from ours")


def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
