"""The things measured: the mock provider itself, a bare echo, Helix, a peer; each started and stopped here.

One rule: all are asked the same questions by the same load generator, and every one but the echo asks the same mock
provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypedDict
from urllib.parse import urlsplit

import orjson

from app.bench.load import Plan
from app.bench.measure import Processes
from app.embedded.server import free_port, tethered

ROOT: Final = Path(__file__).resolve().parents[2]

Shape = Literal["plain", "burst", "slow"]
"""Sixteen words at once; a hundred chunks in one burst; a hundred chunks at fifty a second."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One shape of questions: the mock's model, what an answer holds, how long it takes the mock at least."""

    model: str
    words: int
    stream: bool
    seconds: float


TRAFFIC: Final[dict[Shape, Traffic]] = {
    "plain": Traffic("mock-l0-n16", 16, stream=False, seconds=0.0),
    "burst": Traffic("mock-l0-n100", 100, stream=True, seconds=0.0),
    "slow": Traffic("mock-l0-n100-d20", 100, stream=True, seconds=2.0),
}

_START_S: Final = 120.0
"""The longest a target may take to answer first: Helix makes a database, LiteLLM imports for half a minute."""

_STOP_S: Final = 40.0
"""The longest a target may take to drain."""

_LAST_WORDS: Final = 1500
"""Characters of a child's output that are shown when it fails."""

_QUESTION: Final = "Say what you always say, as often as your name tells you, and nothing else, please."


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and whose CPU it costs (None: nobody's whom we count)."""

    name: str
    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    processes: Processes | None = None

    def plan(
        self,
        shape: Shape,
        *,
        connections: int,
        requests: int,
        seconds: float,
        rate_per_s: float | None = None,
        ramp_s: float = 0.0,
    ) -> Plan:
        """The load of one run against this target."""
        traffic = TRAFFIC[shape]
        question: dict[str, object] = {
            "model": traffic.model,
            "messages": [{"role": "user", "content": _QUESTION}],
            "stream": traffic.stream,
        }
        return Plan(
            host=self.host,
            port=self.port,
            path="/v1/chat/completions",
            body=orjson.dumps(question).decode(),
            words=traffic.words,
            stream=traffic.stream,
            connections=connections,
            requests=requests,
            seconds=seconds,
            rate_per_s=rate_per_s,
            ramp_s=ramp_s,
            headers=dict(self.headers),
        )


class Ready(TypedDict):
    """What `up --json` says (contract §1)."""

    ready: bool
    base_url: str
    api_key: str
    database_url: str
    redis_url: str
    pids: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Helix:
    """A whole Helix of its own, with everything on."""

    target: Target
    processes: Processes
    ready: Ready = field(repr=False)
    data: Path


def last_words(log: Path) -> str:
    """The end of what a child said; its file goes away with the run."""
    return log.read_text(errors="replace")[-_LAST_WORDS:].strip() or "it said nothing"


async def _answers(port: int, process: asyncio.subprocess.Process, name: str, log: Path) -> None:
    """Return when something listens on the port. Raises RuntimeError when the process ends or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
            raise RuntimeError(f"{name} ended with {process.returncode}: {last_words(log)}")
    raise RuntimeError(f"{name} did not answer within {_START_S:.0f} s: {last_words(log)}")


@asynccontextmanager
async def running(
    name: str, *command: str, log: Path, env: Mapping[str, str] | None = None, pipe: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process until the block ends, what it says in `log`; its standard output is a pipe where asked."""
    with open(log, "ab") as said:  # noqa: ASYNC230  # a local file, opened once; nothing else runs meanwhile
        process = await asyncio.create_subprocess_exec(
            *tethered(list(command), at_death=signal.SIGTERM),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if pipe else said,
            stderr=said,
            cwd=ROOT,
            env=None if env is None else dict(env),
            start_new_session=True,  # Ctrl-C in the terminal is for the bench, which stops its children itself
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


@asynccontextmanager
async def mock_provider(scratch: Path) -> AsyncIterator[Target]:
    """The mock provider: asked directly, the yardstick of every latency."""
    port = free_port()
    command = (sys.executable, "-m", "app.bench.mock_provider", "--port", str(port))
    async with running("mock provider", *command, log=scratch / "mock.log") as process:
        await _answers(port, process, "the mock provider", scratch / "mock.log")
        yield Target("direct", "127.0.0.1", port)


@asynccontextmanager
async def echo(scratch: Path) -> AsyncIterator[Target]:
    """Starlette under uvicorn, one process, no access log: what an HTTP answer costs at least."""
    port = free_port()
    command = (
        *(sys.executable, "-m", "uvicorn", "app.bench.floors:echo", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    )
    async with running("echo", *command, log=scratch / "echo.log") as process:
        await _answers(port, process, "the echo", scratch / "echo.log")
        yield Target("echo", "127.0.0.1", port, processes=Processes(process.pid, {}))


def providers_file(mock_port: int) -> str:
    """The mock provider's models for HELIX_PROVIDERS, priced so that every request is billed."""
    models = "".join(
        f"""
[[provider.model]]
id = "{traffic.model}"
context_window = 128000
input_usd_per_million = 0.15
output_usd_per_million = 0.60
quality = 50
"""
        for traffic in TRAFFIC.values()
    )
    return f"""\
[[provider]]
name = "mock"
wire = "openai"
base_url = "http://127.0.0.1:{mock_port}/v1"
weight = 1
{models}"""


_NOT_INHERITED: Final = re.compile(
    r"DATABASE_(REPLICA_)?URL|REDIS_URL|CACHE_URL|HELIX_(DATA|PROVIDERS|PRICES)|[A-Z]+_API_KEY|[A-Z]+_BASE_URL"
    r"|SENTRY_DSN|STRIPE_.*|PORT"
)
"""A bench never writes into a server that somebody uses, nor calls a provider that costs money."""


def without_servers(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nobody's servers and keys are named."""
    return {name: value for name, value in env.items() if not _NOT_INHERITED.fullmatch(name)}


@asynccontextmanager
async def helix(scratch: Path, mock_port: int, offers: str | None = None) -> AsyncIterator[Helix]:
    """`./helix up` on data of its own: one web process, one worker, the projector, and embedded servers. `offers` is
    the text of its HELIX_PROVIDERS, where it is another than the bench's."""
    data = scratch / "data"
    providers = scratch / "providers.toml"
    providers.write_text(offers or providers_file(mock_port))
    env = {**without_servers(os.environ), "HELIX_PROVIDERS": str(providers)}
    command = (str(ROOT / "helix"), "up", "--json", "--data", str(data), "--port", "0")
    async with running("helix", *command, log=scratch / "helix.log", env=env, pipe=True) as process:
        assert process.stdout
        try:
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            why = f"helix was not ready within {_START_S:.0f} s: {last_words(scratch / 'helix.log')}"
            raise RuntimeError(why) from None
        if not line:
            raise RuntimeError(f"helix ended before it was ready: {last_words(scratch / 'helix.log')}")
        ready: Ready = orjson.loads(line)
        url = urlsplit(ready["base_url"])
        processes = Processes(process.pid, ready["pids"])
        headers = {"authorization": f"Bearer {ready['api_key']}"}
        target = Target("helix", url.hostname or "127.0.0.1", url.port or 80, headers, processes)
        yield Helix(target, processes, ready, data)
