"""Personal data in columns of Postgres: names, addresses, what a browser says of itself.

One rule: it is sealed by its person's data key and opens in its own column and row alone, so that erasing the person
erases it in every copy. What stays in clear, and why: docs/decisions/0027.
"""

from __future__ import annotations

from app.vault import Erased, Vault


async def seal(vault: Vault, account: str, column: str, row: str, text: str) -> bytes:
    """`column` as `table.column`, `row` the row's id → what the column holds.

    Raises Erased when the person is, `app.database.Unavailable` when the key cannot be had now.
    """
    return await vault.seal(account, column, row, text.encode())


async def read(vault: Vault, account: str, column: str, row: str, sealed: bytes | None) -> str | None:
    """What `seal` was given; None where there is nothing, or the person is erased.

    Raises `app.vault.Tampered` for what belongs into another place, `app.database.Unavailable` as `seal` does.
    """
    if sealed is None:
        return None
    try:
        return (await vault.open(account, column, row, sealed)).decode()
    except Erased:
        return None
