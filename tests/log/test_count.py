"""A log keeps the number of partitions that it was made with."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from app.log import LogGone
from app.log.connection import Connection
from app.log.count import OtherCount, agree, written
from app.up.directory import ROOT
from app.wiring import preflight
from tests.conftest import MakeSettings


async def test_a_new_log_takes_the_count_it_is_first_used_with(log_url: str) -> None:
    assert await written(log_url) is None
    await agree(log_url, 3)
    await agree(log_url, 3)
    assert await written(log_url) == 3


@pytest.mark.parametrize(("made", "asked"), [(1, 3), (3, 1), (3, 4)])
async def test_another_count_is_refused_and_changes_nothing(log_url: str, made: int, asked: int) -> None:
    await agree(log_url, made)
    connection = await Connection(log_url, name="test").open()
    before = sorted(await connection("KEYS", "*"))
    with pytest.raises(OtherCount, match=f"HELIX_PARTITIONS is {asked}, but this log was made with {made}"):
        await agree(log_url, asked)
    assert sorted(await connection("KEYS", "*")) == before
    await connection.close()


async def test_of_many_that_begin_at_once_one_count_wins(log_url: str) -> None:
    said = await asyncio.gather(*(agree(log_url, 1 + n % 2) for n in range(10)), return_exceptions=True)
    refused = [one for one in said if one is not None]
    assert len(refused) == 5
    assert all(isinstance(one, OtherCount) for one in refused)


async def test_where_no_server_answers_nothing_is_agreed_on() -> None:
    with pytest.raises(LogGone):
        await agree("redis://127.0.0.1:1/0", 1)


def test_a_process_with_another_count_does_not_start(make_settings: MakeSettings) -> None:
    asyncio.run(preflight(make_settings(helix_partitions=2)))
    with pytest.raises(SystemExit, match="helix: HELIX_PARTITIONS is 5, but this log was made with 2: set it to 2"):
        asyncio.run(preflight(make_settings(helix_partitions=5)))


def test_an_operators_command_does_not_read_some_of_the_partitions_for_all(make_settings: MakeSettings) -> None:
    chosen = make_settings()
    asyncio.run(agree(chosen.log, 3))
    servers = {"REDIS_URL": chosen.log, "CACHE_URL": chosen.cache, "DATABASE_URL": chosen.database}
    for words in (("replay", "usage"), ("log",), ("parked", "list")):
        ran = subprocess.run(
            [sys.executable, "-m", "app.cli", *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | servers,
        )
        assert ran.returncode == 2
        assert ran.stderr.startswith("helix: HELIX_PARTITIONS is 1, but this log was made with 3")
