"""The web process's ear: one reader for every request that waits in this process, and followers for all others.

A request taken up here is heard through this process's own reply stream. Whoever comes later, or elsewhere, reads the
request's live stream: its history first, then what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Final

import orjson
import structlog

from app.live.last_word import LastWord, last_word
from app.live.order import Order
from app.log import keys
from app.log.connection import Connection, LogGone, LogRefused
from app.log.log import Log
from app.log.values import Frame, frame
from events.catalog import FromTheFuture, read
from events.completions import CompletionEnded

log = structlog.get_logger()

BLOCK_MS: Final = 2000
"""How long one read waits on the server; short of the connection's own patience."""

AGAIN_S: Final = 0.1
"""Pause before reading again after an outage."""

TRIM_EVERY: Final = 500
"""Entries between two trims of a reply stream: each trim is a write that the log server waits for the disk with."""

READ_AT_ONCE: Final = 100
"""Entries of one reading: 3 MB where each is a frame as large as they come, which is all that a reading may take of memory."""

BEHIND_BYTES_MAX: Final = 32 * 1024
"""Sealed words that wait here for one client. Who reads more slowly than the model writes gets the rest from the live
stream, so that a thousand clients who never read cost little."""

PAGE: Final = 1
"""Frames of one reading for such a client."""

LOOK_AGAIN_S: Final = 15.0
"""A waiting request that has heard nothing for so long looks into its live stream itself; also the rhythm of pings."""


class Heard:
    """A frame, and whether everything heard before it is void."""

    __slots__ = ("frame", "restarted")

    def __init__(self, frame: Frame, *, restarted: bool) -> None:
        self.frame = frame
        self.restarted = restarted


class ClientGone(Exception):
    """The client that waited has left."""


class Waiting:
    """One request that waits in this process."""

    def __init__(self, log: Log, account: str, request: str) -> None:
        self._log = log
        self._account = account
        self._request = request
        self._order = Order()
        self._heard: deque[Heard] = deque()
        self._heard_bytes = 0
        self._after = "0-0"
        """How far the live stream has been read."""
        self._missing = False
        self._gone = False
        self._woken: asyncio.Future[None] | None = None

    def hear(self, frame: Frame) -> None:
        """Take a frame of the reply stream. For a client that reads too slowly it is left on the live stream."""
        if self._heard_bytes > BEHIND_BYTES_MAX:
            self._missing = True
            return
        self._take(frame)
        if self._heard or self._missing:
            self._wake()

    def interrupt(self) -> None:
        """The client has left."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._woken and not self._woken.done():
            self._woken.set_result(None)

    async def next(self) -> Heard | None:
        """The next frame; None when there was none for LOOK_AGAIN_S.

        Raises ClientGone, and LogGone when the log cannot be read.
        """
        if not self._heard and not self._missing and not self._gone:
            self._woken = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._woken
        if self._gone:
            raise ClientGone
        if not self._heard:
            await self._read_on()
        if not self._heard:
            return None
        heard = self._heard.popleft()
        self._heard_bytes -= len(heard.frame.body)
        return heard

    async def _read_on(self) -> None:
        """Take from the live stream what is next: at most as much of it as brings something new."""
        more = True
        while more and not self._heard:
            self._missing = False
            told = await self._log.frames(self._account, self._request, self._after, most=PAGE)
            more = len(told) == PAGE
            if not told and self._after == "0-0":
                told = await _told_or_ended(self._log, self._account, self._request)
            for one in told:
                if not self._take(one):
                    self._missing = bool(self._heard)
                    return  # a gap that cannot be closed now is waited for, not asked for again and again
                self._after = one.entry
        self._missing = self._missing or more

    def _take(self, frame: Frame) -> bool:
        """Take a frame in its order → False when others must come before it."""
        verdict = self._order.judge(frame)
        if verdict == "missing":
            self._missing = True
            return False
        if verdict != "skip":
            self._heard.append(Heard(frame, restarted=verdict == "restarted"))
            self._heard_bytes += len(frame.body)
        return True


class Listener:
    """The one reader of this process's reply streams."""

    def __init__(self, log: Log, web: str) -> None:
        self._log = log
        self._web = web
        self._waiting: dict[str, Waiting] = {}
        self._reading: asyncio.Task[None] | None = None
        self._untrimmed: Counter[str] = Counter()
        self._after = {keys.reply(p, web): "0-0" for p in range(log.partitions)}

    async def start(self) -> None:
        """Begin to read. The name of the web process is new at every start, so its streams are read from 0: nothing
        said between announcing and reading is lost."""
        self._reading = asyncio.create_task(self._read(), name="listen")

    async def stop(self) -> None:
        if self._reading:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    @contextlib.contextmanager
    def expect(self, account: str, request: str) -> Iterator[Waiting]:
        """Hear a request from before it is put on the log until the client has had its answer."""
        waiting = self._waiting[request] = Waiting(self._log, account, request)
        try:
            yield waiting
        finally:
            del self._waiting[request]

    @property
    def count(self) -> int:
        """How many requests wait here."""
        return len(self._waiting)

    async def _read(self) -> None:
        """As few readers as the log server allows."""
        async with asyncio.TaskGroup() as readers:
            for partitions in self._log.nodes.together():
                readers.create_task(self._read_from(partitions))

    async def _read_from(self, partitions: Sequence[int]) -> None:
        names = [keys.reply(partition, self._web) for partition in partitions]
        while True:
            try:
                async with self._log.blocking("listen", partitions[0]) as connection:
                    while True:
                        await self._read_once(connection, names)
            except (LogGone, LogRefused) as failed:
                log.warning("listening_interrupted", reason=str(failed))
                if str(failed).startswith("MOVED "):
                    # Any command of the shared connection finds the new place, and the next reader goes there.
                    await asyncio.wait([self._log.command("EXISTS", names[0])])
                await asyncio.sleep(AGAIN_S)

    async def _read_once(self, connection: Connection, names: Sequence[str]) -> None:
        said = await connection(
            "XREAD", "COUNT", READ_AT_ONCE, "BLOCK", BLOCK_MS, "STREAMS", *names, *(self._after[name] for name in names)
        )
        for key, entries in said or ():
            for entry, words in entries:
                heard = frame(entry, words)
                waiting = self._waiting.get(heard.request)
                if waiting is not None:
                    waiting.hear(heard)
            name, last = key.decode(), entries[-1][0].decode()
            self._after[name] = last
            self._untrimmed[name] += len(entries)
            if self._untrimmed[name] >= TRIM_EVERY:  # what is read is of no more use
                self._untrimmed[name] = 0
                self._log.command("XTRIM", name, "MINID", "~", last).add_done_callback(_trimmed)


