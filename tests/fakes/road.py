"""The world behind one completion, by hand: providers that play a script, a box that only wraps, a clock that stands.

One rule: nothing here waits for anything but the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

from events.completions import Complete, Optimize, Policy
from events.message import Envelope, sealed_text
from handlers.ports import (
    Answers,
    Box,
    Place,
    Ports,
    ProviderFailed,
    Question,
    Read,
    Recalled,
    Standing,
    Transcript,
    Unwatched,
)
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.rating import Usage

ACCOUNT = "01900000-0000-7000-8000-000000000001"
REQUEST = "req_0195612f3a4b7c8d9e0f112233445566"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Opened(Exception):
    """A seal was broken in the wrong place."""


@dataclass(frozen=True)
class PlainBox:
    """Seals by writing the place in front."""

    account: str = ACCOUNT

    def seal(self, kind: str, id: str, content: bytes) -> bytes:
        return f"{self.account}|{kind}|{id}|".encode() + content

    def open(self, kind: str, id: str, sealed: bytes) -> bytes:
        place = self.seal(kind, id, b"")
        if not sealed.startswith(place):
            raise Opened(f"not sealed as {kind} {id}")
        return sealed.removeprefix(place)

    def digest(self, content: bytes) -> str:
        return sha256(self.account.encode() + content).hexdigest()


@dataclass
class PlainVault:
    """`fails` are raised one by one before a box is given."""

    fails: list[Exception] = field(default_factory=list)

    async def box(self, account: str) -> Box:
        if self.fails:
            raise self.fails.pop(0)
        return PlainBox(account)

    def cached(self, account: str) -> Box | None:
        return None if self.fails else PlainBox(account)


@dataclass
class HandClock:
    """Stands until it is pushed; `step` is added at each look."""

    now: datetime = NOW
    step: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


@dataclass(frozen=True)
class Says:
    """One call: pieces of text are heard, then it ends as told."""

    pieces: Sequence[str] = ()
    fails: ProviderFailed | None = None
    hangs: bool = False
    """After its pieces it waits until it is cancelled, or the gate opens."""
    usage: Usage | None = None
    finish_reason: str = "stop"
    gate: asyncio.Event | None = None


@dataclass
class ScriptedProviders:
    """Plays one script a call, in the order of the calls; `always` when there is none left."""

    catalogue: Catalogue
    scripts: list[Says] = field(default_factory=list)
    always: Says | None = None
    asked: list[str] = field(default_factory=list)
    """The offers' ids, as they were asked."""
    questions: list[Question] = field(default_factory=list)
    deadlines_s: list[float] = field(default_factory=list)
    closed: int = 0
    """Calls that were cancelled: each closes the provider's connection."""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call hangs."""

    async def ask(
        self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float, key: int = 0
    ) -> None:
        self.asked.append(offer.id if key == 0 else f"{offer.id}#{key}")
        self.questions.append(question)
        self.deadlines_s.append(deadline_s)
        script = self.scripts.pop(0) if self.scripts else self.always
        assert script is not None, "the test has no script for this call"
        await asyncio.sleep(0)
        for piece in script.pieces:
            heard.text.append(piece)
            if question.stream:
                heard.frame(b"data: " + json.dumps(piece).encode() + b"\n\n")
                heard.frames += 1
        heard.usage = script.usage
        if script.hangs:
            self.waiting.set()
            try:
                await (script.gate or asyncio.Event()).wait()
            except asyncio.CancelledError:
                self.closed += 1
                raise
        if script.fails:
            raise script.fails
        text = "".join(script.pieces)
        heard.answer = json.dumps({"answer": text}).encode()
        heard.message = json.dumps({"role": "assistant", "content": text}).encode()
        heard.finish_reason = script.finish_reason

    def count(self, question: Question, text: str) -> Usage:
        return Usage(len(question.body), len(text), source="estimated")


@dataclass
class Ear:
    """What one listener hears."""

    asked_offers: list[tuple[str, int]] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)

    def asked(self, offer: Offer, attempt: int) -> None:
        self.asked_offers.append((offer.id, attempt))

    def say(self, piece: bytes) -> None:
        self.said.append(piece)


@dataclass
class ForgetfulAnswers:
    """Keeps nothing; notes who asked."""

    places: list[Place] = field(default_factory=list)

    async def find(
        self,
        place: Place,
        box: Box,
        read: Callable[[bytes], Read],
        *,
        age_s_max: int,
        patience_s: float,
        anew: bool = False,
    ) -> Recalled[Read]:
        self.places.append(place)
        return Recalled(None, None)

    async def peek(self, place: Place, box: Box, read: Callable[[bytes], Read], *, age_s_max: int) -> Read | None:
        self.places.append(place)
        return None


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"id-{next(numbers)}"


def ports(
    providers: ScriptedProviders,
    *,
    clock: HandClock | None = None,
    vault: PlainVault | None = None,
    answers: Answers | None = None,
    standing: Standing | None = None,
) -> Ports:
    return Ports(
        providers=providers,
        vault=vault or PlainVault(),
        clock=clock or HandClock(),
        new_id=ids(),
        chance=lambda: 0.0,
        standing=standing or Unwatched(),
        answers=answers or ForgetfulAnswers(),
    )


def command(
    *,
    model: str = "gpt",
    request: str = REQUEST,
    account: str = ACCOUNT,
    stream: bool = True,
    body: bytes = b'{"messages": [{"role": "user", "content": "hi"}]}',
    conversation: str | None = None,
    reply_to: str | None = None,
    optimize: Optimize | None = "cost",
    cache_ttl_s: int | None = None,
    cache_refresh: bool = False,
    policy: Policy | None = None,
    at: datetime = NOW,
    deadline_s: float = 600.0,
) -> Envelope:
    """A `Complete` as the door puts it on the log."""
    ask = Complete(
        endpoint="/v1/chat/completions",
        wire="openai",
        api_key_id="01900000-0000-7000-8000-0000000000aa",
        tier="pro",
        model=model,
        optimize=optimize,
        stream=stream,
        question=sealed_text(PlainBox(account).seal("question", request, body)),
        conversation=conversation,
        cache_ttl_s=cache_ttl_s,
        cache_refresh=cache_refresh,
        policy=policy,
        deadline=at + timedelta(seconds=deadline_s),
        reply_to=reply_to,
    )
    return Envelope.begin(ask, id=f"command of {request}", at=at, account=account, subject=request)
