"""The road that every completion takes, whatever its wire: read, check, seal, admit in one round trip, then answer as
the client asked: waited for, streamed, or by a promise.

One rule: what a body must look like, and what its route says around the answer, is known by its door (`chat`, `messages`,
`responses`, `embeddings`) and not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, Protocol, cast

import orjson
import structlog
from sqlalchemy.exc import DBAPIError
from starlette.types import Receive, Scope, Send

from app.database import Unavailable
from app.http.authentication import Headers, identify
from app.http.caching import FIELD, CacheWish, cache_wish
from app.http.delivery import Progress, Ticket, deliver, following, remembering
from app.http.dialect import Dialect, Header
from app.http.json_body import parse_object, read_body
from app.http.refusals import Refused, retry_after
from app.identity import Identity
from app.ids import new_id
from app.live.listen import ClientGone, Follower
from app.log import LogGone
from app.log.connection import LogRefused
from app.log.log import RETRY_S, Accepted, Limits, Mismatch, Repeat, Same, TooFast, TooMany
from app.shedding import RETRY_AFTER_S
from app.vault import Erased
from app.wiring import WebParts
from events.completions import Complete, Optimize, Wire
from events.message import Envelope, sealed_text
from handlers.ports import Box
from handlers.rules.admission import limits_for
from handlers.rules.catalogue import Catalogue
from handlers.rules.policy import AccountPolicy, chain_of, resolve
from projections import requests as read_model

log = structlog.get_logger()

DEADLINE: Final = timedelta(seconds=600)
"""The whole of a request, from admission to its end: the SDKs' own default."""

IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 255
"""As Stripe has it."""

RETRIES_MAX: Final = 100
"""No SDK counts higher; more is noise."""

SESSION_S: Final = 60
"""How long a session that asks the same again means the same request: Codex's five retries are over in some ten seconds."""

KEPT: Final = "kept"
"""The field of an open request that says that its response is kept."""

DISGUISE: Final = "anthropic/"
"""What every model may be called with in front, see `known_model`."""

Kind = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A body that has come in, before anybody knows what it means."""

    account: str
    request: str
    """The id that it will have when it is accepted."""
    headers: Headers
    raw: bytes = field(repr=False)
    parsed: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a door has read out of a body: all that the road must know of it."""

    dialect: Dialect
    model: str
    """As the client named it."""
    stream: bool
    """The client wants a stream."""
    question: bytes = field(repr=False)
    """The body for the worker, Helix's own fields taken out."""
    kind: Kind = "chat"
    """What the model must be."""
    include_usage: bool = False
    optimize: Optimize | None = None
    conversation: str | None = None
    forwarded: tuple[tuple[str, str], ...] = ()
    """The client's headers for a provider of the same wire."""
    previous: str | None = None
    kept: bytes | None = field(default=None, repr=False)
    """What is kept with the answer, see `Complete.kept`."""
    promised: Callable[[str], Awaitable[bytes]] | None = None
    """The client waits for nothing but this document about the request of that id."""
    in_pieces: bool = False
    """Have the worker stream although this client does not: others may follow."""
    stay: bool = False
    """Go on although the client leaves."""
    session: str | None = None
    """Whoever asks the same again in the same session within seconds means the same request."""


class Door(Protocol):
    """One route's own: what its body looks like."""

    endpoint: str

    @property
    def wire(self) -> Wire: ...

    async def read(self, arrived: Arrived) -> Asked:
        """What is asked. Raises Refused for a body that makes no sense."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the headers ask for."""

    asynchronous: bool
    repeat: Repeat
    retry_count: int | None
    """An SDK's count of its own retries; None when no SDK is asking."""
    stay: bool
    """Go on although the client leaves."""
    optimize: Optimize | None


def known_model(catalogue: Catalogue, name: str, kind: Kind) -> str:
    """The name that the catalogue has it under. Raises Refused 404 when nobody offers it.

    A name may be dressed up for clients that only see Anthropic's: `anthropic/gpt-5` is `gpt-5` where Anthropic itself
    has nothing so called.
    """
    for told in (name, name.removeprefix(DISGUISE)):
        if any(offer.kind == kind for offer in catalogue.find(told)):
            return told
    raise Refused(
        404,
        "model_not_found",
        f"The model `{name[:100]}` does not exist or you do not have access to it.",
        param="model",
    )


