"""The HTTP server: uvicorn on httptools and uvloop, with the deadlines it lacks.

One rule: a connection costs us memory only while its other end does its part: sends its head in time, reads its answer.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.http.refusals import Refused, response
from app.ids import request_id

log = structlog.get_logger()

HEAD_S_MAX: Final = 10.0
"""From the connection, or the first byte of a later request, to the end of its head."""
HEAD_BYTES_MAX: Final = 64 * 1024
"""More is not even read to its end; the shell refuses politely from half of it on."""
STALL_S_MAX: Final = 30.0
"""How long an answer may wait for its client to read: two heartbeats of a stream."""
CONNECTIONS_MAX: Final = 30_000
"""Each costs some kilobytes and a file descriptor."""
KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of the usual proxies and SDK pools, so that it is they who close."""
DRAIN_S: Final = 25
"""What running requests get to end in after SIGTERM; Railway kills after 30."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a deadline on the head and one on a client that does not read.

    The timers are armed only when a head is incomplete after a read, or a buffer is full: the usual request, whose head
    comes in one piece, pays for two flags.
    """

    head_s_max = HEAD_S_MAX
    stall_s_max = STALL_S_MAX

    _head_open = True
    _head_bytes = 0
    _unread = False
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            log.warning("connection_refused", connections=len(self.connections))
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(Refused(431, "headers_too_large", "The head of the request is too large."))
            else:
                self._arm()

    def on_message_begin(self) -> None:
        self._head_open = True
        self._unread = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._head_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._unread = False
        if self._head_timer is not None:
            self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        waiting = bool(self.pipeline)
        super().on_response_complete()
        if self._unread and self.cycle.response_complete:
            # Answered before its body had come: the rest is discarded, but not for ever.
            self._arm()
        elif not waiting:
            # From now on every byte, an empty line too, begins a head: nobody stays by sending nothing.
            self._head_open = True

    def pause_writing(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.stall_s_max, self._abort, "client_does_not_read")
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def _arm(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_s_max, self._abort, "request_never_finished")

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _abort(self, why: str) -> None:
        log.info("connection_dropped", why=why)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What the parser could not read; after it nobody knows where the next request would begin."""
        self._refuse(Refused(400, "invalid_http", msg))

    def _refuse(self, refused: Refused) -> None:
        """Without the application: there is no request that it could be called for."""
        if self.transport.is_closing():
            return
        told = response(refused, request_id())
        told.headers["connection"] = "close"
        head = b"".join(b"%b: %b\r\n" % header for header in told.raw_headers)
        self.transport.write(STATUS_LINE[refused.status] + head + b"\r\n" + bytes(told.body))
        self.transport.close()


def server(app: ASGIApp, *, protocol: type[Connection] = Connection, drain_s: int = DRAIN_S) -> uvicorn.Server:
    """The server for this application, not yet running: `server(app).run(sockets=[listen(host, port)])`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=protocol,
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nothing of ours asks who the proxy says the client is
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s,
        )
    )


def serve(app: ASGIApp, sockets: list[socket.socket], *, drain_s: int = DRAIN_S) -> None:
    """Serves until SIGTERM or SIGINT, then lets running requests end."""
    server(app, drain_s=drain_s).run(sockets=sockets)
