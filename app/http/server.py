"""The HTTP server: uvicorn on httptools and uvloop, with the deadlines and the manners of leaving that it lacks.

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

from app.http.headers import with_safe
from app.http.leaving import Leaving
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
DRAIN_S: Final = 25.0
"""What running requests get to end in after SIGTERM; below the platform's patience (railway.toml)."""
LINGER_S: Final = 2.0
"""How long a silent connection is kept after SIGTERM. What its client sends meanwhile is answered, and told that it was the
last: to close at once would meet the request that is on the line just then."""
LAST_WORDS_S: Final = 1.0
"""What those that are broken off get to say so in."""
LOOK_S: Final = 0.05
"""Between two looks at what is left."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a deadline on the head and one on a client that does not read.

    The timers are armed only when a head is incomplete after a read, or a buffer is full: the usual request, whose head
    comes in one piece, pays for two flags.
    """

    head_s_max = HEAD_S_MAX
    stall_s_max = STALL_S_MAX
    linger_s = LINGER_S

    _leaving = False
    _linger_timer: asyncio.TimerHandle | None = None
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
        if self._linger_timer is not None:
            self._linger_timer.cancel()
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
        if self._leaving:
            self.cycle.keep_alive = False

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
        if self._leaving and not waiting:
            self._linger()

    def shutdown(self) -> None:
        """This process stops: the request that comes next, or has not been answered yet, is the last. Told again, it
        changes nothing."""
        if self._leaving:
            return
        self._leaving = True
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        if last is None or last.response_complete:
            self._linger()
        elif not last.response_started:
            last.keep_alive = False

    def _linger(self) -> None:
        """A client that was promised a kept connection finds it for a while longer."""
        self._linger_timer = self.loop.call_later(self.linger_s, self._close_silent)

    def _close_silent(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._head_open and not self._head_bytes:
            self.transport.close()
        # Else a request is on its way, which has deadlines of its own and closes behind its answer.

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
        head = b"".join(b"%b: %b\r\n" % header for header in with_safe(told.raw_headers))
        self.transport.write(STATUS_LINE[refused.status] + head + b"\r\n" + bytes(told.body))
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server with a way of stopping that breaks nothing off before its time, and says how much it did."""

    def __init__(self, config: uvicorn.Config, leaving: Leaving, drain_s: float) -> None:
        super().__init__(config)
        self._leaving = leaving
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what runs, end the application. Whoever shares the listening socket goes on
        taking connections from it."""
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        begun = len(tasks)
        log.info("web_draining", requests=begun, connections=len(connections), sent_elsewhere=self._leaving.tell())
        until = asyncio.get_running_loop().time() + self._drain_s
        while (connections or tasks) and asyncio.get_running_loop().time() < until and not self.force_exit:
            for connection in list(connections):  # again and again: one may just have been taken
                connection.shutdown()
            await asyncio.sleep(LOOK_S)
        left = list(tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=LAST_WORDS_S)
        log.info("web_drained", finished=max(0, begun - len(left)), broken_off=len(left))
        await self.lifespan.shutdown()


def server(
    app: ASGIApp, leaving: Leaving, *, protocol: type[Connection] = Connection, drain_s: float = DRAIN_S
) -> uvicorn.Server:
    """The server for this application, not yet running: `server(app, Leaving()).run(sockets=[listen(host, port)])`."""
    config = uvicorn.Config(
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
    )
    return Server(config, leaving, drain_s)


def serve(app: ASGIApp, sockets: list[socket.socket], leaving: Leaving) -> None:
    """Serves until SIGTERM or SIGINT, then lets running requests end."""
    server(app, leaving).run(sockets=sockets)
