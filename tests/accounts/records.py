"""The tables of keys as a dictionary, which counts the look-ups; a clock that is set by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from app.api_keys import key_hash, new_key
from app.database import Unavailable
from app.identity import Found, Identity
from app.teams.membership import Membership

ACCOUNT = "01900000-0000-7000-8000-000000000001"


@dataclass
class FakeRecords:
    rows: dict[str, Found] = field(default_factory=dict)
    lookups: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first look-up."""
    down: bool = False
    used: list[frozenset[str]] = field(default_factory=list)
    memberships: dict[tuple[str, str], Membership] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    """What has been read is handed out only when this is set."""

    def add(self, found: Found) -> str:
        """→ the plain key."""
        key = new_key()
        self.rows[key_hash(key)] = found
        return key

    async def find(self, key_hash: str) -> Found | None:
        self.lookups += 1
        self.asked.set()
        if self.down:
            raise Unavailable("ConnectionRefusedError")
        found = self.rows.get(key_hash)
        await (self.gate.wait() if self.gate else asyncio.sleep(0))
        return found

    async def membership(self, person: str, account: str) -> Membership | None:
        self.lookups += 1
        return self.memberships.get((person, account))

    async def note_use(self, api_key_ids: frozenset[str]) -> None:
        if self.down:
            raise Unavailable("ConnectionRefusedError")
        self.used.append(api_key_ids)


@dataclass
class HandClock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


ALICE = Identity(
    account=ACCOUNT,
    person=ACCOUNT,
    role="owner",
    api_key_id="01900000-0000-7000-8000-0000000000aa",
    tier="pro",
    scopes=frozenset({"chat"}),
    rate_limit_override=None,
    expires_at=None,
)
