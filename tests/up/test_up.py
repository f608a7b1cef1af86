"""A whole Helix begins, heals, ends, and begins again with what it had."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.up.directory import Facts
from tests.up.running import END_S, alive, begin, echo, end, pids, ready, running, soon


@pytest.fixture
def data(reachable_path: Path) -> Path:
    return reachable_path / f"été {secrets.token_hex(4)}"


def published(data: Path) -> Facts | None:
    try:
        facts: Facts = json.loads((data / "run.json").read_text())
        return facts
    except FileNotFoundError:
        return None


def test_up_answers_and_leaves_nothing_behind_and_begins_again_with_the_same_keys(data: Path) -> None:
    with running(data) as (up, first):
        assert list(first) == [
            "ready",
            "base_url",
            "api_key",
            "admin_key",
            "database_url",
            "redis_url",
            "cache_url",
            "pids",
        ]
        assert {role: len(pids) for role, pids in first["pids"].items()} == {  # type: ignore[arg-type]
            "web": 1,
            "worker": 1,
            "projector": 1,
            "log": 1,
            "cache": 1,
            "postgres": 1,
        }
        assert echo(first, "one small word") == "one small word"
        assert published(data) == first
        second = begin(data)
        assert (second.communicate(timeout=END_S)[0], second.returncode) == ("", 1)
        assert end(up) == 0

    assert [pid for pid in pids(first) if alive(pid)] == []
    assert published(data) is None
    assert "another `helix up` runs" in Path(f"{data}.stderr").read_text()

    with running(data, "--workers", "2") as (_, again):
        assert (again["api_key"], again["admin_key"]) == (first["api_key"], first["admin_key"])
        assert len(again["pids"]["worker"]) == 2
        assert echo(again, "the same key") == "the same key"


@pytest.mark.parametrize("role", ["web", "worker", "projector", "log", "cache", "postgres"])
def test_whoever_is_killed_is_back(role: str, shared_up: tuple[Path, Facts]) -> None:
    data, facts = shared_up
    before = published(data)
    assert before
    killed: int = before["pids"][role][0]  # type: ignore[literal-required]

    os.kill(killed, signal.SIGKILL)

    assert soon(lambda: (now := published(data)) is not None and killed not in pids(now))
    assert soon(lambda: answered(facts))


def answered(facts: Facts) -> bool:
    try:
        return echo(facts, "still there") == "still there"
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def shared_up(reachable_path: Path) -> Iterator[tuple[Path, Facts]]:
    data = reachable_path / "shared data"
    with running(data) as (_, facts):
        yield data, facts


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_up_leaves_nothing_and_the_next_one_finds_the_data(data: Path) -> None:
    up = begin(data)
    first = ready(up)
    assert echo(first, "before") == "before"

    up.kill()
    up.communicate()

    assert soon(lambda: not any(alive(pid) for pid in pids(first)))
    with running(data) as (_, again):
        assert again["api_key"] == first["api_key"]
        assert echo(again, "after") == "after"


def test_a_taken_port_is_said_in_one_line_before_anything_is_started(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        up = begin(data, "--port", str(taken.getsockname()[1]))
        assert (up.communicate(timeout=END_S)[0], up.returncode) == ("", 1)
    assert "in use" in Path(f"{data}.stderr").read_text()
    assert not (data / "log").exists()


def test_a_setting_that_makes_no_sense_is_named_and_stops_the_start(data: Path) -> None:
    up = begin(data, HELIX_PARTITIONS="many")
    assert (up.communicate(timeout=END_S)[0], up.returncode) == ("", 2)
    assert "HELIX_PARTITIONS" in Path(f"{data}.stderr").read_text()


def test_a_command_beside_up_finds_it(shared_up: tuple[Path, Facts]) -> None:
    data, _ = shared_up
    listed = subprocess.run(
        [sys.executable, "-m", "app.cli", "key", "list", "--json"],
        env={**os.environ, "HELIX_DATA": str(data)},
        capture_output=True,
        text=True,
    )
    assert [each["name"] for each in json.loads(listed.stdout)["data"]] == ["development", "operator"]
