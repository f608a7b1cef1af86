"""A client that costs almost nothing: one kept-alive HTTP/1.1 connection, its answers read by a parser in C.

One rule: it checks what it gets. An answer counts only with status 200, every word the mock provider said, and a
proper end; anything else is a failure with a name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

import httptools

_WORD: Final = b"lorem"
"""The mock provider's word, without its space; counted in plain and streamed answers alike."""

_LAST: Final = (b"data: [DONE]", b"event: message_stop", b"event: response.completed")


class Broken(Exception):
    """No answer came: the connection could not be made, was cut, or spoke no HTTP. The text is the kind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, the body's words, and when the first word and the end came.

    Times are of `perf_counter`, for uvloop's own clock counts whole milliseconds.
    """

    status: int
    words: int
    done: bool
    first_word_at: float | None
    ended_at: float


class Caller(asyncio.Protocol):
    """One connection, one question at a time. It mends itself: a question on a closed connection opens it anew."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._fresh()

    def _fresh(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._first_word_at: float | None = None

    async def open(self) -> None:
        """Connect where it is not connected. Raises Broken."""
        if self._transport is None:
            try:
                await self._loop.create_connection(lambda: self, self._host, self._port)
            except OSError:
                raise Broken("connect") from None

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and wait for its whole answer. Raises Broken; being cancelled closes the connection."""
        await self.open()
        assert self._transport and not self._waiting
        self._fresh()
        self._waiting = self._loop.create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._transport:
            self._transport.abort()
            self._transport = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("garbled")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("cut")

    def _fail(self, kind: str) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(Broken(kind))

    # What the parser calls.

    def on_body(self, body: bytes) -> None:
        # A word may be cut in two by the wire, so the piece before is looked at too.
        if self._first_word_at is None and _WORD in (self._body[-1] + body if self._body else body):
            self._first_word_at = perf_counter()
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._waiting and not self._waiting.done():
            body = b"".join(self._body)
            self._waiting.set_result(
                Answer(
                    status=self._parser.get_status_code(),
                    words=body.count(_WORD),
                    done=any(last in body for last in _LAST),
                    first_word_at=self._first_word_at,
                    ended_at=perf_counter(),
                )
            )
        if self._transport and not self._parser.should_keep_alive():
            self.close()
