"""What each kind of provider failure does, as a table: to the request, to the provider's standing, and to the client who
waits."""

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
    "unsayable",  # nobody was asked: the question cannot be put in this provider's format, another's may have words for it
    "context_overflow",  # the question is longer than the model's window
    "content_policy",  # the provider will not answer this
    "auth",  # 401, 403: our key is wrong, not the client's
    "own_key_refused",  # 401, 403 for a key that the account has brought, or it has been taken away
    "not_found",  # 404: the provider does not have this model
    "garbled",  # what came back is not in the provider's own format
    "cut",  # the answer broke off before the provider's proper end
    "not_allowed",  # nobody was asked: the account's policy or tier leaves no offer
    "cooling_down",  # nobody was asked: everyone who could answer rests
]

ATTEMPTS_MAX: Final = 4
"""Calls for one request, all providers together: each may cost the whole patience of a client."""

PAUSE_S_MAX: Final = 5.0
"""A provider that asks for a longer pause is not waited for; the client is told how long instead."""

Other = Literal["none", "any", "larger", "named"]
"""Who may be asked instead: nobody; any other offer; one with a larger window; one that the account's own chain names."""

Blames = Literal["nobody", "offer", "key", "limit"]
"""What the failure speaks against: the model at this provider; the key; or how much the key may ask now."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """`again`: the same offer may be asked again after a pause."""

    again: bool
    other: Other
    blames: Blames
    status: int
    type: str
    code: str


CONSEQUENCES: Final[Mapping[FailureKind, Consequence]] = {
    "connect": Consequence(True, "any", "offer", 502, "server_error", "provider_unreachable"),
    "timeout": Consequence(False, "any", "offer", 504, "server_error", "provider_timeout"),
    "rate_limited": Consequence(True, "any", "limit", 429, "rate_limit_error", "provider_rate_limited"),
    "overloaded": Consequence(True, "any", "offer", 503, "server_error", "provider_overloaded"),
    "server_error": Consequence(True, "any", "offer", 502, "server_error", "provider_error"),
    "bad_request": Consequence(False, "none", "nobody", 400, "invalid_request_error", "provider_refused"),
    "unsayable": Consequence(False, "any", "nobody", 400, "invalid_request_error", "not_supported_by_provider"),
    "context_overflow": Consequence(False, "larger", "nobody", 400, "invalid_request_error", "context_length_exceeded"),
    # Whether a refused question may be shown to others is the account's to say, so only who its chain names is asked.
    "content_policy": Consequence(False, "named", "nobody", 400, "invalid_request_error", "content_filter"),
    "auth": Consequence(False, "any", "key", 502, "server_error", "provider_authentication"),
    # Ours, or another provider's under ours, would be another bill: that is the account's to decide.
    "own_key_refused": Consequence(False, "none", "nobody", 403, "invalid_request_error", "provider_key_refused"),
    "not_found": Consequence(False, "any", "offer", 502, "server_error", "provider_model_missing"),
    "garbled": Consequence(True, "any", "offer", 502, "server_error", "provider_garbled"),
    "cut": Consequence(True, "any", "offer", 502, "server_error", "provider_cut"),
    "not_allowed": Consequence(False, "none", "nobody", 403, "invalid_request_error", "model_not_allowed"),
    "cooling_down": Consequence(False, "none", "nobody", 503, "server_error", "provider_cooling_down"),
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
    others: int,
    resting: bool,
    text_seen: bool,
    retry_after_s: float | None,
    seconds_left: float,
    chance: float,
) -> Step:
    """Decide the next step. Nothing is asked again once the client may have seen text.

    `attempts` counts the calls made so far, `others` the offers that this kind of failure lets be asked instead;
    `resting`: the one that failed is known to be down, and one more call would not help it; `chance` in [0, 1) is the
    jitter.
    """
    does = CONSEQUENCES[kind]
    if text_seen or attempts >= ATTEMPTS_MAX:
        return Step(None)
    if others and does.other != "none":
        return Step(0.0, advance=True)
    if not does.again or resting:
        return Step(None)
    pause_s = retry_after_s if retry_after_s is not None else 0.25 * 2 ** (attempts - 1) * (1 + chance)
    if pause_s > PAUSE_S_MAX or pause_s >= seconds_left:
        return Step(None)
    return Step(pause_s)
