"""A stream of named events passed on untouched, for a client and a provider that share a wire: Anthropic's messages,
OpenAI's responses.

One rule: what stands before the first word of the answer is held back until that word comes, so that a provider that
fails at once can still be replaced; from then on each event leaves as it came.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Literal

import orjson

from app.providers.assembly import Garbled, Json, harmless
from app.providers.event_stream import EventReader
from app.providers.openai import must_stream
from app.providers.passing import DONE, NUL, ODD, garbled
from app.providers.transport import Reply
from handlers.ports import ProviderFailed, Transcript

Step = Literal["hold", "pass", "last"]
"""What becomes of an event: held back as long as nothing was said, passed, or withheld because it closes the stream."""


class NamedEvents(ABC):
    """One stream. A subclass reads the events of its wire and says what becomes of each."""

    __slots__ = ("_held", "_proper", "changed", "heard")

    def __init__(self, heard: Transcript) -> None:
        self.heard = heard
        self._held: list[bytes] = []
        self._proper = False
        self.changed = False
        """Set where `read` has changed the event, so that it leaves as it now is."""

    @abstractmethod
    def read(self, kind: str, event: Json) -> Step:
        """Raises Garbled, ProviderFailed, or what odd JSON makes Python raise."""

    @abstractmethod
    def whole(self) -> None:
        """The stream has properly ended: write the answer and all about it into the transcript. Raises Garbled."""

    async def listen(self, reply: Reply) -> None:
        """Raises ProviderFailed."""
        await must_stream(reply)
        events = EventReader()
        async for piece in reply.stream():
            if payloads := events.feed(piece).payloads:
                self._hear(payloads)
                if self._proper:
                    break
        else:
            raise ProviderFailed("cut", "The provider's answer broke off.", status=200)
        try:
            self.whole()
        except ODD:
            raise garbled() from None

    def _hear(self, payloads: list[bytes]) -> None:
        passed: list[bytes] = []
        try:
            for payload in payloads:
                if payload == DONE:
                    continue  # some servers put OpenAI's older ending behind the newer one's
                event = orjson.loads(payload)
                kind = event["type"]
                self.changed = NUL in payload
                if self.changed:
                    event = harmless(event)
                step = self.read(kind, event)
                if step == "last":
                    self._proper = True
                    break
                frame = _frame(kind, orjson.dumps(event) if self.changed else payload)
                if step == "hold" and not self.heard.frames and not passed:
                    self._held.append(frame)
                else:
                    passed.append(frame)
        except ODD:
            raise garbled() from None
        finally:
            if passed:
                self._pass_on(passed)

    def release(self) -> None:
        """Let go what is held, where an answer without a word has ended."""
        if self._held:
            self._pass_on([])

    def _pass_on(self, frames: list[bytes]) -> None:
        heard = self.heard
        if self._held:
            frames, self._held = [*self._held, *frames], []
        if heard.first_at is None:
            heard.first_at = time.monotonic()
        heard.frames += len(frames)
        heard.frame(b"".join(frames))


def _frame(kind: str, payload: bytes) -> bytes:
    if not kind.isprintable() or len(kind) > 200:
        raise Garbled("an event's type")
    return b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n"
