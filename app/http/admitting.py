"""A command onto the log, or the right word to the client why not: one round trip.

One rule: what is accepted is on disk; what is refused has left nothing behind.
"""

from __future__ import annotations

from typing import Final, cast

import orjson
import structlog

from app.database import Unavailable
from app.http import limit_refusals
from app.http.asked import Arrived, Asked
from app.http.dialect import Header
from app.http.limit_headers import limit_headers
from app.http.refusals import Refused
from app.identity import Identity
from app.limits.bounds import Bounds
from app.limits.reckoning import NotReckoned
from app.log import LogGone
from app.log.connection import LogRefused
from app.log.values import (
    Accepted,
    Admission,
    DayOver,
    Limits,
    Mismatch,
    Repeat,
    Same,
    Spent,
    TooFast,
    TooMany,
    Unreckoned,
)
from app.wiring import WebParts
from events.completions import Complete
from events.message import Envelope
from handlers.rules.catalogue import Offer
from handlers.rules.policy import chain_of
from handlers.rules.reservation import size_of

log = structlog.get_logger()

KEPT: Final = "kept"
"""The field of an open request that says that its response is kept."""

RECKONED_MAX: Final = 6
"""A request is charged to three purses at most; each may be reckoned, and once more when somebody did so beside us."""


async def bounds_of(parts: WebParts, identity: Identity) -> Bounds:
    """What the key is held to. Raises Refused 503 when that must be looked up and cannot be."""
    try:
        return parts.allowances.cached(identity) or await parts.allowances.of(identity)
    except Unavailable:
        raise Refused(503, "identity_unavailable", "The limits cannot be looked up just now; try again.") from None


def limits_on(
    parts: WebParts, identity: Identity, bounds: Bounds, arrived: Arrived, asked: Asked, model: str
) -> Limits:
    """What this request asks for of them."""
    if not bounds.reckons:
        return bounds.asked
    # What the worker is asked with may be much more than what came: all that was said before it.
    body = arrived.parsed if asked.previous is None else orjson.loads(asked.question)
    return bounds.of(size_of(body, asked.question), _candidates(parts, identity, model, asked.kind))


def _candidates(parts: WebParts, identity: Identity, model: str, kind: str) -> list[Offer]:
    """Who may answer, as far as the door knows: what the router will find out can only make them fewer."""
    policy = identity.policy
    names = chain_of(policy, model) or (model,)
    return [
        offer
        for name in names
        for offer in parts.catalogue_of(identity).find(name)
        if offer.kind == kind
        and (
            policy is None
            or ((not policy.only or offer.provider in policy.only) and offer.provider not in policy.never)
        )
    ]


async def admit(
    parts: WebParts, command: Envelope, bounds: Bounds, limits: Limits, repeat: Repeat
) -> tuple[str, tuple[Header, ...]]:
    """Put it on the log → the id of the request that now stands for it, and the headers of its limits."""
    ask = cast(Complete, command.body)
    fields = {
        "created": command.at.isoformat(),
        "model": ask.model,
        "endpoint": ask.endpoint,
        "stream": "1" if ask.stream else "",
    }
    if ask.kept is not None:
        fields[KEPT] = "1"
    match await _reckoned(parts, command, limits, repeat, fields):
        case Accepted(paces):
            return command.subject, limit_headers(bounds, paces, ask.wire)
        case Same(request):
            return request, ()
        case Mismatch():
            raise Refused(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key was used before with another body.",
            )
        case TooFast() as said:
            raise limit_refusals.too_fast(bounds, said, ask.wire)
        case DayOver():
            raise limit_refusals.day_over(bounds, ask.wire)
        case TooMany(count):
            raise limit_refusals.too_many(count)
        case Spent() as said:
            raise limit_refusals.spent(said, limits.reserve_nanousd)
        case Unreckoned():
            raise limit_refusals.unknown()


async def _reckoned(
    parts: WebParts, command: Envelope, limits: Limits, repeat: Repeat, fields: dict[str, str]
) -> Admission:
    """What the log says, once it knows what is spent: a purse that is new to it is reckoned from the books first."""
    for _ in range(RECKONED_MAX):
        try:
            said = await parts.log.admit(command, limits, repeat, fields)
        except LogGone as gone:
            raise _unlogged(command.subject, sent=gone.sent) from None
        except LogRefused as refused:
            log.error("admission_failed", reason=str(refused)[:200])
            raise _unlogged(command.subject, sent=False) from None
        if not isinstance(said, Unreckoned):
            return said
        try:
            await parts.reckoner.reckon(command.account, said.subject)
        except (Unavailable, NotReckoned, LogGone, LogRefused) as outage:
            log.warning("budget_not_reckoned", account=command.account, error=type(outage).__name__)
            raise limit_refusals.unknown() from None
    return said


def _unlogged(request: str, *, sent: bool) -> Refused:
    """The log did not take it, or did not say: with the same Idempotency-Key it may be asked again either way."""
    if sent:
        message = f"The log did not answer: request {request} may or may not have been accepted."
        return Refused(503, "outcome_unknown", message)
    return Refused(503, "log_unavailable", "The log cannot be reached; nothing was accepted. Try again.")
