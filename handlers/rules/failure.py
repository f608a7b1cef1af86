"""What each kind of provider failure does, as a table: to the request, and to the client who waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

FailureKind = Literal[
    "connect",  # no connection, or it broke before the first byte of an answer
    "timeout",  # no first byte, a silence, or the whole took too long
    "rate_limited",  # 429
    "overloaded",  # 503, 529
    "server_error",  # any other 5xx
    "bad_request",  # 400, 413, 422: the question itself is wrong, nobody else will like it better
    "context_overflow",  # the question is longer than the model's window
    "content_policy",  # the provider will not answer this
    "auth",  # 401, 403: our key is wrong, not the client's
    "not_found",  # 404: the provider does not have this model
    "garbled",  # what came back is not in the provider's own format
    "cut",  # the answer broke off before the provider's proper end
]

ATTEMPTS_MAX: Final = 4
"""Calls for one request, all providers together: each may cost the whole patience of a client."""

PAUSE_S_MAX: Final = 5.0
"""A provider that asks for a longer pause is not waited for; the client is told how long instead."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """`again`: the same offer may be asked again after a pause. `next`: another offer may do better."""

    again: bool
    next: bool
    status: int
    type: str
    code: str


CONSEQUENCES: Final[Mapping[FailureKind, Consequence]] = {
    "connect": Consequence(True, True, 502, "server_error", "provider_unreachable"),
    "timeout": Consequence(False, True, 504, "server_error", "provider_timeout"),
    "rate_limited": Consequence(True, True, 429, "rate_limit_error", "provider_rate_limited"),
    "overloaded": Consequence(True, True, 503, "server_error", "provider_overloaded"),
    "server_error": Consequence(True, True, 502, "server_error", "provider_error"),
    "bad_request": Consequence(False, False, 400, "invalid_request_error", "provider_refused"),
    "context_overflow": Consequence(False, True, 400, "invalid_request_error", "context_length_exceeded"),
    "content_policy": Consequence(False, False, 400, "invalid_request_error", "content_filter"),
    "auth": Consequence(False, True, 502, "server_error", "provider_authentication"),
    "not_found": Consequence(False, True, 502, "server_error", "provider_model_missing"),
    "garbled": Consequence(True, True, 502, "server_error", "provider_garbled"),
    "cut": Consequence(True, True, 502, "server_error", "provider_cut"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What comes after a failure. `pause_s` is None when nothing does: give up."""

    pause_s: float | None
    advance: bool = False
    """Go to the next offer; otherwise ask the same again."""


def after(
    kind: FailureKind,
    *,
    attempts: int,
    offers_left: int,
    text_seen: bool,
    retry_after_s: float | None,
    seconds_left: float,
    chance: float,
) -> Step:
    """Decide the next step. Nothing is asked again once the client may have seen text.

    `attempts` counts the calls made so far, `chance` in [0, 1) is the jitter.
    """
    does = CONSEQUENCES[kind]
    if text_seen or attempts >= ATTEMPTS_MAX:
        return Step(None)
    if does.next and offers_left:
        return Step(0.0, advance=True)
    if not does.again:
        return Step(None)
    pause_s = retry_after_s if retry_after_s is not None else 0.25 * 2 ** (attempts - 1) * (1 + chance)
    if pause_s > PAUSE_S_MAX or pause_s >= seconds_left:
        return Step(None)
    return Step(pause_s)
