"""Every way a provider can fail, and what it counts as."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.providers.failures import failure_of, seconds_of
from app.providers.transport import Transport
from handlers.rules.failure import FailureKind
from tests.fakes.provider import DONE, EVENTS, Script, chunk, event, openai_answer, openai_events, provider
from tests.providers.asking import ask, question


def error(message: str = "no", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **more}}).encode()


TABLE: list[tuple[FailureKind, int, bytes]] = [
    ("bad_request", 400, error(type="invalid_request_error", param="messages")),
    ("bad_request", 422, error()),
    ("bad_request", 413, b"<html>"),
    ("bad_request", 418, b""),
    ("context_overflow", 400, error(code="context_length_exceeded")),
    ("context_overflow", 400, error("This model's maximum context length is 8192 tokens.")),
    ("context_overflow", 400, error("prompt is too long: 210000 tokens > 200000", type="invalid_request_error")),
    ("content_policy", 400, error(code="content_filter")),
    ("content_policy", 403, error(code="content_policy_violation")),
    ("auth", 401, error(code="invalid_api_key")),
    ("auth", 403, b"forbidden"),
    ("auth", 402, b"{}"),
    ("auth", 429, error(code="insufficient_quota")),
    ("not_found", 404, error(code="model_not_found")),
    ("rate_limited", 429, error(code="rate_limit_exceeded")),
    ("rate_limited", 429, b"slow down"),
    ("timeout", 408, b""),
    ("timeout", 504, b""),
    ("overloaded", 503, b""),
    ("overloaded", 529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    ("server_error", 500, error(type="server_error")),
    ("server_error", 502, b"<html>bad gateway</html>"),
    ("garbled", 302, b""),
    ("garbled", 202, b""),
]


@pytest.mark.parametrize(("kind", "status", "body"), TABLE)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_the_failure_it_stands_for(kind: str, status: int, body: bytes, stream: bool) -> None:
    async with provider(Script([body], status, headers={"location": "http://127.0.0.1:1/"})) as fake:
        outcome = await ask(fake.base_url, question(stream))
    assert outcome.failed is not None
    assert (outcome.failed.kind, outcome.failed.status) == (kind, status)
    assert outcome.heard.answer is None


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"error": 7}', b'{"error": {"message": [1]}}', b"\xff\xfe", b"[" * 9999]
)
def test_no_body_however_odd_raises_anything_else(body: bytes) -> None:
    assert failure_of(500, body).kind == "server_error"


def test_the_provider_s_words_are_kept_within_bounds() -> None:
    failed = failure_of(400, error("a\x00" + "b" * 9_000, param="messages[0]", code="odd"))
    assert failed.message.startswith("a\ufffdb") and len(failed.message) == 2_000
    assert (failed.param, failed.code) == ("messages[0]", "odd")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("inf", None), ("soon", None), ("", None), (None, None)],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    seconds = seconds_of(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert seconds is not None and 50 < seconds <= 60


async def test_the_wait_that_a_provider_asks_for_is_told() -> None:
    async with provider(Script([error()], 429, headers={"retry-after": "7"})) as fake:
        outcome = await ask(fake.base_url, question(False))
    assert outcome.failed is not None and outcome.failed.retry_after_s == 7


UNSTREAMED: dict[str, bytes] = {
    "no JSON": b"<html>hello</html>",
    "not an object": b"[]",
    "no choices": b'{"id":"x"}',
    "empty choices": json.dumps({**openai_answer("a"), "choices": []}).encode(),
    "a choice that is none": json.dumps({**openai_answer("a"), "choices": [7]}).encode(),
    "a role that is none": json.dumps(openai_answer("a", role=7)).encode(),
    "NaN": b'{"choices": NaN}',
    "a lone surrogate": json.dumps(openai_answer("\ud800")).encode(),
    "a depth of 900": json.dumps(openai_answer("a")).encode()[:-1] + b',"x\\u0000":' + b"[" * 900 + b"]" * 900 + b"}",
    "nothing": b"",
}


@pytest.mark.parametrize("body", UNSTREAMED.values(), ids=UNSTREAMED.keys())
async def test_an_answer_of_another_format_is_garbled(body: bytes) -> None:
    async with provider(Script([body])) as fake:
        outcome = await ask(fake.base_url, question(False))
    assert (outcome.kind, outcome.heard.answer, outcome.heard.usage) == ("garbled", None, None)


STREAMED: dict[str, list[bytes]] = {
    "no JSON": [b"data: hello\n\n"],
    "not an object": [b"data: [1]\n\n"],
    "a number": [b"data: 7\n\n"],
    "choices that are none": [b'data: {"choices": 7}\n\n'],
    "a delta that is none": [b'data: {"choices": [{"index": 0, "delta": "x"}]}\n\n'],
    "content that is no text": [event(chunk({"content": ["x"]}))],
    "an index beyond all measure": [event(chunk({"content": "x"}, index=10**9))],
    "a negative index": [event(chunk({"content": "x"}, index=-1))],
    "a lone surrogate": [event(chunk({"content": "\ud83d"}))],
    "NaN": [b'data: {"choices": [], "usage": {"prompt_tokens": NaN}}\n\n'],
    "tool calls that are none": [event(chunk({"tool_calls": [7]}))],
    "arguments that are no text": [
        event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": {}, "name": 3}}]}))
    ],
    "only the end": [DONE],
}


@pytest.mark.parametrize("pieces", STREAMED.values(), ids=STREAMED.keys())
async def test_a_stream_of_another_format_is_garbled_and_nothing_of_that_is_passed_on(pieces: list[bytes]) -> None:
    async with provider(Script(pieces, content_type=EVENTS)) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert (outcome.kind, outcome.frames) == ("garbled", [])


async def test_an_answer_that_cannot_be_put_together_is_garbled() -> None:
    events = [event(chunk({"content": "a", "thinking_blocks": [7]})), event(chunk({}, "stop")), DONE]
    async with provider(Script(events, content_type=EVENTS)) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert (outcome.kind, outcome.heard.answer) == ("garbled", None)


async def test_what_came_before_the_nonsense_is_passed_on() -> None:
    good = event(chunk({"content": "a"}))
    async with provider(Script([good + b"data: {\n\n" + good], content_type=EVENTS)) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert (outcome.kind, outcome.heard.text, outcome.heard.frames) == ("garbled", ["a"], 1)
    assert outcome.chunks == [chunk({"content": "a"})]


CUT: dict[str, Mapping[str, Any]] = {
    "in the middle of a chunk": {"pieces": [*openai_events(["a"])[:2], b"data: {"], "ending": "cut"},
    "between chunks": {"pieces": openai_events(["a"])[:2], "ending": "cut"},
    "by a reset": {"pieces": openai_events(["a"])[:2], "ending": "reset"},
    "with a proper end of HTTP": {"pieces": openai_events(["a"])[:2]},
    "with a proper end of HTTP inside an event": {"pieces": [*openai_events(["a"])[:2], b'data: {"choices"']},
    "before anything": {"pieces": []},
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT.keys())
async def test_a_stream_that_breaks_off_is_cut(script: Mapping[str, Any]) -> None:
    async with provider(Script(content_type=EVENTS, pause_s=0.005, **script)) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert outcome.kind == "cut"
    assert outcome.heard.text == (["a"] if script["pieces"] else [])
    assert outcome.heard.answer is None


async def test_an_answer_that_breaks_off_is_cut() -> None:
    async with provider(Script([b'{"id": '], ending="cut")) as fake:
        outcome = await ask(fake.base_url, question(False))
    assert outcome.kind == "cut"


ERRORS: list[tuple[FailureKind, Any]] = [
    ("server_error", {"message": "boom", "type": "server_error"}),
    ("rate_limited", {"message": "slow", "code": "rate_limit_exceeded"}),
    ("overloaded", {"message": "busy", "code": 503}),
    ("context_overflow", {"message": "long", "code": "context_length_exceeded"}),
    ("server_error", "only words"),
]


@pytest.mark.parametrize(("kind", "said"), ERRORS)
async def test_an_error_in_a_good_status_is_a_failure(kind: str, said: object) -> None:
    body = json.dumps({"error": said}).encode()
    first = event(chunk({"content": "a"}))
    scripts = {
        False: Script([body]),
        True: Script([first + b"data: " + body + b"\n\n" + DONE], content_type=EVENTS),
    }
    for stream, script in scripts.items():
        async with provider(script) as fake:
            outcome = await ask(fake.base_url, question(stream))
        assert outcome.kind == kind
        assert outcome.heard.frames == (1 if stream else 0)
        assert b"error" not in outcome.streamed


async def test_a_stream_of_the_wrong_content_type_is_garbled() -> None:
    async with provider(Script(openai_events(["a"]), content_type="text/html")) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert outcome.kind == "garbled"


async def test_an_error_in_place_of_a_stream_is_a_failure() -> None:
    async with provider(Script([error(code="rate_limit_exceeded")])) as fake:
        outcome = await ask(fake.base_url, question(True))
    assert outcome.kind == "rate_limited"


SILENT: dict[str, Script] = {
    "before the first byte": Script(delay_s=60),
    "after some words": Script(openai_events(["a"])[:2], content_type=EVENTS, ending="silent"),
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT.keys())
async def test_the_whole_has_a_deadline(script: Script) -> None:
    async with provider(script) as fake:
        outcome = await ask(fake.base_url, question(True), deadline_s=0.2)
    assert outcome.kind == "timeout"


async def test_a_silence_between_words_has_a_limit_of_its_own() -> None:
    words = Script(openai_events(list("abcdef"))[:7], content_type=EVENTS, pause_s=0.05, ending="silent")
    async with provider(words) as fake:
        outcome = await ask(fake.base_url, question(True), deadline_s=30, transport=Transport(silence_s=0.25))
    assert outcome.kind == "timeout"
    assert outcome.heard.text == list("abcdef")


async def test_a_first_byte_has_a_limit_of_its_own() -> None:
    async with provider(Script(delay_s=60)) as fake:
        outcome = await ask(fake.base_url, question(True), deadline_s=30, transport=Transport(first_byte_s=0.1))
    assert outcome.kind == "timeout"


async def test_a_closed_port_is_a_failure_to_connect() -> None:
    async with provider(Script()) as fake:
        base_url = fake.base_url
    outcome = await ask(base_url, question(False))
    assert outcome.kind == "connect"


async def test_a_connection_closed_without_a_word_is_a_failure_to_connect_and_is_tried_once() -> None:
    async with provider(Script(speaks=False)) as fake:
        outcome = await ask(fake.base_url, question(False))
        assert (outcome.kind, fake.connections) == ("connect", 1)


async def test_a_server_that_speaks_no_http_is_garbled() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    outcome = await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", question(False))
    server.close()
    assert outcome.kind == "garbled"