async def follow(log: Log, account: str, request: str, after: str = "0-0") -> AsyncGenerator[Heard | None, None]:
    """Every frame of a request behind an entry id of its live stream, ending with its last; None every LOOK_AGAIN_S.

    `restarted` marks a frame that voids what the follower has had before. Raises LogGone when the log goes away.
    """
    order = Order()
    noted = await _noted(log, account, request)
    told = await log.frames(account, request, "0-0")
    for one in told or await _told_or_ended(log, account, request):
        verdict = order.judge(one)
        if _position(one.entry) > _position(after):
            after = one.entry
            if verdict in ("take", "restarted"):
                yield Heard(one, restarted=verdict == "restarted")
        if one.kind == "e" and verdict != "skip":
            return
    async with log.blocking("follow", log.partition_of(account)) as connection:
        silent_ms = 0
        while True:
            frames = await log.frames(account, request, after, block_ms=BLOCK_MS, over=connection)
            silent_ms = 0 if frames else silent_ms + BLOCK_MS
            for one in frames:
                after = one.entry
                verdict = order.judge(one)
                if verdict in ("take", "restarted"):
                    yield Heard(one, restarted=verdict == "restarted")
                    if one.kind == "e":
                        return
            if silent_ms >= LOOK_AGAIN_S * 1000:
                silent_ms = 0
                yield None
                if not noted:
                    noted = await _noted(log, account, request)
                    match await _told_or_ended(log, account, request):
                        case [Frame(kind="e") as last]:
                            yield Heard(last, restarted=False)
                            return


async def _noted(log: Log, account: str, request: str) -> bool:
    """Whether the end of this request will be written to its live stream. A log that is full takes no note: then the end
    is looked for."""
    try:
        await log.heed(account, request)
    except LogRefused as full:
        structlog.get_logger().warning("follower_not_noted", request_id=request, reason=str(full)[:100])
        return False
    return True


async def _told_or_ended(log: Log, account: str, request: str) -> list[Frame]:
    """Of a request that had told nothing yet: nothing while it is open; what it has told since then; or, when it ended
    without a live stream, because it told nothing and nobody followed, its last word from its event."""
    standing = await log.standing(account, request)
    if standing is None or standing.event is None:
        return []
    if told := await log.frames(account, request, "0-0"):
        return told  # it has said and done everything between our two looks
    raw = await log.event(account, standing.event)
    try:
        end = read(raw).body if raw else None
    except FromTheFuture:
        end = None
    word = last_word(end) if isinstance(end, CompletionEnded) else LastWord(outcome=standing.state)
    return [Frame(standing.event, request, attempt=1, kind="e", number=1, meta=orjson.dumps(word), body=b"")]


class Follower:
    """Somebody who came later, with the same manners as `Waiting`."""

    def __init__(self, frames: AsyncGenerator[Heard | None, None]) -> None:
        self._frames = frames
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def interrupt(self) -> None:
        """The client has left."""
        if not self._gone.done():
            self._gone.set_result(None)

    async def next(self) -> Heard | None:
        """The next frame; None when there was none for LOOK_AGAIN_S. Raises ClientGone and LogGone; StopAsyncIteration
        behind the last frame."""
        coming = asyncio.ensure_future(anext(self._frames))
        try:
            await asyncio.wait((coming, self._gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not coming.done():  # the client has left, or we are told to stop: the generator must not go on alone
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, LogGone, LogRefused):
                    await coming
            elif not coming.cancelled():
                coming.exception()  # looked at even if nobody is left to be told, or asyncio reports it as a fault
        if self._gone.done():
            raise ClientGone
        return coming.result()

    async def close(self) -> None:
        await self._frames.aclose()


def _position(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)


def _trimmed(done: asyncio.Future[object]) -> None:
    """A trim that failed is made good by the next one."""
    if not done.cancelled():
        done.exception()
