"""An answer in the inner form on its way to a client who speaks it: passed on byte for byte, and read as it goes by."""

from __future__ import annotations

import time
from typing import Any, Protocol

import orjson

from app.providers.assembly import Assembly, Garbled, Json, finish_reason_of, harmless, usage_of
from app.providers.event_stream import Heard
from app.providers.failures import failure_in
from handlers.ports import ProviderFailed, Question, Transcript

DONE = b"[DONE]"
NUL = b"\\u0000"
"""As JSON has it: databases refuse it, so it leaves here as another character."""

ODD = (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError)
"""What reading a payload of another format stumbles over; Garbled and JSON faults are ValueErrors."""


class Passage(Protocol):
    """What an adapter gives an answer of the inner form to: it writes the transcript. All raise ProviderFailed."""

    heard: Transcript

    def hear(self, events: Heard) -> bool:
        """Take what one read of a stream brought → whether the provider has said its last word."""
        ...

    def end(self) -> None:
        """The stream is over."""
        ...

    def take(self, body: bytes) -> None:
        """An unstreamed answer."""
        ...


class PassThrough:
    """One answer as it goes by: frames out, everything that must be known about it kept."""

    __slots__ = ("_assembly", "_done", "_include_usage", "heard")

    def __init__(self, question: Question, heard: Transcript) -> None:
        self.heard = heard
        self._include_usage = question.include_usage
        self._assembly = Assembly(heard.text)
        self._done = False

    def hear(self, events: Heard) -> bool:
        payloads, block = events
        passed: list[bytes] = []
        untouched = False
        changed = block is None
        try:
            for payload in payloads:
                if payload == DONE:
                    self._done = changed = True
                    break
                chunk = orjson.loads(payload)
                if NUL in payload:
                    chunk, changed = harmless(chunk), True
                    payload = orjson.dumps(chunk)
                if chunk.get("error"):
                    raise failure_in(chunk["error"])
                if self._assembly.add(chunk) or self._include_usage:
                    passed.append(payload)
                else:
                    changed = True
            untouched = not changed
        except ODD:
            raise garbled() from None
        finally:
            if passed:
                self._pass_on(block if untouched and block is not None else _frames(passed), len(passed))
        return self._done

    def _pass_on(self, frames: bytes, count: int) -> None:
        heard = self.heard
        if heard.first_at is None:
            heard.first_at = time.monotonic()
        heard.frames += count
        heard.frame(frames)

    def end(self) -> None:
        answer = ended(self._assembly, self.heard, done=self._done)
        self.heard.answer = orjson.dumps(answer)

    def take(self, body: bytes) -> None:
        _, self.heard.answer = read_answer(body, self.heard)


def ended(assembly: Assembly, heard: Transcript, *, done: bool) -> Json:
    """A stream is over → its whole answer; the transcript knows all but `answer`. Raises ProviderFailed where it was
    not a proper end. `done` says whether `[DONE]` was heard."""
    heard.usage = usage_of(assembly.usage, service=assembly.service_tier)
    if not assembly.begun:
        raise ProviderFailed("garbled" if done else "cut", "The provider's stream was empty.", status=200)
    if not (done or assembly.finished):
        raise ProviderFailed("cut", "The provider's answer broke off.", status=200)
    try:
        answer = assembly.whole()
    except ODD:
        raise garbled() from None
    first: dict[str, Any] = answer["choices"][0]
    heard.finish_reason = first["finish_reason"]
    heard.message = orjson.dumps(first["message"])
    return answer


def read_answer(body: bytes, heard: Transcript) -> tuple[Json, bytes]:
    """An unstreamed answer → itself and its bytes, untouched; the transcript knows all but `answer`.

    Raises ProviderFailed.
    """
    try:
        answer: Json = orjson.loads(body)
        if NUL in body:
            answer = harmless(answer)
            body = orjson.dumps(answer)
        if error := answer.get("error"):
            raise failure_in(error)
        first = answer["choices"][0]
        message = first["message"]
        if message.get("role", "assistant") != "assistant" or not isinstance(message.get("content"), str | None):
            raise Garbled("the message")
        finish_reason = first.get("finish_reason")
    except ODD:
        raise garbled("answer") from None
    if message.get("content"):
        heard.text.append(message["content"])
    heard.usage = usage_of(answer.get("usage"), service=answer.get("service_tier"))
    heard.finish_reason = finish_reason_of(finish_reason)
    heard.message = orjson.dumps(message)
    return answer, body


def garbled(what: str = "stream") -> ProviderFailed:
    return ProviderFailed("garbled", f"The provider's {what} is not in its own format.", status=200)


def _frames(payloads: list[bytes]) -> bytes:
    return b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
