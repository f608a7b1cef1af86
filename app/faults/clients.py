"""Clients of every kind that ask through the real HTTP door, and remember what they were told.

One rule: a client believes what it was told and nothing else; what it was not told is `unknown`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from app.faults.history import Call, Frame, Kind, Seen
from app.faults.provider import MODEL, Question
from app.faults.sse import events_of

POLL_S: Final = 15
"""What a client lets one poll wait."""

CALL_S: Final = 60.0
"""One HTTP call; a web process that died without a reset is given up on after this."""

PAUSE_S: Final = (0.05, 0.3)
"""Before a client tries again."""

NOT_NOW: Final = frozenset((429, 503))
"""Statuses that ask the client to come again."""

ENDED_AS: Final[Mapping[str, Seen]] = {"parked": "failed", "provider_timeout": "failed", "cancelled": "cancelled"}
"""Errors that are a request's recorded end, and not a refusal to take it."""

_BROKEN: Final = (aiohttp.ClientError, TimeoutError, ConnectionError)


class _Cut(Exception):
    """The client cuts its own connection, as a bad line would."""


@dataclass
class Story:
    """What one client lives through."""

    kind: Kind
    account: str
    question: Question
    began_s: float
    statuses: list[int] = field(default_factory=list)
    promised: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    final: str | None = None

    def promise(self, request: str) -> None:
        if request not in self.promised:
            self.promised.append(request)

    def told(self, seen: Seen, ended_s: float) -> Call:
        return Call(
            kind=self.kind,
            account=self.account,
            question=self.question.name,
            words=self.question.words,
            began_s=round(self.began_s, 3),
            ended_s=round(ended_s, 3),
            statuses=tuple(self.statuses),
            promised=tuple(self.promised),
            seen=seen,
            heard=tuple(self.heard),
            frames=tuple(self.frames),
            final=self.final,
        )


