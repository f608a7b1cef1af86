"""What every answer says to a browser: take it for what it is, keep it nowhere, show it in no frame, and whose pages may read it.

One rule: closed until somebody opens it: the operator for all keys (`HELIX_CORS_ORIGINS`), whoever makes a key for that key
(its `allowed_origins`). A key is always sent by name, never by a cookie, so no answer ever allows credentials.

A preflight brings no key and is told nothing of one: it is answered for any origin, and gives away only that this is an API.
What decides is whether the page may read the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

Header = tuple[bytes, bytes]

PAGE: Final = "page"
"""Where in a request's state stands the origin of the page that its key lets read the answer."""

SAFE: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Each where a route says nothing of its own. Strict-Transport-Security is for whoever ends TLS before us."""
_NAMES: Final = frozenset(name for name, _ in SAFE)

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
_SHOWN: Final = (
    b"x-request-id, request-id, retry-after, retry-after-ms, location, x-should-retry, idempotency-replayed, "
    + (b", ".join(b"x-helix-" + name for name in (b"provider", b"model", b"attempts", b"cache", b"cost-usd")))
)
_LIMITS: Final = b", ".join(
    b"x-ratelimit-%b-%b" % (what, of) for what in (b"limit", b"remaining", b"reset") for of in (b"requests", b"tokens")
)
_PREFLIGHT_KEPT_S: Final = b"600"
"""How long a browser may remember what is allowed: a closed origin is closed for everybody after this."""

_VARIES: Final = (b"vary", b"origin")
"""Else a cache would give one origin's answer to another."""

_NAME_LIST: Final = re.compile(rb"[a-zA-Z0-9_-]+(?:[ \t]*,[ \t]*[a-zA-Z0-9_-]+)*")
_NAME_LIST_BYTES_MAX: Final = 2048
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def with_safe(headers: Sequence[Header]) -> list[Header]:
    """The headers of an answer, with those of SAFE that it lacks."""
    own = _NAMES.intersection(name for name, _ in headers)
    return [*headers, *(each for each in SAFE if each[0] not in own)] if own else [*headers, *SAFE]


def origins(text: str) -> frozenset[bytes]:
    """`https://a.example, http://localhost:3000`, or empty. Raises ValueError for what is no origin; a star is none:
    it would let every page in the world try keys from its visitors' machines."""
    named = [each.strip() for each in text.split(",") if each.strip()]
    for each in named:
        if not is_origin(each):
            raise ValueError(f"not an origin (scheme, host in small letters and port, no path): {each}")
    return frozenset(each.encode() for each in named)


def is_origin(text: str) -> bool:
    """Scheme, host in small letters and port as browsers send them; a star and `null` are none."""
    return _ORIGIN.fullmatch(text) is not None


def opened(origin: bytes) -> list[Header]:
    """What an answer carries that a page of this origin may read."""
    return [
        _VARIES,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _SHOWN + b", " + _LIMITS),
        (b"cross-origin-resource-policy", b"cross-origin"),
    ]


class Cors:
    """Whose pages may read our answers."""

    def __init__(self, allowed: frozenset[bytes] = frozenset()) -> None:
        self._allowed = allowed

    def opens(self, headers: Iterable[Header]) -> list[Header]:
        """What an answer to these headers carries for the page that asked; nothing for a page that may not read it."""
        if not self._allowed:
            return []
        origin = next((value for name, value in headers if name == b"origin"), None)
        return opened(origin) if origin is not None and origin in self._allowed else [_VARIES]

    def preflight(self, method: str, headers: Sequence[Header]) -> list[Header] | None:
        """The headers of a preflight's answer; None when this is none, or what asks is no origin."""
        if method != "OPTIONS":
            return None
        asked = dict(headers)
        origin = asked.get(b"origin", b"")
        if not is_origin(origin.decode("latin-1")) or b"access-control-request-method" not in asked:
            return None
        told = [
            *(() if origin in self._allowed else opened(origin)),  # else the shell opens the answer
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _PREFLIGHT_KEPT_S),
            (b"content-length", b"0"),
        ]
        wanted = asked.get(b"access-control-request-headers", b"")
        if len(wanted) <= _NAME_LIST_BYTES_MAX and _NAME_LIST.fullmatch(wanted):
            # SDKs send a dozen names of their own, and new ones with each version; none means anything but here.
            told.append((b"access-control-allow-headers", wanted))
        return told
