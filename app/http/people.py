"""`/v1/auth`: people sign up, in and out, stay signed in, and come back when they have forgotten their password.

One rule: an answer never says whether an address has an account, nor does the time it takes; and whoever tries again and again is
slowed down by where he comes from and by whom he tries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import personal
from app.accounts import AccountRefused, email_address
from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.http import browser_session, pages
from app.http.authentication import header, key_of
from app.http.client_address import Address, client_address
from app.http.erasure import come_back
from app.http.people_shapes import Done, Forgot, Mailed, Refresh, Reset, SessionTokens, SignIn, SignOut, SignUp, Token
from app.http.refusals import Refused, retry_after
from app.http.shaped_body import shaped_body
from app.http.throttle import Guesses
from app.identity import Unknown
from app.people import oneself, sessions, signing_up
from app.people.password import Busy, PasswordRefused, check_choice
from app.people.sessions import BROWSER_CHARACTERS_MAX, Kept, NoSession, Reused
from app.people.signing_up import AlreadyHere, LinkOver
from app.people.tokens import ACCESS_S, looks_like_token
from app.vault import Erased
from app.wiring import WebParts

log = structlog.get_logger()

TRIES_AT_ONCE: Final = 60
"""From one address, behind which may be a whole office; one more every two seconds."""
TRY_EVERY_S: Final = 2.0
WRONG_AT_ONCE: Final = 10
"""Wrong passwords for one e-mail address, wherever they come from: at one a minute, a guesser has half a million tries a year."""
WRONG_EVERY_S: Final = 60.0
MAILS_AT_ONCE: Final = 3
"""To one address: whoever asks for more fills somebody else's mailbox."""
MAIL_EVERY_S: Final = 600.0


