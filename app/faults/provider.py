"""The provider of a campaign: it counts what it is asked, and each word it says tells which call it comes from.

One rule: an answer is a function of the question and the number of the call, so that two attempts can never be taken
for one another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

MODEL: Final = "words"

_QUESTION: Final = re.compile(r"(\w+) words=(\d+) chunk_ms=(\d+)")


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks for. `chunk_ms` is the pause before each word, streamed or not."""

    name: str
    words: int
    chunk_ms: int

    def encode(self) -> str:
        return f"{self.name} words={self.words} chunk_ms={self.chunk_ms}"


class CountingProvider:
    """OpenAI's chat completions, for one model."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """Question → how often it was asked."""
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        found = _QUESTION.fullmatch(body["messages"][-1]["content"])
        if not found:
            return web.json_response({"error": {"message": "not a question of the campaign"}}, status=400)
        question = Question(found[1], int(found[2]), int(found[3]))
        self.asked[question.name] += 1
        number = self.asked[question.name]
        words = [f"{question.name}.c{number}.{place} " for place in range(question.words)]
        usage = {"prompt_tokens": 10, "completion_tokens": question.words, "total_tokens": 10 + question.words}
        if body.get("stream"):
            return await self._stream(request, question, words, usage)
        await asyncio.sleep(question.chunk_ms * question.words / 1000)
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage}
        )

    async def _stream(
        self, request: web.Request, question: Question, words: list[str], usage: dict[str, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        # The worker that asked may be killed at any word.
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            for word in words:
                await asyncio.sleep(question.chunk_ms / 1000)
                await response.write(_event([{"index": 0, "delta": {"content": word}, "finish_reason": None}]))
            await response.write(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
            await response.write(_event([], usage) + b"data: [DONE]\n\n")
        return response


def _event(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
    return b"data: " + json.dumps(chunk | ({"usage": usage} if usage else {})).encode() + b"\n\n"


@asynccontextmanager
async def counting_provider() -> AsyncIterator[CountingProvider]:
    """The provider on a free port of 127.0.0.1, until the block ends."""
    provider = CountingProvider()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", provider.answer)
    # A worker that is killed leaves its calls: their handlers are cancelled, as a real provider would stop.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    provider.port = runner.addresses[0][1]
    try:
        yield provider
    finally:
        await runner.cleanup()


def providers_file(port: int) -> str:
    """The provider's model for HELIX_PROVIDERS, priced so that every answer is billed."""
    return f"""\
[[provider]]
name = "campaign"
base_url = "http://127.0.0.1:{port}/v1"
[[provider.model]]
id = "{MODEL}"
input_usd_per_million = 1.0
output_usd_per_million = 3.0
"""
