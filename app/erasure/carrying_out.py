"""The one transaction that forgets an account.

One rule: keys, rows, receipt, tombstone and the fact of it commit together. Done again it finds nothing to do, so whoever
is killed in the middle has done nothing, and whoever comes second changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import structlog

from app.database import Connection
from app.erasure.places import GO, KEPT
from app.erasure.receipt import DestroyedKey, Receipt, Rows, Signed, sign, verify
from app.erasure.wishes import say
from app.ids import new_id
from app.key_ring import KeyRing
from app.mail import Mail, Mails
from app.vault import destroy_keys
from events.erasure import AccountErased, Kind

log = structlog.get_logger()

_DUE: Final = """SELECT kind, requested_at, requested_by FROM erasures
WHERE account = $1 AND erased_at IS NULL AND erase_at <= now() FOR UPDATE"""


async def erase(connection: Connection, account: str, ring: KeyRing, mails: Mails | None = None) -> Signed | None:
    """Erase the account if its time has come → the receipt, which is also on its way to the address that is forgotten
    with it; None when there is nothing due, or somebody else has done it."""
    id = UUID(account)
    async with connection.transaction():
        wish = await connection.fetchrow(_DUE, id)
        if wish is None:
            return None
        address = await connection.fetchval("SELECT email FROM users WHERE id = $1", id)
        now: datetime = await connection.fetchval("SELECT now()")
        keys, deleted = await destroy(connection, account, ring)
        receipt = Receipt(
            account=account,
            kind=wish["kind"],
            requested_at=wish["requested_at"],
            requested_by=wish["requested_by"],
            erased_at=now,
            event_id=new_id(),
            data_keys=keys,
            deleted=deleted,
            kept=tuple(
                [
                    Rows(table=place.table, rows=await _count(connection, place.table, place.whose or "", account))
                    for place in KEPT
                ]
            ),
        )
        signed = sign(receipt, ring)
        await connection.execute(
            "UPDATE erasures SET erased_at = $2, receipt = $3, restore_hash = NULL WHERE account = $1",
            id,
            now,
            signed.model_dump_json(),
        )
        await _say(connection, receipt, signed)
        if mails is not None and address is not None:
            await mails.put(connection, _letter(address, signed))
    log.info("account_erased", account=account, kind=receipt.kind, rows=sum(one.rows for one in deleted))
    return signed


async def repeat(connection: Connection, signed: Signed, ring: KeyRing) -> int:
    """Carry out again what a receipt tells, where a restored database does not know of it → rows that were there."""
    receipt = signed.read()
    async with connection.transaction():
        await connection.execute(
            """INSERT INTO erasures (account, kind, requested_at, requested_by, erase_at, status_before, erased_at, receipt)
            VALUES ($1, $2, $3, $4, $5, 'active', $5, $6) ON CONFLICT (account) DO UPDATE
            SET erased_at = excluded.erased_at, receipt = excluded.receipt, restore_hash = NULL, cleared_at = NULL""",
            UUID(receipt.account),
            receipt.kind,
            receipt.requested_at,
            receipt.requested_by,
            receipt.erased_at,
            signed.model_dump_json(),
        )
        keys, deleted = await destroy(connection, receipt.account, ring)
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE id = $1)", UUID(receipt.event_id)):
            await _say(connection, receipt, signed)  # under its old id: who has heard it takes it for the same
    rows = sum(one.rows for one in deleted)
    log.info("account_erased_again", account=receipt.account, rows=rows, data_keys=len(keys))
    return rows


async def repeat_all(connection: Connection, text: str, ring: KeyRing) -> dict[str, int]:
    """`repeat` for every receipt, one a line → account → rows that were there. Raises NoReceipt before anything is done."""
    found = [verify(line) for line in text.splitlines() if line.strip()]
    return {receipt.account: await repeat(connection, signed, ring) for signed, receipt in found}


async def destroy(
    connection: Connection, account: str, ring: KeyRing
) -> tuple[tuple[DestroyedKey, ...], tuple[Rows, ...]]:
    """The keys and the rows, within the caller's transaction → what there was."""
    destroyed = await destroy_keys(connection, account, ring.current)
    keys = [DestroyedKey(number=number, wrapped_sha256=sha256(wrapped).hexdigest()) for number, wrapped in destroyed]
    deleted = []
    for place in GO:
        said = await connection.execute(f"DELETE FROM {place.table} WHERE {place.whose}", UUID(account))  # noqa: S608  # ours
        deleted.append(Rows(table=place.table, rows=int(said.split()[-1])))
    return tuple(keys), tuple(deleted)


async def _count(connection: Connection, table: str, whose: str, account: str) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {whose}", UUID(account))  # noqa: S608  # ours
    return found


async def _say(connection: Connection, receipt: Receipt, signed: Signed) -> None:
    kind: Kind = receipt.kind
    fact = AccountErased(kind=kind, receipt_sha256=signed.sha256, by=receipt.requested_by)
    await say(connection, receipt.account, fact, id=receipt.event_id, at=receipt.erased_at)


def _letter(address: str, signed: Signed) -> Mail:
    text = (
        "Everything your account held has been destroyed. This is the receipt; it is the last mail you get from us.\n"
        "Who runs this service can check it with `./helix erasure verify FILE`, and anybody with the Ed25519 key in it.\n\n"
        f"{signed.model_dump_json()}\n"
    )
    return Mail(address, "Your account is erased", text)