class Client:
    """One story, told by its kind."""

    def __init__(
        self, session: aiohttp.ClientSession, key: str, story: Story, dice: random.Random, patience_s: float
    ) -> None:
        self._session = session
        self._key = key
        self._story = story
        self._dice = dice
        self._until = time.monotonic() + patience_s
        self._call_s = min(CALL_S, patience_s)

    async def live(self) -> Seen:
        lives: dict[Kind, Callable[[], Any]] = {
            "plain": self._plain,
            "stream": self._stream,
            "async": self._async,
            "keyed": self._keyed,
            "resumed": self._resumed,
            "leaving": self._leaving,
        }
        seen: Seen = await lives[self._story.kind]()
        return seen

    async def _plain(self) -> Seen:
        return await self._ask_whole({"x-helix-on-disconnect": "continue"})

    async def _async(self) -> Seen:
        return await self._ask_whole({"prefer": "respond-async"})

    async def _keyed(self) -> Seen:
        """Again and again under one key until it is told something; sometimes it does not wait for the first answer."""
        headers = {"idempotency-key": self._story.question.name, "x-helix-on-disconnect": "continue"}
        if self._dice.random() < 0.5:
            headers["prefer"] = "respond-async"
        impatient_s = self._dice.uniform(0.005, 0.3) if self._dice.random() < 0.4 else None
        while time.monotonic() < self._until:
            seen = await self._ask_whole(headers, within_s=impatient_s)
            impatient_s = None
            if seen not in ("unknown", "refused"):
                return seen
            await self._pause()
        return "unanswered"

    async def _leaving(self) -> Seen:
        return await self._ask_whole({}, within_s=self._dice.uniform(0.02, 0.4))

    async def _ask_whole(self, headers: Mapping[str, str], within_s: float | None = None) -> Seen:
        story = self._story
        try:
            async with asyncio.timeout(within_s or self._call_s), self._post(headers, stream=False) as answer:
                story.statuses.append(answer.status)
                document = json.loads(await answer.read())
        except _BROKEN:
            story.statuses.append(0)
            return "unknown"
        if answer.status == 202:
            story.promise(document["id"])
            return await self._end_of(document["id"])
        if answer.status == 200:
            story.promise(answer.headers["x-request-id"])
            story.final = _text(document)
            return "completed"
        if answer.status not in NOT_NOW and document["error"]["code"] in ENDED_AS:
            story.promise(answer.headers["x-request-id"])
            return ENDED_AS[document["error"]["code"]]
        return "refused"

    async def _stream(self) -> Seen:
        """The words as they come; what breaks off is asked for by its id."""
        story, text, request = self._story, "", ""
        try:
            post = self._post({"x-helix-on-disconnect": "continue"}, stream=True)
            async with asyncio.timeout(self._call_s), post as answer:
                story.statuses.append(answer.status)
                if answer.status != 200:
                    return "refused"
                async for event in events_of(answer.content):
                    if not request:  # the first byte is the promise
                        request = answer.headers["x-request-id"]
                        story.promise(request)
                    if event.data == "[DONE]":
                        story.final = text
                        return "completed"
                    document = json.loads(event.data)
                    if "error" in document:
                        break
                    text += _delta(document)
        except _BROKEN:
            story.statuses.append(0)
        if not request:
            return "unknown"
        story.heard.append(text)
        return await self._end_of(request)

    async def _resumed(self) -> Seen:
        """Follow the events of a request with a bad line: cut off after a few of them, again and again."""
        story = self._story
        try:
            async with self._post({"prefer": "respond-async"}, stream=True) as answer:
                story.statuses.append(answer.status)
                document = json.loads(await answer.read())
        except _BROKEN:
            story.statuses.append(0)
            return "unknown"
        if answer.status != 202:
            return "refused"
        request = document["id"]
        story.promise(request)
        while time.monotonic() < self._until:
            try:
                seen = await self._follow(request, events_max=self._dice.randint(1, 6))
            except (*_BROKEN, _Cut):
                await self._pause()
                continue
            if seen:
                return seen
            await self._pause()
        return "unanswered"

    async def _follow(self, request: str, events_max: int) -> Seen | None:
        """One connection; None when it must be made again."""
        story = self._story
        headers = self._headers({"last-event-id": story.frames[-1].id} if story.frames else {})
        get = self._session.get(f"/v1/requests/{request}/events", headers=headers)
        async with asyncio.timeout(self._call_s), get as answer:
            story.statuses.append(answer.status)
            if answer.status == 404:
                return "missing"
            if answer.status == 204:  # nothing behind the last event, so that was the end
                return await self._end_of(request)
            if answer.status != 200:
                return None
            count = 0
            async for event in events_of(answer.content):
                document = json.loads(event.data) if event.data and event.data != "[DONE]" else {}
                if event.name == "restarted":
                    story.frames.append(Frame(id=event.id, kind="restarted"))
                elif event.name == "message":
                    story.frames.append(Frame(id=event.id, kind="word", text=_delta(document)))
                else:
                    story.frames.append(Frame(id=event.id, kind="end"))
                    return self._ended(document)
                count += 1
                if count >= events_max:
                    raise _Cut
        return None

    async def _end_of(self, request: str) -> Seen:
        """Come back until the request has ended."""
        while time.monotonic() < self._until:
            try:
                async with self._session.get(
                    f"/v1/requests/{request}?wait={POLL_S}", headers=self._headers()
                ) as answer:
                    if answer.status == 404:
                        return "missing"
                    document = json.loads(await answer.read()) if answer.status == 200 else {}
            except _BROKEN:
                document = {}
            if document.get("status") in ("completed", "failed", "cancelled"):
                return self._ended(document)
            await self._pause()
        return "unanswered"

    def _ended(self, view: Mapping[str, Any]) -> Seen:
        status: Seen = view["status"]
        if status == "completed":
            self._story.final = _text(view["response"])
        return status

    def _post(self, headers: Mapping[str, str], *, stream: bool) -> Any:
        body: dict[str, object] = {
            "model": f"campaign/{MODEL}",
            "messages": [{"role": "user", "content": self._story.question.encode()}],
        }
        if stream:
            body["stream"] = True
        return self._session.post("/v1/chat/completions", json=body, headers=self._headers(headers))

    def _headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key}", **(more or {})}

    async def _pause(self) -> None:
        await asyncio.sleep(self._dice.uniform(*PAUSE_S))


def _text(answer: Mapping[str, Any]) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content


def _delta(chunk: Mapping[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
