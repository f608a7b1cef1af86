"""Facts that are said for the audit log alone: what the operator did by hand, and rights that were not there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from events.message import Change

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The account of facts that concern the whole installation."""

Command = Literal[
    "parked.retry", "parked.drop", "rerate", "replay", "backup", "restore", "reseed", "vault.rewrap", "audit.export"
]


class OperatorActed(Change):
    """A command of `./helix` that changes what is kept, or carries it away, and tells of it by no other fact. It is said
    before the command acts: what then fails was tried."""

    type: ClassVar[str] = "operator.acted"

    command: Command
    on: Annotated[str, Field(max_length=200)] | None = None
    """What: a projection, a dead letter, a stretch of time. Never a path or an address."""


class RightRefused(Change):
    """Somebody known to us was refused what he may not do."""

    type: ClassVar[str] = "right.refused"

    code: str
    """As the client was told: `scope_missing`, `role_missing`, `right_lacking`, `ip_not_allowed` and the like."""
    action: str
    """What he wanted, as `handlers.rules.roles` names it."""
    times: Annotated[int, Field(ge=1)]
    """Within a minute or so: a flood is one fact."""
