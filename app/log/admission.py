"""What `scripts/admit.lua` is asked, and what it answers, as values.

One rule: the order of keys and words here is the order in the head of the script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app.log import keys
from app.log.connection import Argument, LogRefused, Reply
from app.log.values import (
    Accepted,
    Admission,
    DayOver,
    Left,
    Limits,
    Mismatch,
    Pace,
    Repeat,
    Same,
    Spent,
    TooFast,
    TooMany,
    Unreckoned,
)
from events.message import Envelope

IDEMPOTENCY_S: Final = 48 * 3600
"""How long an Idempotency-Key is remembered (contract 3.2)."""


def asked(
    partition: int, envelope: Envelope, limits: Limits, repeat: Repeat, fields: Mapping[str, str]
) -> tuple[Sequence[str], Sequence[Argument]]:
    """The script's keys, and its words."""
    request, account = envelope.subject, envelope.account
    own = keys.request(partition, request)
    paces = paces_of(limits)
    script_keys = (
        keys.commands(partition),
        own,
        keys.open_requests(partition, account),
        keys.idempotency(partition, account, repeat.idempotency_digest) if repeat.idempotency_digest else own,
        keys.retry(partition, repeat.caller, repeat.body_digest) if repeat.retry else own,
        keys.holds(partition),
        keys.day(partition, account) if limits.requests_a_day else own,
        *(keys.rate(partition, each.subject) for each in paces),
        *(keys.purse(partition, account, each.subject) for each in limits.purses),
    )
    words = (
        request,
        account,
        envelope.encode(),
        envelope.type,
        envelope.id,
        limits.open_max,
        limits.requests_a_day,
        repeat.body_digest if repeat.idempotency_digest else "",
        IDEMPOTENCY_S,
        repeat.retry,
        repeat.retry_s,
        keys.request(partition, ""),
        len(paces),
        len(limits.purses),
        limits.tokens.cost if limits.tokens else 0,
        limits.reserve_nanousd,
        *(word for each in paces for word in (repr(each.interval_us), each.burst, each.cost)),
        *(_bound(most) for each in limits.purses for most in (each.day, each.month, each.ever)),
        *(word for pair in fields.items() for word in pair),
    )
    return script_keys, words


def paces_of(limits: Limits) -> tuple[Pace, ...]:
    """Those of the requests, then that of the tokens."""
    return limits.paces if limits.tokens is None else (*limits.paces, limits.tokens)


def answered(said: Reply, limits: Limits) -> Admission:
    """What the script has said. Raises LogRefused for what it never says."""
    match said:
        case [b"accepted", today, *paces]:
            left = tuple(Left(paces[at], paces[at + 1] / 1e6) for at in range(0, len(paces), 2))
            return Accepted(left, None if today < 0 else today)
        case [b"same", before]:
            return Same(before.decode())
        case [b"mismatch"]:
            return Mismatch()
        case [b"rate", which, wait_us, left, whole_us]:
            return TooFast(which - 1, wait_us / 1e6, left, whole_us / 1e6)
        case [b"busy", count]:
            return TooMany(count)
        case [b"day"]:
            return DayOver()
        case [b"unknown", which]:
            return Unreckoned(limits.purses[which - 1].subject)
        case [b"spent", which, period, spent, held]:
            return Spent(limits.purses[which - 1], period.decode(), int(spent), int(held))
    raise LogRefused(f"admit answered {said!r}")


def _bound(most: int | None) -> str | int:
    return "" if most is None else most
