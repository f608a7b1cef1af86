"""`/v1/users/me`: what a person sees and changes of himself, and his sessions.

One rule: address and password are changed by who has signed in and knows the present password; a key, or a session that somebody
left open, is not enough.
"""

from __future__ import annotations

from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import personal
from app.accounts import AccountRefused, email_address
from app.changes import Change
from app.database import borrowed
from app.http.authentication import identify, session_of
from app.http.people import forget, said_time, show, worded
from app.http.people_shapes import Done, SessionList, SessionView, UserChange, UserView
from app.http.refusals import Refused, retry_after
from app.http.shaped_body import shaped_body
from app.http.throttle import Guesses
from app.identity import Identity
from app.people import oneself, outside, sessions
from app.people.oneself import Person
from app.people.password import check_choice
from app.people.sessions import NoSession
from app.wiring import WebParts

log = structlog.get_logger()

WRONG_AT_ONCE: Final = 10
WRONG_EVERY_S: Final = 60.0
"""Whoever sits at somebody else's open session may not guess for long."""


class Oneself:
    """GET and PATCH `/v1/users/me`, and its sessions. Erasing oneself has a door of its own."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._people = parts.people
        self._wrong = Guesses(at_once=WRONG_AT_ONCE, every_s=WRONG_EVERY_S)

    def routes(self) -> list[Route]:
        me, sessions_ = "/v1/users/me", "/v1/users/me/sessions"
        return [
            Route(me, self.show, methods=["GET"]),
            Route(me, self.change, methods=["PATCH"]),
            Route(sessions_, self.sessions, methods=["GET"]),
            Route(f"{sessions_}/{{id}}", self.end, methods=["DELETE"]),
        ]

    async def show(self, request: Request) -> Response:
        _, person = await self._me(request)
        return show(await self._view(person))

    async def change(self, request: Request) -> Response:
        """Name, address, password; all that is asked for or nothing."""
        identity, person = await self._me(request)
        body = await shaped_body(UserChange, request)
        said = body.model_fields_set
        if body.email is not None or body.password is not None:
            await self._prove(request, identity, person, body.current_password)
        with worded():
            if body.password is not None:
                check_choice(body.password, person.email)
            email = None if body.email is None else _address(body.email)
            if "name" in said:
                await self._set_name(person, body.name, identity.by)
            if body.password is not None:
                await self._set_password(request, person, body.password)
            if email is not None and email != person.email:
                await self._ask_new_address(person, email)
            async with borrowed(self._parts.pool) as connection:
                changed = await oneself.find(connection, person.id)
        view = await self._view(changed)
        return show(view.model_copy(update={"pending_email": email is not None and email != person.email}))

    async def sessions(self, request: Request) -> Response:
        """Those that are open, the one used last first."""
        _, person = await self._me(request)
        current = session_of(self._parts, request.scope)
        with worded():
            async with borrowed(self._parts.pool) as connection:
                found = await sessions.open_sessions(connection, person.id)
            data = [
                SessionView(
                    id=each.id,
                    current=each.id == current,
                    signed_in_with=each.how,
                    browser=await personal.read(self._parts.vault, person.id, sessions.BROWSER, each.id, each.browser),
                    created_at=said_time(each.created_at),
                    last_used_at=said_time(each.refreshed_at),
                    expires_at=said_time(each.expires_at),
                )
                for each in found
            ]
        return show(SessionList(data=data))

    async def end(self, request: Request) -> Response:
        """This session opens nothing any more, everywhere within seconds."""
        _, person = await self._me(request)
        session = request.path_params["id"]
        try:
            with worded():
                async with borrowed(self._parts.pool) as connection:
                    await sessions.end(connection, person.id, session)
        except NoSession:
            raise Refused(404, "session_not_found", "There is no such session.") from None
        await forget(self._parts, Change("session", session))
        return show(Done(status="signed_out"))

    async def _me(self, request: Request) -> tuple[Identity, Person]:
        """Who asks, and the person behind it. Raises Refused."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        if identity.person is None:
            raise Refused(404, "person_not_found", "Behind a team's key there is no person.")
        with worded():
            async with borrowed(self._parts.pool) as connection:
                return identity, await oneself.find(connection, identity.person)

    async def _prove(self, request: Request, identity: Identity, person: Person, password: str | None) -> None:
        """Raises Refused unless it is the person himself."""
        if not identity.signed_in:
            raise Refused(403, "sign_in_needed", "Address and password are changed by who has signed in, not by a key.")
        if person.password_hash is None:
            message = "This account has no password yet: have a link to one mailed (`/v1/auth/forgot`)."
            raise Refused(409, "password_missing", message, param="current_password")
        if wait_s := self._wrong.wait_s(person.id):
            raise Refused(429, "too_many_tries", "Too many wrong passwords.", headers=retry_after(wait_s))
        self._wrong.note(person.id)
        with worded():
            right = await self._people.passwords.fits(password or "", person.password_hash)
        if not right:
            raise Refused(403, "password_wrong", "The present password is wrong.", param="current_password")
        self._wrong.forgive(person.id)

    async def _set_name(self, person: Person, name: str | None, by: str) -> None:
        sealed = (
            None if name is None else await personal.seal(self._parts.vault, person.id, oneself.NAME, person.id, name)
        )
        async with borrowed(self._parts.pool) as connection:
            await oneself.set_name(connection, person.id, sealed, by)

    async def _set_password(self, request: Request, person: Person, password: str) -> None:
        password_hash = await self._people.passwords.hash(password)
        session = session_of(self._parts, request.scope)
        async with borrowed(self._parts.pool) as connection:
            await oneself.change_password(
                connection, self._parts.mails, self._people.letters, person, password_hash, session
            )
        await forget(self._parts, Change("account", person.id))
        log.info("password_changed", account=person.id)

    async def _ask_new_address(self, person: Person, email: str) -> None:
        if not self._parts.mails.have_post:
            raise Refused(501, "mail_not_configured", "This Helix sends no mail, and so cannot try a new address.")
        sealed = await personal.seal(self._parts.vault, person.id, oneself.ADDRESS, person.id, email)
        async with borrowed(self._parts.pool) as connection:
            await oneself.ask_new_address(connection, self._parts.mails, self._people.letters, person, email, sealed)

    async def _view(self, person: Person) -> UserView:
        with worded():
            async with borrowed(self._parts.pool) as connection:
                linked = await outside.linked(connection, person.id)
            return UserView(
                id=person.id,
                email=person.email,
                name=await personal.read(self._parts.vault, person.id, oneself.NAME, person.id, person.name),
                tier=person.tier,
                has_password=person.password_hash is not None,
                sign_ins=linked,
                created_at=said_time(person.created_at),
            )


def _address(text: str) -> str:
    try:
        return email_address(text)
    except AccountRefused:
        raise Refused(400, "invalid_value", "This is no e-mail address.", param="email") from None
