"""Every process of ours is replaced while clients of every kind ask, and none of them notices."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.faults.checker import check
from app.faults.gather import gather
from app.faults.provider import counting_provider, providers_file
from app.up.directory import Facts
from tests.rolling.load import KINDS, Books, Clients
from tests.up.running import END_S, begin, end, ready

ROLES = ("web", "worker", "projector")
RESTARTS = 2
CLIENTS = 16


def pids_of(data: Path) -> dict[str, list[int]]:
    facts: Facts = json.loads((data / "run.json").read_text())
    return {role: facts["pids"][role] for role in ROLES}  # type: ignore[literal-required]  # from the names of roles


async def becomes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(END_S):
        while not true():  # noqa: ASYNC110  # told by a file
            await asyncio.sleep(0.05)


async def restarted(up: subprocess.Popen[str], data: Path) -> None:
    """Return when every process is another one."""
    before = pids_of(data)
    up.send_signal(signal.SIGHUP)

    def replaced() -> bool:
        now = pids_of(data)
        return all(len(now[role]) == len(before[role]) and not set(now[role]) & set(before[role]) for role in ROLES)

    await becomes(replaced)


async def restarted_under_load(data: Path, restarts: int) -> Books:
    """Restart a whole Helix so often while clients ask → what they were told; the rest is asserted here."""
    async with counting_provider() as provider:
        file = data.with_suffix(".toml")
        file.write_text(providers_file(provider.port))
        up = begin(data, HELIX_PROVIDERS=str(file))
        try:
            facts = await asyncio.to_thread(ready, up)
            clients = Clients(facts["base_url"], facts["api_key"], seed=restarts)
            async with clients.asking(CLIENTS) as books:
                await becomes(lambda: sum(books.answered.values()) >= CLIENTS)
                for _ in range(restarts):
                    await restarted(up, data)
            found = await gather(facts, data, provider.asked, rebuild=False)
        finally:
            await asyncio.to_thread(end, up)
    verdict = check([], found)
    assert verdict.findings == ()
    assert sorted(one.request for one in found.terminals) == sorted(books.requests), "each has ended once"
    assert {one.outcome for one in found.terminals} <= {"completed"}
    assert sorted(row.request for row in found.usage) == sorted(books.requests), "each is billed once"
    assert set(provider.asked.values()) == {1}, "no provider is asked twice"
    return books


@pytest.mark.timeout(200)
async def test_nobody_is_refused_and_nothing_breaks_off_while_everything_restarts(reachable_path: Path) -> None:
    books = await restarted_under_load(reachable_path / "rolled", RESTARTS)

    assert books.failures == []
    assert set(books.answered) == set(KINDS)
    assert books.reconnected > 0, "followers were sent to the new web"
