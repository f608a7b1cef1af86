"""A worker's side of a live stream, by hand: frames as an attempt tells them, and its end."""

from __future__ import annotations

import asyncio

from app.live.speak import Speaker, Voice
from app.log import Log, keys
from app.log.values import Owned, frame
from tests.fakes.road import ACCOUNT, PlainBox

REQUEST = "req_1"
WEB = "web"


def owned(attempt: int = 1, *, request: str = REQUEST, reply_to: str | None = WEB) -> Owned:
    return Owned(0, "1-1", attempt, request, ACCOUNT, reply_to)


def voice(log: Log, attempt: int = 1, *, request: str = REQUEST, flushes: list[int] | None = None) -> Voice:
    flushed = flushes if flushes is not None else []
    return Speaker(log, flushed.append).voice(owned(attempt, request=request), PlainBox())


async def tell(log: Log, number: int, attempt: int = 1, *, request: str = REQUEST, reply: bool = True) -> None:
    """One frame of deltas; without `reply` the web process does not hear of it."""
    of = owned(attempt, request=request, reply_to=WEB if reply else None)
    await asyncio.gather(*log.tell(of, number, f"{attempt}.{number}".encode(), b""))


async def end(log: Log, number: int, attempt: int = 1, *, request: str = REQUEST, reply: bool = True) -> None:
    """The last word, without the rest of the finish script."""
    words = ("a", attempt, "k", "e", "n", number, "m", b"{}")
    await log.command("XADD", keys.live(0, request), "*", *words)
    if reply:
        await log.command("XADD", keys.reply(0, WEB), "*", "r", request, *words, "f", b"answer")


async def said(log: Log, request: str = REQUEST) -> list[tuple[int, bytes]]:
    """(number, opened text) of each frame on the live stream."""
    frames = await log.frames(ACCOUNT, request, "0-0")
    return [(one.number, PlainBox().open("frame", request, one.body)) for one in frames]


async def replied(log: Log) -> list[int]:
    """The numbers of the frames on the web process's reply stream."""
    entries = await log.command("XRANGE", keys.reply(0, WEB), "-", "+")
    return [frame(entry, words).number for entry, words in entries]
