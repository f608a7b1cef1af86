"""A web process that is told to stop breaks nothing off before its time, and refuses nobody who was promised more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import orjson
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router

from app.http.leaving import Leaving
from app.http.shell import Shell
from tests.http.serving import connected, server_of

KEPT = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Gated:
    """Answers that wait for a word."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def whole(self, request: Request) -> Response:
        self.asked.set()
        await self.gate.wait()
        return Response(b"{}")

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one."
            self.asked.set()
            await self.gate.wait()
            yield b"two."

        return StreamingResponse(pieces())

    async def quick(self, request: Request) -> Response:
        return Response(b"{}")

    def app(self) -> Shell:
        paths = {"/whole": self.whole, "/stream": self.stream, "/quick": self.quick}
        return Shell(Router([Route(path, answer) for path, answer in paths.items()]))


async def told(running: uvicorn.Server) -> None:
    """The server has begun to leave."""
    running.should_exit = True
    async with asyncio.timeout(5):
        while any(listening.is_serving() for listening in running.servers):  # noqa: ASYNC110  # uvicorn has no event
            await asyncio.sleep(0.01)


async def test_what_runs_is_finished_and_told_that_it_was_the_last() -> None:
    routes = Gated()
    async with server_of(routes.app(), drain_s=30) as (port, running), connected(port) as (reader, writer):
        writer.write(KEPT % b"whole")
        await routes.asked.wait()
        await told(running)
        await asyncio.sleep(0.1)  # it looks round for those it has to tell

        routes.gate.set()

        said = await reader.read()
    assert said.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in said


async def test_a_stream_that_runs_is_finished_and_its_connection_kept_a_while_as_promised() -> None:
    routes = Gated()
    async with server_of(routes.app(), drain_s=30) as (port, running), connected(port) as (reader, writer):
        writer.write(KEPT % b"stream")
        assert b"connection: close" not in await reader.readuntil(b"one.")
        await told(running)
        routes.gate.set()
        await reader.readuntil(b"two.\r\n0\r\n\r\n")

        writer.write(KEPT % b"quick")

        said = await reader.read()
    assert said.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in said


async def test_a_request_that_was_on_the_line_is_answered_and_told_that_it_was_the_last() -> None:
    async with (
        server_of(Gated().app(), drain_s=30) as (port, running),
        connected(port) as (fresh, to_fresh),
        connected(port) as (kept, to_kept),
    ):
        to_kept.write(KEPT % b"quick")
        await kept.readuntil(b"{}")
        await told(running)

        for writer in (to_kept, to_fresh):
            writer.write(KEPT % b"quick")

        for said in (await kept.read(), await fresh.read()):
            assert said.startswith(b"HTTP/1.1 200")
            assert b"\r\nconnection: close\r\n" in said


async def test_a_silent_connection_is_closed_after_a_while() -> None:
    async with server_of(Gated().app(), drain_s=30) as (port, running), connected(port) as (reader, writer):
        writer.write(KEPT % b"quick")
        await reader.readuntil(b"{}")
        await told(running)

        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_who_outlasts_the_time_is_told_to_ask_again() -> None:
    routes = Gated()
    async with server_of(routes.app(), drain_s=0.1) as (port, running), connected(port) as (reader, writer):
        writer.write(KEPT % b"whole")
        await routes.asked.wait()
        await told(running)

        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503")
    assert b"\r\nretry-after: 1\r\n" in head
    assert orjson.loads(body)["error"]["code"] == "server_restarting"


def test_who_waits_is_woken_once_and_at_once_when_it_is_late() -> None:
    leaving, woken = Leaving(), list[str]()
    with leaving.waking(lambda: woken.append("waits")):
        with suppress(LookupError), leaving.waking(lambda: woken.append("is gone")):
            raise LookupError
        assert leaving.tell() == 1
        with leaving.waking(lambda: woken.append("late")):
            pass
    assert woken == ["waits", "late"]
