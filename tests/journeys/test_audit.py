"""Every change of an account is in the audit log, for its owner alone to read and for the operator to prove."""

from __future__ import annotations

import asyncio
import json

from tests.journeys.books import Books, soon
from tests.journeys.client import Client, client_of
from tests.journeys.running import Helix

FLIP = "UPDATE audit SET subject = reverse(subject) WHERE number = 2 AND partition = 0"


async def entries(client: Client, query: str = "") -> list[dict[str, object]]:
    answer = await client.get(f"/v1/audit?{query}")
    assert answer.status == 200, answer.body
    return list(answer.json["data"])


async def test_what_was_done_to_an_account_is_told_to_its_owner_and_to_nobody_else(
    helix: Helix, client: Client, books: Books
) -> None:
    scopes = ("--scope", "chat", "--scope", "keys", "--scope", "account")
    mine = await helix.account("enterprise", *scopes)
    async with client_of(helix.base_url, mine.key) as owner:
        made = (await owner.post("/v1/api-keys", {"name": "a secret name", "scopes": ["chat"]})).json
        await owner.send("DELETE", f"/v1/api-keys/{made['id']}")
        await owner.send("PUT", "/v1/routing", {"aliases": {"my own word": "sandbox/echo"}})

        async def there() -> bool:
            return len(await entries(owner)) == 5

        await soon(there)
        found = await entries(owner)
        [own_key] = [
            entry["subject"] for entry in found if entry["by"] == "operator" and entry["action"] == "key.created"
        ]
        assert [(entry["action"], entry["by"], entry["subject"]) for entry in found] == [
            ("routing.changed", f"key:{own_key}", mine.id),
            ("key.revoked", f"key:{own_key}", made["id"]),
            ("key.created", f"key:{own_key}", made["id"]),
            ("key.created", "operator", own_key),
            ("user.created", "operator", mine.id),
        ]
        said = json.dumps(found)
        for private in ("a secret name", "my own word", mine.email, made["key"], mine.key):
            assert private not in said

        first = await entries(owner, "limit=2")
        assert first + await entries(owner, f"after={first[-1]['id']}") == found
        assert [entry["action"] for entry in await entries(owner, "action=key.revoked")] == ["key.revoked"]
        theirs = await entries(client, "limit=100")
        assert not {entry["id"] for entry in theirs} & {entry["id"] for entry in found}
        assert (await client.get(f"/v1/audit?after={found[0]['id']}")).status == 400
        for nonsense in ("limit=0", "after=x", "action=%27", "limit=101"):
            assert (await owner.get(f"/v1/audit?{nonsense}")).status == 400


async def test_the_command_proves_the_chain_and_shows_a_flipped_row(helix: Helix, books: Books) -> None:
    await books.caught_up()
    whole = await helix.ask("audit", "verify")
    assert whole["whole"] and whole["rows"] > 2
    lines = (await asyncio.to_thread(helix.run, "audit", "export", "--from", "2026-01-01")).stdout.splitlines()
    assert len(lines) >= whole["rows"]
    assert {"number", "action", "by", "hash", "details", "created_at"} <= json.loads(lines[0]).keys()
    head = whole["heads"][0]
    kept = await asyncio.to_thread(helix.run, "audit", "verify", "--head", head)
    other = await asyncio.to_thread(
        helix.run, "audit", "verify", "--head", head[:-2] + ("00" if head[-2:] != "00" else "11")
    )
    assert (kept.returncode, other.returncode) == (0, 1)

    owner = books.database
    try:
        await owner.execute(f"ALTER TABLE audit DISABLE TRIGGER USER; {FLIP}")
        broken = await asyncio.to_thread(helix.run, "audit", "verify", "--json")
        assert broken.returncode == 1
        assert [fault["number"] for fault in json.loads(broken.stdout)["faults"]] == [2]
    finally:
        await owner.execute(f"{FLIP}; ALTER TABLE audit ENABLE TRIGGER USER")
    assert (await asyncio.to_thread(helix.run, "audit", "verify")).returncode == 0
