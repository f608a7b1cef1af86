"""Two keys that knock all the while: one that was revoked, and one of an account with a limit.

One rule: they are made as an operator makes them, and judged by what they are answered alone.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from app.bench.targets import without_servers
from app.faults.history import Gate
from app.faults.provider import MODEL, Question
from app.up.directory import ROOT

KNOCK_S: Final = 0.1
CALL_S: Final = 10.0
RATE_A_MINUTE: Final = 60
"""Of the limited key; it knocks ten times as often."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys, made beside a running `up`."""

    limited: str
    revoked: str


async def keys_of(data: Path) -> Keys:
    """Make an account, a key with a limit, and one that is revoked at once. Raises RuntimeError."""
    address = f"{secrets.token_hex(8)}@example.com"
    await _helix(data, "user", "create", address, "--tier", "enterprise")
    limited = await _helix(data, "key", "create", address, "--rate-limit", str(RATE_A_MINUTE))
    revoked = await _helix(data, "key", "create", address)
    await _helix(data, "key", "revoke", revoked["id"])
    return Keys(limited["key"], revoked["key"])


async def knock(base_url: str, keys: Keys, stopping: asyncio.Event) -> Gate:
    """Ask with both keys again and again until told to stop."""
    revoked: Counter[int] = Counter()
    limited: Counter[int] = Counter()
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=CALL_S)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as session:
        while not stopping.is_set():
            revoked[await _ask(session, keys.revoked, revoked.total())] += 1
            limited[await _ask(session, keys.limited, limited.total())] += 1
            await asyncio.sleep(KNOCK_S)
    elapsed_s = time.monotonic() - began
    # A whole minute's allowance may come at once, and then what grows anew.
    allowed = RATE_A_MINUTE + math.ceil(elapsed_s * RATE_A_MINUTE / 60) + 1
    return Gate(revoked=dict(revoked), limited=dict(limited), admitted=limited[202], allowed=allowed)


async def _ask(session: aiohttp.ClientSession, key: str, number: int) -> int:
    """The HTTP status; 0 where the connection broke."""
    question = Question(f"gate{number}", words=1, chunk_ms=0).encode()
    body = {"model": f"campaign/{MODEL}", "messages": [{"role": "user", "content": question}]}
    headers = {"authorization": f"Bearer {key}", "prefer": "respond-async"}
    try:
        async with session.post("/v1/chat/completions", json=body, headers=headers) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return 0


async def _helix(data: Path, *words: str) -> Any:
    """What the command says with `--json`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", *words, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**without_servers(os.environ), "HELIX_DATA": str(data)},
    )
    said, complaint = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"helix {words[0]} {words[1]} failed: {complaint.decode()[-300:]}")
    return json.loads(said)
