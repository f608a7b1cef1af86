"""A client's wire to a provider that does not speak it: the question is put in the inner form and fitted to who is
asked, the answer is told in the client's wire as it comes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import orjson

from app.providers.assembly import Assembly, Json, harmless, token_count
from app.providers.counting import count
from app.providers.endpoints import Endpoint
from app.providers.event_stream import Heard
from app.providers.failures import failure_in
from app.providers.passing import DONE, NUL, ODD, ended, garbled, read_answer
from app.settings import PROVIDER_KEYS
from app.wires import Outward, Untranslatable, Wire, anthropic, responses, whole_answer
from app.wires.anthropic_events import Message
from app.wires.responses_events import Response
from events.completions import Wire as WireName
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer

WIRES: Final[Mapping[WireName, Wire]] = {
    "anthropic": Wire(anthropic.inward, Message),
    "responses": Wire(responses.inward, Response),
}
"""The wires that have an inner form."""


def inner_question(question: Question, offer: Offer, endpoint: Endpoint) -> Question:
    """The question in the inner form, fitted to who is asked. Raises ProviderFailed where it cannot be said."""
    try:
        inner = WIRES[question.wire].inward(orjson.loads(question.body))
    except Untranslatable as refused:
        raise ProviderFailed("unsayable", refused.message, param=refused.param) from None
    except ODD:
        raise ProviderFailed("bad_request", "The question is not in its own format.") from None
    body = orjson.dumps(_fitted(inner, offer, endpoint))
    return replace(question, wire="openai", body=body, include_usage=True, forwarded=())


def _fitted(inner: Json, offer: Offer, endpoint: Endpoint) -> Json:
    """What one provider would refuse and the client has not said in these words is left out or renamed."""
    if "reasoning" not in offer.capabilities:
        inner.pop("reasoning_effort", None)
    if endpoint.provider == "openai" and "max_tokens" in inner:
        inner["max_completion_tokens"] = inner.pop("max_tokens")  # its newer models know no other name
    if endpoint.wire == "openai":
        for message in inner["messages"]:
            message.pop("thinking_blocks", None)
            if endpoint.provider in PROVIDER_KEYS:
                message.pop("reasoning_content", None)  # servers of open models want it back; these refuse it
    return inner


class Translation:
    """One answer of the inner form, told in the client's wire."""

    __slots__ = ("_assembly", "_done", "_outward", "_question", "heard")

    def __init__(self, question: Question, heard: Transcript) -> None:
        self._question = question
        self.heard = heard
        self._assembly = Assembly(heard.text)
        self._outward: Outward = WIRES[question.wire].outward(question.request, orjson.loads(question.body))
        self._done = False

    def hear(self, events: Heard) -> bool:
        out: list[bytes] = []
        try:
            for payload in events.payloads:
                if payload == DONE:
                    self._done = True
                    break
                chunk = orjson.loads(payload)
                if NUL in payload:
                    chunk = harmless(chunk)
                if chunk.get("error"):
                    raise failure_in(chunk["error"])
                self._assembly.add(chunk)
                out.append(self._outward.chunk(chunk))
        except ODD:
            raise garbled() from None
        finally:
            self._pass_on(b"".join(out))
        return self._done

    def end(self) -> None:
        answer = ended(self._assembly, self.heard, done=self._done)
        self._count(answer)
        try:
            self._pass_on(self._outward.close(answer))
            self.heard.answer = orjson.dumps(self._outward.whole())
        except ODD:
            raise garbled() from None

    def take(self, body: bytes) -> None:
        answer, _ = read_answer(body, self.heard)
        self._count(answer)
        try:
            self.heard.answer = orjson.dumps(whole_answer(self._outward, answer))
        except ODD:
            raise garbled("answer") from None

    def _pass_on(self, frames: bytes) -> None:
        if frames:
            heard = self.heard
            if heard.first_at is None:
                heard.first_at = time.monotonic()
            heard.frames = self._outward.events
            heard.frame(frames)

    def _count(self, answer: Json) -> None:
        """These wires have a usage always: what the provider did not tell, or told wrong, is counted here."""
        used = self.heard.usage = self.heard.usage or count(self._question, "".join(self.heard.text))
        said = answer.get("usage")
        after = said.get("completion_tokens_details") if isinstance(said, dict) else None
        reasoned = token_count(after.get("reasoning_tokens")) if isinstance(after, dict) else None
        answer["usage"] = {
            "prompt_tokens": used.input,
            "completion_tokens": used.output,
            "prompt_tokens_details": {"cached_tokens": used.cached, "cache_write_tokens": used.cache_write},
            "completion_tokens_details": {"reasoning_tokens": reasoned or 0},
        }
