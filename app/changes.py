"""Word of what must be forgotten: one channel on the cache server that every process listens to.

One rule: a change is told after it is committed; whoever may have missed one forgets everything. So a revoked key dies
everywhere within a second while the channel is up, and with the cached entry's own end while it is down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger()

_CHANNEL: Final = "helix:changed"

_SILENCE_S_MAX: Final = 5.0
"""A quiet channel is pinged this often; no answer within the same time again means that it is lost."""

_RECONNECT_S: Final = 0.5
"""Between two tries to subscribe: a returned cache server is heard again within the second."""

_LOST: Final = (RedisError, OSError)

Kind = Literal["key", "account", "session"]


class ChannelDown(Exception):
    """The change could not be told; the others find it when what they remember ends."""


@dataclass(frozen=True, slots=True)
class Change:
    """`key`: `id` is the SHA-256 of an API key. `account`: whatever is remembered of that account.
    `session`: one of a person who has signed in."""

    kind: Kind
    id: str


def _client(cache_url: str) -> Redis:
    """Without redis-py's own retries: it would subscribe again unseen, and what was said meanwhile would be missed."""
    return Redis.from_url(
        cache_url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=_SILENCE_S_MAX, socket_timeout=_SILENCE_S_MAX
    )


async def tell(cache_url: str, *changes: Change) -> None:
    """Tell every process. Raises ChannelDown."""
    try:
        async with _client(cache_url) as client:
            for change in changes:
                await client.publish(_CHANNEL, f"{change.kind}:{change.id}")
    except _LOST as lost:
        raise ChannelDown(type(lost).__name__) from lost


class Changes:
    """The listening end. `on_change` is told each change, `on_gap` that some may have been missed."""

    def __init__(self, cache_url: str, *, on_change: Callable[[Change], None], on_gap: Callable[[], None]) -> None:
        self._cache_url = cache_url
        self._on_change = on_change
        self._on_gap = on_gap
        self._task: asyncio.Task[None] | None = None
        self.heard = asyncio.Event()
        """Set while the channel is subscribed."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="changes")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            try:
                async with _client(self._cache_url) as client, client.pubsub() as channel:
                    await channel.subscribe(_CHANNEL)
                    await self._follow(channel)
            except _LOST as lost:
                log.warning("changes_channel_lost", why=type(lost).__name__)
            self.heard.clear()
            await asyncio.sleep(_RECONNECT_S)

    async def _follow(self, channel: PubSub) -> None:
        """Returns when the channel has fallen silent; raises when it breaks."""
        pinged = False
        while True:
            said = await channel.get_message(timeout=_SILENCE_S_MAX)
            if said is None:
                if pinged:
                    log.warning("changes_channel_lost", why="silence")
                    return
                await channel.ping()
                pinged = True
                continue
            pinged = False
            if said["type"] == "subscribe":
                self._on_gap()  # from here on nothing is missed; before, something may have been
                self.heard.set()
                log.info("changes_channel_heard")
            elif said["type"] == "message":
                self._hear(said["data"].decode("utf-8", "replace"))

    def _hear(self, text: str) -> None:
        match text.split(":", 1):
            case ["key", id]:
                self._on_change(Change("key", id))
            case ["account", id]:
                self._on_change(Change("account", id))
            case ["session", id]:
                self._on_change(Change("session", id))
            case [kind, *_]:  # said by a newer Helix: forget everything rather than too little
                self._on_gap()
                log.warning("change_not_understood", kind=kind[:20])
