"""How an answer tells of limits: OpenAI's names everywhere, Anthropic's beside them on its own wire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from app.http.dialect import Header
from app.limits.bounds import Bounds
from app.log.values import Left
from events.completions import Wire

What = Literal["requests", "tokens"]


def limit_headers(bounds: Bounds, paces: Sequence[Left], wire: Wire) -> tuple[Header, ...]:
    """What is left after a request was let in. Of several rates of requests, that of which least is left."""
    if not paces:
        return ()
    said: list[Header] = []
    requests = list(zip(bounds.rates, paces, strict=False))
    if requests:
        rate, left = min(requests, key=lambda one: one[1].left)
        said += pace_headers("requests", rate.most, left, wire)
    if bounds.tokens is not None and len(paces) > len(bounds.rates):
        said += pace_headers("tokens", bounds.tokens.burst, paces[-1], wire)
    return tuple(said)


def pace_headers(what: What, most: int, left: Left, wire: Wire) -> Iterator[Header]:
    """One limit: how much, what is left of it, when it is whole again."""
    yield f"x-ratelimit-limit-{what}".encode(), str(most).encode()
    yield f"x-ratelimit-remaining-{what}".encode(), str(left.left).encode()
    yield f"x-ratelimit-reset-{what}".encode(), f"{left.whole_after_s:.3f}s".encode()
    if wire == "anthropic":
        whole_at = datetime.now(UTC) + timedelta(seconds=left.whole_after_s)
        yield f"anthropic-ratelimit-{what}-limit".encode(), str(most).encode()
        yield f"anthropic-ratelimit-{what}-remaining".encode(), str(left.left).encode()
        yield f"anthropic-ratelimit-{what}-reset".encode(), whole_at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
