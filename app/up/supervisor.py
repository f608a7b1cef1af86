"""Keep what `up` started alive. One rule: whoever ends unasked is started again at once, and it is said.

A child that cannot be started the first time is another matter: then `up` itself fails, with the child's own words above.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from app.embedded.server import Server, ServerFailed
from app.up.voice import Voice

STEADY_S: Final = 5.0
"""Who lived this long is started again without a pause."""
PAUSES_S: Final = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Before each next start of one that keeps dying; the contract says within a second."""
POLL_S: Final = 0.1
"""How often a server is looked at."""


class StartFailed(Exception):
    """A child ended before it was ready for the first time."""


class Child(Protocol):
    """A program of ours or a server of others."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    async def start(self) -> None: ...
    async def announced(self) -> None: ...
    async def ended(self) -> int: ...
    async def stop(self, within_s: float) -> None: ...
    def kill(self) -> None: ...


class ServerChild:
    """An embedded server, seen as a child."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def pid(self) -> int:
        return self._server.pid

    async def start(self) -> None:
        self._server.spawn()

    async def announced(self) -> None:
        """Raises ServerFailed when it ends or does not answer in time."""
        await asyncio.to_thread(self._server.wait_ready)

    async def ended(self) -> int:
        while (code := self._server.exit_code()) is None:  # noqa: ASYNC110  # the event is the end of another process
            await asyncio.sleep(POLL_S)
        return code

    async def stop(self, within_s: float) -> None:
        await asyncio.to_thread(self._server.stop, within_s)

    def kill(self) -> None:
        """A server is never killed: its data would have to be recovered."""


class Supervisor:
    """Children in the order of their start."""

    def __init__(self, voice: Voice, changed: Callable[[], None]) -> None:
        """`changed` is called when pids are no longer what they were: after every start again, and in a replacement."""
        self._voice = voice
        self._changed = changed
        self._kept: dict[Child, asyncio.Task[None]] = {}

    async def begin(self, *children: Child) -> None:
        """Start them together and return when all are ready. Raises StartFailed; `end` is due for each all the same."""
        for child in children:
            await child.start()
        await asyncio.gather(*(self._settle(child) for child in children))

    async def replace(self, old: Child, new: Child, *, ready_s: float, drain_s: float) -> None:
        """Start `new`, and end `old` when it is ready. Raises StartFailed when it is not ready in time; `old` goes on."""
        try:
            async with asyncio.timeout(ready_s):
                await self.begin(new)
        except TimeoutError as late:
            await self.end(new, 0)
            raise StartFailed(f"{new.name} was not ready within {ready_s:.0f} s") from late
        except (StartFailed, OSError) as failed:
            await self.end(new, 0)
            raise StartFailed(str(failed)) from failed
        self._changed()
        await self.end(old, drain_s)

    async def end(self, child: Child, within_s: float) -> None:
        """Stop it and do not start it again."""
        kept = self._kept.pop(child, None)
        if kept:
            kept.cancel()
            await asyncio.gather(kept, return_exceptions=True)
        await child.stop(within_s)

    async def _settle(self, child: Child) -> None:
        began = time.monotonic()
        ended = asyncio.create_task(child.ended())
        announced = asyncio.create_task(child.announced())
        try:
            await asyncio.wait({ended, announced}, return_when=asyncio.FIRST_COMPLETED)
            if not announced.done():
                raise StartFailed(f"{child.name} ended with {ended.result()} before it was ready")
            announced.result()
        except ServerFailed as failed:
            raise StartFailed(str(failed)) from failed
        finally:
            ended.cancel()
            announced.cancel()
        self._kept[child] = asyncio.create_task(self._keep(child, began), name=f"keep {child.name}")

    async def _keep(self, child: Child, began: float) -> None:
        deaths = 0
        while True:
            code = await child.ended()
            deaths = 0 if time.monotonic() - began > STEADY_S else deaths + 1
            self._voice.say(f"{child.name} (pid {child.pid}) ended with {code}; starting it again")
            await asyncio.sleep(PAUSES_S[min(deaths, len(PAUSES_S) - 1)])
            began = time.monotonic()
            try:
                await child.start()
            except (OSError, ServerFailed) as failed:  # no memory, no disk: it may be there the next time
                self._voice.say(f"{child.name} could not be started: {failed}")
            self._changed()
