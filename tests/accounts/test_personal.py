"""What is personal opens in its own place, for its own person, as long as that person is there."""

from __future__ import annotations

import pytest

from app import personal
from app.database import Pool
from app.ids import new_id
from app.key_ring import KeyRing
from app.vault import Tampered, Vault

COLUMN = "sessions.address"


async def test_personal_data_opens_in_its_own_place_alone_and_is_gone_with_the_person(
    pool: Pool, ring: KeyRing
) -> None:
    vault, alice, bob = Vault(pool, ring), new_id(), new_id()
    sealed = await personal.seal(vault, alice, COLUMN, "row", "192.0.2.7")

    assert b"192.0.2.7" not in sealed
    assert await personal.read(vault, alice, COLUMN, "row", sealed) == "192.0.2.7"
    assert await personal.read(vault, alice, COLUMN, "row", None) is None
    for account, column, row in ((alice, "sessions.agent", "row"), (alice, COLUMN, "other"), (bob, COLUMN, "row")):
        with pytest.raises(Tampered):
            await personal.read(vault, account, column, row, sealed)

    await vault.destroy(alice)
    assert await personal.read(vault, alice, COLUMN, "row", sealed) is None
