"""The inner form to a provider that speaks Anthropic's messages: translated by litellm's transformation classes, sent by our own
transport."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from yarl import URL

from app.providers.assembly import Garbled, Json, harmless, string
from app.providers.endpoints import Endpoint
from app.providers.event_stream import EventReader, Heard
from app.providers.failures import failure_in
from app.providers.litellm_library import Litellm, failing_as, ready
from app.providers.messages import usage_of
from app.providers.openai import must_stream
from app.providers.passing import Passage
from app.providers.transport import Reply, Transport
from handlers.ports import ProviderFailed, Question
from handlers.rules.catalogue import Offer

ANTHROPIC_VERSION = "2023-06-01"
"""The version that litellm's classes are written for."""

_NOT_FROM_CLIENTS = frozenset({"extra_headers", "stream"})
"""Parameters that litellm would take from a body and that are not a client's to set."""
_NO_USAGE: Json = {"input_tokens": 0, "output_tokens": 0}
"""In place of counts that make no sense."""
_PASSED_AS_IS = ("top_k",)
"""Anthropic's own parameter, which has no name in OpenAI's format."""


@dataclass(slots=True)
class _Translated:
    """A question in Anthropic's format."""

    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    json_mode: bool
    tool_names: dict[str, str]
    """As Anthropic has them → as the client named them."""


class AnthropicWire:
    """One provider that speaks Anthropic's messages."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url.removesuffix('/v1')}/v1/messages")
        self._key = endpoint.api_key

    async def ask(self, offer: Offer, question: Question, passage: Passage, *, deadline_s: float) -> None:
        """`question` is in the inner form."""
        library = await ready()
        with failing_as("unsayable", "The question cannot be put to this provider"):
            asked = _translate(library, offer, question, self._key)
        posted = self._transport.post(
            self._url, asked.headers, asked.body, stream=question.stream, deadline_s=deadline_s
        )
        async with posted as reply:
            passage.heard.limited_s = reply.limited_s
            if question.stream:
                await _listen(library, reply, asked, passage)
            else:
                body = await reply.body()
                with failing_as("garbled", "The provider's answer is not in its own format"):
                    answer = _answer(library, body, asked)
                passage.take(answer)


def _translate(library: Litellm, offer: Offer, question: Question, key: str | None) -> _Translated:
    config, model = library.anthropic, offer.upstream
    body: Json = orjson.loads(question.body)
    if body.get("n") not in (None, 1):
        raise ValueError("n: this provider gives one choice")
    supported = _supported(library, model)
    wanted = {name: value for name, value in body.items() if name in supported and value is not None}
    if not _thoughts_are_whole(body["messages"]):
        wanted.pop("reasoning_effort", None)
    mapped: Json = config.map_openai_params(wanted, {}, model, True)
    json_mode = bool(mapped.pop("json_mode", False))
    mapped.update((name, body[name]) for name in _PASSED_AS_IS if body.get(name) is not None)
    notes: Json = {"drop_params": True}
    messages = body["messages"]
    headers: dict[str, str] = {"anthropic-version": ANTHROPIC_VERSION}
    if key:
        headers = config.validate_environment({}, model, messages, mapped, notes, api_key=key)
    data: Json = config.transform_request(model, messages, mapped, notes, headers)
    if question.stream:
        data["stream"] = True
    headers |= {"content-type": "application/json", "accept-encoding": "identity"}
    return _Translated(orjson.dumps(data), headers, json_mode, notes.get(library.renamed_tools) or {})


@lru_cache(maxsize=1024)
def _supported(library: Litellm, model: str) -> frozenset[str]:
    """The parameters of OpenAI's that the model takes; litellm searches its tables for 0.2 ms."""
    return frozenset(library.anthropic.get_supported_openai_params(model)) - _NOT_FROM_CLIENTS


