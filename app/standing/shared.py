"""What all workers know together, on the cache server: counted calls, circuits, and whose turn it is to probe.

One rule: everything is a sum, a last word or a lease, so that workers need not agree on anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.standing.tallies import KEPT, STRETCH_S, Cells, Stretches, stretch_of
from handlers.rules.circuit import Circuit

AWAY: Final = (RedisError, OSError)
"""How it shows that the cache server cannot be asked."""

PATIENCE_S: Final = 1.0
"""A cache that takes longer is away: nothing here is worth waiting for."""

CLAIM_S: Final = 5.0
"""A worker that has the turn to probe and no request for it lets others have it after this time."""

PROBE_S: Final = 60.0
"""A probe that takes longer no longer keeps others from trying."""

_COUNTED: Final = "helix:{standing}:calls"
_CIRCUITS: Final = "helix:{standing}:circuits"
_PROBE: Final = "helix:{standing}:probe"

_COUNTED_KEPT_S: Final = 2 * KEPT * STRETCH_S
_CIRCUITS_KEPT_S: Final = 2 * 3600
"""Longer than any circuit rests."""


@dataclass(slots=True)
class News:
    """What one worker has to say."""

    counted: dict[int, dict[str, Cells]] = field(default_factory=dict)
    circuits: dict[str, Circuit | None] = field(default_factory=dict)
    """None: it is forgotten."""
    claims: Sequence[str] = ()
    begun: Sequence[str] = ()
    released: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What the others have said, this worker's news among it."""

    now: float
    """The cache server's clock: the one that all workers go by."""
    circuits: dict[str, Circuit]
    counted: dict[int, dict[str, Cells]]
    claimed: Sequence[str] = ()


class Shared:
    """The cache server, as far as this goes. Every method raises one of AWAY."""

    def __init__(self, cache_url: str, name: str) -> None:
        self._redis = Redis.from_url(
            cache_url,
            retry=Retry(NoBackoff(), 1),
            socket_connect_timeout=PATIENCE_S,
            socket_timeout=PATIENCE_S,
        )
        self._name = name

    async def close(self) -> None:
        await self._redis.aclose()

    async def exchange(self, news: News, now: float, stretches: int) -> Told:
        """Say and hear in one round trip; of the counted calls, the newest `stretches`."""
        asked = self._redis.pipeline(transaction=False)
        asked.time()
        for number, offers in news.counted.items():
            key = f"{_COUNTED}:{number}"
            for offer, cells in offers.items():
                for cell, count in cells.items():
                    asked.hincrby(key, f"{offer} {cell}", count)
            asked.expire(key, _COUNTED_KEPT_S)
        for name, circuit in news.circuits.items():
            if circuit is None:
                asked.hdel(_CIRCUITS, name)
            else:
                asked.hset(_CIRCUITS, name, _encoded(circuit))
        if news.circuits:
            asked.expire(_CIRCUITS, _CIRCUITS_KEPT_S)
        for name in news.released:
            asked.delete(f"{_PROBE}:{name}")
        for name in news.begun:
            asked.pexpire(f"{_PROBE}:{name}", int(PROBE_S * 1000))
        before_claims = len(asked)
        for name in news.claims:
            asked.set(f"{_PROBE}:{name}", self._name, nx=True, px=int(CLAIM_S * 1000))
        newest = stretch_of(now)
        numbers = range(newest - stretches + 1, newest + 1)
        asked.hgetall(_CIRCUITS)
        for number in numbers:
            asked.hgetall(f"{_COUNTED}:{number}")
        said: list[Any] = await asked.execute()
        seconds, microseconds = said[0]
        claims = said[before_claims : before_claims + len(news.claims)]
        circuits, *counted = said[before_claims + len(news.claims) :]
        return Told(
            seconds + microseconds / 1e6,
            {name.decode(): found for name, raw in circuits.items() if (found := _decoded(raw))},
            {number: _cells(raw) for number, raw in zip(numbers, counted, strict=True) if raw},
            [name for name, got in zip(news.claims, claims, strict=True) if got],
        )

    async def read(self, now: float) -> Told:
        """All there is, without a word of one's own."""
        return await self.exchange(News(), now, KEPT)


def merged(into: dict[int, dict[str, Cells]], more: Stretches) -> None:
    """Add the cells of `more` to `into`."""
    for number, offers in more.items():
        there = into.setdefault(number, {})
        for offer, cells in offers.items():
            there.setdefault(offer, Counter()).update(cells)


def pruned(counted: Iterable[int], now: float) -> list[int]:
    """The stretches that nobody looks at any more."""
    first = stretch_of(now) - KEPT
    return [number for number in counted if number <= first]


def _cells(raw: Mapping[bytes, bytes]) -> dict[str, Cells]:
    offers: dict[str, Cells] = {}
    for name, count in raw.items():
        offer, _, cell = name.decode().rpartition(" ")
        offers.setdefault(offer, Counter())[cell] = int(count)
    return offers


def _encoded(circuit: Circuit) -> bytes:
    return orjson.dumps(asdict(circuit))


def _decoded(raw: bytes) -> Circuit | None:
    """None for what a newer worker has written in a shape that this one does not know."""
    try:
        return Circuit(**orjson.loads(raw))
    except (orjson.JSONDecodeError, TypeError):
        return None
