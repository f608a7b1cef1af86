"""What is unsafe is called bad, with a word on how to mend it; what is hidden is called unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.doctor import check_log
from app.doctor.examine import examine
from app.embedded.valkey import Valkey
from app.log import Log
from tests.conftest import MakeSettings


@pytest.fixture
async def operator(log_url: str) -> AsyncIterator[Redis]:
    """May change the log's settings; they are put back."""
    async with Redis.from_url(log_url) as redis:
        yield redis
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("appendfsync", "always")


async def test_the_embedded_log_is_safe(log_url: str) -> None:
    assert await check_log(log_url) == []


async def test_a_log_that_may_evict_is_a_fault(operator: Redis, log_url: str) -> None:
    await operator.config_set("maxmemory-policy", "allkeys-lru")
    assert [fault.split(":")[0] for fault in await check_log(log_url)] == ["log maxmemory-policy"]


async def test_a_log_that_does_not_always_fsync_is_a_fault(operator: Redis, log_url: str) -> None:
    await operator.config_set("appendfsync", "everysec")
    assert [fault.split(":")[0] for fault in await check_log(log_url)] == ["log appendfsync"]


async def test_a_cache_is_no_log(cache_server: Valkey) -> None:
    faults = await check_log(cache_server.url)
    assert [fault.split(":")[0] for fault in faults] == [
        "log maxmemory-policy",
        "log appendonly",
        "log appendfsync",
    ]


async def test_a_server_that_forbids_config_is_judged_by_what_it_tells(operator: Redis, log_server: Valkey) -> None:
    await operator.acl_setuser("managed", enabled=True, passwords=["+word"], commands=["+@all", "-config"], keys=["*"])
    url = f"redis://managed:word@127.0.0.1:{log_server.port}/0"

    assert await check_log(url) == []
    await operator.config_set("maxmemory-policy", "allkeys-lru")
    assert [fault.split(":")[0] for fault in await check_log(url)] == ["log maxmemory-policy"]

    await operator.acl_deluser("managed")


async def test_a_whole_helix_is_healthy_but_for_the_fsync_that_tests_do_without(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings()
    log = await Log(settings.log, name="doctor").open()
    await log.declare()
    await log.close()

    report = await examine(settings, tmp_path)

    assert [check.name for check in report.checks if check.verdict == "bad"] == ["Postgres fsync"]
    assert report.as_document()["healthy"] is False
    assert {check.name for check in report.checks if check.verdict == "warning"} >= {"workers", "projectors"}


async def test_every_fault_says_what_to_mend(make_settings: MakeSettings, tmp_path: Path) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    settings = make_settings(redis_url=nowhere, cache_url=nowhere, database_url="postgresql://x@127.0.0.1:1/x")

    checks = (await examine(settings, tmp_path / "not" / "there")).checks

    assert {check.name for check in checks if check.verdict == "bad"} >= {"log", "Postgres"}
    assert all(check.mend for check in checks if check.verdict != "good")


async def test_undeclared_groups_are_found(make_settings: MakeSettings, tmp_path: Path) -> None:
    checks = (await examine(make_settings(), tmp_path)).checks
    assert [check.mend for check in checks if check.name == "log groups"] == ["run `./helix migrate`"]
