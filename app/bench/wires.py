"""What each wire costs, passed through and translated, on a whole Helix: CPU for a thousand answers, and for a chunk.

    python -m app.bench.wires

One rule: as in the bench, every process of Helix is counted, and every answer must hold all its words.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import orjson

from app.bench import targets
from app.bench.limits import allow_many_sockets
from app.bench.load import Plan, in_own_process
from app.bench.measure import spent
from app.bench.targets import Helix

ROUNDS: Final = 3
CONNECTIONS: Final = 64
ANSWERS: Final = 1500
STREAMS: Final = 300
CHUNKS: Final = 100
SECONDS_MAX: Final = 30.0
"""A round starts nothing after it."""

_QUESTION: Final = "Say what you always say, as often as your name tells you, and nothing else, please."


@dataclass(frozen=True, slots=True)
class Road:
    """One wire of a client to one kind of provider."""

    title: str
    path: str
    provider: str
    said_again: int = 0
    """How often the end of a stream repeats the whole text."""

    def question(self, words: int, *, stream: bool) -> dict[str, object]:
        body: dict[str, object] = {"model": f"{self.provider}/mock-l0-n{words}", "stream": stream}
        if self.path == "/v1/responses":
            return body | {"input": _QUESTION, "store": False}
        body |= {"messages": [{"role": "user", "content": _QUESTION}]}
        return body | ({"max_tokens": 1000} if self.path == "/v1/messages" else {})


ROADS: Final = (
    Road("chat, passed", "/v1/chat/completions", "chats"),
    Road("chat, from Anthropic's", "/v1/chat/completions", "messages"),
    Road("messages, passed", "/v1/messages", "messages"),
    Road("messages, from OpenAI's", "/v1/messages", "chats"),
    Road("responses, passed", "/v1/responses", "responses", said_again=4),
    Road("responses, from OpenAI's chat", "/v1/responses", "chats", said_again=4),
)


def providers_file(mock_port: int) -> str:
    """The mock provider three times, by what it is asked in."""
    models = "".join(
        f'[[provider.model]]\nid = "mock-l0-n{words}"\ninput_usd_per_million = 0.15\noutput_usd_per_million = 0.60\n'
        for words in (16, CHUNKS)
    )
    return "".join(
        f'[[provider]]\nname = "{name}"\nbase_url = "http://127.0.0.1:{mock_port}/v1"\n{speaks}\n{models}'
        for name, speaks in (
            ("chats", 'wire = "openai"'),
            ("messages", 'wire = "anthropic"'),
            ("responses", 'wire = "openai"\nresponses = true'),
        )
    )


async def cost_us(helix: Helix, road: Road, *, stream: bool) -> float:
    """µs of CPU an answer takes, all processes. Raises RuntimeError when one of them was not whole."""
    words, requests = (CHUNKS, STREAMS) if stream else (16, ANSWERS)
    plan = Plan(
        host=helix.target.host,
        port=helix.target.port,
        path=road.path,
        body=orjson.dumps(road.question(words, stream=stream)).decode(),
        words=words * (1 + road.said_again if stream else 1),
        stream=stream,
        connections=CONNECTIONS,
        requests=requests,
        seconds=SECONDS_MAX,
        headers=dict(helix.target.headers),
    )
    assert helix.target.processes
    before = helix.target.processes.cpu_s()
    outcome = await in_own_process(plan)
    cpu_s = sum(spent(before, helix.target.processes.cpu_s()).values())
    if outcome.failures or not outcome.answered:
        raise RuntimeError(f"{road.title}: {dict(outcome.failures)}")
    return cpu_s * 1e6 / outcome.answered


async def run() -> None:
    allow_many_sockets()
    whole: dict[str, list[float]] = {road.title: [] for road in ROADS}
    chunk: dict[str, list[float]] = {road.title: [] for road in ROADS}
    with tempfile.TemporaryDirectory(prefix="helix-bench-", ignore_cleanup_errors=True) as scratch:
        async with AsyncExitStack() as stack:
            direct = await stack.enter_async_context(targets.mock_provider(Path(scratch)))
            offers = providers_file(direct.port)
            helix = await stack.enter_async_context(targets.helix(Path(scratch), direct.port, offers))
            for number in range(-1, ROUNDS):  # the first round warms up
                for road in ROADS:
                    answer_us = await cost_us(helix, road, stream=False)
                    stream_us = await cost_us(helix, road, stream=True)
                    if number >= 0:
                        whole[road.title].append(answer_us)
                        chunk[road.title].append(stream_us / CHUNKS)
                sys.stderr.write(f"round {number + 1} of {ROUNDS}\n")
    sys.stdout.write(f"{'':<32}{'CPU-s/1k':>10}{'µs a chunk':>12}\n")
    for road in ROADS:
        sys.stdout.write(
            f"{road.title:<32}{median(whole[road.title]) / 1000:>10.2f}{median(chunk[road.title]):>12.1f}\n"
        )


if __name__ == "__main__":
    asyncio.run(run())
