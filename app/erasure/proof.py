"""What a receipt proves today: whose signature it bears, and that nothing of the account is left."""

from __future__ import annotations

from uuid import UUID

from app.database import Connection
from app.erasure.places import GO
from app.erasure.receipt import verify
from app.key_ring import KeyRing


async def examine(connection: Connection, ring: KeyRing, text: str) -> dict[str, object]:
    """Raises NoReceipt where the signature does not fit.

    `ours`: it was signed by the ring, or stands in the table as it is here. `left`: table → rows of the account that are
    there although they must not be.
    """
    signed, receipt = verify(text)
    kept = await connection.fetchval("SELECT receipt FROM erasures WHERE account = $1", UUID(receipt.account))
    ours = bytes.fromhex(signed.public_key) in ring.public_keys or kept == signed.model_dump_json()
    left: dict[str, int] = {}
    for place in GO:
        query = f"SELECT count(*) FROM {place.table} WHERE {place.whose}"  # noqa: S608  # names of ours
        if count := await connection.fetchval(query, UUID(receipt.account)):
            left[place.table] = count
    alive = await connection.fetchval(
        "SELECT count(*) FROM data_keys WHERE account = $1 AND wrapped IS NOT NULL", UUID(receipt.account)
    )
    if alive:
        left["data_keys"] = alive
    return {
        "account": receipt.account,
        "erased_at": receipt.erased_at.isoformat(),
        "sha256": signed.sha256,
        "ours": ours,
        "left": left,
    }
