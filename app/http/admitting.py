"""A command onto the log, or the right word to the client why not: one round trip.

One rule: what is accepted is on disk; what is refused has left nothing behind.
"""

from __future__ import annotations

from typing import Final, cast

import structlog

from app.http.dialect import Header
from app.http.refusals import Refused, retry_after
from app.identity import Identity
from app.log import LogGone
from app.log.connection import LogRefused
from app.log.values import Accepted, Limits, Mismatch, Repeat, Same, TooFast, TooMany
from app.wiring import WebParts
from events.completions import Complete
from events.message import Envelope
from handlers.rules.admission import limits_for

log = structlog.get_logger()

KEPT: Final = "kept"
"""The field of an open request that says that its response is kept."""


async def admit(
    parts: WebParts, command: Envelope, identity: Identity, repeat: Repeat
) -> tuple[str, tuple[Header, ...]]:
    """Put it on the log → the id of the request that now stands for it, and the headers of its limit."""
    tier = limits_for(identity.tier, identity.rate_limit_override, parts.settings.max_connections_per_user)
    rate = tier.requests_a_minute
    # A key with a rate of its own is counted by itself, or with the key it comes from; all others of an account together.
    own = identity.counted_as or identity.api_key_id
    subject = identity.account if identity.rate_limit_override is None else own
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
        admission = await parts.log.admit(command, limits, repeat, fields)
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


def _limit_headers(rate: int | None, remaining: int | None, whole_after_s: float) -> tuple[Header, ...]:
    if rate is None:
        return ()
    return (
        (b"x-ratelimit-limit-requests", str(rate).encode()),
        (b"x-ratelimit-remaining-requests", str(remaining or 0).encode()),
        (b"x-ratelimit-reset-requests", f"{whole_after_s:.3f}s".encode()),
    )


def _unlogged(request: str, *, sent: bool) -> Refused:
    """The log did not take it, or did not say: with the same Idempotency-Key it may be asked again either way."""
    if sent:
        message = f"The log did not answer: request {request} may or may not have been accepted."
        return Refused(503, "outcome_unknown", message)
    return Refused(503, "log_unavailable", "The log cannot be reached; nothing was accepted. Try again.")
