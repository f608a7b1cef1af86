"""The channel on which processes hear what to forget: over a real server, through its outages."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from app.changes import Change, Changes, ChannelDown, tell

SOON_S = 5.0


class Listener:
    def __init__(self, cache_url: str) -> None:
        self.said: asyncio.Queue[Change | None] = asyncio.Queue()
        """None is a gap."""
        self.changes = Changes(cache_url, on_change=self.said.put_nowait, on_gap=lambda: self.said.put_nowait(None))

    async def next(self) -> Change | None:
        async with asyncio.timeout(SOON_S):
            return await self.said.get()


async def test_a_change_is_heard_by_all(cache_url: str) -> None:
    listeners = [Listener(cache_url), Listener(cache_url)]
    for listener in listeners:
        listener.changes.start()
        assert await listener.next() is None

    await tell(cache_url, Change("key", "ab" * 32), Change("account", "a:b"))

    for listener in listeners:
        assert [await listener.next(), await listener.next()] == [Change("key", "ab" * 32), Change("account", "a:b")]
        await listener.changes.stop()


async def test_who_was_cut_off_hears_of_the_gap_and_goes_on(cache_url: str) -> None:
    listener = Listener(cache_url)
    listener.changes.start()
    assert await listener.next() is None

    async with Redis.from_url(cache_url) as operator:
        assert await operator.client_kill_filter(_type="pubsub") == 1

    assert await listener.next() is None
    await tell(cache_url, Change("key", "ab"))
    assert await listener.next() == Change("key", "ab")
    await listener.changes.stop()


@pytest.mark.parametrize("strange", [b"", b"team:1", b"\xff\xfe", b"key"])
async def test_what_is_not_understood_counts_as_a_gap(cache_url: str, strange: bytes) -> None:
    listener = Listener(cache_url)
    listener.changes.start()
    assert await listener.next() is None

    async with Redis.from_url(cache_url) as newer:
        await newer.publish("helix:changed", strange)

    assert await listener.next() is None
    await listener.changes.stop()


async def test_a_channel_that_is_down_is_told_to_the_teller_and_does_not_stop_the_listener() -> None:
    nowhere = "redis://127.0.0.1:1"
    listener = Listener(nowhere)
    listener.changes.start()

    with pytest.raises(ChannelDown):
        await tell(nowhere, Change("key", "ab"))
    await asyncio.sleep(0)

    assert listener.said.empty() and not listener.changes.heard.is_set()
    await listener.changes.stop()
