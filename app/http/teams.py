"""`/v1/organizations` and `/v1/invitations`: teams in the hands of their members.

One rule: the team in the path is the account that is acted for, so that who does not belong to it hears what he would hear of
one that does not exist. What changes a team is told to every process, which then forgets what it knew of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.accounts import AccountRefused, email_address
from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.erasure.clearing import stop
from app.http.authentication import identify
from app.http.erasure import ErasureView
from app.http.refusals import Refused, retry_after
from app.http.shaped_body import shaped_body
from app.http.team_shapes import (
    InvitationAccept,
    InvitationCreate,
    InvitationGone,
    InvitationList,
    InvitationView,
    MemberChange,
    MemberGone,
    MemberList,
    MemberView,
    OrganizationChange,
    OrganizationCreate,
    OrganizationList,
    OrganizationView,
    OwnershipTransfer,
)
from app.http.throttle import Guesses
from app.identity import Identity
from app.log import LogGone
from app.log.connection import LogRefused
from app.teams import invitations, members, teams
from app.teams.invitations import Invitation, InvitationUnknown, Office
from app.teams.members import Member, MemberUnknown
from app.teams.standing import ActorEnded, RoleLacking
from app.teams.teams import Team, TeamRefused, TeamUnknown
from app.vault import Erased
from app.wiring import WebParts

log = structlog.get_logger()


INVITATIONS_AT_ONCE: Final = 30
INVITATION_EVERY_S: Final = 120.0
"""From one who invites: a whole team on its first day, and no way to write to strangers by thousands."""
MAILS_AT_ONCE: Final = 3
MAIL_EVERY_S: Final = 600.0
"""To one address, whoever writes: more fills somebody's mailbox."""


