"""The request as a durable thing: ask how it stands, wait for it, follow it, cancel it, list them (contract 3.2).

While a request is open, and for an hour after, the log server knows it; then the projection `requests` does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar, cast

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Scope

from app.database import Unavailable
from app.http.authentication import identify, watched
from app.http.chat import present
from app.http.delivery import ended, usd
from app.http.earlier import logged, until_ended
from app.http.leaving import Leaving
from app.http.refusals import Refused
from app.live.last_word import LastWord, last_word
from app.live.listen import ClientGone, Follower, follow
from app.log import LogGone
from app.log.values import ENDED, Standing
from app.vault import Erased
from app.wiring import WebParts
from events.completions import Attempt, CompletionEnded
from events.message import sealed_bytes
from handlers.ports import Box
from projections import checkpoints
from projections import requests as read_model

Json = dict[str, Any]
"""A document on its way to the client: the door is the one place where a bare dict is allowed."""

WAIT_S_MAX: Final = 60.0
"""One poll waits at most so long: proxies in between give up on a silent answer soon after."""

PAGE_MAX: Final = 100

CANCEL_S: Final = 2.0
"""How long an answer to a cancellation waits for it to be carried out."""

CAUGHT_UP_S: Final = 1.0
"""How long a list waits for the projection to have read what has ended by now; then it is shown as it is."""

RECONNECT_MS: Final = 3000

Told = TypeVar("Told")

_ID: Final = re.compile(r"req_[0-9a-f]{32}")
_AFTER: Final = re.compile(r"(\d{1,16}-\d{1,20})(?:\.(\d{1,6}))?")


class Requests:
    """The routes below `/v1/requests`."""

    def __init__(self, parts: WebParts, leaving: Leaving) -> None:
        self._parts = parts
        self._leaving = leaving

    def routes(self) -> list[Route]:
        return [
            Route("/v1/requests", self.list, methods=["GET"]),
            Route("/v1/requests/{id}", self.show, methods=["GET"]),
            Route("/v1/requests/{id}/events", self.events, methods=["GET"]),
            Route("/v1/requests/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """One request; with `wait` it waits so many seconds for the end."""
        account, id = await self._whose(request)
        wait_s = _seconds(request.query_params.get("wait"))
        standing = await self._standing(account, id)
        if wait_s and standing is not None and standing.state not in ENDED:
            await until_ended(self._parts.log, self._leaving, account, id, wait_s)
            await self._whose(request)  # the key may have come to its end meanwhile
        return _json(await self._view(account, id))

    async def cancel(self, request: Request) -> Response:
        """Stop a request; what was used is still recorded. One that has ended stays as it is."""
        account, id = await self._whose(request)
        state = await logged(self._parts.log.cancel(account, id, "client"))
        if state is not None and state not in ENDED:
            await until_ended(self._parts.log, self._leaving, account, id, CANCEL_S)
        return _json(await self._view(account, id))

    async def events(self, request: Request) -> Response:
        """The request as it goes, as server-sent events with ids."""
        account, id = await self._whose(request)
        after = request.headers.get("last-event-id") or request.query_params.get("after") or ""
        entry, piece = _position(after)
        standing = await self._standing(account, id)
        if standing is None:
            view = await self._view(account, id)
            entry_id = f"{int(datetime.now(UTC).timestamp() * 1000)}-0"
            return _event_stream(_once(_event(view["status"], entry_id, view)))
        if standing.state in ENDED and await self._heard_all(account, id, entry):
            return Response(status_code=204)  # what makes an EventSource stop asking
        return _event_stream(self._follow(account, id, entry, piece, request.scope))

    async def list(self, request: Request) -> Response:
        """The account's requests, newest first."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = account = identity.account
        limit, after, status, model = _page(request)
        views: dict[str, Json] = {}
        if status in (None, "queued", "running"):
            for standing in await logged(self._parts.log.open_of(account)):
                fits = (after is None or standing.request < after) and status in (None, standing.state)
                if fits and model in (None, standing.fields.get("model")):
                    views[standing.request] = _open_view(standing)
        if status is None or status in ENDED:
            await self._caught_up(account)
            try:
                async with self._parts.database.connect() as connection:
                    rows = await read_model.newest(
                        connection,
                        account,
                        limit=limit + 1,
                        after=after,
                        status=cast(Literal["completed", "failed", "cancelled"] | None, status),
                        model=model,
                    )
            except (OSError, DBAPIError):
                raise Refused(503, "database_unavailable", "The list cannot be read just now; try again.") from None
            views |= {row.id: _row_view(row) for row in rows}
        ids = sorted(views, reverse=True)
        shown = ids[:limit]
        return _json(
            {
                "object": "list",
                "data": [views[id] for id in shown],
                "has_more": len(ids) > limit,
                "first_id": shown[0] if shown else None,
                "last_id": shown[-1] if shown else None,
            }
        )

    async def _whose(self, request: Request) -> tuple[str, str]:
        """The account that asks and the id it asks for. An id that is none is as unknown as another account's."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        id = request.path_params["id"]
        if not _ID.fullmatch(id):
            raise _unknown()
        return identity.account, id

    async def _standing(self, account: str, id: str) -> Standing | None:
        return await logged(self._parts.log.standing(account, id))

    async def _view(self, account: str, id: str) -> Json:
        """The request as its account sees it. Raises Refused 404 when it has none such."""
        standing = await self._standing(account, id)
        if standing is not None and standing.state not in ENDED:
            return _open_view(standing)
        end = await logged(ended(self._parts.log, account, id)) if standing else None
        if standing is not None and end is not None:
            box = await self._box(account)
            answer = box.open("answer", id, sealed_bytes(end.answer)) if box else None
            return _ended_view(id, standing.fields.get("created"), end, answer)
        if standing is not None:
            await self._caught_up(account)  # it has only just left the log, or a newer worker has ended it
        try:
            async with self._parts.database.connect() as connection:
                row = await read_model.find(connection, account, id)
        except (OSError, DBAPIError):
            raise Refused(503, "database_unavailable", "The request cannot be read just now; try again.") from None
        if row is None and standing is not None:
            raise Refused(503, "answer_unavailable", "It has ended; its answer cannot be read just now; try again.")
        if row is None:
            raise _unknown()
        box = await self._box(account)
        # An answer that is empty has been deleted.
        return _row_view(row, box.open("answer", id, row.answer) if box and row.answer else None)

    async def _box(self, account: str) -> Box | None:
        """The account's box; None when its content has been erased."""
        try:
            return self._parts.vault.cached(account) or await self._parts.vault.box(account)
        except Erased:
            return None
        except Unavailable:
            raise Refused(503, "identity_unavailable", "The account's key cannot be had just now.") from None

    async def _heard_all(self, account: str, id: str, entry: str) -> bool:
        frames = await logged(self._parts.log.frames(account, id, entry))
        return bool(entry != "0-0") and not frames

    async def _follow(self, account: str, id: str, entry: str, piece: int, asked: Scope) -> AsyncIterator[bytes]:
        """The frames behind `entry`, and of that frame itself the pieces behind number `piece`."""
        box = await self._box(account)
        yield f"retry: {RECONNECT_MS}\n".encode()
        ear = Follower(follow(self._parts.log, account, id, entry if piece < 0 else _just_before(entry)))
        try:
            with self._leaving.waking(ear.interrupt), watched(self._parts, asked, ear.interrupt) as watch:
                while True:
                    heard = await ear.next()
                    if heard is None:
                        yield b": ping\n\n"
                        continue
                    frame = heard.frame
                    if heard.restarted and frame.entry != entry:
                        # Its id is that of no piece, so that a reconnect goes on with the frame itself.
                        yield _event("restarted", f"{frame.entry}.0", {"attempt": frame.attempt})
                    if frame.kind == "d" and box is not None:
                        said = box.open("frame", id, frame.body).split(b"\n\n")[:-1]
                        for number, one in enumerate(said, 1):
                            if frame.entry != entry or number > piece:
                                yield b"id: %s.%d\n%s\n\n" % (frame.entry.encode(), number, one)
                    elif frame.kind == "e":
                        view = await self._view(account, id)
                        yield _event(view["status"], frame.entry, view)
        except StopAsyncIteration:
            pass  # the last word has been said
        except ClientGone:
            yield (
                b": this key is no longer valid\n\n"
                if watch.over
                else b": this process is about to stop; reconnect\n\n"
            )
        except LogGone:
            yield b": the log went away; reconnect\n\n"
        finally:
            await ear.close()

    async def _caught_up(self, account: str) -> None:
        """Wait until the projection has read what the log holds for this account's partition now, or CAUGHT_UP_S."""
        log = self._parts.log
        partition = log.partition_of(account)
        newest = _entry(await logged(log.last_event_id(partition)))
        loop = asyncio.get_running_loop()
        until = loop.time() + CAUGHT_UP_S
        try:
            async with self._parts.database.connect() as connection:
                while True:
                    read = await checkpoints.of(connection, "public", "requests", log.partitions, locked=False)
                    if _entry(read.get(partition, "0-0")) >= newest or loop.time() > until:
                        return
                    await connection.rollback()
                    await asyncio.sleep(0.02)
        except (OSError, DBAPIError):
            raise Refused(503, "database_unavailable", "The list cannot be read just now; try again.") from None


