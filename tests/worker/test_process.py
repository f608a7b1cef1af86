"""A worker as a process of its own, as the platform starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from app.log import Log, keys
from app.parking import PARKED_MAX
from app.settings import Settings
from tests.conftest import MakeSettings
from tests.worker.working import parked, pending, until_async

SAID = b"worker_stopped_taking"


def environment(chosen: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "REDIS_URL": chosen.log,
        "CACHE_URL": chosen.cache,
        "DATABASE_URL": chosen.database,
        "API_KEY_ENCRYPTION_KEY": chosen.api_key_encryption_key.get_secret_value(),
        "HELIX_PROCESS_NAME": "wrong",
    }


@pytest.mark.timeout(60)
async def test_a_worker_that_must_be_wrong_stays_and_says_so_and_ends_in_order(
    log: Log, make_settings: MakeSettings
) -> None:
    for _ in range(3 * PARKED_MAX):
        await log.command("XADD", keys.commands(0), "*", "__data__", b"{", "type", "?", "id", "?")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "worker"), env=environment(make_settings()), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr
        while SAID not in (line := await process.stderr.readline()):
            assert line, "it ended without a word"
        await until_async(lambda: log.command("XLEN", keys.parked(0)), PARKED_MAX)
        # One that read on, or was started again, would put away what comes now.
        await log.command("XADD", keys.commands(0), "*", "__data__", b"{", "type", "?", "id", "?")
        process.send_signal(signal.SIGTERM)
        said = await process.stderr.read()

        assert (await process.wait(), b"worker_drained" in said) == (0, True)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len(await parked(log)) == PARKED_MAX
    assert await log.command("XLEN", keys.commands(0)) == 2 * PARKED_MAX + 1
    assert {consumer for consumer, _ in await pending(log)} == {"wrong"}
