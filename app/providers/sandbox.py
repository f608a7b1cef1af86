"""The sandbox provider: a small HTTP server that speaks OpenAI's chat completions and answers deterministically, so that
everything can be seen at work with no account anywhere. It is called over HTTP like any provider.

    echo    repeats the last user message, word for word; streamed, each word is a chunk
    lorem   writes `max_tokens` words, 64 where nothing is said
    tools   calls the first tool offered (or the one that `tool_choice` names) with the least arguments that satisfy its
            schema; when the last message is a tool's result, answers with it as text
    embed   the one model for embeddings: see `sandbox_embeddings`
    faulty  fails as the directives in the last user message say, and otherwise echoes what stands beside them

Directives stand in square brackets; `sandbox_faults` lists them.

One token is one word, on both sides; a tool call counts as one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.providers import sandbox_embeddings
from app.providers.sandbox_faults import NO_FAULTS, Faults, Refused, read_directives, refuse
from app.providers.sandbox_tools import least_value

MODELS = ("echo", "lorem", "tools", "faulty")
CREATED = 1_735_689_600
"""2025-01-01: the same answer bears the same time."""
LOREM_WORDS_DEFAULT = 64
LOREM_WORDS_MAX = 100_000
CHOICES_MAX = 16
SILENCE_S = 3_600.0
"""Longer than any client waits."""

_LOREM_TEXT = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna "
    "aliqua ut enim ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat"
)
_LOREM = _LOREM_TEXT.split()

_WORD = re.compile(r"\s*\S+|\s+$")
Json = dict[str, Any]


class _Broken(Exception):
    """Raised on purpose in the middle of an answer: the server then closes the connection without a proper end."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is said, before it is put into the one shape or the other."""

    id: str
    model: str
    words: list[str]
    call: Json | None
    finish_reason: str
    usage: Json
    choices: int
    faults: Faults


async def complete(request: Request) -> Response:
    raw = await request.body()
    try:
        asked = _asked(raw)
        answer = _answer(asked, raw, request.app.state.failed)
        await asyncio.sleep(answer.faults.seconds("delay_ms"))
    except Refused as refused:
        headers = {"retry-after": refused.retry_after} if refused.retry_after else {}
        return _json(_error(refused.message, refused.code), refused.status, headers)
    if asked.get("stream"):
        options = asked.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return StreamingResponse(_stream(answer, with_usage), media_type="text/event-stream")
    if "garbage" in answer.faults.flags:
        return Response(b"<html>not what you asked for", media_type="text/html")
    said = _whole(answer)
    if answer.faults.number("cut_after") is not None:
        return StreamingResponse(_cut(said), media_type="application/json")
    if answer.faults.number("silence_after") is not None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    return _json(said)


async def embeddings(request: Request) -> Response:
    try:
        asked = _object(await request.body())
        if asked.get("model") != sandbox_embeddings.MODEL:
            raise Refused(404, f"The model {asked.get('model')!r} does not exist.", "model_not_found")
        return _json(sandbox_embeddings.embed(asked))
    except Refused as refused:
        return _json(_error(refused.message, refused.code), refused.status)


async def models(_: Request) -> Response:
    listed = [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "sandbox"}
        for name in (*MODELS, sandbox_embeddings.MODEL)
    ]
    return _json({"object": "list", "data": listed})


def sandbox() -> Starlette:
    """The application. It remembers only how often a `fail_times` prompt has failed."""
    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]
    application = Starlette(routes=routes)
    application.state.failed = {}
    return application


