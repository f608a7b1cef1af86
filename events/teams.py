"""Facts about teams.

One rule: ids and roles alone; what people and teams are called, and their addresses, never are in them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from events.completions import Tier
from events.message import Change

Role = Literal["owner", "admin", "developer", "billing", "viewer"]
"""What a person, or a team's own key, is in an account."""


class OrganizationCreated(Change):
    """A team, and its first member, who owns it."""

    type: ClassVar[str] = "organization.created"

    tier: Tier
    owner: str


class OrganizationChanged(Change):
    """Renamed, or of another tier from now on. What it is called is its own business."""

    type: ClassVar[str] = "organization.changed"

    tier: Tier
    renamed: bool


class MemberJoined(Change):
    type: ClassVar[str] = "member.joined"

    person: str
    role: Role
    invitation: str | None
    """None: the operator let him in."""


class MemberChanged(Change):
    type: ClassVar[str] = "member.changed"

    person: str
    before: Role
    role: Role


class MemberLeft(Change):
    """By himself, or removed: `by` says which. The keys that he had for the team are revoked with this."""

    type: ClassVar[str] = "member.left"

    person: str
    role: Role
    keys: int


class OwnershipTransferred(Change):
    """Who owned the team is its admin from now on."""

    type: ClassVar[str] = "ownership.transferred"

    before: str
    person: str


class InvitationMade(Change):
    type: ClassVar[str] = "invitation.made"

    invitation: str
    role: Role
    expires_at: AwareDatetime


class InvitationWithdrawn(Change):
    type: ClassVar[str] = "invitation.withdrawn"

    invitation: str
