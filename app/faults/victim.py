"""The Helix that is broken: a real `./helix up` of its own, with what a scenario wants around it.

One rule: its surroundings are the campaign's, its program is the product's, unchanged.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from app.bench.targets import running, without_servers
from app.embedded.postgres import Postgres
from app.embedded.server import Server
from app.embedded.valkey import Valkey
from app.faults.clocks import Clocks
from app.faults.owners import Owners
from app.faults.power import PowerCuts
from app.faults.provider import CountingProvider, counting_provider, providers_file
from app.faults.proxy import Proxy, proxy_to
from app.faults.reach import Reach
from app.faults.reach import Server as Far
from app.faults.scenarios import Scenario
from app.faults.three_nodes import Node, join, nodes_in
from app.up.beside import ENCRYPTION_KEY
from app.up.directory import Directory, Facts

LEASE_S: Final = 2.0
"""The lease in a campaign: short, so that a freeze outlasts it often."""

START_S: Final = 120.0

STALE: Final = "unfenced-1"
"""The consumer's name of the worker without a fence."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A Helix under load."""

    facts: Facts
    data: Path
    provider: CountingProvider
    reach: Reach


@asynccontextmanager
async def victim(scenario: Scenario, evidence: Path) -> AsyncIterator[Victim]:
    """A whole Helix as the scenario wants it, until the block ends."""
    data = evidence / "data"
    async with AsyncExitStack() as stack:
        owners = Owners(data / "run.json")
        proxies: dict[Far, Proxy] = {}
        provider = await stack.enter_async_context(counting_provider())
        asked_at = provider.port
        if scenario.lines:
            proxies["provider"] = await stack.enter_async_context(proxy_to("127.0.0.1", provider.port))
            asked_at = proxies["provider"].port
        providers = evidence / "providers.toml"
        providers.write_text(providers_file(asked_at))
        env = {
            **without_servers(os.environ),
            "HELIX_PROVIDERS": str(providers),
            "HELIX_LEASE_S": str(LEASE_S),
            "HELIX_PARTITIONS": str(scenario.partitions),
            "WORKERS": str(scenario.webs),
        }
        power = postgres = clocks = None
        nodes: list[Node] = []
        if scenario.power:
            power = PowerCuts(evidence / "power", scenario.appendfsync)
            env["HELIX_VALKEY_BIN"] = str(power.program)
        if scenario.appendfsync != "always":
            env["HELIX_ALLOW_UNSAFE_LOG"] = "1"
        if "clock" in scenario.faults:
            clocks = Clocks(evidence / "clocks")
            env.update(clocks.environment)
        if scenario.own_postgres:
            postgres = Postgres(evidence / "own-postgres")
            _begin(stack, postgres)
            env["DATABASE_URL"] = postgres.url
            if scenario.lines:
                proxies["postgres"] = await stack.enter_async_context(proxy_to("127.0.0.1", postgres.port, owners.of))
                env["DATABASE_URL"] = _through(proxies["postgres"], postgres)
        if scenario.own_log:
            valkey = Valkey(evidence / "own-log", "log")
            _begin(stack, valkey)
            proxies["log"] = await stack.enter_async_context(proxy_to("127.0.0.1", valkey.port, owners.of))
            env["REDIS_URL"] = _through(proxies["log"], valkey)
        if "node" in scenario.faults:
            nodes = nodes_in(evidence / "cluster")
            for node in nodes:
                _begin(stack, node)
            await join(nodes)
            env["REDIS_URL"] = nodes[0].url
        command = (sys.executable, "-m", "app.cli", "up", "--json", "--data", str(data), "--port", "0")
        words = ("--workers", str(scenario.workers))
        log = evidence / "helix.log"
        process = await stack.enter_async_context(running("helix", *command, *words, log=log, env=env, pipe=True))
        assert process.stdout
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"helix ended before it was ready; see {log}")
        facts = cast(Facts, json.loads(line))
        stale = None
        if scenario.unfenced:
            worker = await stack.enter_async_context(_unfenced(facts, data, evidence, env))
            stale = (STALE, lambda: worker.pid)
        reach = Reach(
            data / "run.json",
            process.pid,
            LEASE_S,
            scenario.outage_s,
            scenario.partitions,
            power=power,
            postgres=postgres,
            proxies=proxies,
            clocks=clocks,
            nodes=nodes,
            stale=stale,
        )
        yield Victim(facts, data, provider, reach)


def _through(proxy: Proxy, server: Server) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


def _begin(stack: AsyncExitStack, server: Server) -> None:
    """A server of the campaign's own, until the stack ends."""
    stack.callback(server.stop)
    server.start()


@asynccontextmanager
async def _unfenced(
    facts: Facts, data: Path, evidence: Path, env: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker without a fence beside those of the `up`."""
    own = {
        **env,
        "DATABASE_URL": facts["database_url"],
        "REDIS_URL": facts["redis_url"],
        "CACHE_URL": facts["cache_url"],
        ENCRYPTION_KEY: Directory(data).secret(ENCRYPTION_KEY.lower()),
        "HELIX_PROCESS_NAME": STALE,
    }
    command = (sys.executable, "-m", "app.faults.unfenced")
    async with running("the unfenced worker", *command, log=evidence / "unfenced.log", env=own) as process:
        yield process
