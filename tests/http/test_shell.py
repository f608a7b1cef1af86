"""The shell and the server, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
import structlog
from prometheus_client import REGISTRY

from tests.http.serving import BODY_BYTES_MAX, Routes, connected, exchange, request, serving, shell


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
async def port(routes: Routes) -> AsyncIterator[int]:
    async with serving(shell(routes)) as port:
        yield port


def read(said: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def error(said: bytes) -> tuple[int, str]:
    """The status and the code of a refusal, after its shape has been looked at."""
    status, headers, body = read(said)
    told = orjson.loads(body)["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"].startswith("req_")
    return status, told["code"]


async def test_every_answer_carries_an_id_and_a_route_may_choose_its_own(port: int) -> None:
    _, ours, _ = read(await exchange(port, request("POST", "/echo", b"{}")))
    _, named, _ = read(await exchange(port, request("GET", "/name")))
    assert ours["x-request-id"].startswith("req_")
    assert named["x-request-id"] == "req_of_the_route"


async def test_an_unknown_path_is_a_404_in_openai_s_shape(port: int) -> None:
    assert error(await exchange(port, request("GET", "/nowhere"))) == (404, "unknown_url")


async def test_a_path_with_a_nul_in_it_reaches_no_route(port: int) -> None:
    path = "/v1/refuse/418%00/chat/completions"
    assert error(await exchange(port, request("POST", path))) == (404, "unknown_url")


async def test_a_wrong_method_is_a_405_that_says_which_are_right(port: int) -> None:
    said = await exchange(port, request("GET", "/echo"))
    assert error(said) == (405, "method_not_supported")
    assert read(said)[1]["allow"] == "post"


async def test_head_is_answered_without_a_body(port: int) -> None:
    status, headers, body = read(await exchange(port, request("HEAD", "/name")))
    assert (status, headers["content-length"], body) == (200, "2", b"")


async def test_a_crash_is_a_500_that_tells_only_its_id(port: int) -> None:
    with structlog.testing.capture_logs() as lines:
        said = await exchange(port, request("GET", "/crash"))
    assert error(said) == (500, "internal_error")
    assert b"canary" not in said
    crashed = next(line for line in lines if line["event"] == "request_crashed")
    assert crashed["request_id"] == read(said)[1]["x-request-id"]


async def test_each_request_leaves_one_line_and_is_counted_by_its_template(port: int) -> None:
    labels = {"method": "POST", "endpoint": "/v1/refuse/{status}/chat/completions", "status": "409"}
    before = REGISTRY.get_sample_value("http_requests_total", labels) or 0
    with structlog.testing.capture_logs() as lines:
        await exchange(port, request("POST", "/v1/refuse/409/chat/completions"))
        await exchange(port, request("GET", "/wp-admin.php"))
    assert REGISTRY.get_sample_value("http_requests_total", labels) == before + 1
    assert [line["route"] for line in lines if line["event"] == "request_answered"] == [
        "/v1/refuse/{status}/chat/completions",
        "unmatched",
    ]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /echo HTTP/1.1\r\n\r\n", 400),  # no Host
        ("POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        ("NONSENSE\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
        ("GET /name HTTP/1.1\r\nHost: a\r\n" + "X-A: b\r\n" * 200 + "\r\n", 431),
        ("GET /name HTTP/1.1\r\nHost: a\r\nX-A: " + "b" * 40_000 + "\r\n\r\n", 431),
        ("GET /name HTTP/1.1\r\nHost: a\r\nX-A: " + "b" * 200_000, 431),  # never ends
    ],
)
async def test_a_head_that_is_wrong_is_refused_in_shape(port: int, head: str, status: int) -> None:
    refused, _ = error(await exchange(port, head.encode("latin-1"), end=True))
    assert refused == status


async def test_a_declared_body_over_the_limit_is_refused_before_it_is_read(port: int, routes: Routes) -> None:
    head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
    async with connected(port) as (reader, writer):
        writer.write(head.encode())
        said = await reader.readuntil(b"}}")
    assert error(said) == (413, "request_too_large")
    assert read(said)[1]["connection"] == "close"
    assert not routes.parsed


async def test_a_client_that_first_sends_the_whole_huge_body_still_reads_why_it_was_refused(port: int) -> None:
    assert error(await exchange(port, request("POST", "/echo", b"x" * 20_000_000))) == (413, "request_too_large")


async def test_a_chunked_body_is_stopped_at_the_limit(port: int, routes: Routes) -> None:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = await exchange(port, head + chunk * (BODY_BYTES_MAX // 10_000 + 5) + b"0\r\n\r\n")
    assert error(said) == (413, "request_too_large")
    assert not routes.parsed


async def test_a_chunked_body_below_the_limit_is_read(port: int, routes: Routes) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, _ = read(await exchange(port, head + b'4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n'))
    assert (status, routes.parsed) == (200, [{"a": 1}])


async def test_a_body_that_does_not_come_is_a_408_and_the_end_of_the_connection(port: int) -> None:
    said = await exchange(port, b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    assert error(said) == (408, "body_too_slow")


async def test_a_body_that_drips_is_a_408(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        said = b""
        while not said.endswith(b"}}"):  # not to the end: who still sends when we close is reset
            said += await reader.read(4096)
        dripping.cancel()
    assert error(said) == (408, "body_too_slow")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /echo HT",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"GET /name HTTP/1.1\r\nHost: x\r\n\r\nGET /na",
        b"\r\n\r\n\r\n",
    ],
)
async def test_a_head_that_is_never_finished_ends_the_connection(port: int, sent: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionResetError):
                while True:
                    if not await reader.read(65536):
                        raise ConnectionResetError


async def test_an_empty_line_behind_an_answer_does_not_keep_the_connection(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET /name HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"{}")
        writer.write(b"\r\n")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""


async def test_a_kept_connection_serves_the_next_request(port: int) -> None:
    one = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    async with connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(one)
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")
        writer.write(one * 3)  # and pipelined ones
        for _ in range(3):
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")


async def test_a_client_that_never_reads_is_dropped_and_its_route_ends(port: int, routes: Routes) -> None:
    async with connected(port) as (_, writer):
        writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await routes.stream_ended.wait()


async def test_more_requests_than_the_limit_are_told_when_to_come_again() -> None:
    crowded = shell(Routes())
    crowded.requests_max = 0
    async with serving(crowded) as port:
        said = await exchange(port, request("GET", "/name"))
    assert error(said) == (503, "overloaded")
    assert read(said)[1]["retry-after"] == "1"
