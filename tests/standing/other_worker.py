"""Another worker's watch, in a process of its own: it does what each line of its input says."""

from __future__ import annotations

import asyncio
import sys

import structlog

from app.standing.shared import Shared
from app.standing.watch import Watch
from handlers.rules.standing import Call
from tests.rules.offers import offer

OFFER = offer("p")


async def main(cache_url: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    watch = Watch(Shared(cache_url, "another"))
    await watch.turn()
    for line in iter(sys.stdin.readline, ""):
        if line.strip() == "fail":
            for _ in range(10):
                watch.ended(Call(OFFER, 0, "server_error", took_s=0.01))
        await watch.turn()
        print("rests" if watch.picture().resting(OFFER, 0) else "serves", flush=True)  # noqa: T201  # its only voice
    await watch.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
