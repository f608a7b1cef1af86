"""What a projection is: a name, its tables, and one function that turns a batch of log entries into rows.

One rule: rows depend on the entries alone, never on the clock, and an entry applied twice leaves what it left the
first time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from events.catalog import read
from events.message import Envelope

BEGINNING: Final = "0-0"
"""The entry id before the first."""


class Seen:
    """One entry of the log. Its envelope is read when it is first asked for, and once."""

    __slots__ = ("_envelope", "entry_id", "partition", "raw")

    def __init__(self, partition: int, entry_id: str, raw: bytes) -> None:
        self.partition = partition
        self.entry_id = entry_id
        self.raw = raw
        self._envelope: Envelope | None = None

    @property
    def envelope(self) -> Envelope:
        """Raises `events.catalog.Unreadable`."""
        if self._envelope is None:
            self._envelope = read(self.raw)
        return self._envelope


class Source(Protocol):
    """Where entries come from: the log, or its archive and then the log."""

    async def read(self, partition: int, after: str, *, count: int, block_ms: int | None) -> list[tuple[str, bytes]]:
        """(entry id, raw envelope) behind `after`, oldest first; waits up to `block_ms` for the first."""
        ...

    async def trimmed_to(self, partition: int) -> str:
        """The newest entry id that has been taken off the log; BEGINNING when none has."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once. Projections of one pace are read for together."""

    entries_max: int
    """Entries in one transaction."""
    linger_s: float
    """How long after the first entry of a batch to wait for more: a commit costs more than a row."""
    durable: bool
    """Whether a commit waits for the disk. Rows and checkpoint go together, so a read model that loses its newest
    commits in a crash of Postgres makes them anew from the log; only the archive, below which the log may be trimmed,
    has to wait."""


READ_MODEL: Final = Pace(entries_max=500, linger_s=0.05, durable=False)
"""500 rows to a statement is where Postgres stops getting cheaper a row (docs: measured); 50 ms is what a person does
not notice when listing what has just ended."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A read model: what it is called, what it owns and how a batch becomes rows."""

    name: str
    tables: tuple[Table, ...]
    apply: Callable[[AsyncConnection, Sequence[Seen]], Awaitable[None]]
    """Writes the rows of a batch inside the connection's transaction. A ValueError, or a refusal by Postgres of a
    value, says that some entry of the batch can never have a row."""
    wants: frozenset[str] | None
    """The types of event it is told; None: every entry as raw bytes, readable or not."""
    pace: Pace = READ_MODEL
    append_only: tuple[Table, ...] = ()
    """Of its tables, those whose rows the database itself keeps from being changed or taken away."""
    times: tuple[str, ...] | None = None
    """For each table, the column that holds when the event happened; None when rows add up several events, so that a
    stretch of time cannot be made anew by itself."""
    account_column: str | None = None
    """The column of each of its tables that names the account: its rows go when the account is erased. None: they hold
    nothing of a person, or are books that must be kept (docs/decisions/0028)."""


def order(entry_id: str) -> tuple[int, int]:
    """An entry id as what it sorts by: (milliseconds, number within them)."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
