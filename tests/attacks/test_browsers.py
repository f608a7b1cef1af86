"""What a browser is told: nothing is guessed, framed or kept, and only the pages that the operator named may read (A15)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.http.headers import SAFE, Cors, origins
from app.http.shell import Shell
from tests.http.serving import Routes, exchange, request, serving

OURS = "https://ours.example"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(Shell(Routes().router(), cors=Cors(origins(f"{OURS}, http://localhost:3000")))) as port:
        yield port


def head(said: bytes) -> list[tuple[bytes, bytes]]:
    lines = said.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]


@pytest.mark.parametrize(
    "sent",
    [
        request("GET", "/name"),
        request("POST", "/echo", b"{}"),
        request("GET", "/nowhere"),
        request("GET", "/crash"),
        request("POST", "/echo", b"{"),
        b"nonsense\r\n\r\n",
        request("OPTIONS", "/echo", b"", f"Origin: {OURS}", "Access-Control-Request-Method: POST"),
    ],
    ids=["an answer", "a body", "no route", "a crash", "a refusal", "no HTTP", "a preflight"],
)
async def test_every_answer_is_safe_in_a_browser(port: int, sent: bytes) -> None:
    told = head(await exchange(port, sent))
    for name, value in SAFE:
        values = [each for other, each in told if other == name]
        assert values in ([value], [b"cross-origin"]), name
    assert not {b"server", b"x-powered-by", b"access-control-allow-credentials"} & dict(told).keys()


async def test_a_page_of_a_named_origin_may_call_and_reads_refusals_too(port: int) -> None:
    asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,x-stainless-os"]
    said = await exchange(port, request("OPTIONS", "/echo", b"", f"Origin: {OURS}", *asked))
    assert said.startswith(b"HTTP/1.1 204")
    assert dict(head(said))[b"access-control-allow-origin"] == OURS.encode()
    assert dict(head(said))[b"access-control-allow-headers"] == b"authorization,x-stainless-os"
    for body in (b"{}", b"{"):
        told = dict(head(await exchange(port, request("POST", "/echo", body, f"Origin: {OURS}"))))
        assert told[b"access-control-allow-origin"] == OURS.encode()
        assert told[b"vary"] == b"origin"


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "https://evil.example",
            "http://ours.example",
            "https://ours.example.evil.example",
            "null",
            "*",
            "",
            "https://",
        ),
        *(
            "https://ours.example:8443",
            "https://OURS.example",
            "https://ours.example/",
            f"{OURS}, https://evil.example",
        ),
    ],
)
async def test_a_page_of_any_other_origin_reads_nothing(port: int, origin: str) -> None:
    said = await exchange(port, request("POST", "/echo", b"{}", f"Origin: {origin}"))
    assert not [name for name, _ in head(said) if name.startswith(b"access-control-")]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:8080"])
async def test_a_preflight_is_answered_for_any_page_and_promises_nothing(port: int, origin: str) -> None:
    asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"]
    said = await exchange(port, request("OPTIONS", "/echo", b"", f"Origin: {origin}", *asked))
    assert dict(head(said))[b"access-control-allow-origin"] == origin.encode()
    assert b"access-control-allow-credentials" not in dict(head(said))


@pytest.mark.parametrize(
    "origin", ["null", "*", "", "https://", "https://OURS.example", f"{OURS}, https://evil.example"]
)
async def test_a_preflight_of_what_is_no_origin_is_told_nothing(port: int, origin: str) -> None:
    said = await exchange(
        port, request("OPTIONS", "/echo", b"", f"Origin: {origin}", "Access-Control-Request-Method: GET")
    )
    assert not [name for name, _ in head(said) if name.startswith(b"access-control-")]


async def test_a_preflight_gives_back_no_header_that_is_no_list_of_names(port: int) -> None:
    wanted = "x" * 3000
    for junk in ("a\tb", "a:b", "a, <b>", wanted):
        sent = ["Access-Control-Request-Method: POST", f"Access-Control-Request-Headers: {junk}"]
        said = await exchange(port, request("OPTIONS", "/echo", b"", f"Origin: {OURS}", *sent))
        assert b"access-control-allow-headers" not in dict(head(said))


def test_nobody_is_named_where_nothing_is_set() -> None:
    assert Cors(origins("")).opens([(b"origin", OURS.encode())]) == []


@pytest.mark.parametrize(
    "text", ["*", "ours.example", "https://ours.example/", "https://*.example", "null", "file://x"]
)
def test_what_is_no_origin_is_no_setting(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        origins(text)
