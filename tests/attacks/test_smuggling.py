"""Two readers of one connection must never disagree where a request ends (A16), nor what its Host means (A15).

One rule: after bytes whose end is in doubt nothing more is answered on that connection. Behind each attack stands a request
for `/name`: where its answer is seen, somebody could hide a request there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.http.serving import Routes, exchange, request, serving, shell

HIDDEN = b"GET /name HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"

DOUBTFUL = {
    "length and chunks": POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n" + END,
    "chunks and length": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + END,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length below zero": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length beyond numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "chunks under another name": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "chunks and identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END,
    "chunks and identity in two lines": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + END,
    "gzip inside chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "chunks behind a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "chunks in HTTP/1.0": b"POST /echo HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n" + END,
    "bare line feeds in the head": b"GET /name HTTP/1.1\nHost: x\n\n",
    "one bare line feed": b"GET /name HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare carriage return": b"GET /name HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "bare line feeds in chunks": POST + CHUNKED + b"\r\n2\n{}\n0\n\n",
    "a line feed in a chunk's extension": POST + CHUNKED + b"\r\n2;a\nb\r\n{}\r\n" + END,
    "a chunk beyond numbers": POST + CHUNKED + b"\r\nffffffffffffffffff\r\n{}",
    "a chunk with a prefix": POST + CHUNKED + b"\r\n0x2\r\n{}\r\n" + END,
    "more than the chunk": POST + CHUNKED + b"\r\n2\r\n{}XX" + END,
    "a length in the trailer": POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a folded header": b"GET /name HTTP/1.1\r\nHost: x\r\nX: y\r\n z: 1\r\n\r\n",
    "chunks on a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END,
    "a NUL in a header": b"GET /name HTTP/1.1\r\nHost: x\r\nX: y\0z\r\n\r\n",
    "a header without a colon": b"GET /name HTTP/1.1\r\nHost: x\r\nxyz\r\n\r\n",
    "a header without a name": b"GET /name HTTP/1.1\r\nHost: x\r\n: z\r\n\r\n",
    "a space in a name": b"GET /name HTTP/1.1\r\nHost: x\r\nx y: z\r\n\r\n",
    "HTTP/2.0 in words": b"GET /name HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /name HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /name\r\n\r\n",
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(shell(Routes())) as port:
        yield port


@pytest.mark.parametrize("name", DOUBTFUL)
async def test_behind_a_request_whose_end_is_in_doubt_nothing_is_answered(port: int, name: str) -> None:
    said = await exchange(port, DOUBTFUL[name] + HIDDEN)
    assert said.count(b"HTTP/1.1 ") == 1, said
    assert said.split()[1] in (b"400", b"501", b"505"), said
    assert b"req_of_the_route" not in said


async def test_what_is_in_no_doubt_is_answered_request_by_request(port: int) -> None:
    for body in (b"2\r\n{}\r\n" + END, b"1;note=x\r\n{\r\n1\r\n}\r\n" + END, b"2\r\n{}\r\n0\r\nX-Trailer: y\r\n\r\n"):
        said = await exchange(port, POST + CHUNKED + b"\r\n" + body + HIDDEN)
        assert said.count(b"HTTP/1.1 200 OK") == 2, said


HOSTS_REFUSED = [
    *(
        "a/evil?x=",
        "a/evil",
        "a?x",
        "a#x",
        "a@b",
        "user:pass@a",
        "a\\b",
        "a b",
        "a,b",
        "a;b",
        "a%00",
        "a%2fb",
        "a:port",
    ),
    *("a:80:80", "a:-1", "[::1", "::1", "[::1]x", "[x]", "http://a", "//a", "a/..", "<a>", '"a"', "a'b", "{a}", "a|b"),
    *("a\tb", "a^b", "a`b", "$a", "a&b", "a*b", "*", "a=b", "a!", "é", "a\x7f", "(a)", "a:80/x", "a:80@b", "a:80#"),
]
HOSTS_TAKEN = [
    "",
    "a",
    "A.example",
    "a.example.",
    "a_b.internal",
    "a-b",
    "127.0.0.1",
    "127.0.0.1:80",
    "[::1]",
    "[::1]:80",
]
FORWARDED = [
    *("X-Forwarded-Host: evil", "X-Forwarded-Host: a/livez", "X-Forwarded-Prefix: /livez", "X-Original-URL: /name"),
    *("X-Rewrite-URL: /name", "X-Forwarded-Proto: https", "X-HTTP-Method-Override: GET", "X-Forwarded-Uri: /name"),
    *("Forwarded: host=evil;proto=https;for=127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Original-Host: evil"),
]


async def test_a_host_that_could_mean_a_path_goes_no_further(port: int) -> None:
    for host in HOSTS_REFUSED:
        head = f"GET /name HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
        assert (await exchange(port, head)).split()[1] == b"400", host


async def test_any_true_name_is_taken(port: int) -> None:
    for host in HOSTS_TAKEN:
        head = f"GET /name HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert (await exchange(port, head.encode())).split()[1] == b"200", host


async def test_no_header_leads_a_request_to_another_route(port: int) -> None:
    for header in FORWARDED:
        said = await exchange(port, request("GET", "/nowhere", b"", header))
        assert said.split()[1] == b"404", header
        assert b"req_of_the_route" not in said, header


async def test_two_keys_in_one_request_are_none(port: int) -> None:
    said = await exchange(port, request("GET", "/name", b"", "Authorization: Bearer a", "Authorization: Bearer b"))
    assert said.split()[1] == b"400" and b"ambiguous_key" in said
