"""A provider that costs almost nothing: OpenAI's wire on a bare asyncio Protocol, every answer made once and kept.

One rule: the model's name says how it behaves, so that a benchmark is a choice of models and nothing else.
`mock-l<latency in ms>-n<words>`, with `-d<ms between chunks>` for a stream that takes its time: `mock-l0-n16`,
`mock-l0-n100-d20`. Without a delay a stream comes in one burst.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, cast

import orjson
import uvloop

from app.bench import mock_wires
from app.bench.limits import allow_many_sockets

WORD: Final = "lorem "
"""What the mock says, again and again; no field of the wire format has it, so an answer's words can be counted."""

_QUESTION_TOKENS: Final = 12
"""The prompt tokens of every answer, whatever was asked: the mock does not tokenize."""

_LATENCY_MS_MAX: Final = 60_000
_WORDS_MAX: Final = 10_000
_DELAY_MS_MAX: Final = 10_000
"""Bounds of a model's name: a typing error must not hold a connection for a day or fill the memory."""

_HEAD_BYTES_MAX: Final = 64 * 1024
_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bounds of one request; beyond them the connection is closed."""

_BACKLOG: Final = 4096
"""Connections the kernel may hold for us: a thousand streams start within one second."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one model does."""

    latency_s: float
    words: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, the path without its query."""

    method: bytes
    path: bytes
    body: bytes


@lru_cache(maxsize=1024)
def behaviour(model: str) -> Behaviour | None:
    """The behaviour a model's name asks for; None: the mock has no such model."""
    found = re.fullmatch(r"mock-l(\d{1,5})-n(\d{1,5})(?:-d(\d{1,5}))?", model)
    if not found:
        return None
    latency_ms, words, delay_ms = (int(number or 0) for number in found.groups())
    if latency_ms > _LATENCY_MS_MAX or not 0 < words <= _WORDS_MAX or delay_ms > _DELAY_MS_MAX:
        return None
    return Behaviour(latency_s=latency_ms / 1000, words=words, delay_s=delay_ms / 1000)


