"""Clients that bear nothing: whatever is not a promise kept is written down as a failure.

One rule: nobody tries again. A connection that breaks, a status that says no, a word that is missing or comes twice counts,
but for what the contract itself asks of a client that follows a request: to connect again and go on behind its last id.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from app.faults.checker import torn
from app.faults.provider import MODEL, Question
from app.faults.sse import events_of

KINDS: Final = ("waited", "streamed", "later", "followed")
POLL_S: Final = 15
FEW_EVENTS: Final = (2, 8)
"""After so many a follower cuts its line and makes a new one."""


class Unkept(Exception):
    """What a client was told, or not told."""


@dataclass
class Books:
    """What all clients were told."""

    answered: Counter[str] = field(default_factory=Counter)
    """Kind → requests that ended as they should."""
    requests: list[str] = field(default_factory=list)
    reconnected: int = 0
    """Lines that followers made anew because the server had ended theirs."""
    failures: list[str] = field(default_factory=list)


class Clients:
    """So many at once, over kept connections and over fresh ones, one request after the other until told to stop."""

    def __init__(self, base_url: str, key: str, seed: int) -> None:
        self.books = Books()
        self._base_url = base_url
        self._key = key
        self._seed = seed
        self._stopping = asyncio.Event()

    @asynccontextmanager
    async def asking(self, count: int) -> AsyncIterator[Books]:
        """Clients ask while the block runs; at its end each has its last answer."""
        async with self._session(kept=True) as kept, self._session(kept=False) as fresh:
            sessions = [kept if number % 2 else fresh for number in range(count)]
            asking = [asyncio.create_task(self._live(session, number)) for number, session in enumerate(sessions)]
            try:
                yield self.books
            finally:
                self._stopping.set()
                await asyncio.gather(*asking)

    def _session(self, *, kept: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=not kept)
        timeout = aiohttp.ClientTimeout(total=60)
        headers = {"authorization": f"Bearer {self._key}"}
        return aiohttp.ClientSession(self._base_url, connector=connector, timeout=timeout, headers=headers)

    async def _live(self, session: aiohttp.ClientSession, number: int) -> None:
        dice = random.Random(f"{self._seed}/{number}")
        kind = KINDS[number // 2 % len(KINDS)]
        asked = 0
        while not self._stopping.is_set():
            question = Question(f"q{number}x{asked}", dice.randint(3, 12), dice.randint(5, 200))
            asked += 1
            try:
                text = await self._ask(kind, session, question, dice)
                if fault := torn(text):
                    raise Unkept(fault)
                if len(text.split()) != question.words:
                    raise Unkept(f"{len(text.split())} of {question.words} words")
            except (aiohttp.ClientError, TimeoutError, ConnectionError, Unkept) as failed:
                self.books.failures.append(f"{kind} {question.name}: {type(failed).__name__}: {failed}")
            else:
                self.books.answered[kind] += 1
            await asyncio.sleep(dice.uniform(0, 0.2))

    async def _ask(self, kind: str, session: aiohttp.ClientSession, question: Question, dice: random.Random) -> str:
        if kind == "waited":
            return await self._waited(session, question)
        if kind == "streamed":
            return await self._streamed(session, question)
        request = await self._accepted(session, question, stream=kind == "followed")
        return await (self._polled(session, request) if kind == "later" else self._followed(session, request, dice))

    async def _waited(self, session: aiohttp.ClientSession, question: Question) -> str:
        async with session.post("/v1/chat/completions", json=_body(question, stream=False)) as answer:
            document = await _document(answer, 200)
            self.books.requests.append(answer.headers["x-request-id"])
        return _text(document)

    async def _streamed(self, session: aiohttp.ClientSession, question: Question) -> str:
        text = ""
        async with session.post("/v1/chat/completions", json=_body(question, stream=True)) as answer:
            if answer.status != 200:
                raise Unkept(f"{answer.status}: {(await answer.text())[:200]}")
            self.books.requests.append(answer.headers["x-request-id"])
            async for event in events_of(answer.content):
                if event.data == "[DONE]":
                    return text
                text += _delta(json.loads(event.data))
        raise Unkept(f"the stream ended without its last word behind {text!r}")

    async def _accepted(self, session: aiohttp.ClientSession, question: Question, *, stream: bool) -> str:
        body, headers = _body(question, stream=stream), {"prefer": "respond-async"}
        async with session.post("/v1/chat/completions", json=body, headers=headers) as answer:
            request: str = (await _document(answer, 202))["id"]
        self.books.requests.append(request)
        return request

    async def _polled(self, session: aiohttp.ClientSession, request: str) -> str:
        while True:
            async with session.get(f"/v1/requests/{request}?wait={POLL_S}") as answer:
                view = await _document(answer, 200)
            if view["status"] == "completed":
                return _text(view["response"])
            if view["status"] not in ("queued", "running"):
                raise Unkept(str(view))

    async def _followed(self, session: aiohttp.ClientSession, request: str, dice: random.Random) -> str:
        last, text = "", ""
        while True:
            few = dice.randint(*FEW_EVENTS)
            headers = {"last-event-id": last} if last else {}
            async with session.get(f"/v1/requests/{request}/events", headers=headers) as answer:
                if answer.status == 204:
                    return text
                if answer.status != 200:
                    raise Unkept(f"{answer.status}: {(await answer.text())[:200]}")
                async for event in events_of(answer.content):
                    last = event.id
                    if event.name == "completed":
                        return text
                    if event.name != "message":
                        raise Unkept(f"{event.name}: {event.data}")
                    text += "" if event.data == "[DONE]" else _delta(json.loads(event.data))
                    few -= 1
                    if few == 0:
                        break
                else:
                    self.books.reconnected += 1


def _body(question: Question, *, stream: bool) -> dict[str, object]:
    messages = [{"role": "user", "content": question.encode()}]
    return {"model": f"campaign/{MODEL}", "messages": messages, "stream": stream}


async def _document(answer: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    raw = await answer.read()
    if answer.status != status:
        raise Unkept(f"{answer.status}: {raw[:200]!r}")
    document: dict[str, Any] = json.loads(raw)
    return document


def _text(answer: Mapping[str, Any]) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content


def _delta(chunk: Mapping[str, Any]) -> str:
    if "error" in chunk:
        raise Unkept(str(chunk["error"]))
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
