"""What is sent to `/v1/organizations` and `/v1/invitations`, and what they answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.key_shapes import GivenRole, Name
from events.completions import Tier
from events.teams import Role


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class OrganizationCreate(_Body):
    name: Name


class OrganizationChange(_Body):
    name: Name


class MemberChange(_Body):
    role: GivenRole
    """Never more than your own."""


class OwnershipTransfer(_Body):
    person: Annotated[str, Field(max_length=36)]
    """A member's id: the new owner."""


class InvitationCreate(_Body):
    email: Annotated[str, Field(min_length=3, max_length=254)]
    role: GivenRole = "developer"
    """Never more than your own."""


class InvitationAccept(_Body):
    token: Annotated[str, Field(min_length=1, max_length=200)]
    """The word from the mail."""


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class OrganizationView(_View):
    id: str
    """The account: send it as `x-helix-account` to act for the team."""
    object: Literal["organization"] = "organization"
    name: str
    tier: Tier
    status: str
    role: Role | None
    """What you are in it."""
    created_at: str


class OrganizationList(_View):
    object: Literal["list"] = "list"
    data: list[OrganizationView]
    has_more: bool = False


class MemberView(_View):
    person: str
    object: Literal["organization.member"] = "organization.member"
    email: str
    role: Role
    joined_at: str


class MemberList(_View):
    object: Literal["list"] = "list"
    data: list[MemberView]
    has_more: bool = False


class MemberGone(_View):
    person: str
    object: Literal["organization.member.deleted"] = "organization.member.deleted"
    deleted: bool = True


class InvitationView(_View):
    id: str
    object: Literal["organization.invitation"] = "organization.invitation"
    email: str
    role: Role
    created_at: str
    expires_at: str


class InvitationList(_View):
    object: Literal["list"] = "list"
    data: list[InvitationView]
    has_more: bool = False


class InvitationGone(_View):
    id: str
    object: Literal["organization.invitation.deleted"] = "organization.invitation.deleted"
    deleted: bool = True
