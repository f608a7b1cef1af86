"""People for tests: each has an account and a key as the operator makes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from app import accounts
from app.api_keys import new_key
from app.mail.mailbox import kept_mails
from app.up.directory import MAILS
from events.completions import Tier
from tests.journeys.client import Client, client_of
from tests.journeys.running import Helix

EVERYTHING = ("chat", "agents", "prompts", "keys", "account")
"""All that a person may give his key."""
ORGANIZATIONS = "/v1/organizations"


@dataclass(frozen=True)
class Somebody:
    """His key is of his own account; as a member of a team he sends the team's id along."""

    id: str
    email: str
    key: str
    client: Client

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The JSON of an answer below 300."""
        answer = await self.client.send(method, path, body, **headers)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        return answer.json


@asynccontextmanager
async def somebody(
    helix: Helix, tier: Tier = "enterprise", scopes: tuple[str, ...] = EVERYTHING, **more: Any
) -> AsyncIterator[Somebody]:
    key = new_key()
    email = f"{key[8:24]}@example.org"
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        made = await accounts.create_user(connection, email, tier)
        await accounts.create_key(connection, email, key, scopes=scopes, **more)
    finally:
        await connection.close()
    async with client_of(helix.base_url, key) as client:
        yield Somebody(made.id, email, key, client)


async def team_of(owner: Somebody, name: str = "Lighthouse") -> str:
    """→ the id of a team that he owns."""
    return str((await owner.send("POST", ORGANIZATIONS, {"name": name}))["id"])


async def word_for(helix: Helix, email: str, team: str = "Lighthouse") -> str:
    """The word in the newest mail to this address, as soon as it has come."""
    for _ in range(200):
        for mail in kept_mails(helix.data / MAILS):
            found = re.search(r"/account/join#(\S+)", mail.text)
            if mail.to == email and team in mail.subject and found:
                return found[1]
        await asyncio.sleep(0.05)
    raise AssertionError(f"no mail for {email}")


async def joins(helix: Helix, leader: Somebody, team: str, person: Somebody, role: str) -> None:
    """By invitation and mail, as people do."""
    await leader.send("POST", f"{ORGANIZATIONS}/{team}/invitations", {"email": person.email, "role": role})
    await person.send("POST", "/v1/invitations/accept", {"token": await word_for(helix, person.email)})
