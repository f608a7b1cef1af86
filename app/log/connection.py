"""One socket to a Redis or Valkey server, shared by every task of the process.

Commands of one turn of the event loop leave in one write and replies are matched in order, so a command costs a few
microseconds where a pooled client costs sixty (docs/decisions/0002). A command that was written but not answered when
the socket broke has an unknown outcome: `LogGone.sent` says so, and nothing here repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

log = structlog.get_logger()

Argument = str | bytes | int | float
Reply = Any
"""What the server answers: bytes, int, None, or a list of these. Each command's reader knows its own shape."""

_UNANSWERED_MAX: Final = 50_000
"""Commands waiting for a reply; beyond it the server is not keeping up and more would only cost memory."""

SILENCE_S_MAX: Final = 10.0
"""A server that leaves a command unanswered for so long is treated as gone; longer than any script or fsync takes."""

CLOSE_S_MAX: Final = 1.0
"""How long closing waits for what was written to leave."""

_PASSING: Final = (
    "OOM",  # memory is full until something is trimmed
    "MISCONF",  # the disk cannot be written
    "LOADING",  # it reads its file after a restart
    "BUSY ",  # somebody's script runs too long
    "READONLY",  # a replica on its way to be the primary
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOSCRIPT",  # its scripts were flushed; they are loaded again at once
)

_RECONNECT_S_MAX: Final = 0.5
"""The longest pause between two tries to connect: an outage ends within this of the server's return."""


class LogGone(ConnectionError):
    """The server cannot be reached. `sent`: the command had left, so it may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class LogRefused(Exception):
    """The server answered with an error; the message is its own."""

    @property
    def passing(self) -> bool:
        """Whether the reason lies in the server's condition: the same command may be taken later."""
        return str(self).startswith(_PASSING)


