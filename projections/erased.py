"""Accounts that are erased: what keeps a replay, a late event or a restored table from bringing them back.

One rule: an entry of an erased account gives no row in a projection that names its `account_column`, wherever on the log
it stands. Two tables say who is erased: this projection's, made from the facts, and `erasures`, which is written in the
transaction that destroys the keys, before the fact is on the log.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events.catalog import Unreadable
from events.erasure import AccountErased
from projections import tables
from projections.projection import Projection, Seen

_INSERT: Final = """
INSERT INTO erased_accounts (account, erased_at, event_id)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) ON CONFLICT DO NOTHING
"""

_AMONG: Final = """
SELECT account FROM {schema}erased_accounts WHERE account = ANY($1::uuid[])
UNION SELECT account FROM {schema}erasures WHERE account = ANY($1::uuid[]) AND erased_at IS NOT NULL
"""


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    rows = [(said.account, said.at, said.id) for said in (seen.envelope for seen in batch)]
    await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))


ERASED: Final = Projection(
    name="erased",
    tables=(tables.erased_accounts,),
    apply=apply,
    wants=frozenset({AccountErased.type}),
    times=("erased_at",),
)


# Queries.


async def among(connection: AsyncConnection, batch: Sequence[Seen], schema: str | None = None) -> frozenset[str]:
    """The accounts of a batch that are erased. `schema`: of the live tables, where the connection looks at a shadow."""
    named = set()
    for seen in batch:
        try:
            named.add(str(UUID(seen.envelope.account)))
        except (Unreadable, ValueError):
            continue  # passed by when it is applied; what is no id is nobody's
    if not named:
        return frozenset()
    found = await connection.exec_driver_sql(_AMONG.format(schema=f"{schema}." if schema else ""), (sorted(named),))
    return frozenset(str(account) for account in found.scalars())


async def remove(connection: AsyncConnection, projection: Projection, accounts: Collection[str]) -> None:
    """Delete the rows of these accounts from a projection's tables."""
    for table in projection.tables:
        await connection.exec_driver_sql(
            f"DELETE FROM {table.name} WHERE {projection.account_column} = ANY($1::uuid[])",  # noqa: S608  # names of ours
            (sorted(accounts),),
        )