def chosen_model(catalogue: Catalogue, policy: AccountPolicy | None, name: str, kind: Kind) -> str:
    """The name that the account's policy or the catalogue has it under. Raises Refused 404."""
    if policy is not None:
        for told in (name, name.removeprefix(DISGUISE)):
            chain = chain_of(policy, told) if told in policy.aliases or told in policy.fallbacks else ()
            if any(offer.kind == kind for each in chain for offer in catalogue.find(each)):
                return told
    return known_model(catalogue, name, kind)


def without(fields: tuple[str, ...], arrived: Arrived) -> bytes:
    """The body without these fields; untouched when it has none of them."""
    if not any(name in arrived.parsed for name in fields):
        return arrived.raw
    return orjson.dumps({name: value for name, value in arrived.parsed.items() if name not in fields})


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
        identity = await identify(parts.identities, headers, "chat")
        state["account"] = identity.account
        if parts.shedding.full_for(identity.account):
            raise Refused(
                503,
                "log_full",
                "The log is nearly full; what was accepted is being finished first. Try again later.",
                headers=retry_after(RETRY_AFTER_S),
            )
        raw = await read_body(receive)
        request = state["request_id"]
        arrived = Arrived(identity.account, request, headers, raw, parse_object(raw))
        account_ttl_s = identity.policy.cache_ttl_s if identity.policy else None
        caching = cache_wish(headers, arrived.parsed, account_ttl_s, semantic=parts.settings.enable_semantic_cache)
        asked = await self._door.read(_without_cache(arrived))
        model = chosen_model(parts.catalogue, identity.policy, asked.model, asked.kind)
        wish = _wish(headers, identity, self._door.endpoint, raw, asked.session)
        box = await self._box(identity.account)
        command = self._command(identity, asked, model, wish, caching, request, box)
        if wish.asynchronous or asked.promised:
            accepted, _ = await self._admit(command, identity, wish)
            state["request_id"] = accepted
            if wish.asynchronous or not asked.promised:
                await _promise(accepted, send)
            else:
                await _tell(200, await asked.promised(accepted), asked.dialect.headers(accepted), send)
            return
        with parts.listener.expect(identity.account, request) as waiting:
            accepted, limits = await self._admit(command, identity, wish)
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
        )
        return Envelope.begin(ask, id=new_id(), at=now, account=identity.account, subject=request)

    async def _admit(self, command: Envelope, identity: Identity, wish: Wish) -> tuple[str, tuple[Header, ...]]:
        """Put it on the log → the id of the request that now stands for it, and the headers of its limit."""
        tier = limits_for(identity.tier, identity.rate_limit_override, self._parts.settings.max_connections_per_user)
        rate = tier.requests_a_minute
        # A key with a rate of its own is counted by itself, all others of an account together.
        subject = identity.account if identity.rate_limit_override is None else identity.api_key_id
        limits = Limits(subject, 60_000_000 // rate if rate else 0, tier.burst, tier.concurrent or 0)
        ask = cast(Complete, command.body)
        fields = {
            "created": command.at.isoformat(),
            "model": ask.model,
            "endpoint": ask.endpoint,
            "stream": "1" if ask.stream else "",
        }
        if ask.kept is not None:
            fields[KEPT] = "1"
        try:
            admission = await self._parts.log.admit(command, limits, wish.repeat, fields)
        except LogGone as gone:
            raise _unlogged(command.subject, sent=gone.sent) from None
        except LogRefused as refused:
            log.error("admission_failed", reason=str(refused)[:200])
            raise _unlogged(command.subject, sent=False) from None
        match admission:
            case Accepted(remaining, whole_after_s):
                return command.subject, _limit_headers(rate, remaining, whole_after_s)
            case Same(request):
                return request, ()
            case Mismatch():
                raise Refused(
                    422,
                    "idempotency_key_reused",
                    "This Idempotency-Key was used before with another body.",
                )
            case TooFast(wait_s, whole_after_s):
                told = retry_after(wait_s) | {k.decode(): v.decode() for k, v in _limit_headers(rate, 0, whole_after_s)}
                raise Refused(
                    429,
                    "rate_limit_exceeded",
                    f"Rate limit of {rate} requests a minute reached; try again in {wait_s:.1f} s.",
                    headers=told,
                )
            case TooMany(count):
                raise Refused(
                    429,
                    "concurrency_limit_exceeded",
                    f"{count} requests are in flight, the most this account may have.",
                    headers=retry_after(1.0),
                )

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


def _wish(headers: Headers, identity: Identity, endpoint: str, raw: bytes, session: str | None) -> Wish:
    """What the headers ask for. Raises Refused for one that makes no sense."""
    asynchronous = stay = False
    key: str | None = None
    retry_count: int | None = None
    optimize: Optimize | None = None
    for name, value in headers:
        match name:
            case b"prefer":
                asynchronous = b"respond-async" in [
                    word.strip() for word in value.lower().replace(b";", b",").split(b",")
                ]
            case b"idempotency-key":
                key = _idempotency_key(value)
            case b"x-stainless-retry-count":
                retry_count = int(value) if value.isdigit() and len(value) <= 3 else 0
            case b"x-helix-on-disconnect":
                stay = _one_of("x-helix-on-disconnect", value, ("continue", "cancel")) == "continue"
            case b"x-helix-optimize":
                optimize = cast(Optimize, _one_of("x-helix-optimize", value, ("cost", "speed", "quality")))
    by_session = session is not None and key is None and retry_count is None
    digest = ""
    if by_session:
        retry_count = 0
        digest = sha256(b"\0".join((endpoint.encode(), str(session).encode(), raw))).hexdigest()
    elif key is not None or retry_count is not None:
        digest = sha256(endpoint.encode() + b"\0" + raw).hexdigest()
    repeat = Repeat(
        caller=identity.api_key_id,
        idempotency_digest=sha256(key.encode()).hexdigest() if key is not None else None,
        body_digest=digest,
        retry="" if retry_count is None else "attach" if retry_count or by_session else "note",
        retry_s=SESSION_S if by_session else RETRY_S,
    )
    return Wish(asynchronous, repeat, None if retry_count is None else min(retry_count, RETRIES_MAX), stay, optimize)


def _idempotency_key(value: bytes) -> str:
    """A bare token, or a string in quotes as the draft has it."""
    text = value.decode("latin-1").strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text or len(text) > IDEMPOTENCY_KEY_CHARACTERS_MAX or not text.isascii() or not text.isprintable():
        raise Refused(
            400,
            "invalid_idempotency_key",
            f"An Idempotency-Key is 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} printable ASCII characters.",
            param="Idempotency-Key",
        )
    return text


def _one_of(name: str, value: bytes, known: tuple[str, ...]) -> str:
    word = value.decode("latin-1").strip().lower()
    if word not in known:
        raise Refused(400, "invalid_value", f"The header {name} is one of: {', '.join(known)}.", param=name)
    return word


def _limit_headers(rate: int | None, remaining: int | None, whole_after_s: float) -> tuple[Header, ...]:
    if rate is None:
        return ()
    return (
        (b"x-ratelimit-limit-requests", str(rate).encode()),
        (b"x-ratelimit-remaining-requests", str(remaining or 0).encode()),
        (b"x-ratelimit-reset-requests", f"{whole_after_s:.3f}s".encode()),
    )


def _gone() -> Refused:
    """The log went away while a client waited for what it had accepted."""
    return Refused(503, "log_unavailable", "The log cannot be reached; the request goes on.")


def _unlogged(request: str, *, sent: bool) -> Refused:
    """The log did not take it, or did not say: with the same Idempotency-Key it may be asked again either way."""
    if sent:
        message = f"The log did not answer: request {request} may or may not have been accepted."
        return Refused(503, "outcome_unknown", message)
    return Refused(503, "log_unavailable", "The log cannot be reached; nothing was accepted. Try again.")


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
