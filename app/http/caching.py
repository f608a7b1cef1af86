"""What a client wants of the response cache, on any route: `x-helix-cache`, `x-helix-cache-ttl`, or `cache` in the body.

One rule: who says nothing gets what the account has chosen, and that is nothing until it chooses. The field `cache` is
Helix's own: no provider sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from app.http.authentication import Headers
from app.http.refusals import Refused
from app.http.shapes import Shaped, shaped
from handlers.rules.caching import TTL_S_DEFAULT, TTL_S_MAX, TTL_S_MIN

FIELD: Final = "cache"

WORDS: Final = ("on", "off", "refresh")

SIMILAR: Final = "similar"
"""Another word, where the operator has switched it on."""


class CacheOptions(Shaped):
    """Answer from the response cache, and keep the answer in it."""

    model_config = ConfigDict(extra="forbid")

    ttl: Annotated[int, Field(ge=TTL_S_MIN, le=TTL_S_MAX)] = TTL_S_DEFAULT
    """Seconds: neither is an older answer given, nor is this one kept for longer."""


class _Body(Shaped):
    cache: CacheOptions | None = None


@dataclass(frozen=True, slots=True)
class CacheWish:
    ttl_s: int | None
    """None: the cache is not used."""
    refresh: bool = False
    """Ask anew, and keep the new answer."""
    similar: bool = False
    """An answer to a question that means the same will do."""


def cache_wish(
    headers: Headers, parsed: Mapping[str, object], account_ttl_s: int | None, *, semantic: bool = False
) -> CacheWish:
    """What this request is to have. A header is stronger than the body, the body than the account's choice; `off` than
    everything. `semantic`: the operator has switched `similar` on. Raises Refused 400 for what makes no sense."""
    words = (*WORDS, SIMILAR) if semantic else WORDS
    word: str | None = None
    ttl_s: int | None = None
    for name, value in headers:
        if name == b"x-helix-cache":
            word = value.decode("latin-1").strip().lower()
            if word not in words:
                raise _refused("x-helix-cache", f"is one of: {', '.join(words)}")
        elif name == b"x-helix-cache-ttl":
            ttl_s = _seconds(value)
    if parsed.get(FIELD) is not None:
        options = shaped(_Body, {FIELD: parsed[FIELD]}).cache
        ttl_s = ttl_s or (options.ttl if options else None)
    if word == "off":
        return CacheWish(None)
    if word is None and ttl_s is None:
        return CacheWish(account_ttl_s)
    return CacheWish(ttl_s or account_ttl_s or TTL_S_DEFAULT, refresh=word == "refresh", similar=word == SIMILAR)


def _seconds(value: bytes) -> int:
    text = value.strip()
    if text.isdigit() and len(text) <= len(str(TTL_S_MAX)) and TTL_S_MIN <= int(text) <= TTL_S_MAX:
        return int(text)
    raise _refused("x-helix-cache-ttl", f"is a number of seconds, {TTL_S_MIN} to {TTL_S_MAX}")


def _refused(name: str, what: str) -> Refused:
    return Refused(400, "invalid_value", f"The header {name} {what}.", param=name)
