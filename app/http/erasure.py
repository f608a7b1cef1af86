"""`DELETE /v1/users/me` and `/v1/users/me/restore`: a person leaves, and may come back until it is done.

One rule: it is for the person behind the key and his own account; a team is closed by its owner at its own route.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.changes import Change
from app.database import Unavailable, borrowed
from app.erasure import wishes
from app.erasure.clearing import stop, tell_all
from app.http.authentication import identify
from app.http.client_address import client_address
from app.http.operation import Answer, Operation, refusals
from app.http.refusals import Refused, retry_after
from app.http.shaped_body import shaped_body
from app.http.shapes import Shaped
from app.log import LogGone
from app.log.connection import LogRefused
from app.wiring import WebParts

log = structlog.get_logger()

PATH: Final = "/v1/users/me"
GROUP: Final = "Account"


class RestoreBody(Shaped):
    """What takes an erasure back."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=128)]
    """The word from the answer to the DELETE, or from the mail about it."""


class ErasureView(BaseModel):
    """How an erasure stands."""

    object: Literal["erasure"] = "erasure"
    account: str
    status: Literal["scheduled", "restored"]
    erase_at: str | None
    """When everything is destroyed; until then it can be taken back."""
    restore_token: str | None
    """What takes it back, told this once; null when the erasure had been asked for before."""


class Erasures:
    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self.ask, methods=["DELETE"]),
            Route(f"{PATH}/restore", self.restore, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Close the account now; destroy everything when the grace time is over."""
        parts = self._parts
        identity = await identify(parts, request.scope)
        request.scope["state"]["account"] = identity.account
        if identity.person != identity.account:
            raise Refused(
                409, "not_your_own_account", "This is for a person's own account; a team is closed at its own route."
            )
        grace = timedelta(days=parts.settings.helix_erasure_grace_days)
        mails = parts.mails if parts.mails.have_post else None
        try:
            async with borrowed(parts.pool) as connection:
                wish = await wishes.ask(
                    connection, identity.account, "person", by=identity.by, grace=grace, mails=mails
                )
        except wishes.OwnsTeams as owns:
            raise Refused(409, "owns_teams", f"You are {owns}.") from None
        except Unavailable:
            raise _unavailable() from None
        await _forgotten(parts, identity.account)
        try:
            await stop(parts.log, identity.account)
        except (LogGone, LogRefused) as gone:  # who erases stops them again
            log.warning("requests_not_stopped", account=identity.account, why=type(gone).__name__)
        log.info("erasure_requested", account=identity.account, erase_at=wish.erase_at.isoformat(), by=identity.by)
        return _json(
            ErasureView(
                account=wish.account, status="scheduled", erase_at=_time(wish.erase_at), restore_token=wish.word
            ),
            202,
        )

    async def restore(self, request: Request) -> Response:
        """Take it back with the word that was told."""
        parts = self._parts
        address = client_address(request.scope, parts.settings.trusted_proxies)
        if wait_s := parts.guesses.wait_s(address):
            raise Refused(
                429, "too_many_wrong_keys", "Too many wrong words came from here.", headers=retry_after(wait_s)
            )
        body = await shaped_body(RestoreBody, request)
        try:
            async with borrowed(parts.pool) as connection:
                account = await wishes.take_back(connection, body.token)
        except wishes.NothingToRestore:
            parts.guesses.note(address)
            raise Refused(404, "erasure_not_found", "There is nothing to take back under this word.") from None
        except Unavailable:
            raise _unavailable() from None
        request.scope["state"]["account"] = account
        await _forgotten(parts, account)
        log.info("erasure_withdrawn", account=account)
        return _json(ErasureView(account=account, status="restored", erase_at=None, restore_token=None))


async def come_back(parts: WebParts, person: str) -> None:
    """Who signs in while his account waits to be erased takes that back. Raises Unavailable."""
    async with borrowed(parts.pool) as connection:
        try:
            await wishes.restore(connection, person, by=f"person:{person}")
        except wishes.NothingToRestore:
            return  # it is closed for another reason
    await _forgotten(parts, person)
    log.info("erasure_withdrawn", account=person)


async def _forgotten(parts: WebParts, account: str) -> None:
    """Every process forgets what it remembers of the account; this one at once."""
    parts.identities.forget(Change("account", account))
    await tell_all(parts.settings.cache, account)


def _unavailable() -> Refused:
    return Refused(503, "database_unavailable", "This cannot be done just now; try again.")


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _json(view: BaseModel, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(view.model_dump()), status, media_type="application/json", headers=headers)


OPERATIONS: Final = (
    Operation(
        "DELETE",
        PATH,
        GROUP,
        "Delete your account",
        "It opens nothing from now on, what runs is stopped, and after the grace time everything it holds is destroyed for"
        " good: a signed receipt comes by mail. Until then it can be taken back.",
        {202: Answer("It is closed, and when it will be erased.", ErasureView)} | refusals(401, 403, 409, 429, 503),
        action="account.delete",
    ),
    Operation(
        "POST",
        f"{PATH}/restore",
        GROUP,
        "Take the deletion back",
        "With the word that the deletion was answered with; it came by mail too. The account is as it was.",
        {200: Answer("It is open again.", ErasureView)} | refusals(400, 404, 429, 503),
        body=RestoreBody,
        example='{"token": "hx_restore_…"}',
        action=None,
    ),
)
