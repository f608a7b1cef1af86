"""A provider that does as it is told, over real HTTP on loopback: what it says, how it cuts it into writes, when it is
silent and how it breaks off.

One rule: it never decides anything; the test writes the script.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Ending = Literal["proper", "cut", "reset", "silent"]

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Script:
    """One answer. Each piece is written and sent by itself."""

    pieces: Sequence[bytes] = (b"",)
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before the first byte."""
    pause_s: float = 0.0
    """Before each piece."""
    ending: Ending = "proper"
    speaks: bool = True
    """False: the connection is closed without a byte."""


@dataclass
class Provider:
    """A running fake."""

    port: int
    scripts: list[Script]
    """Played one a request; the last one again and again."""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has been asked."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closed its connection in the middle of an answer."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                self.arrived.set()
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if not await self._play(script, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _play(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        if not script.speaks:
            return False
        await asyncio.sleep(script.delay_s)
        lines = {"content-type": script.content_type, "transfer-encoding": "chunked", **script.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {script.status} Fake\r\n{head}\r\n".encode())
        for piece in script.pieces:
            await asyncio.sleep(script.pause_s)
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        if script.ending == "silent":
            await reader.read(1)
            self.left.set()
            return False
        if script.ending == "reset":
            writer.transport.abort()
        if script.ending != "proper":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def provider(*scripts: Script) -> AsyncIterator[Provider]:
    """A fake provider that plays these scripts, one a request."""
    fake = Provider(0, list(scripts))
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(fake.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, limit=2**20)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        lines = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(head[0].split(" ")[1], headers, body)
    return None


def event(said: object) -> bytes:
    """`said` as the data of one server-sent event."""
    return b"data: " + json.dumps(said).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    """One chunk of a stream in OpenAI's format."""
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage_chunk(usage: Mapping[str, Any] = USAGE) -> dict[str, Any]:
    return {**chunk({}), "choices": [], "usage": usage}


def openai_events(words: Iterable[str]) -> list[bytes]:
    """A whole proper stream, one event a piece, the usage and the end included."""
    return [
        event(chunk({"role": "assistant", "content": ""})),
        *(event(chunk({"content": word})) for word in words),
        event(chunk({}, "stop")),
        event(usage_chunk()),
        DONE,
    ]


def openai_answer(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None, **more}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": USAGE,
    }


def anthropic_answer(*content: Mapping[str, Any], stop_reason: str = "end_turn") -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def anthropic_events(*events: Mapping[str, Any]) -> list[bytes]:
    """Anthropic's events between a proper start and whatever end the caller gives."""
    start = {"type": "message_start", "message": {**anthropic_answer(), "stop_reason": None}}
    return [b"event: " + str(said["type"]).encode() + b"\n" + event(said) for said in (start, *events)]