class PeopleDoor:
    """The routes below `/v1/auth`, but for those of other issuers."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._people = parts.people
        self._terms = pages.load(parts.settings.helix_pages)["terms"].version
        self._tries = Guesses(at_once=TRIES_AT_ONCE, every_s=TRY_EVERY_S)
        self._wrong = Guesses(at_once=WRONG_AT_ONCE, every_s=WRONG_EVERY_S)
        self._mailed = Guesses(at_once=MAILS_AT_ONCE, every_s=MAIL_EVERY_S)

    def routes(self) -> list[Route]:
        doors = {
            "sign-up": self.sign_up,
            "verify": self.verify,
            "sign-in": self.sign_in,
            "refresh": self.refresh,
            "sign-out": self.sign_out,
            "forgot": self.forgot,
            "reset": self.reset,
        }
        return [Route(f"/v1/auth/{name}", door, methods=["POST"]) for name, door in doors.items()]

    async def sign_up(self, request: Request) -> Response:
        """Mail a link; nothing is made before it is opened."""
        self._can_mail()
        self._try(request)
        body = await shaped_body(SignUp, request)
        if body.accepted_terms not in (None, self._terms):
            raise Refused(409, "other_version", f"The terms of today are `{self._terms}`.", param="accepted_terms")
        email = _address(body.email)
        with worded():
            check_choice(body.password, email)
            password_hash = await self._people.passwords.hash(body.password)
            if self._may_mail(email):
                async with borrowed(self._parts.pool) as connection:
                    await signing_up.ask(
                        connection, self._parts.mails, self._people.letters, email, password_hash, body.accepted_terms
                    )
        return show(Mailed(), 202)

    async def verify(self, request: Request) -> Response:
        """The link of a sign-up, or of a new address."""
        self._try(request)
        body = await shaped_body(Token, request)
        with worded():
            async with borrowed(self._parts.pool) as connection:
                try:
                    person = await signing_up.confirm(connection, self._parts.mails, body.token)
                except LinkOver:
                    owner, sealed = await oneself.address_of_link(connection, body.token)
                else:
                    self._tries.forgive(self._from(request))
                    log.info("person_signed_up", account=person)
                    return show(Done(status="verified"))
            email = await personal.read(self._parts.vault, owner, oneself.ADDRESS, owner, sealed)
            if email is None:
                raise LinkOver
            async with borrowed(self._parts.pool) as connection:
                await oneself.take_new_address(connection, self._parts.mails, self._people.letters, body.token, email)
        log.info("email_changed", account=owner)
        return show(Done(status="verified"))

    async def sign_in(self, request: Request) -> Response:
        """A session, for the right password."""
        self._can_sign()
        self._try(request)
        body = await shaped_body(SignIn, request)
        if body.cookies:
            self._from_our_page(request)
        email = _address(body.email)
        if wait_s := self._wrong.wait_s(email):
            raise Refused(
                429, "too_many_sign_ins", "Too many wrong passwords for this address.", headers=retry_after(wait_s)
            )
        self._wrong.note(email)  # before it is known, for many may come at once
        with worded():
            async with borrowed(self._parts.pool) as connection:
                person = await oneself.find_by_email(connection, email)
            kept = person.password_hash if person else None
            if not await self._people.passwords.fits(body.password, kept) or person is None or kept is None:
                log.warning("sign_in_refused", account=None if person is None else person.id)
                raise Refused(401, "invalid_credentials", "The e-mail address or the password is wrong.")
            self._wrong.forgive(email)
            self._tries.forgive(self._from(request))
            if person.status == "deleted":
                await come_back(self._parts, person.id)
                async with borrowed(self._parts.pool) as connection:
                    person = await oneself.find(connection, person.id)
            if person.status != "active":
                raise Refused(403, f"account_{person.status}", f"This account is {person.status}.")
            if self._people.passwords.outdated(kept):
                anew = await self._people.passwords.hash(body.password)
                async with borrowed(self._parts.pool) as connection:
                    await oneself.set_hash(connection, person.id, kept, anew)
        return await begin(self._parts, request, person.id, "password", cookies=body.cookies)

    async def refresh(self, request: Request) -> Response:
        """A new pair of tokens for a refresh token that was not used before."""
        self._can_sign()
        body = await shaped_body(Refresh, request)
        token, cookies = body.refresh_token, False
        if token is None:
            token, cookies = self._cookie(request, browser_session.REFRESH), True
        try:
            with worded():
                async with borrowed(self._parts.pool) as connection:
                    kept = await sessions.refresh(connection, token, self._parts.mails, self._people.letters)
        except Reused as reused:
            await forget(self._parts, Change("session", reused.session))
            log.warning("refresh_token_reused", account=reused.person, session=reused.session)
            raise _no_session() from None
        except NoSession:
            raise _no_session() from None
        return given(self._parts, kept, cookies=cookies)

    async def sign_out(self, request: Request) -> Response:
        """This session or all of them are over; those who hold their tokens hear so within seconds."""
        body = await shaped_body(SignOut, request)
        try:
            with worded():
                person, session = await self._session(request, body.refresh_token)
                async with borrowed(self._parts.pool) as connection:
                    if body.everywhere:
                        async with connection.transaction():
                            await sessions.end_all(connection, person, "signed_out_everywhere")
                    else:
                        await sessions.end(connection, person, session)
        except (NoSession, Unknown):
            raise _no_session() from None
        await forget(self._parts, Change("account", person) if body.everywhere else Change("session", session))
        log.info("person_signed_out", account=person, everywhere=body.everywhere)
        answer = show(Done(status="signed_out"))
        browser_session.take_back(answer)
        return answer

    async def forgot(self, request: Request) -> Response:
        """Mail a link to a new password, where there is an account."""
        self._can_mail()
        self._try(request)
        body = await shaped_body(Forgot, request)
        email = _address(body.email)
        if self._may_mail(email):
            with worded():
                async with borrowed(self._parts.pool) as connection:
                    await oneself.forgot(connection, self._parts.mails, self._people.letters, email)
        return show(Mailed(), 202)

    async def reset(self, request: Request) -> Response:
        """A new password for who opened the link; every session is over."""
        self._try(request)
        body = await shaped_body(Reset, request)
        with worded():
            check_choice(body.password, "")
            password_hash = await self._people.passwords.hash(body.password)
            async with borrowed(self._parts.pool) as connection:
                person = await oneself.reset(
                    connection, self._parts.mails, self._people.letters, body.token, password_hash
                )
        await forget(self._parts, Change("account", person))
        log.info("password_reset", account=person)
        return show(Done(status="password_changed"))

    async def _session(self, request: Request, refresh_token: str | None) -> tuple[str, str]:
        """Person and session of whatever token is sent. Raises NoSession, Unknown, Refused 403 for a strange page."""
        access = key_of(request.headers.raw)
        if refresh_token is None and access is not None and looks_like_token(access):
            signed_in = await self._people.signed_in.of(access)
            return signed_in.account, self._people.signed_in.session_of(access)
        if refresh_token is None:
            refresh_token = self._cookie(request, browser_session.REFRESH)
        async with borrowed(self._parts.pool) as connection:
            return await sessions.session_of(connection, refresh_token)

    def _cookie(self, request: Request, name: str) -> str:
        found = browser_session.cookie(request.headers.raw, name)
        if found is None:
            raise _no_session()
        self._from_our_page(request)
        return found

    def _from_our_page(self, request: Request) -> None:
        if not browser_session.same_origin(request.headers.raw, self._parts.settings.public_url):
            raise Refused(403, "cross_site", "With cookies, this is taken from pages of this host alone.")

    def _try(self, request: Request) -> None:
        address = self._from(request)
        if wait_s := self._tries.wait_s(address):
            message = "Too many tries came from this address."
            raise Refused(429, "too_many_tries", message, headers=retry_after(wait_s))
        self._tries.note(address)

    def _from(self, request: Request) -> Address | None:
        return client_address(request.scope, self._parts.settings.trusted_proxies)

    def _may_mail(self, email: str) -> bool:
        """Whoever asks for too many is not told: he would learn that somebody else has asked before."""
        if self._mailed.wait_s(email):
            return False
        self._mailed.note(email)
        return True

    def _can_mail(self) -> None:
        if not self._parts.mails.have_post:
            message = "This Helix sends no mail, and so nobody can sign up: its operator makes accounts."
            raise Refused(501, "mail_not_configured", message)

    def _can_sign(self) -> None:
        if not self._people.tokens.can_sign:
            raise Refused(501, "sign_in_not_configured", "This Helix has no JWT_SECRET_KEY: use an API key.")


async def begin(parts: WebParts, request: Request, person: str, how: str, *, cookies: bool) -> Response:
    """A session for a person who has shown who he is."""
    session = sessions.new_session()
    called = (header(request.headers.raw, b"user-agent") or "")[:BROWSER_CHARACTERS_MAX]
    with worded():
        browser = await personal.seal(parts.vault, person, sessions.BROWSER, session, called) if called else None
        async with borrowed(parts.pool) as connection, connection.transaction():
            kept = await sessions.start(connection, person, session, how, browser)
    log.info("person_signed_in", account=person, session=session, how=how)
    return given(parts, kept, cookies=cookies)


def given(parts: WebParts, kept: Kept, *, cookies: bool) -> Response:
    """The tokens, in the answer or as cookies."""
    access = parts.people.tokens.sign(kept.person, kept.session)
    answer = show(
        SessionTokens(
            id=kept.session,
            access_token=None if cookies else access,
            expires_in=ACCESS_S,
            refresh_token=None if cookies else kept.refresh_token,
            refresh_expires_at=said_time(kept.until),
        )
    )
    if cookies:
        browser_session.give(answer, access, ACCESS_S, kept.refresh_token, kept.until)
    return answer


async def forget(parts: WebParts, change: Change) -> None:
    """Every process forgets what it remembered; this one at once."""
    parts.identities.forget(change)
    try:
        await tell(parts.settings.cache, change)
    except ChannelDown:
        log.warning("session_change_not_told", kind=change.kind, id=change.id)  # the others find it within a minute


@contextmanager
def worded() -> Iterator[None]:
    """What may go wrong with people, in the client's words."""
    try:
        yield
    except PasswordRefused as refused:
        raise Refused(400, "password_refused", str(refused), param="password") from None
    except LinkOver:
        raise Refused(400, "link_over", "This link was used, is too old, or is none of ours.", param="token") from None
    except AlreadyHere:
        raise Refused(409, "address_taken", "This address has an account already; sign in.", param="token") from None
    except Busy:
        raise Refused(503, "sign_in_busy", "Too many people sign in just now; try again.") from None
    except (Erased, oneself.NoPerson):
        raise Refused(401, "invalid_credentials", "There is no such person any more.") from None
    except Unavailable:
        raise Refused(503, "database_unavailable", "People cannot be looked up just now; try again.") from None


def show(view: BaseModel, status: int = 200) -> Response:
    """An answer that nobody keeps."""
    body = orjson.dumps(view.model_dump())
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})


def said_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _address(text: str) -> str:
    try:
        return email_address(text)
    except AccountRefused:
        raise Refused(400, "invalid_value", "This is no e-mail address.", param="email") from None


def _no_session() -> Refused:
    return Refused(401, "session_over", "There is no such session, or it is over: sign in.")
