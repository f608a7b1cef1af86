"""What takes too long or too much for the suite, by hand against a Helix that runs: `python -m tests.attacks.by_hand DIR slow`.

DIR is the data directory of an `up` of its own. One rule: each attack prints its figures in one line of JSON, with what an honest
client saw meanwhile, in milliseconds; it judges nothing.

    slow      A1   500 connections, half of them never end their head, half their body
    never     A2   300 clients that ask for long streams and never read
    huge      A3   bodies of 1 GB, declared and in chunks
    lag       A4   bodies and heads that cost much to read: how long one answer to somebody else takes at most
    revoked   A12  200 keys revoked under load: how long each still opens
    junk      A13  a million keys that are none, or as many as a third word says: what reaches the servers behind
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]  # it brings no types
from redis.asyncio import Redis

from app import accounts
from app.api_keys import new_key
from app.up.directory import Facts
from tests.journeys.client import question

MB: Final = 1_000_000
WATCH: Final = "watch"
HONEST_S: Final = 10.0
"""How long the honest client is watched before the attack."""
OVER_S: Final = 60.0


class Honest:
    """One client with a good key that asks one small thing after the other, in a process of its own: what the attack costs the
    attacker is nothing that it feels."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Honest:
        words = (sys.executable, "-m", __spec__.name, str(self._data), WATCH)
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            await self._process.wait()

    async def seen(self) -> dict[str, float]:
        """What it has seen since it was asked last."""
        assert self._process and self._process.stdin and self._process.stdout
        self._process.stdin.write(b"\n")
        seen: dict[str, float] = json.loads(await self._process.stdout.readline())
        return seen


async def watch(facts: Facts) -> None:
    """The honest client itself: for each line that it is given it prints what it has seen."""
    times_ms: list[float] = []
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def ask() -> None:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {facts['api_key']}"}) as session:
            while True:
                began = time.perf_counter()
                async with session.get(facts["base_url"] + "/v1/models") as answer:
                    await answer.read()
                    assert answer.status == 200
                times_ms.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.002)

    asking = asyncio.create_task(ask())
    while await lines.readline() and not asking.done():
        sample = sorted(times_ms) or [0.0]
        times_ms.clear()
        at = {name: sample[int(len(sample) * part)] for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 0.99999))}
        print(json.dumps({name: round(ms, 1) for name, ms in at.items()}), flush=True)  # noqa: T201  # for its parent


def memory_mb(facts: Facts) -> float:
    """What the web processes hold."""
    return float(sum(psutil.Process(pid).memory_info().rss for pid in facts["pids"]["web"])) / MB


def address(facts: Facts) -> tuple[str, int]:
    at = urlsplit(facts["base_url"])
    return str(at.hostname), int(at.port or 0)


