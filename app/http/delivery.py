"""The way of an answer to its client: one JSON body, or a stream, on OpenAI's wire.

A stream carries no `id:` and no `retry:` line, ever: they break the OpenAI SDK. Once a word has been sent, whatever goes
wrong is said in the stream, as an error in its own format; before that, with the right status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import orjson
from starlette.types import Receive, Send

from app.http.refusals import Refused, retry_after
from app.live.listen import ClientGone, Follower, Heard, Waiting, follow
from app.log import Log, LogGone
from app.log.log import Frame
from app.vault import Vault
from events.catalog import read
from events.completions import CompletionEnded
from events.message import sealed_bytes
from projections.requests import RequestRow

DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": ping\n\n"

Header = tuple[bytes, bytes]
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
    endpoint: str
    stream: bool
    headers: tuple[Header, ...] = ()
    """What every answer to this client carries."""


@dataclass(slots=True)
class Progress:
    """How far the client has been answered."""

    begun: bool = False
    """The head is out."""
    worded: bool = False
    """A word of the answer is out."""


async def ended(log: Log, account: str, request: str) -> CompletionEnded | None:
    """How a request ended, from its event on the log; None while it runs, and when the log has let go of it."""
    standing = await log.standing(account, request)
    raw = await log.event(account, standing.event) if standing and standing.event else None
    body = read(raw).body if raw else None
    return body if isinstance(body, CompletionEnded) else None


def following(log: Log, account: str, request: str) -> Follower:
    """The ear of a client that has not asked first."""
    return Follower(follow(log, account, request))


def remembering(row: RequestRow) -> Follower:
    """The ear of a client whose request the log server has let go of: it hears the last word, from the projection."""
    meta = {
        "status": row.http_status,
        "outcome": row.status,
        "provider": row.provider,
        "model": row.model,
        "attempts": len(row.attempts),
        "cost_nanousd": row.cost_nanousd,
        "routing": row.routing.model_dump() if row.routing else None,
    }
    last = Frame("0-1", row.id, attempt=1, kind="e", number=1, meta=orjson.dumps(meta), body=row.answer)

    async def frames() -> AsyncGenerator[Heard | None, None]:
        yield Heard(last, restarted=False)

    return Follower(frames())


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
        await _say(send, _error("The log cannot be reached; the request goes on.", "log_unavailable"), more=False)
    except asyncio.CancelledError:
        # The server stops, and its time for finishing is over.
        if not progress.begun:
            raise
        await _say(send, _error("The server restarts; the request goes on.", "server_restarting"), more=False)
    finally:
        leaving.cancel()


async def _whole(ticket: Ticket, ear: Ear, log: Log, vault: Vault, send: Send) -> None:
    while (heard := await ear.next()) is None or heard.frame.kind != "e":
        pass
    meta = _meta(heard)
    answer = await _answer(ticket, heard, log, vault)
    await _send_whole(ticket, meta, answer, send)


async def _send_whole(ticket: Ticket, meta: dict[str, Any], answer: bytes, send: Send) -> None:
    if meta["outcome"] == "completed":
        answer = present(ticket.endpoint, answer, meta)
    headers = [_JSON, (b"content-length", str(len(answer)).encode()), *ticket.headers, *_told(meta)]
    if "cost_nanousd" in meta:
        headers.append((b"x-helix-cost-usd", usd(meta["cost_nanousd"]).encode()))
    status = 409 if meta["outcome"] == "cancelled" else meta["status"]
    if status in (429, 503):
        wait = retry_after(meta.get("retry_after_s") or 1.0)
        headers += [(name.encode(), value.encode()) for name, value in wait.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _stream(ticket: Ticket, ear: Ear, log: Log, vault: Vault, send: Send, progress: Progress) -> None:
    box: Opener = vault.cached(ticket.account) or await vault.box(ticket.account)
    while True:
        heard = await ear.next()
        if heard is None:
            await _begin(ticket, {}, send, progress)
            await _say(send, PING)
            continue
        if heard.restarted and progress.worded:
            broken = _error("The answer broke off and was begun anew; ask for the request by its id.", "restarted")
            await _say(send, broken, more=False)
            return
        if heard.frame.kind == "d":
            piece = box.open("frame", ticket.request, heard.frame.body)
            await _begin(ticket, _meta(heard), send, progress)
            await _say(send, piece)
            progress.worded = True
        elif heard.frame.kind == "e":
            await _end_stream(ticket, heard, log, vault, send, progress)
            return


async def _end_stream(ticket: Ticket, heard: Heard, log: Log, vault: Vault, send: Send, progress: Progress) -> None:
    meta = _meta(heard)
    if meta["outcome"] != "completed":
        answer = await _answer(ticket, heard, log, vault)
        if not progress.begun:
            await _send_whole(ticket, meta, answer, send)
        else:
            await _say(send, b"data: " + answer + b"\n\n", more=False)
        return
    if not progress.worded:
        answer = await _answer(ticket, heard, log, vault)
        await _begin(ticket, meta, send, progress)
        await _say(send, as_chunks(answer))
    if ticket.endpoint == "/v1/chat":
        await _say(send, b"data: " + orjson.dumps(_summary(ticket, meta)) + b"\n\n")
    await _say(send, DONE, more=False)


async def _begin(ticket: Ticket, meta: dict[str, Any], send: Send, progress: Progress) -> None:
    if not progress.begun:
        progress.begun = True
        headers = [*_STREAM, *ticket.headers, *_told(meta)]
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


def _meta(heard: Heard) -> dict[str, Any]:
    meta: dict[str, Any] = orjson.loads(heard.frame.meta) if heard.frame.meta else {}
    return meta


def _told(meta: dict[str, Any]) -> list[Header]:
    """The headers that say who answered."""
    if not meta.get("provider"):
        return []
    return [
        (b"x-helix-provider", meta["provider"].encode()),
        (b"x-helix-model", meta["model"].encode()),
        (b"x-helix-attempts", str(meta["attempts"]).encode()),
        (b"x-helix-cache", b"miss"),
    ]


def present(endpoint: str, answer: bytes, meta: dict[str, Any]) -> bytes:
    """The answer as its route gives it: Helix's own adds the routing and the cost."""
    if endpoint != "/v1/chat":
        return answer
    return orjson.dumps(orjson.loads(answer) | _extras(meta))