def _json(document: Json) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers={"cache-control": "no-store"})


def _unknown() -> Refused:
    return Refused(404, "request_not_found", "There is no such request.")


def _open_view(standing: Standing) -> Json:
    return {
        "id": standing.request,
        "object": "request",
        "status": standing.state,
        "created_at": standing.fields.get("created"),
        "endpoint": standing.fields.get("endpoint"),
        "model": standing.fields.get("model"),
        "stream": bool(standing.fields.get("stream")),
        "cancel_requested": standing.cancelled_by is not None,
        "response": None,
        "attempts": [],
    }


def _ended_view(id: str, created: str | None, end: CompletionEnded, answer: bytes | None) -> Json:
    if answer is not None and end.outcome == "completed":
        answer = present(end.endpoint, id, answer, last_word(end))
    return {
        "id": id,
        "object": "request",
        "status": end.outcome,
        "created_at": created or end.accepted_at.isoformat(),
        "endpoint": end.endpoint,
        "model": end.asked_model,
        "stream": end.stream,
        "http_status": end.http_status,
        "response": orjson.Fragment(answer) if answer is not None else None,
        "attempts": [_attempt(one) for one in end.attempts],
        "routing": end.routing.model_dump() if end.routing else None,
        "usage": _usage(end.input_tokens, end.cached_input_tokens, end.output_tokens, end.usage_source, end.billable),
        "cost": {"usd": usd(end.cost_nanousd), "nanousd": end.cost_nanousd},
        "cached": end.cached,
        "latency_ms": end.latency_ms,
        "ttft_ms": end.ttft_ms,
    }


