"""The way of an answer to its client: one JSON body, or a stream, in the dialect of its route.

A stream carries no `id:` and no `retry:` line, ever: they break the OpenAI SDK. Once a word has been sent, whatever goes
wrong is said in the stream, as an error in its own format; before that, with the right status.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal, Protocol, cast

import orjson
from starlette.types import Receive, Send

from app.http.dialect import Dialect, Header
from app.http.refusals import Refused, retry_after
from app.live.last_word import LastWord
from app.live.listen import Follower, Heard, Waiting
from app.log import Log, LogGone
from app.vault import Vault
from events.catalog import FromTheFuture, read
from events.completions import CompletionEnded
from events.message import sealed_bytes
from handlers.rules.errors import error_body, status_on

Ear = Waiting | Follower

_JSON: Final[Header] = (b"content-type", b"application/json")
_STREAM: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Opener(Protocol):
    """Opens the account's sealed content."""

    def open(self, kind: str, id: str, sealed: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Ticket:
    """One client waiting for one request."""

    account: str
    request: str
    dialect: Dialect
    stream: bool
    headers: tuple[Header, ...] = ()
    """What every answer to this client carries."""
    resumed: Resumed | None = None
    """This client follows what another call has begun."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a client goes on that has heard of its request before. How it ends is told in the stream in any case."""

    events: int
    """How many events of the answer it has had."""
    ending_only: bool = False
    """They may be of an attempt that is void by now: only the closing event can be told without mixing two."""


@dataclass(slots=True)
class Progress:
    """How far the client has been answered."""

    begun: bool = False
    """The head is out."""
    events: int = 0
    """How many events of the answer are out, or were had before; pings are none."""
    worded: bool = False
    """A word of the answer is out, or was had before."""


async def ended(log: Log, account: str, request: str) -> CompletionEnded | None:
    """How a request ended, from its event on the log; None while it runs, when the log has let go of it, and when a newer
    worker has written what only newer processes can read."""
    standing = await log.standing(account, request)
    raw = await log.event(account, standing.event) if standing and standing.event else None
    try:
        body = read(raw).body if raw else None
    except FromTheFuture:
        return None
    return body if isinstance(body, CompletionEnded) else None


async def hear_disconnect(receive: Receive, ear: Ear) -> None:
    """Tell the ear when the client leaves. Runs beside the answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    ear.interrupt()


async def deliver(
    ticket: Ticket, ear: Ear, log: Log, vault: Vault, receive: Receive, send: Send, progress: Progress
) -> None:
    """Answer one client with what the ear hears, until the request's last word.

    Raises ClientGone when the client leaves first, Refused while nothing has been sent, LogGone when the log goes.
    """
    leaving = asyncio.create_task(hear_disconnect(receive, ear))
    try:
        if ticket.stream:
            await _stream(ticket, ear, log, vault, send, progress)
        else:
            await _whole(ticket, ear, log, vault, send)
    except LogGone:
        if not progress.begun:
            raise
        gone = _broken(ticket, "The log cannot be reached; the request goes on.", "log_unavailable", progress)
        await _say(send, gone, more=False)
    except asyncio.CancelledError:
        # The server stops, and its time for finishing is over.
        if not progress.begun:
            raise
        stopping = _broken(ticket, "The server restarts; the request goes on.", "server_restarting", progress)
        await _say(send, stopping, more=False)
    finally:
        leaving.cancel()


async def end_for_key(ticket: Ticket, send: Send, progress: Progress) -> None:
    """The end of a stream whose key has come to its own. Raises Refused while nothing has been sent."""
    if not progress.begun:
        raise Refused(401, "invalid_api_key", "This API key is not valid.")
    over = _broken(ticket, "The API key is no longer valid; the request goes on.", "invalid_api_key", progress)
    await _say(send, over, more=False)


async def _whole(ticket: Ticket, ear: Ear, log: Log, vault: Vault, send: Send) -> None:
    while (heard := await ear.next()) is None or heard.frame.kind != "e":
        pass
    meta = meta_of(heard)
    answer = await _answer(ticket, heard, log, vault)
    await _send_whole(ticket, meta, answer, send)


async def _send_whole(ticket: Ticket, meta: LastWord, answer: bytes, send: Send) -> None:
    if meta["outcome"] == "completed":
        answer = ticket.dialect.whole(ticket.request, answer, meta)
    headers = [_JSON, (b"content-length", str(len(answer)).encode()), *_around(ticket, meta)]
    if "cost_nanousd" in meta:
        headers.append((b"x-helix-cost-usd", usd(meta["cost_nanousd"]).encode()))
    status = 409 if meta["outcome"] == "cancelled" else meta["status"]
    if status in (429, 503):
        wait = retry_after(meta.get("retry_after_s") or 1.0)
        headers += [(name.encode(), value.encode()) for name, value in wait.items()]
    status = status_on(ticket.dialect.wire, status)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _stream(ticket: Ticket, ear: Ear, log: Log, vault: Vault, send: Send, progress: Progress) -> None:
    box: Opener = vault.cached(ticket.account) or await vault.box(ticket.account)
    resumed = ticket.resumed or Resumed(0)
    if ticket.resumed:
        await _begin(ticket, {}, send, progress)
        progress.worded = bool(resumed.events) and not resumed.ending_only
    while True:
        heard = await ear.next()
        if heard is None:
            await _begin(ticket, {}, send, progress)
            await _say(send, ticket.dialect.ping)
            continue
        if heard.restarted:
            if progress.worded:
                anew = "The answer broke off and was begun anew; ask for the request by its id."
                await _say(send, _broken(ticket, anew, "restarted", progress), more=False)
                return
            progress.events = 0
        if heard.frame.kind == "d":
            piece = box.open("frame", ticket.request, heard.frame.body)
            await _begin(ticket, meta_of(heard), send, progress)
            had = resumed.events - progress.events
            progress.events += piece.count(b"\n\n")  # whole events, and JSON has no bare line feed
            if resumed.ending_only:
                continue
            if had > 0:
                piece = b"".join(one + b"\n\n" for one in piece.split(b"\n\n")[had:-1])
            if piece:
                await _say(send, piece)
                progress.worded = True
        elif heard.frame.kind == "e":
            await _end_stream(ticket, heard, log, vault, send, progress)
            return


async def _end_stream(ticket: Ticket, heard: Heard, log: Log, vault: Vault, send: Send, progress: Progress) -> None:
    meta, dialect = meta_of(heard), ticket.dialect
    if meta["outcome"] != "completed":
        answer = await _answer(ticket, heard, log, vault)
        if not progress.begun:
            await _send_whole(ticket, meta, answer, send)
        else:
            await _say(send, dialect.broken(ticket.request, answer, meta, progress.events), more=False)
        return
    answer = b""
    if not progress.events or dialect.closing_needs_answer:
        answer = await _answer(ticket, heard, log, vault)
    if ticket.resumed:
        progress.events = max(progress.events, ticket.resumed.events)
    if not progress.events:
        await _begin(ticket, meta, send, progress)
        retold = dialect.retold(ticket.request, answer)
        await _say(send, retold)
        progress.events += retold.count(b"\n\n")
    await _say(send, dialect.closing(ticket.request, answer, meta, progress.events), more=False)


async def _begin(ticket: Ticket, meta: LastWord, send: Send, progress: Progress) -> None:
    if not progress.begun:
        progress.begun = True
        headers = [*_STREAM, *_around(ticket, meta)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _say(send: Send, piece: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def _answer(ticket: Ticket, heard: Heard, log: Log, vault: Vault) -> bytes:
    """The whole answer: it came with the last frame, or lies in the event."""
    box: Opener = vault.cached(ticket.account) or await vault.box(ticket.account)
    if heard.frame.body:
        return box.open("answer", ticket.request, heard.frame.body)
    end = await ended(log, ticket.account, ticket.request)
    if end is None:
        raise Refused(503, "answer_unavailable", "The answer has moved to the archive; ask for the request by its id.")
    return box.open("answer", ticket.request, sealed_bytes(end.answer))


def meta_of(heard: Heard) -> LastWord:
    """What a frame tells beside its body."""
    return cast(LastWord, orjson.loads(heard.frame.meta)) if heard.frame.meta else {}


def _around(ticket: Ticket, meta: LastWord) -> tuple[Header, ...]:
    """The headers beside the content's own: the ticket's, the wire's, and those that say who answered."""
    around = ticket.headers + ticket.dialect.headers(ticket.request)
    provider, model = meta.get("provider"), meta.get("model")
    if not provider or not model:
        return around
    return (
        *around,
        (b"x-helix-provider", provider.encode()),
        (b"x-helix-model", model.encode()),
        (b"x-helix-attempts", str(meta["attempts"]).encode()),
        (b"x-helix-cache", b"hit" if meta.get("cached") else b"miss"),
    )


_Code = Literal["restarted", "log_unavailable", "server_restarting", "invalid_api_key"]


def _broken(ticket: Ticket, message: str, code: _Code, progress: Progress) -> bytes:
    """The end of a stream that we break off ourselves."""
    error = error_body(
        ticket.dialect.wire,
        status=500,
        message=message,
        type="server_error",
        code=code,
        param=None,
        request=ticket.request,
    )
    return ticket.dialect.broken(ticket.request, error, {}, progress.events)


def usd(nano: int) -> str:
    """Nano-dollars as a decimal number of dollars, exactly."""
    return f"{nano // 10**9}.{nano % 10**9:09d}"
