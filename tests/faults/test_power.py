"""A power cut takes what was not fsynced, and nothing else: on a real server, under the witness."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded.valkey import Valkey
from app.faults.log_server import lose_power
from app.faults.power import PowerCuts
from app.faults.preload import CannotRun

ENTRIES = 200


def test_a_file_is_cut_to_what_its_last_fsync_saw(tmp_path: Path) -> None:
    data, witness = tmp_path / "appendonlydir", tmp_path / "witness"
    data.mkdir()
    witness.mkdir()
    known, unknown, base = (data / name for name in ("a.1.incr.aof", "a.2.incr.aof", "a.1.base.rdb"))
    for file in (known, unknown, base):
        file.write_bytes(b"0123456789")
    (witness / str(known.stat().st_ino)).write_text("00000000000000000004")
    assert lose_power(data, witness) == 16
    assert [known.read_bytes(), unknown.read_bytes(), base.read_bytes()] == [b"0123", b"", b"0123456789"]


async def test_a_log_that_fsyncs_always_loses_nothing_that_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        power = PowerCuts(tmp_path / "power", "always")
    except CannotRun as cannot:
        pytest.skip(str(cannot))
    monkeypatch.setenv("HELIX_VALKEY_BIN", str(power.program))
    server = Valkey(tmp_path / "log", "log")
    server.start()
    try:
        async with Redis.from_url(server.url) as redis:
            for number in range(ENTRIES):
                await redis.xadd("stream", {"number": number})
        power.cut(server.pid)
        server.wait_ended()
        server.start()
        async with Redis.from_url(server.url) as redis:
            assert await redis.xlen("stream") == ENTRIES
        assert power.lost_bytes() == [0]
    finally:
        server.stop()


async def test_what_was_written_and_never_fsynced_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        power = PowerCuts(tmp_path / "power", "everysec")
    except CannotRun as cannot:
        pytest.skip(str(cannot))
    monkeypatch.setenv("HELIX_VALKEY_BIN", str(power.program))
    server = Valkey(tmp_path / "log", "log")
    server.start()
    try:
        async with Redis.from_url(server.url) as redis:
            await redis.config_set("appendfsync", "no")  # everysec could be lucky; this never is
            for number in range(ENTRIES):
                await redis.xadd("stream", {"number": number})
        power.cut(server.pid)
        server.wait_ended()
        server.start()
        async with Redis.from_url(server.url) as redis:
            assert await redis.xlen("stream") < ENTRIES
        assert power.lost_bytes()[0] > 0
    finally:
        server.stop()
