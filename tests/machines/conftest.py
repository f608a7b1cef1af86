"""Two machines: a web, a worker and a projector each, started as the Procfile does, over one log and one Postgres.

One rule: they share no directory and no name; all that one knows of the other is on the log and in Postgres.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from app import accounts
from app.api_keys import new_key
from app.embedded.server import free_port
from app.log import keys
from app.sockets import listen
from app.up.directory import ROOT
from tests.conftest import run_apart
from tests.journeys.running import Account

PARTITIONS = 3
ROLES = ("web", "worker", "projector")
LEASE_S = 2
END_S = 40
"""Longer than any role drains."""


@dataclass(frozen=True)
class Machine:
    """Three processes that belong together."""

    base_url: str
    processes: dict[str, subprocess.Popen[bytes]]
    said: Path

    def vanish(self) -> None:
        """All of it at once, without a word."""
        for process in self.processes.values():
            os.kill(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(END_S)


@dataclass(frozen=True)
class Site:
    """The machines and what they share."""

    machines: tuple[Machine, Machine]
    log_url: str
    database_url: str
    accounts: tuple[Account, ...]
    """Two in each partition."""


@pytest.fixture
def site(log_url: str, cache_url: str, database_url: str) -> Iterator[Site]:
    sandbox = listen("127.0.0.1", 0)
    shared = {
        "REDIS_URL": log_url,
        "CACHE_URL": cache_url,
        "DATABASE_URL": database_url,
        "API_KEY_ENCRYPTION_KEY": secrets.token_hex(32),
        "HELIX_PARTITIONS": str(PARTITIONS),
        "HELIX_LEASE_S": str(LEASE_S),
        "HELIX_SANDBOX_URL": f"http://127.0.0.1:{sandbox.getsockname()[1]}",
    }
    with ExitStack() as stack:
        stack.enter_context(sandbox)
        stack.enter_context(_running(["app.up.sandbox", str(sandbox.fileno())], Path(os.devnull), {}, sandbox.fileno()))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="helix-machines-")))
        machines = [stack.enter_context(_machine(directory / f"said-{number}", shared)) for number in (1, 2)]
        for machine in machines:
            run_apart(_ready(machine))
        yield Site((machines[0], machines[1]), log_url, database_url, run_apart(_accounts(database_url)))


@contextmanager
def _machine(said: Path, shared: dict[str, str]) -> Iterator[Machine]:
    port = free_port()
    with ExitStack() as stack:
        processes = {
            role: stack.enter_context(_running(["app.cli", role], said, {**shared, "PORT": str(port)}))
            for role in ROLES
        }
        yield Machine(f"http://127.0.0.1:{port}", processes, said)


@contextmanager
def _running(
    words: list[str], said: Path, environment: dict[str, str], *pass_fds: int
) -> Iterator[subprocess.Popen[bytes]]:
    with open(said, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        finally:
            process.kill()


async def _ready(machine: Machine) -> None:
    async with asyncio.timeout(END_S), aiohttp.ClientSession(machine.base_url) as session:
        while True:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                assert machine.processes["web"].poll() is None, machine.said.read_text()[-2000:]
            await asyncio.sleep(0.05)


async def new_account(database_url: str) -> Account:
    """Made in this process: where its partition matters many are made, and the command line takes a second for each."""
    email, key = f"{secrets.token_hex(8)}@example.com", new_key()
    user = await accounts.ensure_user(database_url, email, "enterprise")
    await accounts.ensure_key(database_url, user, key, name="test")
    return Account(user, email, key, prefix="")


async def _accounts(database_url: str) -> tuple[Account, ...]:
    found: dict[int, list[Account]] = {partition: [] for partition in range(PARTITIONS)}
    while any(len(there) < 2 for there in found.values()):
        account = await new_account(database_url)
        found[keys.partition_of(account.id, PARTITIONS)].append(account)
    return tuple(account for there in found.values() for account in there[:2])