class Teams:
    """The routes of teams."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._invited = Guesses(at_once=INVITATIONS_AT_ONCE, every_s=INVITATION_EVERY_S)
        self._mailed = Guesses(at_once=MAILS_AT_ONCE, every_s=MAIL_EVERY_S)

    def routes(self) -> list[Route]:
        root, one = "/v1/organizations", "/v1/organizations/{id}"
        return [
            Route(root, self.create, methods=["POST"]),
            Route(root, self.list, methods=["GET"]),
            Route(one, self.show, methods=["GET"]),
            Route(one, self.rename, methods=["PATCH"]),
            Route(one, self.close, methods=["DELETE"]),
            Route(f"{one}/leave", self.leave, methods=["POST"]),
            Route(f"{one}/transfer", self.transfer, methods=["POST"]),
            Route(f"{one}/members", self.members, methods=["GET"]),
            Route(f"{one}/members/{{person}}", self.change_member, methods=["PATCH"]),
            Route(f"{one}/members/{{person}}", self.remove_member, methods=["DELETE"]),
            Route(f"{one}/invitations", self.invite, methods=["POST"]),
            Route(f"{one}/invitations", self.invitations, methods=["GET"]),
            Route(f"{one}/invitations/{{invitation}}", self.withdraw, methods=["DELETE"]),
            Route("/v1/invitations/accept", self.accept, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        actor = await self._somebody(request)
        person = _person(actor)
        body = await shaped_body(OrganizationCreate, request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                made = await teams.create(connection, person, body.name, by=actor.by)
        log.info("team_made", account=made.id, by=actor.by)
        return _json(_team(made), 201)

    async def list(self, request: Request) -> Response:
        """Of a team's own key: the team."""
        actor = await self._somebody(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                if actor.person is None:
                    found = [await teams.find(connection, actor.account, actor.role)]
                else:
                    found = await teams.of_person(connection, actor.person)
        return _json(OrganizationList(data=[_team(each) for each in found]))

    async def show(self, request: Request) -> Response:
        actor = await self._member(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                return _json(_team(await teams.find(connection, actor.account, actor.role)))

    async def rename(self, request: Request) -> Response:
        actor = await self._member(request)
        body = await shaped_body(OrganizationChange, request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                changed = await teams.rename(connection, actor, body.name)
        log.info("team_renamed", account=actor.account, by=actor.by)
        return _json(_team(changed))

    async def close(self, request: Request) -> Response:
        """From now on it opens nothing, and what runs is stopped; after the grace time it is erased."""
        actor = await self._member(request)
        grace = timedelta(days=self._parts.settings.helix_erasure_grace_days)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                wish = await teams.close(connection, actor, grace)
        await self._tell(actor.account)
        try:
            await stop(self._parts.log, actor.account)
        except (LogGone, LogRefused) as gone:  # who erases stops them again
            log.warning("requests_not_stopped", account=actor.account, why=type(gone).__name__)
        log.info("team_closed", account=actor.account, erase_at=wish.erase_at.isoformat(), by=actor.by)
        erase_at, word = _time(wish.erase_at), wish.word
        view = ErasureView(account=wish.account, status="scheduled", erase_at=erase_at, restore_token=word)
        return _json(view, 202)

    async def leave(self, request: Request) -> Response:
        actor = await self._member(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                gone = await members.leave(connection, actor)
        await self._tell(actor.account)
        log.info("member_left", account=actor.account, person=gone.person, by=actor.by)
        return _json(MemberGone(person=gone.person))

    async def transfer(self, request: Request) -> Response:
        actor = await self._member(request)
        body = await shaped_body(OwnershipTransfer, request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                owner = await members.transfer(connection, actor, body.person)
        await self._tell(actor.account)
        log.info("team_transferred", account=actor.account, person=owner.person, by=actor.by)
        return _json(_member(owner))

    async def members(self, request: Request) -> Response:
        actor = await self._member(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                found = await members.of_team(connection, actor.account)
        return _json(MemberList(data=[_member(each) for each in found]))

    async def change_member(self, request: Request) -> Response:
        actor = await self._member(request)
        body = await shaped_body(MemberChange, request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                changed = await members.change_role(connection, actor, request.path_params["person"], body.role)
        await self._tell(actor.account)
        log.info("member_changed", account=actor.account, person=changed.person, role=changed.role, by=actor.by)
        return _json(_member(changed))

    async def remove_member(self, request: Request) -> Response:
        actor = await self._member(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                gone = await members.remove(connection, actor, request.path_params["person"])
        await self._tell(actor.account)
        log.info("member_left", account=actor.account, person=gone.person, by=actor.by)
        return _json(MemberGone(person=gone.person))

    async def invite(self, request: Request) -> Response:
        actor = await self._member(request)
        body = await shaped_body(InvitationCreate, request)
        with _worded():
            address = email_address(body.email)
            self._may_mail(actor, address)
            made = await invitations.invite(self._office, actor, address, body.role)
        self._invited.note(actor.by)
        self._mailed.note(address)
        log.info("invitation_made", account=actor.account, invitation=made.id, role=made.role, by=actor.by)
        return _json(_invitation(made), 201)

    async def invitations(self, request: Request) -> Response:
        actor = await self._member(request)
        with _worded():
            found = await invitations.of_team(self._office, actor.account)
        return _json(InvitationList(data=[_invitation(each) for each in found]))

    async def withdraw(self, request: Request) -> Response:
        actor = await self._member(request)
        id = request.path_params["invitation"]
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                await invitations.withdraw(connection, actor, id)
        log.info("invitation_withdrawn", account=actor.account, invitation=id, by=actor.by)
        return _json(InvitationGone(id=id))

    async def accept(self, request: Request) -> Response:
        actor = await self._somebody(request)
        person = _person(actor)
        body = await shaped_body(InvitationAccept, request)
        with _worded():
            joined = await invitations.accept(self._office, person, body.token, by=actor.by)
        await self._tell(joined.id)
        log.info("member_joined", account=joined.id, person=person, role=joined.role, by=actor.by)
        return _json(_team(joined))

    def _may_mail(self, actor: Identity, address: str) -> None:
        """Raises Refused 501, 429."""
        if not self._parts.mails.have_post:
            message = "This Helix sends no mail, and so nobody is invited: its operator lets members in."
            raise Refused(501, "mail_not_configured", message)
        if wait_s := max(self._invited.wait_s(actor.by), self._mailed.wait_s(address)):
            raise Refused(429, "too_many_invitations", "Too many invitations; try later.", headers=retry_after(wait_s))

    @property
    def _office(self) -> Office:
        parts = self._parts
        return Office(parts.pool, parts.vault, parts.mails, parts.settings.public_url)

    async def _somebody(self, request: Request) -> Identity:
        """Who asks, about himself."""
        actor = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = actor.account
        return actor

    async def _member(self, request: Request) -> Identity:
        """Who asks, acting for the team in the path. A person's own account is no team."""
        actor = await identify(self._parts, request.scope, request.path_params["id"])
        if actor.account == actor.person:
            raise _unknown()
        request.scope["state"]["account"] = actor.account
        return actor

    async def _tell(self, team: str) -> None:
        """Every process forgets what it remembered; this one at once."""
        change = Change("account", team)
        self._parts.identities.forget(change)
        try:
            await tell(self._parts.settings.cache, change)
        except ChannelDown:
            log.warning("team_change_not_told", account=team)  # the others find it within a minute


def _unknown() -> Refused:
    return Refused(404, "account_not_found", "There is no such account, or you do not belong to it.")


def _person(actor: Identity) -> str:
    if actor.person is None:
        raise Refused(403, "not_a_person", "This is for people: a team's own key is none.")
    return actor.person


@contextmanager
def _worded() -> Iterator[None]:
    """What may go wrong with teams, in the client's words."""
    try:
        yield
    except (TeamUnknown, ActorEnded):
        raise _unknown() from None
    except MemberUnknown:
        raise Refused(404, "member_not_found", "The team has no such member.") from None
    except InvitationUnknown:
        raise Refused(404, "invitation_not_found", "There is no such invitation, or it is not for you.") from None
    except RoleLacking as lacking:
        raise Refused(403, "role_missing", f"Your role in this account does not allow this: `{lacking}`.") from None
    except TeamRefused as refused:
        status = 403 if refused.code == "right_lacking" else 409
        raise Refused(status, refused.code, str(refused)) from None
    except AccountRefused:
        raise Refused(400, "invalid_value", "This is no e-mail address.", param="email") from None
    except (Unavailable, Erased):
        raise Refused(503, "database_unavailable", "Teams cannot be reached just now; try again.") from None


def _team(team: Team) -> OrganizationView:
    return OrganizationView(
        id=team.id,
        name=team.name,
        tier=team.tier,
        status=team.status,
        role=team.role,
        created_at=_time(team.created_at),
    )


def _member(member: Member) -> MemberView:
    return MemberView(person=member.person, email=member.email, role=member.role, joined_at=_time(member.joined_at))


def _invitation(each: Invitation) -> InvitationView:
    return InvitationView(
        id=each.id,
        email=each.email,
        role=each.role,
        created_at=_time(each.created_at),
        expires_at=_time(each.expires_at),
    )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _json(view: BaseModel, status: int = 200) -> Response:
    body = orjson.dumps(view.model_dump())
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})
