"""A run in which one of three equal providers turns slow, then fails half of its calls, then heals: where the traffic goes.

    python -m app.bench.traffic_moves docs/routing.svg

One rule: everything drawn was counted, at the providers and at the client, while a whole Helix with two workers ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import aiohttp
import orjson
from aiohttp import web

from app.bench.drawing import Chart, draw
from app.bench.targets import ROOT, last_words, running, without_servers

Mood = Literal["well", "slow", "failing"]

PHASES: Final[tuple[tuple[float, Mood, str], ...]] = (
    (0.0, "well", "well"),
    (15.0, "slow", "first word after 1.5 s"),
    (40.0, "well", "well again"),
    (70.0, "failing", "half of its calls fail"),
    (95.0, "well", "healed"),
    (120.0, "well", ""),
)
"""From which second on, how the second provider is, and what the picture says."""

ASKED_A_SECOND: Final = 20.0
FIRST_WORD_S: Final[dict[Mood, float]] = {"well": 0.08, "slow": 1.5, "failing": 0.08}
WORDS: Final = 10
PROVIDERS: Final = ("one", "two", "three")
MOODY: Final = "two"
_START_S: Final = 120.0


@dataclass(slots=True)
class Moody:
    """One provider, which notes when it is asked."""

    mood: Mood = "well"
    asked: list[float] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(time.monotonic())
        await request.read()
        await asyncio.sleep(FIRST_WORD_S[self.mood])
        if self.mood == "failing" and len(self.asked) % 2:
            return web.json_response({"error": {"message": "I am unwell", "type": "server_error"}}, status=500)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            for place in range(WORDS):
                await response.write(_event([{"index": 0, "delta": {"content": f"{place} "}, "finish_reason": None}]))
            await response.write(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
            await response.write(b"data: [DONE]\n\n")
        return response


@dataclass(frozen=True, slots=True)
class Answered:
    """One request, as its client saw it."""

    at: float
    took_s: float
    status: int
    provider: str


def _event(choices: list[dict[str, object]]) -> bytes:
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + orjson.dumps(said) + b"\n\n"


@asynccontextmanager
async def _listening(provider: Moody) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", provider.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


def _providers_file(providers: dict[str, Moody]) -> str:
    return "".join(
        f"""
[[provider]]
name = "{name}"
base_url = "http://127.0.0.1:{provider.port}/v1"
[[provider.model]]
id = "shared"
input_usd_per_million = 1.0
output_usd_per_million = 2.0
"""
        for name, provider in providers.items()
    )


@asynccontextmanager
async def _helix(scratch: Path, providers: dict[str, Moody]) -> AsyncIterator[tuple[str, str]]:
    """Its address and a key."""
    file = scratch / "providers.toml"
    file.write_text(_providers_file(providers))
    env = {**without_servers(os.environ), "HELIX_PROVIDERS": str(file)}
    words = ("up", "--json", "--data", str(scratch / "data"), "--port", "0", "--workers", "2")
    log = scratch / "helix.log"
    async with running("helix", str(ROOT / "helix"), *words, log=log, env=env, pipe=True) as process:
        assert process.stdout
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"helix ended before it was ready: {last_words(log)}")
        ready = orjson.loads(line)
        yield ready["base_url"], ready["api_key"]


async def _ask(session: aiohttp.ClientSession, began: float, answers: list[Answered]) -> None:
    body = {"model": "shared", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    at = time.monotonic()
    async with session.post("/v1/chat/completions", json=body) as answer:
        said = await answer.read()
    whole = answer.status == 200 and said.endswith(b"data: [DONE]\n\n")
    provider = answer.headers.get("x-helix-provider", "")
    answers.append(Answered(at - began, time.monotonic() - at, 200 if whole else answer.status or 500, provider))


async def _go_through_moods(provider: Moody, began: float) -> None:
    for from_s, mood, _ in PHASES:
        await asyncio.sleep(max(0.0, began + from_s - time.monotonic()))
        provider.mood = mood


async def run() -> tuple[dict[str, list[float]], list[Answered]]:
    """When each provider was asked, in seconds since the beginning, and what the clients saw."""
    providers = {name: Moody() for name in PROVIDERS}
    answers: list[Answered] = []
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="helix-moves-")))
        for provider in providers.values():
            await stack.enter_async_context(_listening(provider))
        base_url, key = await stack.enter_async_context(_helix(scratch, providers))
        session = aiohttp.ClientSession(base_url, headers={"authorization": f"Bearer {key}"})
        await stack.enter_async_context(session)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_go_through_moods(providers[MOODY], began))
            for number in range(int(PHASES[-1][0] * ASKED_A_SECOND)):
                await asyncio.sleep(max(0.0, began + number / ASKED_A_SECOND - time.monotonic()))
                tasks.create_task(_ask(session, began, answers))
    return {name: [at - began for at in provider.asked] for name, provider in providers.items()}, answers


def chart(asked: dict[str, list[float]], answers: list[Answered]) -> Chart:
    """The picture: calls a second at each provider, and how long clients waited."""
    seconds = int(PHASES[-1][0])
    calls = {name: Counter(int(at) for at in times) for name, times in asked.items()}
    waits: list[list[float]] = [[] for _ in range(seconds)]
    for answer in answers:
        waits[min(seconds - 1, int(answer.at))].append(answer.took_s)
    return Chart(
        title="One of three equal providers turns slow, fails half of its calls, and heals",
        phases=[(here[0], there[0], here[2]) for here, there in pairwise(PHASES)],
        calls={name: [float(counted[second]) for second in range(seconds)] for name, counted in calls.items()},
        moody=MOODY,
        median_s=[sorted(wait)[len(wait) // 2] if wait else 0.0 for wait in waits],
        worst_s=[max(wait, default=0.0) for wait in waits],
    )


def figures(asked: dict[str, list[float]], answers: list[Answered]) -> str:
    """What the documentation tells, phase by phase."""
    lines = ["| seconds | provider two | its share of the calls | clients' median | 95 of 100 within | failed |"]
    lines.append("|---|---|---|---|---|---|")
    for (from_s, _, said), (to_s, _, _) in pairwise(PHASES):
        calls = {name: sum(from_s <= at < to_s for at in times) for name, times in asked.items()}
        seen = sorted(answer.took_s for answer in answers if from_s <= answer.at < to_s)
        failed = sum(answer.status != 200 for answer in answers if from_s <= answer.at < to_s)
        share = calls[MOODY] / max(1, sum(calls.values()))
        median, late = seen[len(seen) // 2], seen[int(len(seen) * 0.95)]
        lines.append(
            f"| {from_s:.0f}-{to_s:.0f} | {said} | {share:.1%} | {median * 1000:.0f} ms | {late * 1000:.0f} ms | "
            f"{failed} of {len(seen)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    when_asked, seen = asyncio.run(run())
    Path(sys.argv[1]).write_text(draw(chart(when_asked, seen)))
    print(figures(when_asked, seen))  # noqa: T201  # for the documentation