def _thoughts_are_whole(messages: list[Json]) -> bool:
    """Anthropic refuses a model that thinks where the tool calls it goes on from come without the thoughts before them,
    and few clients of OpenAI's wire send those back: it then goes on without thinking."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return True
        if message.get("tool_calls") and not message.get("thinking_blocks"):
            return False
    return True


def _answer(library: Litellm, body: bytes, asked: _Translated) -> bytes:
    """Anthropic's message → a `chat.completion`. Raises ProviderFailed for an error in its place, else whatever litellm
    does with an odd one."""
    said: Json = harmless(orjson.loads(body))
    if said.get("type") == "error":
        raise failure_in(said.get("error"))
    believed = usage_of(said.get("usage")) is not None
    if not believed:
        said["usage"] = dict(_NO_USAGE)
    whole = library.anthropic.transform_parsed_response(
        completion_response=said,
        raw_response=library.no_response,
        model_response=library.root.ModelResponse(),
        json_mode=asked.json_mode,
        tool_name_reverse_map=asked.tool_names,
    )
    choice = whole.choices[0]
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    message |= choice.message.model_dump(exclude_none=True, exclude={"provider_specific_fields"})
    return orjson.dumps(
        {
            "id": whole.id,
            "object": "chat.completion",
            "created": whole.created,
            "model": whole.model,
            "choices": [{"index": 0, "message": message, "finish_reason": choice.finish_reason, "logprobs": None}],
            "usage": _usage(whole.usage) if believed else None,
        }
    )


def _usage(said: Any) -> Json:
    usage: Json = said.model_dump(exclude_none=True)
    return usage


async def _listen(library: Litellm, reply: Reply, asked: _Translated, passage: Passage) -> None:
    await must_stream(reply)
    events, translation = EventReader(), _Stream(library, asked)
    async for piece in reply.stream():
        if payloads := events.feed(piece).payloads:
            frames = [frame for payload in payloads for frame in translation.frames(payload)]
            passage.hear(Heard(frames, None))
        if translation.stopped:
            passage.end()
            return
    raise ProviderFailed("cut", "The provider's answer broke off.", status=200)


class _Stream:
    """Anthropic's events in, the data of OpenAI's chunks out."""

    def __init__(self, library: Litellm, asked: _Translated) -> None:
        self._reader = library.anthropic_stream(
            None, False, json_mode=asked.json_mode, tool_name_reverse_map=asked.tool_names
        )
        self._created = int(time.time())
        self._started = self._begun = self._ended = False
        """Whether the message has been announced, has said something, has said why it stops."""
        self._usage: Json = {}
        self.stopped = False

    def frames(self, payload: bytes) -> list[bytes]:
        """Raises ProviderFailed."""
        with failing_as("garbled", "The provider's stream is not in its own format"):
            event: Json = harmless(orjson.loads(payload))
            kind = event["type"]
            if kind == "error":
                raise failure_in(event.get("error"))
            if kind == "ping":
                return []
            if kind == "message_stop":
                if not self._ended:
                    raise Garbled("an end before the end")
                self.stopped = True
                return []
            if (kind == "message_start") is self._started:
                raise Garbled("no beginning, or two")
            self._started = True
            self._ended = kind == "message_delta"
            if kind == "content_block_delta" and event["delta"]["type"] == "text_delta":
                return [orjson.dumps(self._text(string(event["delta"]["text"])))]
            self._count(event)
            return [orjson.dumps(chunk) for chunk in self._chunks(kind, event)]

    def _text(self, text: str) -> Json:
        """Nearly every event of a stream, without litellm's forty microseconds (decision 17)."""
        delta: Json = {"content": text}
        if not self._begun:
            delta, self._begun = {"role": "assistant", **delta}, True
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])

    def _count(self, event: Json) -> None:
        """litellm stumbles over counts that make no sense, or believes them: it is shown none of those."""
        holder = event.get("message") or event
        if "usage" in holder:
            told = {name: value for name, value in (holder["usage"] or {}).items() if value is not None}
            self._usage |= told
            # The end's counts are whole; what they are made of, and what was served, stood at the beginning.
            holder["usage"] = dict(_NO_USAGE) if usage_of(self._usage) is None else dict(self._usage)

    def _chunks(self, kind: str, event: Json) -> list[Json]:
        said = self._reader.chunk_parser(event)
        choice = said.choices[0]
        delta: Json = choice.delta.model_dump(exclude_none=True, exclude={"provider_specific_fields", "role"})
        if delta.get("content") == "":
            del delta["content"]
        if not self._begun and (delta or choice.finish_reason):
            delta, self._begun = {"role": "assistant", "content": "", **delta}, True
        chunks = []
        if delta or choice.finish_reason:
            chunks.append(self._chunk([{"index": 0, "delta": delta, "finish_reason": choice.finish_reason or None}]))
        usage = getattr(said, "usage", None)
        if kind == "message_delta" and usage is not None and usage_of(self._usage) is not None:
            # message_start has a usage too, but its output is only a beginning
            chunks.append(self._chunk([]) | {"usage": _usage(usage)})
        return chunks

    def _chunk(self, choices: list[Json]) -> Json:
        return {
            "id": self._reader.response_id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._reader.served_model or "",
            "choices": choices,
        }
