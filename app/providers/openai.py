"""OpenAI's wire to a provider that speaks it too: what comes back is passed on byte for byte and read as it goes by."""

from __future__ import annotations

import time
from typing import Any

import orjson
from yarl import URL

from app.providers.assembly import Assembly, Garbled, Json, finish_reason_of, harmless, usage_of
from app.providers.endpoints import Endpoint
from app.providers.event_stream import EventReader, Heard
from app.providers.failures import error_in, failure_in
from app.providers.transport import Reply, Transport
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer

_DONE = b"[DONE]"
_NUL = b"\\u0000"


class OpenAiWire:
    """One provider that speaks OpenAI's chat completions."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url}/chat/completions")
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        body = request_body(offer, question)
        posted = self._transport.post(self._url, self._headers, body, stream=question.stream, deadline_s=deadline_s)
        async with posted as reply:
            if question.stream:
                await _listen(reply, question, heard)
            else:
                take_answer(await reply.body(), heard)


def request_body(offer: Offer, question: Question) -> bytes:
    """The client's body with the provider's model name, the usage of a stream asked for, and nothing else changed."""
    body: Json = orjson.loads(question.body)
    body["model"] = offer.upstream
    if question.stream:
        body["stream"] = True
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    elif body.get("stream"):
        body["stream"] = False
    return orjson.dumps(body)


def take_answer(body: bytes, heard: Transcript) -> None:
    """An unstreamed answer into the transcript, its bytes untouched. Raises ProviderFailed."""
    try:
        answer = orjson.loads(body)
        if _NUL in body:
            answer = harmless(answer)
            body = orjson.dumps(answer)
        if error := answer.get("error"):
            raise failure_in(error)
        first = answer["choices"][0]
        message = first["message"]
        if message.get("role", "assistant") != "assistant" or not isinstance(message.get("content"), str | None):
            raise Garbled("the message")
        finish_reason = first.get("finish_reason")
    except (orjson.JSONDecodeError, TypeError, AttributeError, KeyError, IndexError, RecursionError, Garbled):
        raise ProviderFailed("garbled", "The provider's answer is not in its own format.", status=200) from None
    if message.get("content"):
        heard.text.append(message["content"])
    heard.usage = usage_of(answer.get("usage"), service=answer.get("service_tier"))
    heard.finish_reason = finish_reason_of(finish_reason)
    heard.message = orjson.dumps(message)
    heard.answer = body


async def _listen(reply: Reply, question: Question, heard: Transcript) -> None:
    if reply.content_type != "text/event-stream":
        error = error_in(await reply.body())
        raise failure_in(error) if error else ProviderFailed("garbled", "The provider sent no stream.", status=200)
    events, stream = EventReader(), PassThrough(question, heard)
    async for piece in reply.stream():
        if stream.hear(events.feed(piece)):
            break
    else:
        if events.unfinished and not stream.hear(_last(events)):
            raise ProviderFailed("cut", "The provider's answer broke off.", status=200)
    stream.end()


def _last(events: EventReader) -> Heard:
    """Some servers close without the blank line behind their last event."""
    last = events.feed(b"\n\n")
    return last if all(payload == _DONE or payload.endswith(b"}") for payload in last.payloads) else Heard([], None)


class PassThrough:
    """One stream as it goes by: frames out, everything that must be known about it kept."""

    __slots__ = ("_assembly", "_done", "_heard", "_include_usage")

    def __init__(self, question: Question, heard: Transcript) -> None:
        self._heard = heard
        self._include_usage = question.include_usage
        self._assembly = Assembly(heard.text)
        self._done = False

    def hear(self, events: Heard) -> bool:
        """Pass on what one read brought → whether the provider has said its last word. Raises ProviderFailed."""
        payloads, block = events
        passed: list[bytes] = []
        untouched = False
        changed = block is None
        try:
            for payload in payloads:
                if payload == _DONE:
                    self._done = changed = True
                    break
                chunk = orjson.loads(payload)
                if _NUL in payload:
                    chunk, changed = harmless(chunk), True
                    payload = orjson.dumps(chunk)
                if chunk.get("error"):
                    raise failure_in(chunk["error"])
                if self._assembly.add(chunk) or self._include_usage:
                    passed.append(payload)
                else:
                    changed = True
            untouched = not changed
        except (orjson.JSONDecodeError, TypeError, AttributeError, RecursionError, Garbled):
            raise ProviderFailed("garbled", "The provider's stream is not in its own format.", status=200) from None
        finally:
            if passed:
                self._pass_on(block if untouched and block is not None else _frames(passed), len(passed))
        return self._done

    def _pass_on(self, frames: bytes, count: int) -> None:
        heard = self._heard
        if heard.first_at is None:
            heard.first_at = time.monotonic()
        heard.frames += count
        heard.frame(frames)

    def end(self) -> None:
        """The stream is over. Raises ProviderFailed where it was not a proper end."""
        assembly, heard = self._assembly, self._heard
        heard.usage = usage_of(assembly.usage, service=assembly.service_tier)
        if not assembly.begun:
            raise ProviderFailed("garbled" if self._done else "cut", "The provider's stream was empty.", status=200)
        if not (self._done or assembly.finished):
            raise ProviderFailed("cut", "The provider's answer broke off.", status=200)
        try:
            answer = assembly.whole()
        except (TypeError, AttributeError):
            raise ProviderFailed("garbled", "The provider's stream is not in its own format.", status=200) from None
        first: dict[str, Any] = answer["choices"][0]
        heard.finish_reason = first["finish_reason"]
        heard.message = orjson.dumps(first["message"])
        heard.answer = orjson.dumps(answer)


def _frames(payloads: list[bytes]) -> bytes:
    return b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