def cut(data: bytes) -> tuple[Request, bytes] | None:
    """The first whole request of `data` and what stands behind it; None while more is to come.

    Raises ValueError when it is too big or has no length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > _HEAD_BYTES_MAX:
            raise ValueError("head too long")
        return None
    line, *headers = data[:end].split(b"\r\n")
    method, _, rest = line.partition(b" ")
    body_bytes = 0
    for header in headers:
        name, _, value = header.partition(b":")
        match name.lower():
            case b"content-length":
                body_bytes = int(value)
            case b"transfer-encoding":
                raise ValueError("a body without a length")
    if not 0 <= body_bytes <= _BODY_BYTES_MAX:
        raise ValueError("body too long")
    start = end + 4
    if len(data) < start + body_bytes:
        return None
    path = rest.partition(b" ")[0].partition(b"?")[0]
    return Request(method, path, data[start : start + body_bytes]), data[start + body_bytes :]


def _usage(words: int) -> dict[str, int]:
    return {
        "prompt_tokens": _QUESTION_TOKENS,
        "completion_tokens": words,
        "total_tokens": _QUESTION_TOKENS + words,
    }


def _answer(status: bytes, content: object) -> bytes:
    body = orjson.dumps(content)
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_STREAM_END: Final = b"0\r\n\r\n"


@lru_cache(maxsize=256)
def plain(model: str, words: int) -> bytes:
    """The whole HTTP answer of a call that is not streamed."""
    message = {"role": "assistant", "content": (WORD * words).rstrip(), "refusal": None}
    return _answer(
        b"200 OK",
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(words),
        },
    )


@lru_cache(maxsize=256)
def chunks(model: str, words: int, include_usage: bool) -> tuple[bytes, ...]:
    """A streamed answer, an HTTP chunk an event: the role, each word, then the last three (finish, usage, `[DONE]`) and
    the HTTP end in one."""

    def event(delta: dict[str, str], finish_reason: str | None) -> bytes:
        content = {
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }
        return b"data: %b\n\n" % orjson.dumps(content)

    last = event({}, "stop")
    if include_usage:
        usage = {
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": [],
            "usage": _usage(words),
        }
        last += b"data: %b\n\n" % orjson.dumps(usage)
    last += b"data: [DONE]\n\n"
    return (
        _http_chunk(event({"role": "assistant", "content": ""}, None)),
        *[_http_chunk(event({"content": WORD}, None))] * words,
        _http_chunk(last) + _STREAM_END,
    )


@lru_cache(maxsize=256)
def burst(model: str, words: int, include_usage: bool) -> bytes:
    """A streamed answer without a delay, as one piece."""
    return STREAM_HEAD + b"".join(chunks(model, words, include_usage))


@lru_cache(maxsize=256)
def _other_wire(wire: mock_wires.Wire, model: str, words: int, stream: bool) -> bytes:
    """An answer in another wire, whole or as one burst."""
    if not stream:
        return _answer(b"200 OK", wire.whole(model, WORD * words, words))
    events = (event.encode() for event in wire.events(model, WORD, words))
    return STREAM_HEAD + b"".join(map(_http_chunk, events)) + _STREAM_END


def _refusal(status: bytes, message: str) -> bytes:
    return _answer(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    )


class MockProvider(asyncio.Protocol):
    """One connection. Requests are answered one after the other, as HTTP/1.1 wants it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._answer_next()

    def _answer_next(self) -> None:
        while not self._busy and self._data and self._transport:
            try:
                found = cut(self._data)
            except ValueError as refused:
                self._transport.write(_refusal(b"400 Bad Request", str(refused)))
                self._transport.close()
                return
            if found is None:
                return
            request, self._data = found
            self._busy = True
            self._answer(request)

    def _answer(self, request: Request) -> None:
        wire = mock_wires.WIRES.get(request.path.rpartition(b"/")[2])
        if wire is None and (not request.path.endswith(b"/chat/completions") or request.method != b"POST"):
            self._end(_refusal(b"404 Not Found", "the mock has chat completions, messages and responses"))
            return
        try:
            body = orjson.loads(request.body)
            model, stream = body["model"], bool(body.get("stream"))
            include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            does = behaviour(model)
        except (ValueError, KeyError, TypeError, AttributeError) as refused:
            self._end(_refusal(b"400 Bad Request", f"not a question: {type(refused).__name__}"))
            return
        if does is None:
            self._end(_refusal(b"404 Not Found", "no such model"))
            return
        answer: Callable[[], None]
        if wire is not None:
            answer = partial(self._end, _other_wire(wire, model, does.words, stream))
        elif not stream:
            answer = partial(self._end, plain(model, does.words))
        elif not does.delay_s:
            answer = partial(self._end, burst(model, does.words, include_usage))
        else:
            answer = partial(self._begin, chunks(model, does.words, include_usage), does.delay_s)
        if does.latency_s:
            self._timer = self._loop.call_later(does.latency_s, answer)
        else:
            answer()

    def _end(self, last: bytes) -> None:
        if self._transport:
            self._transport.write(last)
            self._busy = False
            self._answer_next()

    def _begin(self, pieces: tuple[bytes, ...], delay_s: float) -> None:
        if self._transport:
            self._transport.write(STREAM_HEAD + pieces[0])
            self._say(pieces, 1, self._loop.time(), delay_s)

    def _say(self, pieces: tuple[bytes, ...], number: int, started: float, delay_s: float) -> None:
        """Write one piece and come back for the next: at its place on the clock, so that delays do not add up."""
        if number == len(pieces) - 1:
            self._end(pieces[number])
        elif self._transport:
            self._transport.write(pieces[number])
            self._timer = self._loop.call_at(
                started + number * delay_s, self._say, pieces, number + 1, started, delay_s
            )


async def serve(listening: socket.socket) -> None:
    """Answer until cancelled."""
    server = await asyncio.get_running_loop().create_server(MockProvider, sock=listening, backlog=_BACKLOG)
    async with server:
        await server.serve_forever()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--port", type=int, required=True)
    port: int = words.parse_args().port
    allow_many_sockets()
    uvloop.run(serve(socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)))


if __name__ == "__main__":
    main()