def head(facts: Facts, *more: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {facts['api_key']}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


async def slow(facts: Facts) -> dict[str, object]:
    begun = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ", head(facts, "content-length: 100000") + b"{")
    before, began = memory_mb(facts), time.monotonic()
    closed_s: list[float] = []

    async def one(start: bytes) -> None:
        reader, writer = await asyncio.open_connection(*address(facts))
        writer.write(start)
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        closed_s.append(time.monotonic() - began)
        writer.close()

    async with asyncio.timeout(OVER_S):
        await asyncio.gather(*(one(begun[number % 2]) for number in range(500)))
    return {"closed_s": [round(min(closed_s), 1), round(max(closed_s), 1)], "more_mb": memory_mb(facts) - before}


async def never(facts: Facts, clients: int = 300, words: int = 20_000) -> dict[str, object]:
    asked = json.dumps(question("x", "sandbox/lorem", stream=True, max_tokens=words)).encode()
    before, held = memory_mb(facts), []
    for _ in range(clients):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(address(facts))
        deaf.sendall(head(facts, f"content-length: {len(asked)}") + asked)
        held.append(deaf)
    most = 0.0
    for _ in range(int(OVER_S)):
        await asyncio.sleep(1)
        most = max(most, memory_mb(facts) - before)
    for deaf in held:
        deaf.close()
    await asyncio.sleep(3)
    return {"clients": clients, "most_mb": most, "after_mb": memory_mb(facts) - before}


async def huge(facts: Facts) -> dict[str, object]:
    gigabyte, piece = 10**9, b"x" * 65536
    told: dict[str, object] = {}
    framings = {
        "declared": (f"content-length: {gigabyte}", piece),
        "chunked": ("transfer-encoding: chunked", b"10000\r\n" + piece + b"\r\n"),
    }
    for name, (framing, sent) in framings.items():
        before, most, pushed = memory_mb(facts), 0.0, 0
        reader, writer = await asyncio.open_connection(*address(facts))
        writer.write(head(facts, framing))
        began = time.monotonic()
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        with contextlib.suppress(ConnectionError):
            while pushed < gigabyte and not answer.done():
                writer.write(sent)
                pushed += len(piece)
                await writer.drain()
                most = max(most, memory_mb(facts) - before)
        status = (await answer).split()[1].decode()
        writer.transport.abort()
        told[name] = {"status": status, "sent_mb": pushed / MB, "s": time.monotonic() - began, "more_mb": most}
    return told


def dear_bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies that are little work to send and much to read, by name."""
    start = b'{"model": "sandbox/echo", "messages": ['
    one = b'{"role": "user", "content": "x"}, '
    part = b'{"type": "text", "text": "x"}'
    parts = b'{"role": "user", "content": [' + b", ".join([part] * 20) + b"]}, "
    yield "100,000 messages", start + one * 100_000 + b"{}]}"
    yield "2,000 messages of 20 parts", start + parts * 1999 + parts[:-2] + b"]}"
    yield "2,000 bad messages", start + one.replace(b'"x"', b"7") * 1999 + b"{}]}"
    yield "5,000,000 arrays", b'{"a": [' + b"[]," * 5_000_000 + b"1]}"
    yield "8,000,000 numbers", b'{"a": [' + b"1," * 8_000_000 + b"1]}"
    yield "1,400,000 names", b"{" + b",".join(b'"%x":1' % number for number in range(1_400_000)) + b"}"
    yield "16 MB of backslashes", b'{"a": "' + b"\\\\" * 8_000_000 + b'"}'
    yield "16 MB of quotation marks", b'{"a": "' + b'\\"' * 8_000_000 + b'"}'
    yield "a depth of 100,000", b'{"a":' * 100_000
    yield "one honest text of 15 MB", json.dumps(question("word " * 3_000_000, "nobody/nothing")).encode()


async def lag(facts: Facts, honest: Honest) -> dict[str, object]:
    told: dict[str, object] = {}
    url, key = facts["base_url"] + "/v1/chat/completions", {"authorization": f"Bearer {facts['api_key']}"}
    async with aiohttp.ClientSession(headers=key) as session:
        for name, body in dear_bodies():
            await honest.seen()
            for _ in range(3):
                async with session.post(url, data=body) as answer:
                    status = answer.status
                    await answer.read()
                await asyncio.sleep(0.2)
            told[name] = [status, (await honest.seen())["max"]]
    for name, more in {"20,000 headers": "a: b\r\n" * 20_000, "a header of 200 kB": f"a: {'b' * 200_000}\r\n"}.items():
        await honest.seen()
        reader, writer = await asyncio.open_connection(*address(facts))
        writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n" + more.encode() + b"\r\n")
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        writer.close()
        await asyncio.sleep(0.2)
        told[name] = [status, (await honest.seen())["max"]]
    return told


async def revoked(facts: Facts, keys: int = 200) -> dict[str, object]:
    connection = await asyncpg.connect(facts["database_url"])
    opens_ms: list[float] = []
    async with aiohttp.ClientSession(facts["base_url"]) as session:
        for _ in range(keys):
            key, email = new_key(), f"{secrets.token_hex(8)}@example.org"
            await accounts.create_user(connection, email, "enterprise")
            await accounts.create_key(connection, email, key, scopes=["chat", "keys"])
            sent = {"authorization": f"Bearer {key}"}
            async with session.get("/v1/api-keys", headers=sent) as listed:
                id = (await listed.json())["data"][0]["id"]
            async with session.delete(f"/v1/api-keys/{id}", headers=sent) as answer:
                assert answer.status == 200, await answer.text()
            began, status = time.perf_counter(), 200
            while status != 401:
                async with session.get("/v1/models", headers=sent) as answer:
                    status = answer.status
            opens_ms.append((time.perf_counter() - began) * 1000)
    await connection.close()
    return {"keys": keys, "still_open_ms": [round(sorted(opens_ms)[keys // 2], 1), round(max(opens_ms), 1)]}


@contextlib.asynccontextmanager
async def counted(facts: Facts) -> AsyncIterator[dict[str, int]]:
    """What the servers behind were asked meanwhile: look-ups of keys in Postgres, scripts in the log server."""
    looked_up = "SELECT coalesce(sum(idx_scan), 0)::int FROM pg_stat_user_indexes WHERE relname = 'api_keys'"
    connection, log = await asyncpg.connect(facts["database_url"]), Redis.from_url(facts["redis_url"])

    async def now() -> dict[str, int]:
        commands: dict[str, dict[str, int]] = await log.info("commandstats")
        scripts = sum(stats["calls"] for name, stats in commands.items() if name == "cmdstat_evalsha")
        return {"postgres_lookups": await connection.fetchval(looked_up), "log_scripts": scripts}

    told: dict[str, int] = {}
    before = await now()
    yield told
    await asyncio.sleep(2)
    told |= {name: count - before[name] for name, count in (await now()).items()}
    await connection.close()
    await log.aclose()


async def junk(facts: Facts, keys: int = 1_000_000, connections: int = 8, together: int = 50) -> dict[str, object]:
    statuses: Counter[str] = Counter()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(*address(facts))
        for start in range(number * keys // connections, (number + 1) * keys // connections, together):
            writer.writelines(
                b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer hx_user_%064xaaaaaa\r\n\r\n"
                % (start + each)
                for each in range(together)
            )
            for _ in range(together):
                answer = await reader.readuntil(b"\r\n\r\n")
                statuses[answer.split(b" ", 2)[1].decode()] += 1
                size = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                await reader.readexactly(int(size.split(b":")[1]))
        writer.close()

    began = time.monotonic()
    async with counted(facts) as behind:
        await asyncio.gather(*map(one, range(connections)))
        rate = keys / (time.monotonic() - began)
    return {"answers": dict(statuses), "a_second": round(rate), **behind}


ALONE: Final[dict[str, Callable[..., Awaitable[dict[str, object]]]]] = {
    "slow": slow,
    "never": never,
    "huge": huge,
    "revoked": revoked,
    "junk": junk,
}


async def main(data: Path, attack: str, *counts: int) -> None:
    facts: Facts = json.loads((data / "run.json").read_text())
    if attack == WATCH:
        await watch(facts)
        return
    async with Honest(data) as honest:
        await honest.seen()
        await asyncio.sleep(HONEST_S)
        told: dict[str, object] = {"attack": attack, "before_ms": await honest.seen()}
        told |= await lag(facts, honest) if attack == "lag" else await ALONE[attack](facts, *counts)
        if attack != "lag":
            told["meanwhile_ms"] = await honest.seen()
        print(json.dumps(told))  # noqa: T201  # the output of a program


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
