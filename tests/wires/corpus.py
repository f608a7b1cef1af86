"""What providers do wrong, as a table: each fault as a script for the fake provider, in each provider's own format, and the
one outcome that is right.

One rule: a case says what the provider does, never what we do about it, but for the outcome at its end.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.fakes.provider import EVENTS, Script, chunk, event
from tests.wires import speech

ANSWER: Final = "answer"
"""In place of a kind of failure: the answer is right."""

Build = Callable[[str], Script]


@dataclass(frozen=True)
class Case:
    """One fault."""

    build: Build
    """What is spoken (`openai`, `anthropic`, `responses`) → the provider's part."""
    outcome: str | Mapping[str, str]
    """A kind of failure or ANSWER; by what is spoken where that decides."""
    text_seen: bool = False
    """The client may have had text before it failed."""
    uncounted: bool = False
    """The provider's token counts are not believed."""
    retry_after_s: float | None = None

    def outcome_of(self, spoken: str) -> str:
        return self.outcome if isinstance(self.outcome, str) else self.outcome[spoken]


def _refused(status: int, body: bytes = b"", **headers: str) -> Build:
    return lambda spoken: Script(
        [body], status, headers={name.replace("_", "-"): said for name, said in headers.items()}
    )


def _error(**said: object) -> bytes:
    return json.dumps({"type": "error", "error": {"message": "no", **said}}).encode()


def _proper(spoken: str, case: str = "text") -> list[bytes]:
    return speech.stream(spoken, case)


def _streamed(build: Callable[[str], list[bytes]], **more: Any) -> Build:
    return lambda spoken: Script(build(spoken), content_type=EVENTS, **more)


def said_so_far(spoken: str) -> list[bytes]:
    """Up to the first word, and no end."""
    return _until(spoken, b"Hel")


def _until(spoken: str, word: bytes) -> list[bytes]:
    pieces = _proper(spoken)
    place = next(place for place, piece in enumerate(pieces) if word in piece)
    return pieces[: place + 1]


def _endless(spoken: str) -> list[bytes]:
    """All the words, and what says why they end left out."""
    ends = (
        b"[DONE]",
        b'"finish_reason": "stop"',
        b'"usage": {"prompt',
        b"message_delta",
        b"message_stop",
        b"response.completed",
    )
    return [piece for piece in _proper(spoken) if not any(end in piece for end in ends)]


def _with(place: int, piece: Callable[[str], bytes]) -> Callable[[str], list[bytes]]:
    """A proper stream with one more event at this place."""

    def build(spoken: str) -> list[bytes]:
        pieces = _proper(spoken)
        return [*pieces[:place], piece(spoken), *pieces[place:]]

    return build


def _after_text(piece: Callable[[str], bytes]) -> Callable[[str], list[bytes]]:
    return lambda spoken: [*said_so_far(spoken), piece(spoken)]


def _first(piece: Callable[[str], bytes]) -> Callable[[str], list[bytes]]:
    """Behind the beginning, which says nothing yet."""
    return lambda spoken: [*([] if spoken == "openai" else _proper(spoken)[:1]), piece(spoken)]


def _each(change: Callable[[bytes], bytes]) -> Callable[[str], list[bytes]]:
    return lambda spoken: [change(piece) for piece in _proper(spoken)]


def _text(said: object) -> Callable[[str], bytes]:
    """An event with this in the place of a piece of text."""

    def build(spoken: str) -> bytes:
        if spoken == "openai":
            return event(chunk({"content": said}))
        if spoken == "anthropic":
            return event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}})
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        return event({"type": "response.output_text.delta", **place, "delta": said, "sequence_number": 5})

    return build


def _raised(spoken: str) -> bytes:
    """The provider's own word for an overload, in a stream."""
    if spoken == "openai":
        return event({"error": {"message": "no", "code": "rate_limit_exceeded"}})
    if spoken == "anthropic":
        return event({"type": "error", "error": {"type": "rate_limit_error", "message": "no"}})
    return event({"type": "error", "code": "rate_limit_exceeded", "message": "no", "sequence_number": 2})


def _failed(spoken: str) -> bytes:
    if spoken != "responses":
        return _raised(spoken)
    return event({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "no"}}})


def _unknown(spoken: str) -> bytes:
    if spoken == "openai":
        return event({**chunk({}), "choices": [], "mystery": 1})
    return event({"type": "mystery" if spoken == "anthropic" else "response.mystery", "index": 0})


def _end(spoken: str) -> bytes:
    return _proper(spoken)[-1]


