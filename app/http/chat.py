"""The doors of OpenAI's chat completions, and of Helix's own `/v1/chat`: the same body, with routing and cost added.

One rule: on OpenAI's own route nothing is said that OpenAI would not say.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import orjson

from app.http.asked import Arrived, Asked, without
from app.http.delivery import usd
from app.http.dialect import COMMENT, DONE, Dialect, Header
from app.http.shapes import ChatBody, missing, shaped
from app.live.last_word import LastWord
from app.wiring import WebParts
from events.completions import Wire

OWN_FIELDS: Final = ("optimize", "conversation_id", "store")
"""Fields of the body that are Helix's own: no provider sees them."""


class ChatDialect:
    """OpenAI's chat completions."""

    wire: Wire = "openai"
    ping = COMMENT
    closing_needs_answer = False

    def __init__(self, *, include_usage: bool = False) -> None:
        self._include_usage = include_usage

    def headers(self, request: str) -> tuple[Header, ...]:
        return ()

    def whole(self, request: str, answer: bytes, meta: LastWord) -> bytes:
        return answer

    def retold(self, request: str, answer: bytes) -> bytes:
        return as_chunks(answer, include_usage=self._include_usage)

    def closing(self, request: str, answer: bytes, meta: LastWord, events: int) -> bytes:
        return DONE

    def broken(self, request: str, error: bytes, meta: LastWord, events: int) -> bytes:
        return b"data: " + error + b"\n\n"


class HelixChatDialect(ChatDialect):
    """The same, with who answered, why, and for how much: in the answer, or in a last chunk."""

    def whole(self, request: str, answer: bytes, meta: LastWord) -> bytes:
        return orjson.dumps(orjson.loads(answer) | _extras(meta))

    def closing(self, request: str, answer: bytes, meta: LastWord, events: int) -> bytes:
        chunk = {
            "id": request,
            "object": "chat.completion.chunk",
            "created": 0,
            "model": meta["model"],
            "choices": [],
        }
        return b"data: " + orjson.dumps(chunk | _extras(meta)) + b"\n\n" + DONE


class ChatDoor:
    """What comes in as a chat completion."""

    wire: ClassVar[Wire] = "openai"

    def __init__(self, parts: WebParts, endpoint: Literal["/v1/chat/completions", "/v1/chat"]) -> None:
        self.endpoint: str = endpoint
        self._parts = parts
        kind = HelixChatDialect if endpoint == "/v1/chat" else ChatDialect
        self._dialects: dict[bool, Dialect] = {usage: kind(include_usage=usage) for usage in (False, True)}

    async def read(self, arrived: Arrived) -> Asked:
        body = shaped(ChatBody, arrived.parsed)
        model = body.model
        if model is None:
            if self.endpoint != "/v1/chat":
                raise missing("model")
            model = "auto"
        conversation = body.conversation_id
        if conversation is None and body.store:
            conversation = arrived.request.replace("req_", "conv_", 1)
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return Asked(
            dialect=self._dialects[include_usage],
            model=model,
            stream=bool(body.stream),
            include_usage=include_usage,
            question=without(OWN_FIELDS, arrived),
            optimize=body.optimize,
            conversation=conversation,
        )


_HELIX: Final = HelixChatDialect()


def present(endpoint: str, request: str, answer: bytes, meta: LastWord) -> bytes:
    """A completed answer as the route gave it that it was asked on."""
    return _HELIX.whole(request, answer, meta) if endpoint == "/v1/chat" else answer


def _extras(meta: LastWord) -> dict[str, object]:
    routing = meta.get("routing") or {"reason": None, "considered": []}
    return {
        "routing": {"provider": meta["provider"], "model": meta["model"], **routing},
        "cost": {"usd": usd(meta["cost_nanousd"]), "nanousd": meta["cost_nanousd"]},
    }


_HEAD: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
"""What every chunk repeats."""


def as_chunks(answer: bytes, *, include_usage: bool = False) -> bytes:
    """A whole chat completion as the chunks of a stream: for a client that asks for a stream after the fact."""
    whole: dict[str, Any] = orjson.loads(answer)
    head = {key: whole[key] for key in _HEAD if key in whole} | {"object": "chat.completion.chunk"}
    frames = bytearray()
    for choice in whole["choices"]:
        delta = dict(choice["message"])
        if delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(delta["tool_calls"])]
        said = {"index": choice["index"], "delta": delta, "finish_reason": None}
        if choice.get("logprobs"):
            said["logprobs"] = choice["logprobs"]
        last = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        for part in (said, last):
            frames += b"data: " + orjson.dumps(head | {"choices": [part]}) + b"\n\n"
    if include_usage and whole.get("usage"):
        frames += b"data: " + orjson.dumps(head | {"choices": [], "usage": whole["usage"]}) + b"\n\n"
    return bytes(frames)