def _row_view(row: read_model.RequestRow, answer: bytes | None = None) -> Json:
    """The same, from the projection; a list shows no answers."""
    view: Json = {
        "id": row.id,
        "object": "request",
        "status": row.status,
        "created_at": row.created_at.isoformat(),
        "endpoint": row.endpoint,
        "model": row.asked_model,
        "stream": row.stream,
        "http_status": row.http_status,
        "attempts": [_attempt(one) for one in row.attempts],
        "routing": row.routing.model_dump() if row.routing else None,
        "usage": _usage(row.input_tokens, row.cached_input_tokens, row.output_tokens, row.usage_source, row.billable),
        "cost": {"usd": usd(row.cost_nanousd), "nanousd": row.cost_nanousd},
        "cached": row.cached,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
    }
    if answer is not None:
        if row.status == "completed":
            meta: LastWord = {
                "provider": row.provider,
                "model": row.model,
                "routing": view["routing"],
                "cost_nanousd": row.cost_nanousd,
            }
            answer = present(row.endpoint, row.id, answer, meta)
        view["response"] = orjson.Fragment(answer)
    return view


def _usage(input: int, cached: int, output: int, source: str, billable: bool) -> Json | None:
    if not billable:
        return None
    return {"input_tokens": input, "cached_input_tokens": cached, "output_tokens": output, "source": source}


def _attempt(attempt: Attempt) -> Json:
    return attempt.model_dump(mode="json")


def _seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise Refused(400, "invalid_value", "`wait` is a number of seconds.", param="wait")
    return min(float(text), WAIT_S_MAX)


def _page(request: Request) -> tuple[int, str | None, str | None, str | None]:
    query = request.query_params
    limit = query.get("limit", "20")
    if not re.fullmatch(r"\d{1,4}", limit) or not 1 <= int(limit) <= PAGE_MAX:
        raise Refused(400, "invalid_value", f"`limit` is a number from 1 to {PAGE_MAX}.", param="limit")
    after = query.get("after")
    if after is not None and not _ID.fullmatch(after):
        raise Refused(400, "invalid_value", "`after` is the id of a request.", param="after")
    status = query.get("status")
    if status is not None and status not in ("queued", "running", *ENDED):
        raise Refused(
            400, "invalid_value", "`status` is queued, running, completed, failed or cancelled.", param="status"
        )
    model = query.get("model")
    if model is not None and (len(model) > 256 or not model.isprintable()):
        raise Refused(400, "invalid_value", "`model` is no model's name.", param="model")
    return int(limit), after, status, model


def _position(after: str) -> tuple[str, int]:
    """`entry.piece` → the entry of the live stream, and the piece of it that was had (-1: all of it)."""
    if not after:
        return "0-0", -1
    found = _AFTER.fullmatch(after)
    if not found:
        raise Refused(400, "invalid_value", "`Last-Event-ID` is not one of this stream's.", param="after")
    return found[1], -1 if found[2] is None else int(found[2])


def _entry(id: str) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence or 0)


def _just_before(entry: str) -> str:
    """The greatest entry id below this one."""
    milliseconds, sequence = _entry(entry)
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{max(0, milliseconds - 1)}-{2**64 - 1}"


def _event(name: str, id: str, document: Json) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), name.encode(), orjson.dumps(document))


async def _once(event: bytes) -> AsyncIterator[bytes]:
    yield event


def _event_stream(frames: AsyncIterator[bytes]) -> Response:
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)
