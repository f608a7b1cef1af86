"""A client without manners of its own: it sends what the test says, and shows what came back byte for byte."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TOTAL_S = 100
"""A request that takes longer hangs."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def request(self) -> str:
        return self.headers["x-request-id"]

    @property
    def text(self) -> str:
        """What the assistant said, whether it came whole or as a stream."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return said(self.body)
        content: str = self.json["choices"][0]["message"]["content"]
        return content


def said(stream: bytes) -> str:
    """The words of a stream. An error in it is none of them."""
    words = []
    for chunk in chunks(stream):
        for choice in chunk.get("choices", ()):
            words.append(choice["delta"].get("content") or "")
    return "".join(words)


def chunks(stream: bytes) -> list[Any]:
    """The JSON documents of a stream of server-sent events, `[DONE]` left out."""
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def question(words: str, model: str = "sandbox/echo", **more: object) -> dict[str, object]:
    """A body that asks one thing."""
    return {"model": model, "messages": [{"role": "user", "content": words}], **more}


class Client:
    """One account's way in."""

    def __init__(self, session: aiohttp.ClientSession, key: str | None) -> None:
        self._session = session
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        async with self.sending(method, path, body, **headers) as answer:
            return Answer(answer.status, _lower(answer.headers), await answer.read())

    @asynccontextmanager
    async def sending(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer while it comes; leaving early closes the connection. `a_b` in a header's name stands for `a-b`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        data = raw if raw is None else io.BytesIO(raw)  # aiohttp warns of large bodies in one piece
        if body is not None:
            named.setdefault("content-type", "application/json")
        async with self._session.request(method, path, data=data, headers=self._headers | named) as answer:
            yield answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, **headers)

    async def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return await self.send("POST", path, body, **headers)

    async def complete(self, body: object, **headers: str) -> Answer:
        return await self.post("/v1/chat/completions", body, **headers)

    async def submit(self, body: object, **headers: str) -> str:
        """Ask without waiting → the request's id."""
        answer = await self.complete(body, prefer="respond-async", **headers)
        assert answer.status == 202, answer.body
        return str(answer.json["id"])

    async def view(self, request: str, wait_s: int = 0) -> Any:
        """The request as it stands, after so long at most if it has not ended."""
        answer = await self.get(f"/v1/requests/{request}?wait={wait_s}")
        assert answer.status == 200, answer.body
        return answer.json

    async def end_of(self, request: str) -> Any:
        """The request once it has ended, however often that must be asked."""
        for _ in range(10):
            view = await self.view(request, 30)
            if view["status"] not in ("queued", "running"):
                return view
        raise AssertionError(f"{request} does not end")


@asynccontextmanager
async def client_of(base_url: str, key: str | None) -> AsyncIterator[Client]:
    """A client whose every request may have a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=TOTAL_S)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as session:
        yield Client(session, key)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
