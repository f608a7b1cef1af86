"""One `up` a directory; commands beside it find it, and only while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.up.beside import use_running
from app.up.directory import Directory, Facts, InUse

FACTS: Facts = {
    "ready": True,
    "base_url": "http://127.0.0.1:8000",
    "api_key": "hx_user_a",
    "admin_key": "hx_user_b",
    "database_url": "postgresql://here",
    "redis_url": "redis://log",
    "cache_url": "redis://cache",
    "pids": {"web": [1], "worker": [2], "projector": [3], "log": [4], "cache": [5], "postgres": [6]},
}
SERVERS = {"DATABASE_URL": "postgresql://here", "REDIS_URL": "redis://log", "CACHE_URL": "redis://cache"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*SERVERS, "API_KEY_ENCRYPTION_KEY"):
        monkeypatch.setenv(name, "")  # remembered by monkeypatch, so that what the test fills in is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HELIX_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def running(data: Path) -> Iterator[Directory]:
    """The directory of an `up` that runs and is ready."""
    directory = Directory(data)
    directory.take()
    directory.publish(FACTS)
    yield directory
    directory.release()


def named() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in SERVERS}


def test_a_second_up_on_the_same_directory_is_refused(running: Directory) -> None:
    with pytest.raises(InUse, match="another `helix up` runs"):
        Directory(running.path).take()


def test_a_directory_that_was_released_can_be_taken(running: Directory) -> None:
    running.release()
    second = Directory(running.path)
    second.take()
    second.release()


def test_a_secret_is_the_same_at_every_start_and_nobody_elses(data: Path) -> None:
    made = Directory(data).secret("word")
    assert Directory(data).secret("word") == made
    assert len(made) == 64
    assert (data / "secrets" / "word").stat().st_mode & 0o777 == 0o600


def test_the_facts_are_the_owners_alone(data: Path, running: Directory) -> None:
    assert Directory(data).facts() == FACTS
    assert (data / "run.json").stat().st_mode & 0o777 == 0o600


def test_facts_left_over_from_a_killed_up_are_not_believed(data: Path) -> None:
    Directory(data).publish(FACTS)
    assert Directory(data).facts() is None


def test_a_command_beside_a_running_up_finds_its_servers(running: Directory) -> None:
    key = running.secret("api_key_encryption_key")

    use_running()

    assert named() == SERVERS
    assert os.environ["API_KEY_ENCRYPTION_KEY"] == key


def test_a_command_that_names_another_server_is_left_alone(running: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")

    use_running()

    assert named() == {"DATABASE_URL": "postgresql://elsewhere", "REDIS_URL": None, "CACHE_URL": None}


def test_a_command_with_no_up_beside_it_changes_nothing(data: Path) -> None:
    use_running()
    assert named() == dict.fromkeys(SERVERS)
    assert not data.exists()
