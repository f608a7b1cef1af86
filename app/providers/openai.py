"""The inner form to a provider that speaks it: OpenAI's chat completions, sent as they are."""

from __future__ import annotations

import orjson
from yarl import URL

from app.providers.assembly import Json
from app.providers.endpoints import Endpoint
from app.providers.event_stream import EventReader, Heard
from app.providers.failures import error_in, failure_in
from app.providers.passing import DONE, Passage
from app.providers.transport import Reply, Transport
from handlers.ports import ProviderFailed, Question
from handlers.rules.catalogue import Offer


class OpenAiWire:
    """One provider that speaks OpenAI's chat completions."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url}/chat/completions")
        self._headers = own_headers(endpoint)

    async def ask(self, offer: Offer, question: Question, passage: Passage, *, deadline_s: float) -> None:
        """`question` is in the inner form."""
        body, headers = request_body(offer, question), self._headers
        if question.forwarded:
            headers = {**dict(question.forwarded), **headers}
        posted = self._transport.post(self._url, headers, body, stream=question.stream, deadline_s=deadline_s)
        async with posted as reply:
            passage.heard.limited_s = reply.limited_s
            if question.stream:
                await _listen(reply, passage)
            else:
                passage.take(await reply.body())


def own_headers(endpoint: Endpoint) -> dict[str, str]:
    """The headers of OpenAI's wire; in small letters, so that nothing forwarded stands beside them."""
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if endpoint.api_key:
        headers["authorization"] = f"Bearer {endpoint.api_key}"
    return headers


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


async def must_stream(reply: Reply) -> None:
    """Raises ProviderFailed where the answer is no stream."""
    if reply.content_type != "text/event-stream":
        error = error_in(await reply.body())
        raise failure_in(error) if error else ProviderFailed("garbled", "The provider sent no stream.", status=200)


async def _listen(reply: Reply, passage: Passage) -> None:
    await must_stream(reply)
    events = EventReader()
    async for piece in reply.stream():
        if passage.hear(events.feed(piece)):
            break
    else:
        if events.unfinished and not passage.hear(_last(events)):
            raise ProviderFailed("cut", "The provider's answer broke off.", status=200)
    passage.end()


def _last(events: EventReader) -> Heard:
    """Some servers close without the blank line behind their last event."""
    last = events.feed(b"\n\n")
    return last if all(payload == DONE or payload.endswith(b"}") for payload in last.payloads) else Heard([], None)
