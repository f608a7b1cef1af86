"""What Helix has written down by the end of a campaign, as values: the checker needs no server and no campaign.

One rule: it is taken after the drain, in one piece, and written beside the history.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """One value of the evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Terminal(Fact):
    """One terminal event on the log."""

    entry: str
    event: str
    request: str
    account: str
    outcome: str
    why: str | None
    billable: bool
    cost_nanousd: int
    calls: int
    """Provider calls the event tells of: those of the attempt that ended it."""


class Row(Fact):
    """One row of `usage` or `requests`."""

    event: str
    request: str
    account: str
    cost_nanousd: int


class Live(Fact):
    """A request's live stream: the attempts that spoke, and those that said a last word."""

    request: str
    attempts: tuple[int, ...]
    ends: tuple[int, ...]


class Letter(Fact):
    """One dead letter."""

    request: str | None
    why: str


class PurseLeft(Fact):
    """What the log server has counted of an account's balance."""

    account: str
    held_nanousd: int
    spent_nanousd: int


class Rebuilt(Fact):
    """A projection made anew and compared."""

    projection: str
    equal: bool
    note: str = ""


class Changed(Fact):
    """A state as a table shows it: somebody must have made it so."""

    action: str
    """The fact that tells of it, such as `key.revoked`."""
    subject: str


class Audited(Changed):
    """One row of the audit log."""

    event: str


class Evidence(Fact):
    """Everything that was read."""

    drained: bool
    commands_left: int
    pending_left: int
    open_left: int
    """Places that requests hold in their account's set of open ones."""
    holds_left: int = 0
    """Reservations of tokens or money."""
    purses: tuple[PurseLeft, ...] = ()
    terminals: tuple[Terminal, ...]
    usage: tuple[Row, ...]
    requests: tuple[Row, ...]
    live: tuple[Live, ...]
    parked: tuple[Letter, ...]
    rebuilt: tuple[Rebuilt, ...]
    changed: tuple[Changed, ...] = ()
    """What the tables of users and keys show."""
    told: tuple[str, ...] = ()
    """The ids of the facts on the log that tell of a change."""
    audit: tuple[Audited, ...] = ()
    chain: tuple[str, ...] = ()
    """Where the audit log's chain is broken."""
    asked: dict[str, int]
    """Question → how often the provider was asked it."""
