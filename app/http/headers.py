"""What every answer says to a browser: take it for what it is, keep it nowhere, show it in no frame, and whose pages may read it.

One rule: closed until the operator opens it. `HELIX_CORS_ORIGINS` names the origins whose pages may call; a key is always
sent by name, never by a cookie, so no answer ever allows credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

Header = tuple[bytes, bytes]

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
        if not _ORIGIN.fullmatch(each):
            raise ValueError(f"not an origin (scheme, host in small letters and port, no path): {each}")
    return frozenset(each.encode() for each in named)


class Cors:
    """Whose pages may read our answers."""

    def __init__(self, allowed: frozenset[bytes] = frozenset()) -> None:
        self._allowed = allowed

    def opens(self, headers: Iterable[Header]) -> list[Header]:
        """What an answer to these headers carries for the page that asked; nothing for a page that may not read it."""
        if not self._allowed:
            return []
        origin = next((value for name, value in headers if name == b"origin"), None)
        told: list[Header] = [(b"vary", b"origin")]  # else a cache would give one origin's answer to another
        if origin in self._allowed and origin is not None:
            told += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _SHOWN + b", " + _LIMITS),
                (b"cross-origin-resource-policy", b"cross-origin"),
            ]
        return told

    def preflight(self, method: str, headers: Sequence[Header]) -> list[Header] | None:
        """The headers of a preflight's answer; None when this is none, or none of an origin that is allowed."""
        if method != "OPTIONS" or not self._allowed:
            return None
        asked = dict(headers)
        if asked.get(b"origin") not in self._allowed or b"access-control-request-method" not in asked:
            return None
        told = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _PREFLIGHT_KEPT_S),
            (b"content-length", b"0"),
        ]
        wanted = asked.get(b"access-control-request-headers", b"")
        if len(wanted) <= _NAME_LIST_BYTES_MAX and _NAME_LIST.fullmatch(wanted):
            # SDKs send a dozen names of their own, and new ones with each version; none means anything but here.
            told.append((b"access-control-allow-headers", wanted))
        return told