def _extras(meta: dict[str, Any]) -> dict[str, object]:
    routing = meta.get("routing") or {"reason": None, "considered": []}
    return {
        "routing": {"provider": meta["provider"], "model": meta["model"], **routing},
        "cost": {"usd": usd(meta["cost_nanousd"]), "nanousd": meta["cost_nanousd"]},
    }


def _summary(ticket: Ticket, meta: dict[str, Any]) -> dict[str, object]:
    """The last chunk of a stream on Helix's own route."""
    chunk = {
        "id": ticket.request,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": meta["model"],
        "choices": [],
    }
    return chunk | _extras(meta)


def usd(nano: int) -> str:
    """Nano-dollars as a decimal number of dollars, exactly."""
    return f"{nano // 10**9}.{nano % 10**9:09d}"


def _error(message: str, code: Literal["restarted", "log_unavailable", "server_restarting"]) -> bytes:
    error = {"error": {"message": message, "type": "server_error", "param": None, "code": code}}
    return b"data: " + orjson.dumps(error) + b"\n\n"


def as_chunks(answer: bytes) -> bytes:
    """A whole chat completion as the chunks of a stream: for a client that asks for a stream after the fact."""
    whole: dict[str, Any] = orjson.loads(answer)
    head = {key: whole[key] for key in ("id", "created", "model") if key in whole} | {"object": "chat.completion.chunk"}
    frames = bytearray()
    for choice in whole["choices"]:
        delta = dict(choice["message"])
        if delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(delta["tool_calls"])]
        said = {"index": choice["index"], "delta": delta, "finish_reason": None}
        last = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        for part in (said, last):
            frames += b"data: " + orjson.dumps(head | {"choices": [part]}) + b"\n\n"
    return bytes(frames)


__all__ = [
    "ClientGone",
    "Progress",
    "Ticket",
    "deliver",
    "ended",
    "following",
    "present",
    "remembering",
    "usd",
]
