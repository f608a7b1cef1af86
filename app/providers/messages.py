"""Anthropic's messages to a provider that speaks them: the client's body with the provider's model name, the client's
version and beta headers, and an answer that passes byte for byte."""

from __future__ import annotations

from typing import Final

import orjson
from yarl import URL

from app.providers.assembly import Garbled, Json, harmless, string, token_count
from app.providers.counting import question_tokens, text_tokens
from app.providers.endpoints import Endpoint
from app.providers.failures import failure_in
from app.providers.metered import metered_in
from app.providers.named_events import NamedEvents, Step
from app.providers.passing import NUL, ODD, garbled
from app.providers.transport import Transport
from app.wires import Untranslatable, anthropic
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage

VERSION: Final = "2023-06-01"
"""For a client that named none."""

_BLOCKS_MAX = 4096
"""A bound on what a provider's nonsense could make a mountain."""

_FINISHES: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reasons → the inner form's; every other is `stop`."""

_TEXTS: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "input"),
    "compaction_delta": ("content", "content"),
}
"""A delta's type → (its field, the field of the block that it adds to)."""


class MessagesWire:
    """One provider that speaks Anthropic's messages, for clients who do."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url.removesuffix('/v1')}/v1/messages")
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if endpoint.api_key:
            self._headers["x-api-key"] = endpoint.api_key

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        body: Json = orjson.loads(question.body)
        body |= {"model": offer.upstream, "stream": question.stream}
        headers = {"anthropic-version": VERSION, **dict(question.forwarded), **self._headers}
        posted = self._transport.post(
            self._url, headers, orjson.dumps(body), stream=question.stream, deadline_s=deadline_s
        )
        stream = MessageEvents(heard)
        try:
            async with posted as reply:
                heard.limited_s = reply.limited_s
                if question.stream:
                    await stream.listen(reply)
                else:
                    _take(await reply.body(), heard)
        finally:  # behind the closed connection: counting takes milliseconds
            if heard.usage is None and heard.frames:
                heard.usage = stream.used_so_far(question)


def _take(body: bytes, heard: Transcript) -> None:
    try:
        said: Json = orjson.loads(body)
        if NUL in body:
            said = harmless(said)
            body = orjson.dumps(said)
        if said.get("type") == "error" or said.get("error"):
            raise failure_in(said.get("error"))
        if said["type"] != "message" or said["role"] != "assistant" or not isinstance(said["content"], list):
            raise Garbled("the message")
        _remember(said, heard)
    except ODD:
        raise garbled("answer") from None
    heard.text += [block["text"] for block in said["content"] if block.get("type") == "text"]
    heard.answer = body


def _remember(message: Json, heard: Transcript) -> None:
    """All about a whole message but its bytes."""
    if not isinstance(message["stop_reason"], str):
        raise Garbled("a message without a stop reason")
    blocks = message["content"]
    if not all(isinstance(block["type"], str) for block in blocks):
        raise Garbled("a block")
    for block in blocks:
        if block["type"] == "text":
            string(block["text"])
    try:
        inner = anthropic.assistant(blocks)
    except Untranslatable:
        inner = {"role": "assistant", "content": "".join(b["text"] for b in blocks if b["type"] == "text")}
    heard.usage = usage_of(message.get("usage"))
    heard.finish_reason = _FINISHES.get(message["stop_reason"], "stop")
    heard.message = orjson.dumps(inner)


class MessageEvents(NamedEvents):
    """One streamed message."""

    __slots__ = ("_delta", "_message", "_open", "_pieces")

    def __init__(self, heard: Transcript) -> None:
        super().__init__(heard)
        self._message: Json = {}
        self._delta = False
        """Whether the message has said why it stops."""
        self._open: dict[int, Json] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def read(self, kind: str, event: Json) -> Step:
        match kind:
            case "content_block_delta":
                self._piece(event["index"], event["delta"])
            case "content_block_start":
                self._start(event["index"], event["content_block"])
            case "content_block_stop":
                self._stop(event["index"])
            case "message_start":
                if self._message:
                    raise Garbled("two beginnings")
                self._message = dict(event["message"])
                if self._message["role"] != "assistant" or self._message["type"] != "message":
                    raise Garbled("a beginning")
                self._message["content"] = []
                return "hold"
            case "message_delta":
                self._message |= {name: value for name, value in event["delta"].items() if value is not None}
                told = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
                self._message["usage"] = {**(self._message.get("usage") or {}), **told}
                self._delta = True
            case "message_stop":
                return "last"
            case "error":
                raise failure_in(event.get("error"))
            case "ping":
                return "hold"
        if not self._message:
            raise Garbled("no beginning")
        return "pass"

    def _start(self, index: object, block: Json) -> None:
        content = self._message["content"]
        if index != len(content) or len(content) >= _BLOCKS_MAX or not isinstance(block["type"], str):
            raise Garbled("a block's index")
        self._open[len(content)] = whole = dict(block)
        content.append(whole)

    def _piece(self, index: int, delta: Json) -> None:
        block = self._open[index]
        kind = delta["type"]
        if kind in _TEXTS:
            field, into = _TEXTS[kind]
            piece = string(delta[field])
            self._pieces.setdefault((index, into), []).append(piece)
            if kind != "signature_delta":
                self.heard.text.append(piece)
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def _stop(self, index: int) -> None:
        block = self._open.pop(index)
        for name in ("text", "thinking", "signature", "content"):
            if pieces := self._pieces.pop((index, name), None):
                block[name] = (block.get(name) or "") + "".join(pieces)
        if pieces := self._pieces.pop((index, "input"), None):
            text = "".join(pieces)
            try:
                block["input"] = orjson.loads(text) if text else {}
            except orjson.JSONDecodeError:
                block["input"] = {}  # what was streamed is what the client has; a limit may have cut it

    def whole(self) -> None:
        if not self._delta or self._open:
            raise Garbled("an end before the end")
        _remember(self._message, self.heard)
        self.release()
        self.heard.answer = orjson.dumps(self._message)

    def used_so_far(self, question: Question) -> Usage:
        """Of an answer that broke off: the question as the provider counted it, the text as it is counted here."""
        told = usage_of(self._message.get("usage"))
        written = text_tokens("".join(self.heard.text))
        if told is None or not told.input:
            return Usage(question_tokens(question), written, source="estimated")
        return Usage(told.input, written, told.cached, told.cache_write, source="estimated")


def usage_of(said: object) -> Usage | None:
    """Anthropic's usage → Usage; None where it is missing or makes no sense, so that it is counted here instead.

    Anthropic counts what was read from or written to its cache apart from the input.
    """
    if not isinstance(said, dict):
        return None
    fresh, written = token_count(said.get("input_tokens")), token_count(said.get("output_tokens"))
    cached = token_count(said.get("cache_read_input_tokens") or 0)
    stored = token_count(said.get("cache_creation_input_tokens") or 0)
    if fresh is None or written is None or cached is None or stored is None:
        return None
    return Usage(fresh + cached + stored, written, cached, stored, metered=metered_in(said))
