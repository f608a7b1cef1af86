"""Given for these tests: a provider that answers with a digest of the key it got, and a world that asks it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from tests.fakes.provider import openai_answer

GONE = "gone-bad"
"""A key with this in it is refused."""

MODEL = "gpt-4o-mini"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


class Echo:
    """An OpenAI-compatible server over HTTP/1.1: connections are kept and shared, as providers do."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: Counter[str] = Counter()
        """Digest of a key → how often it came."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
                await reader.readexactly(int(headers["content-length"]))
                key = next(
                    line.split("Bearer ", 1)[1] for line in head.decode().split("\r\n") if "bearer" in line.lower()
                )
                self.heard[digest(key)] += 1
                status, body = self._answer(key)
                await asyncio.sleep(0)  # so that calls of many accounts are under way at once
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    def _answer(self, key: str) -> tuple[int, bytes]:
        if GONE in key:
            refusal = {"error": {"message": f"Incorrect API key provided: {key}", "code": "invalid_api_key"}}
            return 401, json.dumps(refusal).encode()
        return 200, json.dumps(openai_answer(digest(key))).encode()


@asynccontextmanager
async def echoing() -> AsyncIterator[Echo]:
    echo = Echo()
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(echo.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    echo.port = server.sockets[0].getsockname()[1]
    try:
        yield echo
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
