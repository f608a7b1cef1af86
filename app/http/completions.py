"""The road that every completion takes, whatever its wire: read, check, seal, admit in one round trip, then answer as
the client asked: waited for, streamed, or by a promise.

One rule: what a body must look like, and what its route says around the answer, is known by its door (`chat`, `messages`,
`responses`, `embeddings`) and not here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from app.database import Unavailable
from app.http.admitting import admit, bounds_of, limits_on
from app.http.asked import Arrived, Asked, Door, chosen_model
from app.http.authentication import identify
from app.http.caching import FIELD, CacheWish, cache_wish
from app.http.delivery import Progress, Ticket, deliver
from app.http.dialect import Header
from app.http.earlier import follower
from app.http.json_body import parse, read_body
from app.http.refusals import Refused, retry_after
from app.http.wishes import Wish, wish_of
from app.identity import Identity
from app.ids import new_id
from app.live.listen import ClientGone
from app.log import LogGone
from app.log.connection import LogRefused
from app.shedding import RETRY_AFTER_S
from app.vault import Erased
from app.wiring import WebParts
from events.completions import Complete
from events.message import Envelope, sealed_text
from handlers.ports import Box
from handlers.rules.body_sizes import BODY_BYTES_MAX
from handlers.rules.policy import resolve

log = structlog.get_logger()

DEADLINE: Final = timedelta(seconds=600)
"""The whole of a request, from admission to its end: the SDKs' own default."""


def _without_cache(arrived: Arrived) -> Arrived:
    """What a door is to read: the wish for the cache is heard by then."""
    if FIELD not in arrived.parsed:
        return arrived
    parsed = {name: value for name, value in arrived.parsed.items() if name != FIELD}
    return replace(arrived, raw=orjson.dumps(parsed), parsed=parsed)


class Completions:
    """One route, as an ASGI application: its door in front, the common road behind it."""

    def __init__(self, parts: WebParts, door: Door) -> None:
        self._parts = parts
        self._door = door
        self._leaving: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, headers, state = self._parts, scope["headers"], scope["state"]
        identity = await identify(parts, scope)
        state["account"] = identity.account
        if parts.shedding.full_for(identity.account):
            raise Refused(
                503,
                "log_full",
                "The log is nearly full; what was accepted is being finished first. Try again later.",
                headers=retry_after(RETRY_AFTER_S),
            )
        raw = await read_body(receive, BODY_BYTES_MAX[identity.tier])
        request = state["request_id"]
        arrived = Arrived(identity.account, request, headers, raw, await parse(raw))
        account_ttl_s = identity.policy.cache_ttl_s if identity.policy else None
        caching = cache_wish(headers, arrived.parsed, account_ttl_s, semantic=parts.settings.enable_semantic_cache)
        asked = await self._door.read(_without_cache(arrived))
        model = chosen_model(parts.catalogue_of(identity), identity, asked.model, asked.kind)
        wish = wish_of(headers, identity, self._door.endpoint, raw, asked.session)
        box = await self._box(identity.account)
        bounds = await bounds_of(parts, identity)
        asks_for = limits_on(parts, identity, bounds, arrived, asked, model)
        command = self._command(identity, asked, model, wish, caching, request, box)
        if wish.asynchronous or asked.promised:
            accepted, _ = await admit(parts, command, bounds, asks_for, wish.repeat)
            state["request_id"] = accepted
            if wish.asynchronous or not asked.promised:
                await _promise(accepted, send)
            else:
                await _tell(200, await asked.promised(accepted), asked.dialect.headers(accepted), send)
            return
        with parts.listener.expect(identity.account, request) as waiting:
            accepted, limits = await admit(parts, command, bounds, asks_for, wish.repeat)
            state["request_id"] = accepted
            ticket = Ticket(identity.account, accepted, asked.dialect, asked.stream, limits)
            if accepted != request:
                earlier = await follower(parts, identity.account, accepted)
                repeated = replace(ticket, headers=(*limits, (b"idempotency-replayed", b"true")))
                try:
                    await deliver(repeated, earlier, parts.log, parts.vault, receive, send, Progress())
                except ClientGone:
                    log.info("client_left", request_id=accepted, attached=True)
                except LogGone:
                    raise _gone() from None
                finally:
                    await earlier.close()
                return
            progress = Progress()
            try:
                await deliver(ticket, waiting, parts.log, parts.vault, receive, send, progress)
            except ClientGone:
                if not wish.stay and not asked.stay:
                    again = wish.retry_count if asked.session or not progress.begun else None
                    self._leave(identity.account, request, again)
            except LogGone:
                raise _gone() from None

    async def _box(self, account: str) -> Box:
        vault = self._parts.vault
        try:
            return vault.cached(account) or await vault.box(account)
        except Unavailable:
            raise Refused(503, "identity_unavailable", "The account's key cannot be had just now; try again.") from None
        except Erased:
            raise Refused(401, "invalid_api_key", "This account has been erased.") from None

    def _command(
        self, identity: Identity, asked: Asked, model: str, wish: Wish, caching: CacheWish, request: str, box: Box
    ) -> Envelope:
        now = datetime.now(UTC)
        ask = Complete(
            endpoint=self._door.endpoint,
            wire=self._door.wire,
            api_key_id=identity.api_key_id,
            tier=identity.tier,
            model=model,
            optimize=asked.optimize or wish.optimize or (identity.policy.optimize if identity.policy else None),
            stream=asked.stream or asked.in_pieces,
            include_usage=asked.include_usage,
            question=sealed_text(box.seal("question", request, asked.question)),
            conversation=asked.conversation,
            deadline=now + DEADLINE,
            reply_to=None if wish.asynchronous or asked.promised else self._parts.web,
            forwarded=asked.forwarded,
            previous=asked.previous,
            kept=sealed_text(box.seal("question", request, asked.kept)) if asked.kept is not None else None,
            cache_ttl_s=caching.ttl_s,
            cache_refresh=caching.refresh,
            cache_similar=caching.similar,
            policy=resolve(identity.policy, model),
            provider_keys=identity.provider_keys,
        )
        return Envelope.begin(ask, id=new_id(), at=now, account=identity.account, subject=request)

    def _leave(self, account: str, request: str, retry_count: int | None) -> None:
        """The client has left: cancel what it asked for. An SDK that has had no word yet may be about to repeat itself,
        and gets as long as it pauses; whoever attaches meanwhile keeps the request alive."""
        pause_s = 0.0 if retry_count is None else min(0.5 * 2**retry_count, 8.0) + 1.0

        async def cancel() -> None:
            await asyncio.sleep(pause_s)
            try:
                state = await self._parts.log.cancel(account, request, "disconnect")
            except (LogGone, LogRefused):
                log.warning("cancellation_lost", request_id=request)
            else:
                log.info("client_left", request_id=request, state=state)

        task = asyncio.create_task(cancel())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _gone() -> Refused:
    """The log went away while a client waited for what it had accepted."""
    return Refused(503, "log_unavailable", "The log cannot be reached; the request goes on.")


async def _promise(request: str, send: Send) -> None:
    """202: the log has it on disk."""
    body = orjson.dumps({"id": request, "object": "request", "status": "queued"})
    location = (b"location", f"/v1/requests/{request}".encode())
    await _tell(202, body, (location, (b"preference-applied", b"respond-async")), send)


async def _tell(status: int, body: bytes, more: tuple[Header, ...], send: Send) -> None:
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
