"""`python -m app.bench.crowding balance` and `… noisy`: what many at once can do to a balance, and one account to the others.

One rule: a whole Helix of its own with two web processes, asked over HTTP alone. Figures for people; nothing is asserted that
depends on the speed of the machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from app import accounts
from app.api_keys import new_key
from app.faults.provider import MODEL, Question
from app.faults.scenarios import Scenario
from app.faults.victim import Victim, victim
from app.identity import OPERATOR
from app.limits import budgets
from app.log import Log, purses
from events.completions import Tier
from handlers.rules.catalogue import Offer, Price
from handlers.rules.reservation import cost_at_most, size_of

AT_ONCE: Final = 200
FITTING: Final = 10
ROUNDS: Final = 50

HONEST: Final = 20
HONEST_EVERY_S: Final = 0.5
LIMIT_A_MINUTE: Final = 300
TIMES: Final = 50
"""As often as its limit the noisy account asks."""
SPELL_S: Final = 15.0
SPELLS: Final = 3

CALM: Final = Scenario("nothing is broken", {}, (1.0, 1.0), webs=2)

OFFER: Final = Offer(
    "campaign",
    MODEL,
    MODEL,
    "openai",
    Price(1_000_000_000, 3_000_000_000, 1_000_000_000, 1_000_000_000, as_of="operator", source="HELIX_PROVIDERS"),
)
"""As `app.faults.provider` prices it."""


async def balance(helix: Victim, rounds: int) -> bool:
    """Each round: a new account with money for ten, two hundred at once → whether it was ten each time."""
    raw = _body(Question("rush", words=4, chunk_ms=700))
    one = cost_at_most(size_of(json.loads(raw), raw), [OFFER])
    exact = 0
    for number in range(1, rounds + 1):
        account, key = await _account(helix, "enterprise")
        await _credit(helix, account, FITTING * one)
        said = await _at_once(helix.facts["base_url"], key, raw)
        exact += said == {202: FITTING, 402: AT_ONCE - FITTING}
        print(f"round {number}: {dict(said)}", flush=True)  # noqa: T201  # a program for people
    print(f"{exact} of {rounds} rounds exact, one request holds {one} nano-dollars")  # noqa: T201
    return exact == rounds


async def noisy(helix: Victim) -> None:
    """Twenty honest accounts with and without one that asks fifty times as much as it may."""
    flooder = (await _account(helix, "enterprise", rate_limit=LIMIT_A_MINUTE))[1]
    honest = [(await _account(helix, "pro"))[1] for _ in range(HONEST)]
    for spell in range(SPELLS):
        alone = await _spell(helix.facts["base_url"], honest, None)
        beside = await _spell(helix.facts["base_url"], honest, flooder)
        for name, one in (("alone", alone), ("beside", beside)):
            print(f"spell {spell + 1} {name}: {one.told()}", flush=True)  # noqa: T201
        print(f"  p99 times {beside.quantile(0.99) / alone.quantile(0.99):.2f}", flush=True)  # noqa: T201


@dataclass
class Spell:
    took_s: list[float] = field(default_factory=list)
    honest: Counter[int] = field(default_factory=Counter)
    noise: Counter[int] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        return sorted(self.took_s)[int(share * (len(self.took_s) - 1))]

    def told(self) -> str:
        p50, p99 = (round(self.quantile(share) * 1000) for share in (0.5, 0.99))
        return f"p50 {p50} ms, p99 {p99} ms, honest {dict(self.honest)}, noisy {dict(self.noise)}"


async def _spell(base_url: str, honest: Sequence[str], flooder: str | None) -> Spell:
    found, raw = Spell(), _body(Question("crowd", words=2, chunk_ms=5))
    until = time.monotonic() + SPELL_S

    async def ask(session: aiohttp.ClientSession, key: str) -> int:
        async with session.post("/v1/chat/completions", data=raw, headers=_headers(key)) as answer:
            await answer.read()
            return answer.status

    async def decent(session: aiohttp.ClientSession, key: str, number: int) -> None:
        await asyncio.sleep(HONEST_EVERY_S * number / HONEST)
        while (began := time.monotonic()) < until:
            found.honest[await ask(session, key)] += 1
            found.took_s.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, began + HONEST_EVERY_S - time.monotonic()))

    async def flood(session: aiohttp.ClientSession, key: str) -> None:
        asked: set[asyncio.Task[None]] = set()

        async def once() -> None:
            found.noise[await ask(session, key)] += 1

        while time.monotonic() < until:
            asked.add(task := asyncio.create_task(once()))
            task.add_done_callback(asked.discard)
            await asyncio.sleep(60 / (LIMIT_A_MINUTE * TIMES))
        await asyncio.gather(*asked)

    async with aiohttp.ClientSession(base_url, connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = [decent(session, key, number) for number, key in enumerate(honest)]
        if flooder is not None:
            crowd.append(flood(session, flooder))
        await asyncio.gather(*crowd)
    return found


async def _at_once(base_url: str, key: str, raw: bytes) -> Counter[int]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:

        async def ask() -> int:
            headers = _headers(key) | {"prefer": "respond-async"}
            async with session.post("/v1/chat/completions", data=raw, headers=headers) as answer:
                return answer.status

        return Counter(await asyncio.gather(*(ask() for _ in range(AT_ONCE))))


def _body(question: Question) -> bytes:
    messages = [{"role": "user", "content": question.encode()}]
    return json.dumps({"model": f"campaign/{MODEL}", "messages": messages, "max_tokens": 50}).encode()


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}


async def _account(helix: Victim, tier: Tier, *, rate_limit: int | None = None) -> tuple[str, str]:
    """→ (account, key)."""
    key = new_key()
    database: Any = await asyncpg.connect(helix.facts["database_url"])  # the stubs leave its record open
    try:
        email = f"{key[8:24]}@example.org"
        user = await accounts.create_user(database, email, tier)
        await accounts.create_key(database, email, key, rate_limit_override=rate_limit)
    finally:
        await database.close()
    return user.id, key


async def _credit(helix: Victim, account: str, nanousd: int) -> None:
    log = await Log(helix.facts["redis_url"], name="crowding").open()
    database: Any = await asyncpg.connect(helix.facts["database_url"])
    try:
        await budgets.credit(database, account, nanousd, by=OPERATOR, forget=partial(purses.forget, log))
    finally:
        await database.close()
        await log.close()


async def _run(words: Sequence[str], directory: Path) -> int:
    async with victim(CALM, directory) as helix:
        match words:
            case ["noisy"]:
                await noisy(helix)
                return 0
            case ["balance", rounds]:
                return 0 if await balance(helix, int(rounds)) else 1
            case _:
                return 0 if await balance(helix, ROUNDS) else 1


def main(words: Sequence[str]) -> int:
    """`balance [ROUNDS]` or `noisy`."""
    with tempfile.TemporaryDirectory(prefix="helix-crowding-") as directory:
        # For a Postgres that must run as another user: root, where user namespaces are forbidden.
        Path(directory).chmod(0o711)
        return asyncio.run(_run(words, Path(directory)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
