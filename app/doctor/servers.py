"""The servers of the log and the cache, as they describe themselves. One rule: every node of a cluster is asked, not one.

A node that is not safe loses what it acknowledged, whatever the others are set to; a replica becomes a primary one day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.doctor.checks import Check, Verdict, clock, numbers, worst
from app.log.nodes import slot_of

REDIS_VERSION_MIN: Final = 7
ANSWER_S: Final = 5.0
CROWDED: Final = 0.5
"""Share of a log server's memory above which the trimmer lets go early; new work is refused at SHED_ABOVE."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a log server says about itself; None where it will not say."""

    version: int
    version_text: str
    policy: str | None
    append_only: str | None
    fsync: str | None
    full_coverage: str | None
    """Only of a cluster: whether all nodes stop when one partition's is away."""
    used_bytes: int
    limit_bytes: int
    """The machine's memory where the server has no limit of its own."""
    clock: datetime

    @property
    def share(self) -> float:
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 0.0


@dataclass(frozen=True, slots=True)
class LogNode:
    """One server of the log. `facts`: None when it does not answer."""

    address: str
    role: Literal["primary", "replica"]
    partitions: tuple[int, ...]
    facts: LogFacts | None
    why_away: str = ""


async def check_log(url: str) -> list[str]:
    """What makes this log unsafe, a line each; empty when nothing acknowledged can be lost or evicted.

    Where a server hides a setting that could be wrong, that is no fault: `doctor` warns of it; nor is a node of a cluster
    that is away. Raises redis.exceptions.RedisError or OSError when the server at the address does not answer.
    """
    nodes = await log_nodes(url, partitions=0)
    return [f"{check.name}: {check.found}; {check.mend}" for check in settings_of(nodes) if check.verdict == "bad"]


async def log_nodes(url: str, *, partitions: int) -> list[LogNode]:
    """Every server of the log, those of a cluster that are away too. Raises RedisError or OSError when the server at
    the address does not answer."""
    async with client(url) as redis:
        try:
            asking = redis.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]  # redis-py's own
            known = cast(dict[str, dict[str, Any]], await asking)
        except RedisError:
            await redis.ping()  # cluster support is off; or it is the server that is away, and this says so
            return [LogNode(_address(url), "primary", tuple(range(partitions)), await _ask(url))]
    held = [
        [
            partition
            for partition in range(partitions)
            if any(int(first) <= slot_of(partition) <= int(last) for first, last in node["slots"])
        ]
        for node in known.values()
    ]
    urls = [_at(url, name) for name in known]
    answers = await asyncio.gather(*(_ask(one) for one in urls), return_exceptions=True)
    found = []
    for at, node, mine, said in zip(urls, known.values(), held, answers, strict=True):
        if isinstance(said, BaseException) and not isinstance(said, RedisError | OSError):
            raise said
        role: Literal["primary", "replica"] = "replica" if "slave" in node["flags"] else "primary"
        if isinstance(said, BaseException):
            found.append(LogNode(_address(at), role, tuple(mine), None, type(said).__name__))
        else:
            found.append(LogNode(_address(at), role, tuple(mine), said))
    return sorted(found, key=lambda node: (node.role, node.partitions, node.address))


def settings_of(nodes: Sequence[LogNode]) -> list[Check]:
    """The settings of all nodes that answer, a check each."""
    there = [(node.address, node.facts) for node in nodes if node.facts]
    old = [address for address, facts in there if facts.version < REDIS_VERSION_MIN]
    versions = ", ".join(sorted({facts.version_text for _, facts in there}))
    checks = [
        Check(
            "log version",
            "bad" if old else "good",
            f"{versions}{_where(old, len(nodes))}",
            f"use Redis {REDIS_VERSION_MIN} or newer, or Valkey" if old else "",
        ),
        _setting(
            "maxmemory-policy",
            {address: facts.policy for address, facts in there},
            "noeviction",
            "entries nobody has read would be evicted",
        ),
        _setting(
            "appendonly",
            {address: facts.append_only for address, facts in there},
            "yes",
            "what was acknowledged would be gone after a crash",
        ),
        _setting(
            "appendfsync",
            {address: facts.fsync for address, facts in there},
            "always",
            "a power cut would lose what was acknowledged",
        ),
    ]
    coverage = [address for address, facts in there if facts.full_coverage == "yes"]
    if coverage:
        found = f"yes{_where(coverage, len(nodes))}"
        mend = "set it to `no`: else one node that is away stops all partitions"
        checks.append(Check("log cluster-require-full-coverage", "warning", found, mend))
    return checks


