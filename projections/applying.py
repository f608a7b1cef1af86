"""Turn a batch of entries into rows, whatever is in it.

One rule: an entry that can have no row never holds up those behind it. It is put into `unreadable`, and the rest flows.
Entries of erased accounts give no row, and the fact of an erasure takes those that there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection

from events.catalog import FromTheFuture, Unreadable
from events.erasure import AccountErased
from projections import erased
from projections.projection import Projection, Seen

PassedBy = Callable[[str, int, str, str], None]
"""Told of (projection, partition, entry id, reason) for each entry that has no row."""

Apply = Callable[[AsyncConnection, Projection, Sequence[Seen], PassedBy, frozenset[str]], Awaitable[None]]

_REFUSED_VALUES: Final = ("22", "23", "54")
"""Classes of SQLSTATE that lie in the value itself: bad data, a broken constraint, too large. Others may pass."""


def refused(error: Exception) -> bool:
    """Whether the fault lies in a value, so that trying again cannot help."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, ValueError)
    if error.connection_invalidated:
        return False
    state = getattr(error.orig, "sqlstate", None)
    # The driver refuses a value that it cannot even put on the wire, before Postgres has seen it: no SQLSTATE then.
    return state[:2] in _REFUSED_VALUES if state else isinstance(error, InterfaceError)


async def apply(
    connection: AsyncConnection,
    projection: Projection,
    batch: Sequence[Seen],
    passed_by: PassedBy,
    gone: frozenset[str] = frozenset(),
) -> None:
    """Apply what the projection wants of a batch, inside the connection's transaction. `gone`: accounts of the batch that
    are erased (`erased.among`).

    Raises what `refused` knows when a value cannot be stored; the transaction is then to be begun again with
    `apply_with_care`. Raises FromTheFuture for what the projection wants and only a newer process can read.
    """
    wanted = await _wanted(connection, projection, batch, passed_by, gone)
    if wanted:
        await projection.apply(connection, wanted)
    await _forget(connection, projection, batch)


async def apply_with_care(
    connection: AsyncConnection,
    projection: Projection,
    batch: Sequence[Seen],
    passed_by: PassedBy,
    gone: frozenset[str] = frozenset(),
) -> None:
    """The same for a batch that was refused: halved until the entries at fault are alone, then those are passed by."""
    wanted = await _wanted(connection, projection, batch, passed_by, gone)
    if wanted:
        await _halve(connection, projection, wanted, passed_by)
    await _forget(connection, projection, batch)


async def _forget(connection: AsyncConnection, projection: Projection, batch: Sequence[Seen]) -> None:
    """Delete the rows of the accounts that this batch says are erased."""
    if projection.account_column is not None and (told := _told_erased(batch)):
        await erased.remove(connection, projection, told)


def _told_erased(batch: Sequence[Seen]) -> frozenset[str]:
    told = set()
    for seen in batch:
        with contextlib.suppress(Unreadable):
            if isinstance(seen.envelope.body, AccountErased):
                told.add(seen.envelope.account)
    return frozenset(told)


async def _wanted(
    connection: AsyncConnection,
    projection: Projection,
    batch: Sequence[Seen],
    passed_by: PassedBy,
    gone: frozenset[str],
) -> Sequence[Seen]:
    if projection.wants is None:
        return batch
    without = gone | _told_erased(batch) if projection.account_column is not None else frozenset[str]()
    wanted = []
    for seen in batch:
        try:
            if seen.envelope.type in projection.wants and seen.envelope.account not in without:
                wanted.append(seen)
        except FromTheFuture as newer:
            if newer.type in projection.wants:
                raise
        except Unreadable as reason:
            await _pass_by(connection, projection, seen, str(reason), passed_by)
    return wanted


async def _halve(
    connection: AsyncConnection, projection: Projection, batch: Sequence[Seen], passed_by: PassedBy
) -> None:
    try:
        async with connection.begin_nested():
            await projection.apply(connection, batch)
    except (DBAPIError, ValueError) as error:
        if not refused(error):
            raise
        if len(batch) > 1:
            middle = len(batch) // 2
            await _halve(connection, projection, batch[:middle], passed_by)
            await _halve(connection, projection, batch[middle:], passed_by)
        else:
            # The message of a refusal quotes the value.
            reason = f"refused: {getattr(getattr(error, 'orig', None), 'sqlstate', None) or type(error).__name__}"
            await _pass_by(connection, projection, batch[0], reason, passed_by)


async def _pass_by(
    connection: AsyncConnection, projection: Projection, seen: Seen, reason: str, passed_by: PassedBy
) -> None:
    kept = await connection.execute(
        text(
            "INSERT INTO unreadable VALUES (:projection, :partition, :entry_id, :reason, :raw)"
            " ON CONFLICT DO NOTHING RETURNING 1"
        ),
        {
            "projection": projection.name,
            "partition": seen.partition,
            "entry_id": seen.entry_id,
            "reason": reason.replace("\0", ""),
            "raw": seen.raw,
        },
    )
    if kept.one_or_none():
        passed_by(projection.name, seen.partition, seen.entry_id, reason)