def _tokens(said: str) -> Callable[[str], list[bytes]]:
    """The counts of tokens replaced by this JSON."""

    def change(piece: bytes) -> bytes:
        for name in (b"completion_tokens", b"output_tokens"):
            piece = piece.replace(b'"%b": 2' % name, b'"%b": %b' % (name, said.encode()))
            piece = piece.replace(b'"%b": 4' % name, b'"%b": %b' % (name, said.encode()))
        return piece

    return _each(change)


def _drip(spoken: str) -> list[bytes]:
    return [bytes([byte]) for byte in b"".join(_proper(spoken))]


def _gzipped(spoken: str) -> list[bytes]:
    return [gzip.compress(b"".join(_proper(spoken)))]


def _noise(spoken: str) -> list[bytes]:
    return [b": ping\n\nid: 7\n\nretry: 5\n\n" + piece for piece in _proper(spoken)]


def _whole(change: Callable[[bytes], bytes]) -> Build:
    """An unstreamed answer, changed."""
    return lambda spoken: Script([change(json.dumps(speech.whole(spoken, "text")).encode())])


_LONG = 20 * 1024 * 1024
_PIECE = 256 * 1024

STREAMED: Final[dict[str, Case]] = {
    "429 that says when": Case(_refused(429, _error(), retry_after="7"), "rate_limited", retry_after_s=7.0),
    "429 that does not": Case(_refused(429, _error()), "rate_limited"),
    "429 that says nonsense": Case(_refused(429, _error(), retry_after="soon"), "rate_limited"),
    "429 that says it in headers of its own": Case(
        _refused(429, _error(), x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="1m30s"),
        "rate_limited",
        retry_after_s=90.0,
    ),
    "429 for an empty account": Case(_refused(429, _error(code="insufficient_quota")), "auth"),
    "529": Case(_refused(529, _error(type="overloaded_error")), "overloaded"),
    "503 in prose": Case(_refused(503, b"<html>busy"), "overloaded"),
    "500 without a word": Case(_refused(500), "server_error"),
    "400 for a question too long": Case(_refused(400, _error(code="context_length_exceeded")), "context_overflow"),
    "401": Case(_refused(401, _error()), "auth"),
    "404": Case(_refused(404, _error()), "not_found"),
    "a redirect": Case(_refused(302, location="http://127.0.0.1:1/"), "garbled"),
    "202": Case(_refused(202, b"{}"), "garbled"),
    "a 200 that is an error": Case(
        _refused(200, _error(code="rate_limit_exceeded", type="rate_limit_error")), "rate_limited"
    ),
    "a 200 of HTML": Case(lambda spoken: Script([b"<html>hello"], content_type="text/html"), "garbled"),
    "a whole answer in place of a stream": Case(_whole(lambda body: body), "garbled"),
    "no byte and a closed connection": Case(lambda spoken: Script(speaks=False), "connect"),
    "silence before the first byte": Case(lambda spoken: Script(delay_s=60), "timeout"),
    "silence in the middle": Case(_streamed(said_so_far, ending="silent"), "timeout", text_seen=True),
    "silence behind a full answer": Case(_streamed(_endless, ending="silent"), "timeout", text_seen=True),
    "an empty stream": Case(_streamed(lambda spoken: []), "cut"),
    "half a stream, closed in order": Case(_streamed(said_so_far), "cut", text_seen=True),
    "half a stream, broken off": Case(_streamed(said_so_far, ending="cut"), "cut", text_seen=True),
    "half a stream, reset": Case(_streamed(said_so_far, ending="reset"), "cut", text_seen=True),
    "half an event": Case(_streamed(_after_text(lambda spoken: b'data: {"choi')), "cut", text_seen=True),
    "no end": Case(_streamed(_endless), "cut", text_seen=True),
    "the end at the beginning": Case(_streamed(lambda spoken: [_end(spoken), *_proper(spoken)]), "garbled"),
    "two ends": Case(_streamed(lambda spoken: [*_proper(spoken), _end(spoken)]), ANSWER),
    "text behind the end": Case(_streamed(lambda spoken: [*_proper(spoken), b"data: more\n\nand more"]), ANSWER),
    "words before the beginning": Case(
        _streamed(lambda spoken: [_text("a")(spoken), *_proper(spoken)]),
        {"openai": ANSWER, "anthropic": "garbled", "responses": "garbled"},
    ),
    "an error at once": Case(_streamed(_first(_raised)), "rate_limited"),
    "an error behind words": Case(_streamed(_after_text(_raised)), "rate_limited", text_seen=True),
    "a failure behind words": Case(_streamed(_after_text(_failed)), "rate_limited", text_seen=True),
    "an unknown event": Case(_streamed(_with(2, _unknown)), ANSWER),
    "comments, ids and pauses": Case(_streamed(_noise), ANSWER),
    "no JSON": Case(_streamed(_after_text(lambda spoken: b"data: {hello\n\n")), "garbled", text_seen=True),
    "no object": Case(_streamed(_after_text(lambda spoken: b"data: [7]\n\n")), "garbled", text_seen=True),
    "null": Case(_streamed(_after_text(lambda spoken: b"data: null\n\n")), "garbled", text_seen=True),
    "a depth of 2,000": Case(
        _streamed(_after_text(lambda spoken: b"data: " + b"[" * 2_000 + b"]" * 2_000 + b"\n\n")),
        "garbled",
        text_seen=True,
    ),
    "a number for a text": Case(_streamed(_after_text(_text(7))), "garbled", text_seen=True),
    "an object for a text": Case(_streamed(_after_text(_text({"a": 1}))), "garbled", text_seen=True),
    "NUL as JSON has it": Case(_streamed(_each(lambda piece: piece.replace(b"Hel", b"H\\u0000l"))), ANSWER),
    "a bare NUL": Case(_streamed(_after_text(lambda spoken: b'data: {"a": "\x00"}\n\n')), "garbled", text_seen=True),
    "bytes that are no UTF-8": Case(
        _streamed(_after_text(lambda spoken: b'data: {"a": "\xff\xfe"}\n\n')), "garbled", text_seen=True
    ),
    "half a character": Case(_streamed(_after_text(_text("\ud800"))), "garbled", text_seen=True),
    "tokens that are no number": Case(_streamed(_tokens("NaN")), "garbled", text_seen=True),
    "fewer than no tokens": Case(_streamed(_tokens("-5")), ANSWER, uncounted=True),
    "more tokens than there are": Case(_streamed(_tokens("9" * 30)), ANSWER, uncounted=True),
    "tokens in words": Case(_streamed(_tokens('"four"')), ANSWER, uncounted=True),
    "half a token": Case(_streamed(_tokens("2.5")), ANSWER, uncounted=True),
    "20 MB without an end": Case(
        _streamed(lambda spoken: [b"data: ", *[b"x" * _PIECE] * (_LONG // _PIECE)]), "garbled"
    ),
    "a body that says it is compressed": Case(_streamed(_proper, headers={"content-encoding": "gzip"}), "garbled"),
    "a body that is compressed": Case(_streamed(_gzipped, headers={"content-encoding": "gzip"}), "garbled"),
    "byte by byte": Case(_streamed(_drip), ANSWER),
    "lines that end as on Windows": Case(_streamed(_each(lambda piece: piece.replace(b"\n", b"\r\n"))), ANSWER),
    "everything in one write": Case(_streamed(lambda spoken: [b"".join(_proper(spoken))]), ANSWER),
}

UNSTREAMED: Final[dict[str, Case]] = {
    "nothing": Case(_whole(lambda body: b""), "garbled"),
    "HTML": Case(_whole(lambda body: b"<html>"), "garbled"),
    "a list": Case(_whole(lambda body: b"[]"), "garbled"),
    "an empty object": Case(_whole(lambda body: b"{}"), "garbled"),
    "an error": Case(_whole(lambda body: _error(code="rate_limit_exceeded", type="rate_limit_error")), "rate_limited"),
    "half of it, closed in order": Case(_whole(lambda body: body[: len(body) // 2]), "garbled"),
    "half of it, broken off": Case(
        lambda spoken: replace(_whole(lambda body: body[: len(body) // 2])(spoken), ending="cut"), "cut"
    ),
    "twice": Case(_whole(lambda body: body + body), "garbled"),
    "NUL": Case(_whole(lambda body: body.replace(b"Hello", b"H\\u0000llo")), ANSWER),
    "NaN": Case(
        _whole(lambda body: body.replace(b'_tokens": 2', b'_tokens": NaN').replace(b'_tokens": 4', b'_tokens": NaN')),
        "garbled",
    ),
    "fewer than no tokens": Case(
        _whole(lambda body: body.replace(b'_tokens": 2', b'_tokens": -2').replace(b'_tokens": 4', b'_tokens": -4')),
        ANSWER,
        uncounted=True,
    ),
    "bytes that are no UTF-8": Case(_whole(lambda body: body.replace(b"Hello", b"\xff")), "garbled"),
    "20 MB": Case(lambda spoken: Script([b" " * _PIECE] * (_LONG // _PIECE)), "garbled"),
    "a compressed body": Case(
        lambda spoken: replace(_whole(gzip.compress)(spoken), headers={"content-encoding": "gzip"}), "garbled"
    ),
    "a number for its words": Case(_whole(lambda body: body.replace(b'"Hello \\ud83c\\udf0d"', b"7")), "garbled"),
}
