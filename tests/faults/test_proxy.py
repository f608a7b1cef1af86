"""The proxy breaks what it is told to break, and nothing else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.faults.proxy import Proxy, Rules, proxy_to


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything back, and ends when the other side does."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(4096):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with echo() as port, proxy_to("127.0.0.1", port) as made:
        yield made


@asynccontextmanager
async def line(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the connection is over; some systems show a reset as an end."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_without_rules_everything_comes_through_both_ways(proxy: Proxy) -> None:
    async with line(proxy) as (reader, writer):
        writer.write(b"all of this" * 10_000)
        writer.write_eof()
        assert await reader.read(-1) == b"all of this" * 10_000


async def test_a_connection_is_cut_after_so_many_bytes(proxy: Proxy) -> None:
    proxy.set(to_client=Rules(cut_after=4))
    async with line(proxy) as (reader, writer):
        writer.write(b"0123456789")
        assert await reader.readexactly(4) == b"0123"
        assert await ended(reader)


async def test_a_half_closed_direction_ends_and_the_other_goes_on(proxy: Proxy) -> None:
    proxy.set(to_server=Rules(half_close_after=4))
    async with line(proxy) as (reader, writer):
        writer.write(b"0123456789")
        assert await reader.read(-1) == b"0123"


async def test_what_is_dropped_never_arrives_and_the_connection_stays(proxy: Proxy) -> None:
    proxy.set(to_server=Rules(drop=True))
    async with line(proxy) as (reader, writer):
        writer.write(b"lost")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        proxy.set()
        writer.write(b"heard")
        assert await reader.readexactly(5) == b"heard"


async def test_rules_for_one_client_leave_the_others_alone() -> None:
    names: dict[int, str] = {}
    async with (
        echo() as port,
        proxy_to("127.0.0.1", port, names.get) as proxy,
        line(proxy) as (near, to_near),
        line(proxy) as (far, to_far),
    ):
        for writer, name in ((to_near, "near"), (to_far, "far")):
            names[writer.get_extra_info("sockname")[1]] = name
            writer.write(b"a")
        assert [await reader.readexactly(1) for reader in (near, far)] == [b"a", b"a"]
        proxy.set(to_server=Rules(cut_after=1), only="far")
        for writer in (to_near, to_far):
            writer.write(b"b")
        assert await near.readexactly(1) == b"b"
        assert await ended(far)
        proxy.cut_all(only="far")
        to_near.write(b"c")
        assert await near.readexactly(1) == b"c"
        proxy.cut_all(only="near")
        assert await ended(near)


async def test_a_slow_line_still_brings_everything_in_order(proxy: Proxy) -> None:
    proxy.set(Rules(delay_s=0.005), Rules(bytes_per_s=1_000_000))
    async with line(proxy) as (reader, writer):
        for number in range(5):
            writer.write(b"%d" % number)
            await writer.drain()
        writer.write_eof()
        assert await reader.read(-1) == b"01234"


async def test_all_open_connections_are_cut_at_once_and_new_ones_work(proxy: Proxy) -> None:
    async with line(proxy) as (first, writer):
        writer.write(b"x")
        assert await first.readexactly(1) == b"x"
        proxy.cut_all()
        assert await ended(first)
    async with line(proxy) as (second, writer):
        writer.write(b"y")
        assert await second.readexactly(1) == b"y"
    assert proxy.connections == 2


async def test_where_nobody_listens_the_connection_is_reset() -> None:
    async with proxy_to("127.0.0.1", 1) as proxy, line(proxy) as (reader, _):
        assert await ended(reader)


async def test_a_line_that_both_sides_have_left_ends_without_a_word(proxy: Proxy) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with line(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.transport.abort()
    while proxy.open:  # noqa: ASYNC110  # the proxy takes note by itself
        await asyncio.sleep(0.005)
    gc.collect()
    assert complaints == []
