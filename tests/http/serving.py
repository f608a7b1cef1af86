"""A real server on loopback around a few routes of our own, with deadlines that a test can wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from app.http.json_body import parse_object, read_body
from app.http.leaving import Leaving
from app.http.refusals import Refused
from app.http.server import Connection, server
from app.http.shell import Shell
from app.sockets import listen

BODY_BYTES_MAX = 100_000


class Hasty(Connection):
    """Deadlines that a test can wait for."""

    head_s_max = 0.3
    stall_s_max = 0.3
    linger_s = 0.3


class Routes:
    """What stands behind the shell, and what became of it."""

    def __init__(self) -> None:
        self.parsed: list[dict[str, object]] = []
        self.stream_ended = asyncio.Event()

    async def echo(self, request: Request) -> Response:
        self.parsed.append(parse_object(await read_body(request.receive)))
        return Response(b"{}", media_type="application/json")

    async def refuse(self, request: Request) -> Response:
        raise Refused(int(request.path_params["status"]), request.query_params.get("code"), "No.")

    async def crash(self, request: Request) -> Response:
        raise RuntimeError("the canary of a crash")

    async def name(self, request: Request) -> Response:
        request.scope["state"]["request_id"] = "req_of_the_route"
        return Response(b"{}")

    async def flood(self, request: Request) -> Response:
        """More than any buffer holds, until the client is gone."""

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while not await request.is_disconnected():
                    yield b"x" * 65536
            finally:
                self.stream_ended.set()

        return StreamingResponse(pieces())

    def router(self) -> Router:
        return Router(
            [
                Route("/echo", self.echo, methods=["POST"]),
                Route("/v1/refuse/{status}/chat/completions", self.refuse, methods=["POST"]),
                Route("/crash", self.crash, methods=["GET"]),
                Route("/name", self.name, methods=["GET"]),
                Route("/flood", self.flood, methods=["GET"]),
            ],
            redirect_slashes=False,
        )


def shell(routes: Routes) -> Shell:
    return Shell(routes.router(), body_bytes_max=BODY_BYTES_MAX, body_s_max=2.0, body_grace_s=0.3)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """The port that the application answers on."""
    async with server_of(app) as (port, _):
        yield port


@asynccontextmanager
async def server_of(app: ASGIApp, *, drain_s: float = 2) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """The port, and the server itself: it stops when its `should_exit` is set."""
    listener = listen("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    running = server(app, Leaving(), protocol=Hasty, drain_s=drain_s)
    task = asyncio.create_task(running._serve([listener]))  # without its signal handlers, which belong to pytest
    try:
        while not running.started:  # noqa: ASYNC110  # uvicorn has a flag only
            await asyncio.sleep(0.01)
        yield port, running
    finally:
        running.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(port: int, sent: bytes, *, end: bool = False) -> bytes:
    """Everything the server says to these bytes until it closes, or until it has answered one request."""
    async with connected(port) as (reader, writer):
        writer.write(sent)
        if end:
            writer.write_eof()
        said = b""
        try:
            async with asyncio.timeout(5):
                while piece := await reader.read(65536):
                    said += piece
        except ConnectionResetError:
            pass
        return said


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """One request as bytes, after which the server closes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
