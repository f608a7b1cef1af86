"""Processes of today and of tomorrow on one log: nothing is misread, nothing is skipped, nothing is put away."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from app import accounts
from app.api_keys import new_key
from app.embedded.server import free_port
from app.faults.provider import MODEL, CountingProvider, Question, counting_provider, providers_file
from app.log import Log, keys
from app.settings import Settings
from tests.conftest import MakeSettings

OLD, NEW = "app.cli", "tests.rolling.newer"
ASKED = 4


class Process:
    """One process of ours, and what it has said."""

    def __init__(self, running: asyncio.subprocess.Process, said: Path) -> None:
        self.running = running
        self._said = said

    async def says(self, fact: str) -> None:
        await becomes(lambda: asyncio.sleep(0, fact in self._said.read_text()))

    async def end(self) -> int:
        """SIGTERM, and its exit code."""
        if self.running.returncode is None:
            self.running.terminate()
        return await self.running.wait()


async def becomes(true: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110  # told by a file or a table
            await asyncio.sleep(0.05)


class House:
    """Processes of both versions around one log and one database."""

    def __init__(self, chosen: Settings, place: Path, provider: CountingProvider) -> None:
        providers = place / "providers.toml"
        providers.write_text(providers_file(provider.port))
        self._place = place
        self._began: list[Process] = []
        self._environment = {
            **os.environ,
            "REDIS_URL": chosen.log,
            "CACHE_URL": chosen.cache,
            "DATABASE_URL": chosen.database,
            "API_KEY_ENCRYPTION_KEY": chosen.api_key_encryption_key.get_secret_value(),
            "HELIX_PROVIDERS": str(providers),
            "HELIX_LEASE_S": "1",
        }

    async def begin(self, program: str, role: str, **environment: str) -> Process:
        said = self._place / f"{role} of {program}"
        with open(said, "wb") as stderr:  # noqa: ASYNC230  # made, not written
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", program, role),
                env={**self._environment, "HELIX_PROCESS_NAME": said.name, **environment},
                stderr=stderr,
            )
        process = Process(running, said)
        self._began.append(process)
        await process.says(f"{role}_started")
        return process

    async def web(self, program: str) -> str:
        """→ its address, once it answers."""
        port = free_port()
        await self.begin(program, "web", PORT=str(port))
        return f"http://127.0.0.1:{port}"

    async def end(self) -> None:
        for process in self._began:
            await process.end()


@asynccontextmanager
async def house(chosen: Settings, place: Path) -> AsyncIterator[tuple[House, CountingProvider]]:
    async with counting_provider() as provider:
        built = House(chosen, place, provider)
        try:
            yield built, provider
        finally:
            await built.end()


async def ask(session: aiohttp.ClientSession, web: str, number: int) -> str:
    """→ the id of the request, after it has been answered."""
    question = Question(f"q{number}", 3, 5)
    body = {"model": f"campaign/{MODEL}", "messages": [{"role": "user", "content": question.encode()}]}
    async with session.post(f"{web}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["x-request-id"]


async def shown(session: aiohttp.ClientSession, web: str, request: str) -> tuple[int, Any]:
    async with session.get(f"{web}/v1/requests/{request}") as answer:
        return answer.status, await answer.json()


@pytest.mark.timeout(150)
async def test_old_and_new_versions_share_a_log(log_url: str, make_settings: MakeSettings, tmp_path: Path) -> None:
    chosen = make_settings()
    developer = await accounts.ensure_user(chosen.database, "a@example.com", "enterprise")
    key = new_key()
    await accounts.ensure_key(chosen.database, developer, key, name="test")
    database: Any = await asyncpg.connect(chosen.database)

    async def billed() -> int:
        return int(await database.fetchval("SELECT count(*) FROM usage"))

    headers = {"authorization": f"Bearer {key}"}
    async with house(chosen, tmp_path) as (built, provider), aiohttp.ClientSession(headers=headers) as session:
        old_projector, _, old_web = await asyncio.gather(
            built.begin(OLD, "projector"), built.begin(OLD, "worker"), built.web(OLD)
        )
        for number in range(ASKED):
            await ask(session, old_web, number)
        await becomes(lambda: _is(billed, ASKED))

        _, _, new_web = await asyncio.gather(built.begin(NEW, "projector"), built.begin(NEW, "worker"), built.web(NEW))
        newer = await asyncio.gather(*(ask(session, new_web, ASKED + number) for number in range(ASKED)))

        await old_projector.says("event_from_the_future")
        assert await billed() == ASKED, "the old projector waits"
        assert (await shown(session, old_web, newer[0]))[0] == 503, "the old web does not guess"
        assert await old_projector.end() == 0
        await becomes(lambda: _is(billed, 2 * ASKED))
        status, view = await shown(session, old_web, newer[0])
        assert (status, view["status"], view["http_status"]) == (200, "completed", 200)
        await ask(session, old_web, 2 * ASKED)
        await becomes(lambda: _is(billed, 2 * ASKED + 1))

    assert set(provider.asked.values()) == {1}
    assert await database.fetchval("SELECT count(*) FROM unreadable") == 0
    await database.close()
    log = await Log(log_url, name="tests").open()
    assert [await log.command("XLEN", key) for key in (keys.parked(0), keys.commands(0))] == [0, 0]
    await log.close()


async def _is(count: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await count() == wanted
