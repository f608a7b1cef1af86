"""The ears of clients that come later, or elsewhere: for requests that others have asked for.

One rule: while the log server knows a request, it is heard there; after that, what is remembered of it is heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

import orjson
from sqlalchemy.exc import DBAPIError

from app.http.leaving import Leaving
from app.http.refusals import Refused
from app.live.last_word import LastWord
from app.live.listen import ClientGone, Follower, Heard, follow
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.log.values import Frame
from app.wiring import WebParts
from projections import requests as read_model
from projections.requests import RequestRow

Told = TypeVar("Told")


async def logged(asked: Awaitable[Told]) -> Told:
    """What the log server answers. Raises Refused 503 when it does not."""
    try:
        return await asked
    except (LogGone, LogRefused):
        raise Refused(503, "log_unavailable", "The log cannot be reached just now; try again.") from None


def following(log: Log, account: str, request: str) -> Follower:
    """The ear of a client that has not asked first."""
    return Follower(follow(log, account, request))


async def until_ended(log: Log, leaving: Leaving, account: str, request: str, wait_s: float) -> None:
    """Until the request's last word, or so long, or until this process is about to leave. Raises Refused 503 when the
    log goes away."""
    ear = following(log, account, request)
    try:
        with leaving.waking(ear.interrupt):
            async with asyncio.timeout(wait_s):
                while (heard := await ear.next()) is None or heard.frame.kind != "e":
                    pass
    except (TimeoutError, ClientGone):
        pass  # how it stands is for the caller to look at
    except LogGone:
        raise Refused(503, "log_unavailable", "The log cannot be reached just now; try again.") from None
    finally:
        await ear.close()


def remembering(row: RequestRow) -> Follower:
    """The ear of a client whose request the log server has let go of: it hears the last word, from the projection."""
    meta: LastWord = {
        "status": row.http_status,
        "outcome": row.status,
        "provider": row.provider,
        "model": row.model,
        "attempts": len(row.attempts),
        "cost_nanousd": row.cost_nanousd,
        "routing": row.routing.model_dump() if row.routing else None,
        "cached": row.cached,
    }
    last = Frame("0-1", row.id, attempt=1, kind="e", number=1, meta=orjson.dumps(meta), body=row.answer)

    async def frames() -> AsyncGenerator[Heard | None, None]:
        yield Heard(last, restarted=False)

    return Follower(frames())


async def follower(parts: WebParts, account: str, request: str) -> Follower:
    """The ear for a request that was asked before: its live stream, or, when that is gone, what is remembered."""
    try:
        standing = await parts.log.standing(account, request)
        told = standing is not None and not (standing.event and await parts.log.event(account, standing.event) is None)
    except (LogGone, LogRefused):
        raise Refused(503, "log_unavailable", "The log cannot be reached just now; try again.") from None
    if told:
        return following(parts.log, account, request)
    try:
        async with parts.database.connect() as connection:
            row = await read_model.find(connection, account, request)
    except (OSError, DBAPIError):
        raise Refused(503, "database_unavailable", "The answer cannot be read just now; try again.") from None
    if row is None:
        raise Refused(503, "answer_unavailable", "The answer is not there yet; try again.")
    if not row.answer:
        raise Refused(404, "answer_deleted", "The answer to this request has been deleted.")
    return remembering(row)
