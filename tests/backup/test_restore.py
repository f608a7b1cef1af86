"""A machine is lost: what its backup gives back on another one, by the words an operator types."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.backup import files
from app.up.directory import ROOT
from tests.journeys.books import books_of
from tests.journeys.client import client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix

TABLES = ("users", "api_keys", "data_keys", "requests", "usage", "conversations", "conversation_messages")


async def rows_of(database_url: str) -> dict[str, list[Any]]:
    connection: Any = await asyncpg.connect(database_url)
    try:
        return {table: await connection.fetch(f"SELECT to_jsonb(t) FROM {table} t ORDER BY 1") for table in TABLES}
    finally:
        await connection.close()


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`helix` with these words where no `up` runs."""
    clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        env={**clean, **environment},
    )


async def lived(helix: Helix, saved: Path) -> tuple[list[str], str, dict[str, list[Any]]]:
    """Requests that ended, one that is under way, a backup → (the ended, the other, the rows there were)."""
    async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
        ended = []
        for words in ("remember the milk", "and the bread"):
            answer = await client.complete(question(words, conversation_id="conv_shopping"))
            assert answer.status == 200, answer.body
            ended.append(answer.request)
        await books.caught_up()
        for pid in helix.now()["pids"]["worker"]:
            os.kill(pid, signal.SIGSTOP)
        waiting = await client.submit(question("are you still there"))
        rows = await rows_of(helix.facts["database_url"])
        made = await helix.ask("backup", str(saved))
        assert made["commands"] == 1
        assert made["events"] >= 0
        return ended, waiting, rows


async def test_a_restored_machine_knows_all_that_was_acknowledged(tmp_path: Path) -> None:
    old, new, saved = tmp_path / "old", tmp_path / "new", tmp_path / "saved"
    with helix_on(old) as helix:
        try:
            ended, waiting, rows = await lived(helix, saved)
        finally:
            for pid in helix.now()["pids"]["worker"]:
                os.kill(pid, signal.SIGKILL)
        secret = (old / "secrets" / "api_key_encryption_key").read_text().strip()
        key = helix.facts["api_key"]
        refused = typed(
            "restore",
            str(saved),
            API_KEY_ENCRYPTION_KEY=secret,
            DATABASE_URL=helix.facts["database_url"],
            REDIS_URL=helix.facts["redis_url"],
        )
        assert refused.returncode == 2
        assert "restore into an empty one" in refused.stderr
    assert secret not in "".join(path.read_bytes().decode("latin-1") for path in saved.iterdir())

    wrong = typed("restore", str(saved), "--data", str(tmp_path / "wrong"), API_KEY_ENCRYPTION_KEY="ab" * 32)
    assert wrong.returncode == 2
    assert "API_KEY_ENCRYPTION_KEY lacks" in wrong.stderr

    put_back = typed("restore", str(saved), "--data", str(new), "--json", API_KEY_ENCRYPTION_KEY=secret)
    assert put_back.returncode == 0, put_back.stderr
    assert json.loads(put_back.stdout)["commands"] == 1

    with helix_on(new) as helix:
        async with client_of(helix.base_url, key) as client, books_of(helix.now()) as books:
            end = await client.end_of(waiting)
            assert end["status"] == "completed"
            views = [await client.view(request) for request in ended]
            said = [view["response"]["choices"][0]["message"]["content"] for view in views]
            assert said == ["remember the milk", "and the bread"]
            more = await client.complete(question("and butter", conversation_id="conv_shopping"))
            assert more.status == 200
            assert set((await books.usage([*ended, waiting, more.request])).values()) == {1}
            assert await books.ends([waiting]) == {waiting: 1}
            now = await rows_of(helix.facts["database_url"])
        for table in ("users", "data_keys", "requests", "usage", "conversation_messages"):
            kept = [row for row in now[table] if row in rows[table]]
            assert kept == rows[table], table
        verified = await asyncio.to_thread(helix.run, "replay", "usage", "--dry-run", "--json")
        assert json.loads(verified.stdout)["equal"], verified.stdout
        found = await helix.ask("log", "--request", ended[0])
        assert [one["subject"] for one in found] == [ended[0]]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A backup of nothing, whole."""
    for name in files.SEALED:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / files.LOG).write_bytes(gzip.compress(b""))
    (tmp_path / files.POSITION).write_text(files.Position(stands=()).model_dump_json())
    files.end(tmp_path, made_at=datetime.now(UTC), partitions=1, migration="0001", wrapped_by=())
    return tmp_path


@pytest.mark.parametrize("name", files.SEALED)
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_backup_that_is_not_what_was_written_is_refused(whole: Path, name: str, harm: str) -> None:
    assert files.checked(whole, other_keys=False)
    if harm == "changed":
        (whole / name).write_bytes((whole / name).read_bytes() + b" ")
    else:
        (whole / name).unlink()
    with pytest.raises(files.NoBackup, match=name):
        files.checked(whole, other_keys=False)


def test_a_backup_that_was_broken_off_is_none(whole: Path) -> None:
    (whole / files.MANIFEST).unlink()
    with pytest.raises(files.NoBackup, match="no whole backup"):
        files.checked(whole, other_keys=False)


def test_keys_of_a_later_day_may_take_the_place_of_those_saved(whole: Path) -> None:
    (whole / files.KEYS).write_text("an account was erased since")
    assert files.checked(whole, other_keys=True)


def test_a_backup_is_never_written_over_another(whole: Path) -> None:
    with pytest.raises(files.NoBackup, match="not empty"):
        files.begin(whole)
    shutil.rmtree(whole)
    files.begin(whole)
