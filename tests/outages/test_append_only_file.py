"""The log's file cut off or spoiled: what is said, what is left, and every step of the runbook as it is typed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded.binaries import valkey_server
from app.embedded.server import ServerFailed
from app.embedded.valkey import Valkey
from tests.journeys.books import books_of, soon
from tests.journeys.client import client_of, question
from tests.journeys.conftest import helix_on
from tests.up.running import begin, end

ENTRIES = 200
LOST_BYTES = 37


@pytest.fixture
def log(reachable_path: Path, request: pytest.FixtureRequest) -> Iterator[Valkey]:
    server = Valkey(reachable_path / str(request.node.name) / "log", "log")
    yield server
    server.stop()


def file_of(log_directory: Path) -> Path:
    (file,) = (log_directory / "appendonlydir").glob("*.incr.aof")
    return file


def said_by(data: Path) -> str:
    """What `up` on this directory has said."""
    return Path(f"{data}.stderr").read_text()


def flip_a_byte(file: Path) -> None:
    """In the middle, in the length of a word: a place where it cannot be taken for content."""
    content = bytearray(file.read_bytes())
    place = content.index(b"\r\n*", len(content) // 2) + 2
    content[place] ^= 0x01
    file.write_bytes(content)


async def written(log: Valkey) -> None:
    log.start()
    async with Redis.from_url(log.url) as redis:
        for number in range(ENTRIES):
            await redis.xadd("stream", {"number": number})
    os.kill(log.pid, signal.SIGKILL)
    log.wait_ended()


async def entries_of(log: Valkey) -> int:
    async with Redis.from_url(log.url) as redis:
        return int(await redis.xlen("stream"))


async def test_a_file_that_is_cut_off_at_its_end_is_loaded_with_an_alarm(log: Valkey) -> None:
    await written(log)
    file = file_of(log.directory)
    os.truncate(file, file.stat().st_size - LOST_BYTES)
    log.start()
    assert await entries_of(log) == ENTRIES - 1, "the entry that was cut into, and no other"
    assert "Truncating the AOF" in log.log_file.read_text()


async def test_a_file_with_a_flipped_byte_is_refused_and_cut_at_the_fault_by_the_runbook(log: Valkey) -> None:
    await written(log)
    flip_a_byte(file_of(log.directory))
    with pytest.raises(ServerFailed, match="Bad file format reading the append only file"):
        log.start()
    check = ["bash", "-c", f'exec -a valkey-check-aof {valkey_server()} --fix "$1"', "fix", str(file_of(log.directory))]
    fixed = await asyncio.to_thread(subprocess.run, check, input="y\n", capture_output=True, text=True)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    log.start()
    assert ENTRIES // 3 < await entries_of(log) < ENTRIES


@pytest.mark.timeout(300)
async def test_a_helix_whose_log_is_corrupt_says_so_and_goes_on_by_the_runbook(reachable_path: Path) -> None:
    data = reachable_path / "data"
    with helix_on(data) as helix:
        async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
            before = [(await client.complete(question(f"number {at}"))).request for at in range(10)]
            await books.caught_up()

            async def archived() -> bool:
                return bool(
                    await books.database.fetchval("SELECT coalesce(sum(events), 0) FROM archive") >= len(before)
                )

            await soon(archived)
    flip_a_byte(file_of(data / "log"))

    refused = begin(data)
    assert await asyncio.to_thread(refused.wait, 60) == 1
    end(refused)
    assert "Bad file format reading the append only file" in said_by(data)

    shutil.copytree(data / "log", reachable_path / "copy-of-log")
    shutil.move(data / "log" / "appendonlydir", reachable_path / "somewhere")
    with helix_on(data) as helix:

        async def alarmed() -> bool:
            return '"log_went_back"' in helix.stderr.read_text()

        await soon(alarmed)
        (lost,) = (await helix.ask("reseed", "--lost"))["partitions"]
        assert lost["kept"] >= 0
        async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
            after = (await client.complete(question("and on"))).request
            every = [*before, after]
            assert await books.usage(every) == dict.fromkeys(every, 1)
            assert (await client.view(before[0]))["status"] == "completed"
            twice = "SELECT request_id FROM usage GROUP BY 1 HAVING count(*) > 1"
            assert await books.database.fetch(twice) == []
        assert (await helix.ask("replay", "archive", "--verify"))["equal"]
        assert json.dumps(await helix.ask("replay", "usage", "--dry-run")).count('"equal": true') == 1
