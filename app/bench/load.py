"""The load generator: a plan on standard input, what happened on standard output, in a process of its own.

One rule: it always ends. Every plan has a count of requests and a limit in time, and what is still open after both is
counted as unfinished.

Two ways of asking. *Closed*: each connection asks again when it has its answer; shows what the other side can do.
*Paced*: questions come at their times on the clock, whether or not answers keep up, and each latency counts from the
time the question was due; shows what a user waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Final

import orjson
import uvloop

from app.bench.client import Answer, Broken, Caller
from app.bench.histogram import Histogram
from app.bench.limits import allow_many_sockets

_CONNECTIONS_MAX: Final = 5000
_REQUESTS_MAX: Final = 1_000_000
_SECONDS_MAX: Final = 600.0
"""Bounds of one plan: beyond them the load generator itself would be the thing measured."""

_BROKEN_PAUSE_S: Final = 0.05
"""After a failure a connection rests so long, lest a dead server be asked a million times a second."""


_TIMER_S: Final = 0.0015
"""How much too late an event loop's timer may fire: both asyncio's and uvloop's count in milliseconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, how often, and for how long at most."""

    host: str
    port: int
    path: str
    body: str
    words: int
    """What each answer must hold."""
    stream: bool
    connections: int
    requests: int
    seconds: float
    """No question starts after it."""
    patience_s: float = 15.0
    """So long after that the open ones are waited for."""
    rate_per_s: float | None = None
    """None: closed loop."""
    ramp_s: float = 0.0
    """Closed: the connections' first questions are spread over it."""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (0 < self.connections <= _CONNECTIONS_MAX and 0 < self.requests <= _REQUESTS_MAX):
            raise ValueError("too many connections or requests, or none")
        if not 0 < self.seconds <= _SECONDS_MAX:
            raise ValueError("no time limit that makes sense")

    def request(self) -> bytes:
        """The bytes of one question."""
        body = self.body.encode()
        headers = {
            "host": f"{self.host}:{self.port}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass(slots=True)
class Outcome:
    """What a plan came to. Every question asked is either in `latency` or in `failures`."""

    asked: int = 0
    words: int = 0
    seconds: float = 0.0
    """First question sent → last answer."""
    failures: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    first_word: Histogram = field(default_factory=Histogram)

    @property
    def answered(self) -> int:
        return self.latency.count

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds if self.seconds else 0.0

    def encode(self) -> bytes:
        said = {"latency": self.latency.buckets, "first_word": self.first_word.buckets}
        numbers = {name: getattr(self, name) for name in ("asked", "words", "seconds", "failures")}
        return orjson.dumps({**numbers, **said}, option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, raw: bytes) -> Outcome:
        said = orjson.loads(raw)
        for name in ("latency", "first_word"):
            said[name] = Histogram({int(bucket): count for bucket, count in said[name].items()})
        return cls(**said)


class Load:
    """One plan on its way."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._request = plan.request()
        self._outcome = Outcome()
        self._failures: Counter[str] = Counter()
        self._open = 0

    async def run(self) -> Outcome:
        callers = [Caller(self._plan.host, self._plan.port) for _ in range(self._plan.connections)]
        # Connecting is not what is measured; whoever cannot connect now tries, and fails, in its turn.
        for caller in callers[: self._plan.connections if self._plan.rate_per_s is None else 4]:
            with contextlib.suppress(Broken):
                await caller.open()
        started = perf_counter()
        self._last = started
        self._until = started + self._plan.seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.seconds + self._plan.patience_s):
                await (self._closed(callers) if self._plan.rate_per_s is None else self._paced(callers))
        if self._open:
            self._failures["unfinished"] += self._open
        for caller in callers:
            caller.close()
        self._outcome.seconds = self._last - started
        self._outcome.failures = dict(self._failures)
        return self._outcome

    def _may_ask(self) -> bool:
        return self._outcome.asked < self._plan.requests and perf_counter() < self._until

    async def _closed(self, callers: list[Caller]) -> None:
        async def keep_asking(caller: Caller, number: int) -> None:
            if self._plan.ramp_s:
                await asyncio.sleep(self._plan.ramp_s * number / len(callers))
            while self._may_ask():
                self._outcome.asked += 1
                if not await self._ask(caller, perf_counter()):
                    await asyncio.sleep(_BROKEN_PAUSE_S)

        async with asyncio.TaskGroup() as group:
            for number, caller in enumerate(callers):
                group.create_task(keep_asking(caller, number))

    async def _paced(self, callers: list[Caller]) -> None:
        assert self._plan.rate_per_s
        free = list(reversed(callers))
        enough = asyncio.Semaphore(len(callers))

        async def ask_when_free(due: float) -> None:
            async with enough:
                caller = free.pop()  # the one used last: a connection idle for long may be closed by the other side
                await self._ask(caller, due)
                free.append(caller)

        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            while self._may_ask():
                due = started + self._outcome.asked / self._plan.rate_per_s
                await _until(due)
                self._outcome.asked += 1
                group.create_task(ask_when_free(due))

    async def _ask(self, caller: Caller, since: float) -> bool:
        self._open += 1
        try:
            answer = await caller.ask(self._request)
        except Broken as broken:
            failure: str | None = str(broken)
        else:
            failure = self._fault(answer)
            self._last = answer.ended_at
        # Not in a `finally`: a question cut off by the time limit stays open, and is counted so.
        self._open -= 1
        if failure:
            self._failures[failure] += 1
            return False
        self._outcome.words += answer.words
        self._outcome.latency.add(answer.ended_at - since)
        if self._plan.stream and answer.first_word_at is not None:
            self._outcome.first_word.add(answer.first_word_at - since)
        return True

    def _fault(self, answer: Answer) -> str | None:
        if answer.status != 200:
            return f"http_{answer.status}"
        if answer.words != self._plan.words:
            return "wrong_words"
        if self._plan.stream and not answer.done:
            return "no_end"
        return None


async def _until(due: float) -> None:
    """Return at `due` of `perf_counter`, to some microseconds: the last stretch is waited turn by turn of the loop."""
    while (left := due - perf_counter()) > 0:  # noqa: ASYNC110  # the clock sets no event
        await asyncio.sleep(max(0.0, left - _TIMER_S))


async def in_own_process(plan: Plan) -> Outcome:
    """Run a plan in a new process, so that asking and measuring do not disturb each other.

    Raises RuntimeError when that process fails.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await process.communicate(orjson.dumps(asdict(plan)))
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return Outcome.decode(said)


async def _run(plan: Plan) -> Outcome:
    return await Load(plan).run()


def main() -> None:
    allow_many_sockets()
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(uvloop.run(_run(plan)).encode())


if __name__ == "__main__":
    main()
