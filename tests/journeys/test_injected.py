"""Words that are commands elsewhere are only words here (A10): in a key, an id, a header, the name of a model, a query.

One rule: what shows an injection is not the answer alone. Neither server behind us has had to complain of a command or a
statement, and nothing is there that was not there before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import pytest
from redis.asyncio import Redis

from app.http.operations import OPERATIONS
from tests.journeys.client import Client, client_of, question
from tests.journeys.running import Helix

WORDS: Final = [
    # for Postgres
    *(
        "' OR '1'='1",
        "'; DROP TABLE users; --",
        "x' UNION SELECT key_hash FROM api_keys --",
        '"; SELECT pg_sleep(30); --',
    ),
    *(
        "1); DELETE FROM usage; --",
        "$1",
        "$$;SELECT 1;$$",
        "\\'; COPY users TO PROGRAM 'id'; --",
        "%27%20OR%201=1",
        "e'\\x27'",
    ),
    # for the log server
    *("\r\nFLUSHALL\r\n", "x\r\n*1\r\n$8\r\nFLUSHALL\r\n", "*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n", "x} FLUSHALL {"),
    *("helix:{0}:commands", "{1}", "x'); redis.call('FLUSHALL') --", "0-0 XADD injected * a b", "injected 1"),
    # for a shell, a template, a directory, a document
    *("$(touch injected)", "`id`", "|id", "; id", "{{7*7}}", "${jndi:ldap://127.0.0.1/x}", "#{7*7}", "<%= 7*7 %>"),
    *(
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "file:///etc/passwd",
        "*)(uid=*",
        "<!ENTITY x SYSTEM 'file:///'>",
    ),
    *("__proto__", "constructor", "__class__.__init__", "-1", "NULL", "true", "\u2028", "\uff07 OR 1=1"),
]
QUICK: Final = {"GET"}
"""Methods whose every parameter is tried; what bodies may hold is tried in tests/journeys/test_fuzzed.py."""


@pytest.fixture
async def database(helix: Helix) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(helix.facts["database_url"])
    yield connection
    await connection.close()


@pytest.fixture
async def log_server(helix: Helix) -> AsyncIterator[Redis]:
    connection = Redis.from_url(helix.facts["redis_url"])
    yield connection
    await connection.aclose()


async def kept(database: asyncpg.Connection[asyncpg.Record]) -> list[int]:
    """How many rows nobody here has reason to change."""
    tables = ("users", "api_keys", "routing_policies")
    return [await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


def complaints(log: Path, since: int) -> list[bytes]:
    """What Postgres has said of statements that it could not run."""
    return [line for line in log.read_bytes()[since:].splitlines() if b"ERROR:" in line or b"FATAL:" in line]


async def strange_names(log_server: Redis) -> list[bytes]:
    return [name async for name in log_server.scan_iter(count=1000) if not name.startswith(b"helix:")]


def paths() -> Iterator[str]:
    """Every path parameter and every query parameter of whatever may be read, with each of the words."""
    for operation in OPERATIONS:
        if operation.method not in QUICK:
            continue
        for parameter in operation.parameters:
            for word in WORDS:
                told = quote(word, safe="")
                path = operation.path.replace("{id}", told if parameter.where == "path" else "x")
                if parameter.where == "query" and parameter.name not in ("wait", "stream"):
                    yield f"{path}?{parameter.name}={told}"
                elif parameter.where == "path":
                    yield path


async def test_no_word_is_a_command(
    helix: Helix, database: asyncpg.Connection[asyncpg.Record], log_server: Redis
) -> None:
    server_log = helix.data / "postgres" / "server.log"
    said, rows, errors = server_log.stat().st_size, await kept(database), await log_server.info("errorstats")
    strange = await strange_names(log_server)
    key = helix.facts["api_key"]
    async with client_of(helix.base_url, key) as client, client_of(helix.base_url, None) as nobody:
        statuses = await asyncio.gather(*(one(client, path) for path in paths()))
        for word in WORDS:
            header = word.replace("\r\n", "\t").encode("utf-8").decode("latin-1")
            for name in ("authorization", "x-api-key"):
                for told in (header, f"Bearer {header}", key[:-6] + header):
                    refused = await nobody.send("GET", "/v1/models", **{name: told})
                    assert refused.status == 401, (name, told, refused.body)
            asked = await client.send("POST", "/v1/chat/completions", question("x", word))
            assert (asked.status, asked.error["code"]) == (404, "model_not_found"), word
            for name in ("idempotency-key", "x-helix-cache", "x-helix-optimize", "last-event-id", "x-helix-account"):
                answer = await client.send("POST", "/v1/chat/completions", question("x"), **{name: header})
                assert answer.status in (200, 400, 404), (name, word, answer.body)
    assert max(statuses) < 500
    assert complaints(server_log, said) == []
    assert await kept(database) == rows
    assert await log_server.info("errorstats") == errors
    assert await strange_names(log_server) == strange
    assert not (Path.cwd() / "injected").exists()


async def one(client: Client, path: str) -> int:
    return (await client.send("GET", path)).status