class Connection(asyncio.Protocol):
    """Call it like a function: `await connection("XADD", key, "*", "field", value)`.

    `on_connect` is awaited after each connection is made and before it is used by anyone else; `on_push` is told each
    message of a subscription; `on_lost` that the socket broke. `silence_s` is how long a command may stay unanswered.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        on_connect: Callable[[Connection], Coroutine[None, None, None]] | None = None,
        on_push: Callable[[list[Reply]], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        silence_s: float = SILENCE_S_MAX,
    ) -> None:
        self._url = urlsplit(url)
        self._name = name
        self._on_connect = on_connect
        self._on_push = on_push
        self._on_lost = on_lost
        self._silence_s = silence_s
        self._reader = hiredis.Reader(replyError=LogRefused)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._unwritten: list[bytes] = []
        self._answered = 0
        self._usable = False
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._restored_at = -math.inf
        self._broken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def open(self, *, patiently: bool = False) -> Connection:
        """Connect, or raise LogGone; from then on the connection mends itself until `close`.

        `patiently`: a server that is away now is tried again until it is there.
        """
        try:
            await self._connect()
        except LogGone:
            if not patiently:
                raise
            self._broken.set()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._name}")
        return self

    async def close(self) -> None:
        """Close the socket; commands still waiting raise LogGone."""
        self._closing = True
        self._usable = False
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._transport:
            self._transport.close()
            with contextlib.suppress(TimeoutError):  # a server that takes nothing any more is not waited for
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._broken.wait()
            if self._transport:
                self._transport.abort()
        self._fail(LogGone("closed", sent=True))

    @property
    def connected(self) -> bool:
        return self._usable

    @property
    def restored_ago_s(self) -> float:
        """How long ago the last outage ended; infinite when there was none."""
        return self._loop.time() - self._restored_at

    def __call__(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send one command; the future holds its reply, or raises LogRefused or LogGone."""
        if not self._usable:
            return self._failed(LogGone("not connected", sent=False))
        if len(self._waiting) >= _UNANSWERED_MAX:
            return self._failed(LogGone("too many commands unanswered", sent=False))
        return self._send(command)

    def _send(self, command: Sequence[Argument]) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(future)
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self._unwritten.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]  # its stub says one word
        return future

    def _failed(self, gone: LogGone) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        future.set_exception(gone)
        return future

    def _write(self) -> None:
        if self._unwritten and self._transport:
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._answered += 1
            if self._on_push and isinstance(reply, list) and reply and reply[0] in _PUSHED:
                if reply[0] in _SUBSCRIBED and self._waiting:
                    self._waiting.popleft().set_result(reply)
                else:
                    self._on_push(reply)
                continue
            future = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, LogRefused):
                future.set_exception(reply)
                if str(reply).startswith("NOSCRIPT"):
                    self._prepare_again()
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._usable = False
        self._transport = None
        self._fail(LogGone("connection lost", sent=True))
        if self._on_lost and not self._closing:
            self._on_lost()
        self._broken.set()

    def _fail(self, gone: LogGone) -> None:
        self._unwritten.clear()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(gone)
                future.exception()  # a caller that has left need not be warned about

    # Keeping the connection.

    async def _connect(self) -> None:
        self._reader = hiredis.Reader(replyError=LogRefused)
        self._broken.clear()
        try:
            async with asyncio.timeout(5):
                if self._url.scheme == "unix":
                    await self._loop.create_unix_connection(lambda: self, self._url.path)
                else:
                    await self._loop.create_connection(
                        lambda: self,
                        self._url.hostname or "127.0.0.1",
                        self._url.port or 6379,
                        ssl=ssl.create_default_context() if self._url.scheme == "rediss" else None,
                    )
                await self._greet()
        except (OSError, LogRefused, TimeoutError) as failed:
            if self._transport:
                self._transport.abort()
            raise LogGone(f"{type(failed).__name__}: {failed}", sent=False) from None
        self._usable = True

    async def _greet(self) -> None:
        if self._url.password:
            user = (unquote(self._url.username),) if self._url.username else ()
            await self._send(("AUTH", *user, unquote(self._url.password)))
        database = self._url.path.strip("/") if self._url.scheme != "unix" else ""
        if database not in ("", "0"):
            await self._send(("SELECT", database))
        await self._send(("CLIENT", "SETNAME", self._name.replace(" ", "-")))
        await self._send(("PING",))  # refused as long as the server reads its file: until then it serves nobody
        if self._on_connect:
            self._usable = True
            try:
                await self._on_connect(self)
            except BaseException:
                self._usable = False
                raise

    def _prepare_again(self) -> None:
        """The server has forgotten what `on_connect` told it."""
        if self._on_connect and self._usable and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.create_task(self._prepare(self._on_connect), name=f"prepare {self._name}")

    async def _prepare(self, on_connect: Callable[[Connection], Coroutine[None, None, None]]) -> None:
        with contextlib.suppress(LogGone, LogRefused):  # the next NOSCRIPT, or the next connection, tries again
            await on_connect(self)

    async def _keep(self) -> None:
        while True:
            await self._watch()
            log.warning("connection_lost", connection=self._name)
            pause_s = 0.02
            while not self._usable:
                try:
                    await self._connect()
                except LogGone:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, _RECONNECT_S_MAX)
            self._restored_at = self._loop.time()
            log.info("connection_restored", connection=self._name)

    async def _watch(self) -> None:
        """Return when the socket is broken; break it when the server has fallen silent."""
        answered, silent_s = self._answered, 0.0
        look_s = min(1.0, self._silence_s / 4)
        while not self._broken.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(look_s):
                    await self._broken.wait()
            silent_s = silent_s + look_s if self._waiting and answered == self._answered else 0.0
            answered = self._answered
            if silent_s >= self._silence_s and self._transport:
                self._transport.abort()


_SUBSCRIBED: Final = frozenset((b"subscribe", b"unsubscribe"))
_PUSHED: Final = frozenset((b"message", b"subscribe", b"unsubscribe"))
