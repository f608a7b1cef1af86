"""Postgres, the providers and the disk, looked at for `helix doctor`. One rule: what does not answer is named, not raised."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import asyncpg

from app.database import Unavailable, connected
from app.doctor.checks import Check, clock
from app.providers.catalogue import load_catalogue
from app.providers.price_list import PRICES_FILE, price_list
from app.settings import PROVIDER_KEYS, Settings

POSTGRES_VERSION_MIN: Final = 15
CONNECTIONS_SHARE_MAX: Final = 0.8
"""Of `max_connections`: above it the next process that starts may not get its own."""
DISK_BYTES_MIN: Final = 2 * 1024**3
"""A rewrite of the append-only file needs room for the old and the new one at once."""


async def check_postgres(url: str) -> list[Check]:
    try:
        async with connected(url) as connection:
            version = connection.get_server_version()
            now = await connection.fetchval("SELECT clock_timestamp()")
            vector = await connection.fetchval(
                "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
            )
            fsync = await connection.fetchval("SHOW fsync")
            shown = await connection.fetchval("SHOW server_version")
            used = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            )
            most = int(await connection.fetchval("SHOW max_connections"))
    except (Unavailable, asyncpg.PostgresError, ValueError) as failed:
        return [Check("Postgres", "bad", f"does not answer: {type(failed).__name__}", "see DATABASE_URL")]
    old = version.major < POSTGRES_VERSION_MIN
    crowded = used > most * CONNECTIONS_SHARE_MAX
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
        Check(
            "Postgres connections",
            "warning" if crowded else "good",
            f"{used} of {most}",
            "lower MAX_DB_CONNECTIONS or raise max_connections (docs/scaling.md)" if crowded else "",
        ),
        Check("Postgres vector", "good", vector)
        if vector
        else Check("Postgres vector", "warning", "not available", "install pgvector for search by meaning"),
        clock("Postgres", now),
        await _migrations(url),
    ]


async def _migrations(url: str) -> Check:
    from app.migrate import at_head  # pulls in Alembic, which web and worker do without

    if await at_head(url):
        return Check("migrations", "good", "at head")
    return Check("migrations", "bad", "not at head", "run `./helix migrate`")


def check_providers(settings: Settings) -> Check:
    found = [name for name in PROVIDER_KEYS if getattr(settings, f"{name}_api_key")]
    if settings.helix_providers:
        found.append(str(settings.helix_providers))
    if found:
        return Check("providers", "good", ", ".join(found))
    names = ", ".join(f"{name.upper()}_API_KEY" for name in PROVIDER_KEYS)
    return Check("providers", "warning", "none of your own", f"set one of {names}, or HELIX_PROVIDERS")


def check_prices(settings: Settings) -> Check:
    """Whether all that providers charge for is billed, as far as the catalogue knows it."""
    try:
        prices = price_list(settings.helix_prices or PRICES_FILE)
        load_catalogue(settings)
    except ValueError as refused:
        return Check("prices", "bad", str(refused), "mend the file that it names")
    keyed = [name for name in PROVIDER_KEYS if getattr(settings, f"{name}_api_key")]
    sold = [one for name in keyed for _, one in prices.of(name) if (one.chat or one.embedding) and one.price]
    left_out = sorted(set().union(*(one.unrated for one in sold)))
    if left_out:
        return Check("prices", "warning", f"not billed: {', '.join(left_out)}", "see docs/prices.md")
    return Check("prices", "good", f"{prices.as_of}; {len(prices.corrections)} models in prices.toml")


def check_disk(data: Path) -> Check:
    place = next(each for each in (data.absolute(), *data.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if free < DISK_BYTES_MIN:
        return Check("disk", "bad", found, "make room: a full disk stops the log")
    return Check("disk", "good", found)
