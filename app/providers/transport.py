"""The one pooled HTTP client that every provider is called with.

One rule: whatever goes wrong on the wire leaves here as ProviderFailed, and a call that does not end properly closes
its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from app.providers.allowance import limited_s
from app.providers.failures import failure_of
from handlers.ports import ProviderFailed

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

CONNECT_S = 10.0
"""A provider whose name and port do not answer in this time is down."""
FIRST_BYTE_S = 120.0
"""A stream's first byte: long questions to reasoning models take a minute and more."""
SILENCE_S = 60.0
"""Between two pieces of a stream: providers send pings well within it."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""An unstreamed answer, images in base64 included; what is longer is no answer."""
STREAM_BYTES_MAX = 64 * 1024 * 1024
"""A whole stream: some 200 bytes for each of 300,000 tokens, more than any model writes."""
ERROR_BYTES_MAX = 64 * 1024
"""Of an error's body: enough for its message."""
KEEPALIVE_S = 55.0
"""Less than the 60 s after which common load balancers close an idle connection."""
DRAIN_S = 1.0
"""How long a stream that has said its last word may take to close, so that its connection can be used again."""
_DRAIN_BYTES_MAX = 64 * 1024

_fresh: ContextVar[bool] = ContextVar("connection_is_fresh", default=False)


class _Pool(aiohttp.TCPConnector):
    """Notes whether the call got a new connection or one from the pool."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> ResponseHandler:
        _fresh.set(True)
        return await super()._create_connection(req, traces, timeout)


class Patience:
    """Ends the task's wait when a limit passes: the deadline of the whole, or a silence.

    The silence has one timer a call that looks at the last sign of life when it fires, instead of one for every piece.
    """

    __slots__ = ("_alarm", "_loop", "_silence_s", "_since", "_timer")

    def __init__(self, alarm: asyncio.Timeout) -> None:
        self._alarm = alarm
        self._loop = asyncio.get_running_loop()
        self._silence_s = 0.0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, within_s: float) -> None:
        """From now on a sign of life is due within this time, again and again."""
        self.stop()
        self._silence_s = within_s
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._since + within_s, self._look)

    def heard(self) -> None:
        self._since = self._loop.time()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        due = self._since + self._silence_s
        now = self._loop.time()
        if due > now:
            self._timer = self._loop.call_at(due, self._look)
        elif not self._alarm.expired():
            self._alarm.reschedule(now)


class Reply:
    """An open answer with status 200."""

    __slots__ = ("_patience", "_response", "_silence_s", "content_type", "limited_s")

    def __init__(self, response: aiohttp.ClientResponse, patience: Patience, silence_s: float) -> None:
        self._response = response
        self._patience = patience
        self._silence_s = silence_s
        self.content_type = response.content_type
        self.limited_s = limited_s(response.headers)
        """Nothing is left of what the provider allows us, for so long."""

    async def body(self) -> bytes:
        """The whole body. Raises ProviderFailed where it is too long."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                raise ProviderFailed("garbled", "The provider's answer is too long.", status=self._response.status)
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, as it comes: at most one wait for each read of the socket."""
        read, heard = self._response.content.readany, self._patience.heard
        size = 0
        while piece := await read():
            heard()
            size += len(piece)
            if size > STREAM_BYTES_MAX:
                raise ProviderFailed("garbled", "The provider's stream is too long.", status=self._response.status)
            yield piece

    def stream(self) -> AsyncIterator[bytes]:
        """The pieces of a stream: from now on each must follow the one before within the limit of silence."""
        self._patience.expect(self._silence_s)
        return self.pieces()


class Transport:
    """Connections to all providers. Made and closed in the event loop that uses it."""

    def __init__(self, *, first_byte_s: float = FIRST_BYTE_S, silence_s: float = SILENCE_S) -> None:
        self._first_byte_s = first_byte_s
        self._silence_s = silence_s
        self._session = aiohttp.ClientSession(
            connector=_Pool(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=30),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        self._draining: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._draining:
            task.cancel()
        await self._session.close()

    @asynccontextmanager
    async def post(
        self, url: URL, headers: Mapping[str, str], body: bytes, *, stream: bool, deadline_s: float
    ) -> AsyncIterator[Reply]:
        """POST `body`, once, and hold the answer open. Raises ProviderFailed for everything but a 200; a caller's
        failure inside the block closes the connection."""
        response: aiohttp.ClientResponse | None = None
        proper = False
        try:
            async with asyncio.timeout(deadline_s) as alarm:
                patience = Patience(alarm)
                try:
                    if stream:
                        patience.expect(self._first_byte_s)
                    response = await self._send(url, headers, body)
                    if response.status != 200:
                        raise await _refusal(response)
                    if response.headers.get("Content-Encoding", "identity") != "identity":
                        raise ProviderFailed("garbled", "The provider's answer is encoded, unasked.", status=200)
                    yield Reply(response, patience, self._silence_s)
                    proper = True
                finally:
                    patience.stop()
        except aiohttp.ServerTimeoutError:
            raise ProviderFailed("connect", "The provider could not be reached.") from None
        except TimeoutError:
            raise ProviderFailed("timeout", "The provider took too long to answer.") from None
        except aiohttp.ClientPayloadError:
            raise ProviderFailed("cut", "The provider's answer broke off.") from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
            raise ProviderFailed("garbled", "The provider does not speak HTTP as it should.") from None
        except (aiohttp.ClientError, OSError):
            if response is None:
                raise ProviderFailed("connect", "The provider could not be reached.") from None
            raise ProviderFailed("cut", "The provider's answer broke off.") from None
        finally:
            if response is not None:
                self._let_go(response, proper)

    async def _send(self, url: URL, headers: Mapping[str, str], body: bytes) -> aiohttp.ClientResponse:
        """A connection from the pool that the provider had closed meanwhile gives no byte back: then, once, a new one.
        The provider cannot have begun an answer on it that anybody will see."""
        for again in (True, False):
            _fresh.set(False)
            try:
                return await self._session.post(url, headers=headers, data=body, allow_redirects=False)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if _fresh.get() or not again:
                    raise
        raise AssertionError("the second call returns or raises")

    def _let_go(self, response: aiohttp.ClientResponse, proper: bool) -> None:
        if response.content.at_eof():
            response.release()
        elif proper:
            task = asyncio.ensure_future(_drain(response))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        else:
            response.close()


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the end of a stream that has said its last word, for its connection's sake."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while (piece := await response.content.readany()) and size < _DRAIN_BYTES_MAX:
                size += len(piece)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # the answer is complete; only the connection is lost
    finally:
        response.close() if not response.content.at_eof() else response.release()


async def _refusal(response: aiohttp.ClientResponse) -> ProviderFailed:
    """The failure that an answer other than 200 stands for."""
    body = b""
    while len(body) < ERROR_BYTES_MAX and (piece := await response.content.readany()):
        body += piece
    failed = failure_of(response.status, body[:ERROR_BYTES_MAX], response.headers.get("Retry-After"))
    if failed.kind == "rate_limited" and failed.retry_after_s is None:
        failed.retry_after_s = limited_s(response.headers)
    return failed