def run(port: int | None, fd: int | None) -> None:
    """Serve until SIGTERM or SIGINT, on a port of this machine or on a listening socket handed over."""
    uvicorn.run(
        sandbox(),
        host="127.0.0.1",
        port=port or 0,
        fd=fd,
        log_config=None,
        log_level="critical",  # a connection broken on purpose is not worth a traceback
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


def _object(raw: bytes) -> Json:
    try:
        asked = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(asked, dict):
        raise Refused(400, "The body is no JSON object.")
    return asked


def _asked(raw: bytes) -> Json:
    asked = _object(raw)
    if not isinstance(asked.get("messages"), list) or not asked["messages"]:
        raise Refused(400, "messages: a list with at least one message is needed.")
    if not all(isinstance(message, dict) for message in asked["messages"]):
        raise Refused(400, "messages: each must be an object.")
    if asked.get("model") not in MODELS:
        raise Refused(404, f"The model {asked.get('model')!r} does not exist.", "model_not_found")
    return asked


def _answer(asked: Json, raw: bytes, failed: dict[str, int]) -> _Answer:
    model, messages = asked["model"], asked["messages"]
    prompt = next((_text(message) for message in reversed(messages) if message.get("role") == "user"), "")
    faults, call, finish_reason = NO_FAULTS, None, "stop"
    if model == "lorem":
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
        length = limit if isinstance(limit, int) and limit > 0 else LOREM_WORDS_DEFAULT
        words = list(_lorem(min(length, LOREM_WORDS_MAX)))
        finish_reason = "length" if limit else "stop"
    elif model == "tools":
        call = _call(asked, messages)
        words = [] if call else _WORD.findall(_text(messages[-1]))
        finish_reason = "tool_calls" if call else "stop"
    else:
        if model == "faulty":
            faults, prompt_left = read_directives(prompt)
            refuse(faults, prompt, failed)
            prompt = prompt_left
        words = _WORD.findall(prompt)
    asked_tokens = sum(len(_text(message).split()) for message in messages)
    choices = asked.get("n")
    choices = choices if isinstance(choices, int) and 1 <= choices <= CHOICES_MAX else 1
    written = 1 if call else sum(not word.isspace() for word in words)
    return _Answer(
        id=f"chatcmpl-{hashlib.sha256(raw).hexdigest()[:24]}",
        model=model,
        words=words,
        call=call,
        finish_reason=finish_reason,
        usage=_usage(asked_tokens, written * choices),
        choices=choices,
        faults=faults,
    )


def _usage(asked: int, written: int) -> Json:
    return {
        "prompt_tokens": asked,
        "completion_tokens": written,
        "total_tokens": asked + written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _lorem(length: int) -> Iterator[str]:
    for at in range(length):
        yield _LOREM[at % len(_LOREM)] if at == 0 else f" {_LOREM[at % len(_LOREM)]}"


def _call(asked: Json, messages: list[Json]) -> Json | None:
    """The call to the tool; None when there is none to call or its result is already here."""
    tools = [tool["function"] for tool in asked.get("tools") or () if isinstance(tool.get("function"), dict)]
    choice = asked.get("tool_choice")
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        tools = [tool for tool in tools if tool.get("name") == name]
    if not tools or choice == "none" or messages[-1].get("role") == "tool":
        return None
    arguments = orjson.dumps(least_value(tools[0].get("parameters") or {"type": "object"})).decode()
    name = str(tools[0].get("name"))
    id = hashlib.sha256(f"{name}{arguments}".encode()).hexdigest()[:24]
    return {"id": f"call_{id}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _whole(answer: _Answer) -> Json:
    message: Json = {"role": "assistant", "content": None if answer.call else "".join(answer.words), "refusal": None}
    if answer.call:
        message["tool_calls"] = [answer.call]
    choices = [
        {"index": index, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}
        for index in range(answer.choices)
    ]
    said = _head(answer, "chat.completion") | {"choices": choices}
    return said if "no_usage" in answer.faults.flags else said | {"usage": answer.usage}


async def _stream(answer: _Answer, with_usage: bool) -> AsyncIterator[bytes]:
    faults = answer.faults
    yield _chunk(answer, {"role": "assistant", "content": None if answer.call else "", "refusal": None})
    if "garbage" in faults.flags:
        yield b'data: {"choices": [\x00 not what you asked for\n\n'
        return
    if answer.call:
        call = {"index": 0, **answer.call}
        yield _chunk(answer, {"tool_calls": [call | {"function": {**call["function"], "arguments": ""}}]})
        yield _chunk(answer, {"tool_calls": [{"index": 0, "function": {"arguments": call["function"]["arguments"]}}]})
    for at in range(len(answer.words) + 1):
        if at == faults.number("cut_after"):
            raise _Broken
        if at == faults.number("silence_after"):
            await asyncio.sleep(SILENCE_S)
        if at == faults.number("error_after"):
            yield _event(_error("The sandbox was asked to fail.", faults.code))
            return
        if at < len(answer.words):
            if "chunk_delay_ms" in faults.numbers:
                await asyncio.sleep(faults.seconds("chunk_delay_ms"))
            yield _chunk(answer, {"content": answer.words[at]})
    yield _chunk(answer, {}, answer.finish_reason)
    if with_usage and "no_usage" not in faults.flags:
        yield _event(_head(answer, "chat.completion.chunk") | {"choices": [], "usage": answer.usage})
    yield b"data: [DONE]\n\n"


async def _cut(said: Json) -> AsyncIterator[bytes]:
    body = orjson.dumps(said)
    yield body[: len(body) // 2]
    raise _Broken


def _chunk(answer: _Answer, delta: Json, finish_reason: str | None = None) -> bytes:
    """One piece, for each choice."""
    head = _head(answer, "chat.completion.chunk")
    return b"".join(
        _event(head | {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]})
        for index in range(answer.choices)
    )


def _head(answer: _Answer, kind: str) -> Json:
    return {"id": answer.id, "object": kind, "created": CREATED, "model": answer.model}


def _event(said: Json) -> bytes:
    return b"data: " + orjson.dumps(said) + b"\n\n"


def _error(message: str, code: str | None) -> Json:
    return {"error": {"message": message, "type": "sandbox_error", "param": None, "code": code}}


def _json(said: Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(said), status, headers, media_type="application/json")


def _text(message: Json) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
