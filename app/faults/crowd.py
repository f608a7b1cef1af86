"""The crowd: so many clients at once, each asking one question after the other. One rule: every story is written down."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Final

import aiohttp

from app.faults.clients import CALL_S, PAUSE_S, Client, Story
from app.faults.history import Call, History, Kind, Probe
from app.faults.provider import Question

PROBES: Final = 20
"""Requests that are asked for with another account's key at the end."""


class Crowd:
    """So many clients, each asking one question after the other until told to stop."""

    def __init__(
        self,
        base_url: str,
        keys: Mapping[str, str],
        history: History,
        *,
        seed: int,
        kinds: Mapping[Kind, int],
        slow: float,
        patience_s: float,
        began: float,
    ) -> None:
        self._base_url = base_url
        self._keys = keys
        self._history = history
        self._seed = seed
        self._kinds = kinds
        self._slow = slow
        self._patience_s = patience_s
        self._began = began
        self._stopping = False
        self.stories = 0
        """How many have ended."""

    def stop(self) -> None:
        """No new questions; what has begun goes on to its end."""
        self._stopping = True

    async def run(self, clients: int) -> None:
        """Returns when all have ended their last story."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        async with aiohttp.ClientSession(self._base_url, connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._live(session, number) for number in range(clients)))

    async def probe(self) -> None:
        """Ask for some requests with the key of another account."""
        stories = [record for record in self._history.records if isinstance(record, Call) and record.promised]
        dice = random.Random(self._seed)  # noqa: S311  # for repeating, not for secrets
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        async with aiohttp.ClientSession(self._base_url, timeout=timeout) as session:
            for story in dice.sample(stories, min(PROBES, len(stories))):
                strangers = [key for account, key in self._keys.items() if account != story.account]
                headers = {"authorization": f"Bearer {dice.choice(strangers)}"}
                async with session.get(f"/v1/requests/{story.promised[0]}", headers=headers) as answer:
                    self._history.write(Probe(request=story.promised[0], status=answer.status))

    async def _live(self, session: aiohttp.ClientSession, number: int) -> None:
        # A client's own dice: what it asks depends on the seed alone, not on what the others do.
        dice = random.Random(f"{self._seed}/{number}")  # noqa: S311  # for repeating, not for secrets
        account = list(self._keys)[number % len(self._keys)]
        asked = 0
        while not self._stopping:
            kind = dice.choices(list(self._kinds), list(self._kinds.values()))[0]
            question = Question(
                f"q{self._seed}x{number}x{asked}", dice.randint(3, 12), round(dice.randint(5, 60) * self._slow)
            )
            story = Story(kind, account, question, self._now())
            client = Client(session, self._keys[account], story, dice, self._patience_s)
            seen = await client.live()
            self._history.write(story.told(seen, self._now()))
            asked += 1
            self.stories += 1
            if seen in ("refused", "unknown"):
                await asyncio.sleep(dice.uniform(*PAUSE_S))

    def _now(self) -> float:
        return time.monotonic() - self._began
