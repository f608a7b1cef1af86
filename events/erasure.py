"""Facts about accounts that are to be forgotten, or are. Ids, counts and digests alone: they outlive whom they tell of."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from events.message import Change

Kind = Literal["person", "team"]


class ErasureRequested(Change):
    """The account opens nothing any more, and is erased at that time unless somebody takes it back."""

    type: ClassVar[str] = "erasure.requested"

    kind: Kind
    erase_at: AwareDatetime


class ErasureWithdrawn(Change):
    """Taken back in time: everything is as it was."""

    type: ClassVar[str] = "erasure.withdrawn"

    kind: Kind


class AccountErased(Change):
    """Its data keys are destroyed and its rows are gone. Nothing that is said of this account, before or after, becomes a
    row again, but in the books (docs/decisions/0028)."""

    type: ClassVar[str] = "account.erased"

    kind: Kind
    receipt_sha256: str
    """Digest of the receipt that says what was destroyed."""
