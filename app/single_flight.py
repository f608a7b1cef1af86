"""Many ask, one goes. One rule: of those who ask for the same thing at the same time, only the first makes the journey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """The journey is a task of its own: one who stops waiting does not end it for the others."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Task[Value]] = {}
        self._forsaken: set[asyncio.Task[Value]] = set()
        """Kept alive for those who wait for them still."""

    async def fetch(self, key: Key, journey: Callable[[Key], Awaitable[Value]]) -> Value:
        """What `journey(key)` returns or raises."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(_run(journey, key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def forsake_all(self) -> None:
        """The world has changed: who comes from now on does not join a journey that began before."""
        self._forsaken.update(self._under_way.values())
        self._under_way.clear()

    def _landed(self, key: Key, task: asyncio.Task[Value]) -> None:
        self._forsaken.discard(task)
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # each who waits has raised it; when nobody waits any more, it concerns nobody


async def _run(journey: Callable[[Key], Awaitable[Value]], key: Key) -> Value:
    return await journey(key)
