"""OpenAI's responses to a provider that speaks them: the client's body with the provider's model name and nothing kept
there, and an answer that passes with its id replaced by ours.

One rule: what is remembered of a response is remembered here, not at the provider: `store` is false there always.
"""

from __future__ import annotations

from typing import Final

import orjson
from yarl import URL

from app.providers.assembly import Garbled, Json, harmless, string, token_count
from app.providers.endpoints import Endpoint
from app.providers.failures import failure_in
from app.providers.metered import metered_in
from app.providers.named_events import NamedEvents, Step
from app.providers.openai import own_headers
from app.providers.passing import NUL, ODD, garbled
from app.providers.transport import Transport
from app.wires import digits_of
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage

_OURS: Final = ("previous_response_id", "background", "conversation_id")
"""What Helix itself answers for."""

_ENCRYPTED: Final = "reasoning.encrypted_content"

_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_HEADS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_DELTAS: Final = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)


class ResponsesWire:
    """One provider that speaks OpenAI's responses, for clients who do."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url}/responses")
        self._headers = own_headers(endpoint)

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        asked: Json = orjson.loads(question.body)
        headers = {**dict(question.forwarded), **self._headers}
        body = _request_body(asked, offer, question)
        posted = self._transport.post(self._url, headers, body, stream=question.stream, deadline_s=deadline_s)
        async with posted as reply:
            heard.limited_s = reply.limited_s
            if question.stream:
                await ResponseEvents(heard, question, asked).listen(reply)
            else:
                _take(await reply.body(), heard, question, asked)


def _request_body(asked: Json, offer: Offer, question: Question) -> bytes:
    """The client's body, with what this provider does not keep taken out or given in full."""
    body = {name: value for name, value in asked.items() if name not in _OURS}
    body |= {"model": offer.upstream, "stream": question.stream, "store": False}
    if "reasoning" in offer.capabilities:
        include = body.get("include")
        wanted = include if isinstance(include, list) else []
        body["include"] = [*(name for name in wanted if name != _ENCRYPTED), _ENCRYPTED]
    if isinstance(items := body.get("input"), list):
        # a thought that is not given in full is looked for at the provider, which has kept nothing
        body["input"] = [item for item in items if not _bare_thought(item)]
    return orjson.dumps(body)


def _bare_thought(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning" and not item.get("encrypted_content")


def _ours(response: Json, question: Question, asked: Json) -> Json:
    """The response under our id, and with what the client asked of us and not of the provider."""
    return response | {
        "id": f"resp_{digits_of(question.request)}",
        "store": asked.get("store") is not False,
        "background": asked.get("background") is True,
        "previous_response_id": asked.get("previous_response_id"),
    }


def _take(body: bytes, heard: Transcript, question: Question, asked: Json) -> None:
    try:
        said: Json = orjson.loads(body)
        if NUL in body:
            said = harmless(said)
        if said.get("error"):
            raise failure_in(said["error"])
        if said["object"] != "response" or said["status"] not in ("completed", "incomplete"):
            raise Garbled("the response")
        heard.text += _texts(said["output"])
        _remember(_ours(said, question, asked), heard)
    except ODD:
        raise garbled("answer") from None


def _remember(response: Json, heard: Transcript) -> None:
    calls = [item for item in response["output"] if item["type"] in ("function_call", "custom_tool_call")]
    reason = (response.get("incomplete_details") or {}).get("reason")
    if response["status"] == "incomplete":
        heard.finish_reason = "content_filter" if reason == "content_filter" else "length"
    else:
        heard.finish_reason = "tool_calls" if calls else "stop"
    message: Json = {"role": "assistant", "content": "".join(_texts(response["output"])) or None}
    if calls:
        message["tool_calls"] = [_call(item) for item in calls]
    heard.message = orjson.dumps(message)
    searches = sum(item["type"] == "web_search_call" for item in response["output"])
    heard.usage = usage_of(response.get("usage"), service=response.get("service_tier"), searches=searches)
    heard.answer = orjson.dumps(response)


def _texts(output: list[Json]) -> list[str]:
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    return [string(part.get("text") or part.get("refusal") or "") for part in parts]


def _call(item: Json) -> Json:
    function = {"name": item["name"], "arguments": string(item.get("arguments") or item.get("input") or "")}
    return {"id": item["call_id"], "type": "function", "function": function}


class ResponseEvents(NamedEvents):
    """One streamed response. Numbers run on without a gap, also where the provider's do not."""

    __slots__ = ("_asked", "_begun", "_number", "_question", "_response")

    def __init__(self, heard: Transcript, question: Question, asked: Json) -> None:
        super().__init__(heard)
        self._question = question
        self._asked = asked
        self._number = 0
        self._response: Json = {}
        self._begun = False

    def read(self, kind: str, event: Json) -> Step:
        if kind in _ENDS:
            if not self._begun:
                raise Garbled("no beginning")
            self._response = _ours(event["response"], self._question, self._asked)
            return "last"
        if kind == "response.failed":
            raise failure_in(event["response"].get("error"))
        if kind == "error":
            raise failure_in(event.get("error") or event)
        if kind in _DELTAS:
            self.heard.text.append(string(event["delta"]))
        elif "response" in event:
            event["response"] = _ours(event["response"], self._question, self._asked)
            self.changed = True
        if event.get("sequence_number") != self._number:
            event["sequence_number"] = self._number
            self.changed = True
        self._number += 1
        if kind in _HEADS:
            self._begun = True
            return "hold"
        if not self._begun:
            raise Garbled("no beginning")
        return "pass"

    def whole(self) -> None:
        _remember(self._response, self.heard)
        self.release()


def usage_of(said: object, *, service: object = None, searches: int = 0) -> Usage | None:
    """A response's usage → Usage; None where it is missing or makes no sense, so that it is counted here instead.

    `service` is the `service_tier` that stands beside it; `searches` are those in the answer.
    """
    if not isinstance(said, dict):
        return None
    read, written = token_count(said.get("input_tokens")), token_count(said.get("output_tokens"))
    if read is None or written is None:
        return None
    details = said.get("input_tokens_details")
    details = details if isinstance(details, dict) else {}
    cached = token_count(details.get("cached_tokens") or 0)
    stored = token_count(details.get("cache_write_tokens") or 0)
    if cached is None or stored is None or cached + stored > read:
        return None
    return Usage(read, written, cached, stored, metered=metered_in(said, service=service, searches=searches))
