"""What the headers of a completion ask for, the same on every wire.

One rule: a header that makes no sense is refused by its name, before anything is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, cast

from app.http.authentication import Headers
from app.http.refusals import Refused
from app.identity import Identity
from app.log.values import RETRY_S, Repeat
from events.completions import Optimize

IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 255
"""As Stripe has it."""

RETRIES_MAX: Final = 100
"""No SDK counts higher; more is noise."""

SESSION_S: Final = 60
"""How long a session that asks the same again means the same request: Codex's five retries are over in some ten seconds."""


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


def wish_of(headers: Headers, identity: Identity, endpoint: str, raw: bytes, session: str | None) -> Wish:
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