def standing_of(nodes: Sequence[LogNode], shed_above: float) -> list[Check]:
    """Which nodes are away, how full they are, and whether their clocks agree with ours."""
    checks = []
    for node in nodes:
        if node.facts is None:
            waits = f"; {numbers(list(node.partitions))} wait" if node.partitions else ""
            found = f"{node.role} {node.address} does not answer ({node.why_away}){waits}"
            mend = "start it again: its accounts get 503 until it is back, the others go on"
            checks.append(Check("log node", "bad" if node.role == "primary" else "warning", found, mend))
            continue
        share = node.facts.share
        if share > CROWDED:
            refused = share > shed_above
            mend = "see docs/runbook.md, `The log is full`"
            found = f"{share:.0%} of {node.address}" + ("; new work is refused" if refused else "")
            checks.append(Check("log memory", "bad" if refused else "warning", found, mend))
    apart = [clock("log", node.facts.clock) for node in nodes if node.facts]
    checks += [max(apart, key=lambda check: check.verdict == "warning")] if apart else []
    if not any(check.name == "log memory" for check in checks):
        fullest = max((node.facts.share for node in nodes if node.facts), default=0.0)
        checks.append(Check("log memory", "good", f"{fullest:.0%} used at most"))
    return checks


async def check_cache(cache: str, log: str) -> Check:
    if cache == log:
        mend = "set CACHE_URL to a server of its own: a cache must evict, the log must not"
        return Check("cache", "warning", "shares the log's server", mend)
    try:
        async with client(cache) as redis:
            await redis.ping()
            memory = cast(Mapping[str, object], await redis.info("memory"))
    except (RedisError, OSError) as failed:
        return Check("cache", "bad", f"does not answer: {type(failed).__name__}", "see CACHE_URL")
    policy = str(memory.get("maxmemory_policy"))
    if policy == "noeviction":
        mend = "set maxmemory and `allkeys-lru`: it would refuse writes when full"
        return Check("cache", "warning", "noeviction", mend)
    return Check("cache", "good", policy)


def client(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)


async def _ask(url: str) -> LogFacts:
    async with client(url) as redis:
        info = cast(Mapping[str, object], await redis.info("server"))
        memory = cast(Mapping[str, Any], await redis.info("memory"))
        persistence = cast(Mapping[str, object], await redis.info("persistence"))
        try:
            names = ("maxmemory-policy", "appendonly", "appendfsync", "cluster-require-full-coverage")
            config = await redis.config_get(*names)
        except RedisError:  # managed servers forbid CONFIG; INFO tells the half of it
            config = {}
        seconds, microseconds = await redis.time()
    text = str(info.get("valkey_version") or info.get("redis_version") or "0")
    aof = persistence.get("aof_enabled")
    policy = config.get("maxmemory-policy") or memory.get("maxmemory_policy")
    clustered = info.get("redis_mode") == "cluster" or info.get("server_mode") == "cluster"
    return LogFacts(
        version=int(text.partition(".")[0]),
        version_text=f"{'Valkey' if 'valkey_version' in info else 'Redis'} {text}",
        policy=None if policy is None else str(policy),
        append_only=config.get("appendonly") or (None if aof is None else "yes" if str(aof) == "1" else "no"),
        fsync=config.get("appendfsync"),
        full_coverage=config.get("cluster-require-full-coverage") if clustered else None,
        used_bytes=int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict", 0)),
        limit_bytes=int(memory.get("maxmemory", 0)) or int(memory.get("total_system_memory", 0)),
        clock=datetime.fromtimestamp(seconds + microseconds / 1e6, UTC),
    )


def _setting(name: str, found: Mapping[str, str | None], wanted: str, danger: str) -> Check:
    verdicts: dict[str, Verdict] = {
        address: "unknown" if value is None else "good" if value == wanted else "bad"
        for address, value in found.items()
    }
    verdict = worst(list(verdicts.values()))
    there = [address for address, one in verdicts.items() if one == verdict]
    where = _where(there if verdict != "good" else [], len(found))
    if verdict == "good":
        return Check(f"log {name}", "good", wanted)
    if verdict == "unknown":
        mend = f"see that it is `{wanted}`: else {danger}"
        return Check(f"log {name}", "unknown", f"the server does not say{where}", mend)
    values = ", ".join(sorted({str(found[address]) for address in there}))
    return Check(f"log {name}", "bad", f"{values}{where}", f"set it to `{wanted}`: else {danger}")


def _where(addresses: Sequence[str], of: int) -> str:
    """Which nodes; nothing where there is one alone."""
    return f" at {', '.join(addresses)}" if addresses and of > 1 else ""


def _address(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def _at(url: str, name: str) -> str:
    """Another node's address in the form of ours: the same scheme, user and password."""
    parts = urlsplit(url)
    host, _, port = name.rpartition(":")
    credentials, at, _ = parts.netloc.rpartition("@")
    shown = f"[{host}]" if ":" in host else host or str(parts.hostname)
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}{shown}:{port}", path="", query=""))
