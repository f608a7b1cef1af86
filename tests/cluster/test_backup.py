"""A backup of a cluster with several partitions, put back onto one that was emptied."""

from __future__ import annotations

import secrets
from pathlib import Path

import asyncpg
import pytest

from app.backup.files import NoBackup
from app.backup.load import NotEmpty, load
from app.backup.save import save
from app.embedded.postgres import Postgres
from app.key_ring import KeyRing
from app.log import Log, keys
from app.readers import extent
from tests.cluster.conftest import Cluster
from tests.cluster.test_partly_away import PARTITIONS, account_in, opened
from tests.projections import finished
from tests.retention.reading import read_by_all

READ, UNREAD = 30, 20


async def held(log: Log) -> dict[int, tuple[object, ...]]:
    """What lies in each partition: commands, dead letters, and where the events stand."""
    found: dict[int, tuple[object, ...]] = {}
    for partition in range(PARTITIONS):
        commands = await log.command("XRANGE", keys.commands(partition), "-", "+")
        parked = await log.command("XRANGE", keys.parked(partition), "-", "+")
        events = await extent(log, partition)
        found[partition] = (commands, parked, events.last_id, events.added)
    return found


async def test_every_partition_is_saved_from_its_node_and_put_back_onto_it(
    cluster: Cluster, database_url: str, postgres_server: Postgres, tmp_path: Path
) -> None:
    ring = KeyRing.parse(secrets.token_hex(32))
    log = await opened(cluster.url)
    for partition in range(PARTITIONS):
        for _ in range(READ):
            await log.publish(finished(account_in(partition)))
    await read_by_all(log, database_url)
    for partition in range(PARTITIONS):
        for _ in range(UNREAD):
            await log.publish(finished(account_in(partition)))
        await log.command("XADD", keys.parked(partition), "*", "why", "unreadable", "__data__", "?")
        await log.command("XADD", keys.commands(partition), "*", "__data__", "nobody can read this")
    before = await held(log)

    saved = await save(database_url, log, tmp_path / "saved")
    assert (saved.events, saved.commands, saved.parked) == (UNREAD * PARTITIONS, PARTITIONS, PARTITIONS)

    empty = f"empty_{secrets.token_hex(4)}"
    maintenance = await asyncpg.connect(postgres_server.url_of("postgres"))
    await maintenance.execute(f"CREATE DATABASE {empty}")
    try:
        with pytest.raises(NotEmpty, match="partition 0"):
            await load(postgres_server.url_of(empty), log, ring, tmp_path / "saved")
        for url in log.nodes.groups():
            await log.nodes.at(log.nodes.groups()[url][0])("FLUSHALL")
        fewer = await Log(cluster.url, name="test", partitions=PARTITIONS - 1).open()
        with pytest.raises(NoBackup, match=f"it has {PARTITIONS} partitions"):
            await load(postgres_server.url_of(empty), fewer, ring, tmp_path / "saved")
        await fewer.close()
        for url in log.nodes.groups():
            await log.nodes.at(log.nodes.groups()[url][0])("FLUSHALL")

        restored = await load(postgres_server.url_of(empty), log, ring, tmp_path / "saved")

        assert (restored.events, restored.commands, restored.parked) == (UNREAD * PARTITIONS, PARTITIONS, PARTITIONS)
        assert await held(log) == before
        await read_by_all(log, postgres_server.url_of(empty))
        rows = await asyncpg.connect(postgres_server.url_of(empty))
        assert await rows.fetchval("SELECT count(*) FROM usage") == (READ + UNREAD) * PARTITIONS
        await rows.close()
    finally:
        await maintenance.execute(f"DROP DATABASE {empty} WITH (FORCE)")
        await maintenance.close()
        await log.close()
