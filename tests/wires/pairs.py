"""Everything that a client of any wire hears from a provider of any wire, one of each kind of answer: real calls to a fake
provider, so that whoever checks payloads checks what really leaves.

`every_pair()` is for the strict models of the official SDKs, which live in environments of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.providers.endpoints import Endpoint
from app.providers.transport import Transport
from app.providers.world import AnyWire
from events.completions import Wire
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer, ProviderWire
from tests.fakes.provider import EVENTS, Script, provider
from tests.wires import speech

REQUEST: Final = "req_0199d1f0a1b27c3d8e4f5a6b7c8d9e0f"

CLIENTS: Final[tuple[Wire, ...]] = ("openai", "responses", "anthropic")
PROVIDERS: Final = ("openai", "openai with responses", "anthropic", "litellm")

_TOOL = {"name": "weather", "description": "Of a place", "strict": False}
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

QUESTIONS: Final[Mapping[Wire, dict[str, Any]]] = {
    "openai": {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": _TOOL | {"parameters": _SCHEMA}}],
    },
    "responses": {
        "model": "m",
        "input": "hello",
        "instructions": "Be brief.",
        "tools": [{"type": "function", **_TOOL, "parameters": _SCHEMA}],
        "metadata": {"a": "b"},
    },
    "anthropic": {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": "weather", "description": "Of a place", "input_schema": _SCHEMA}],
    },
    "embeddings": {"model": "m", "input": ["one", "two"]},
}


@dataclass(frozen=True)
class Pair:
    """What one client heard of one answer."""

    wire: Wire
    provider: str
    case: str
    whole: dict[str, Any]
    """Unstreamed."""
    events: list[dict[str, Any]]
    """The data of each event but the closing one."""
    streamed: dict[str, Any]
    """The whole answer of the streamed call, which the closing event of `responses` carries."""


async def every_pair() -> list[Pair]:
    """All pairs of wire and provider, each with every kind of answer; embeddings with floats and with base64."""
    pairs = []
    for wire in CLIENTS:
        for name in PROVIDERS:
            for case in speech.CASES:
                pairs.append(await _pair(wire, name, case))
    for encoding in ("float", "base64"):
        body = QUESTIONS["embeddings"] | {"encoding_format": encoding}
        answer = await hear("embeddings", "openai", Script([speech.embeddings()]), body, stream=False)
        pairs.append(Pair("embeddings", "openai", encoding, orjson.loads(answer.answer or b""), [], {}))
    return pairs


async def _pair(wire: Wire, name: str, case: str) -> Pair:
    spoken = speech_of(wire, name)
    whole = await hear(wire, name, Script([json.dumps(speech.whole(spoken, case)).encode()]), stream=False)
    pieces: list[bytes] = []
    script = Script(speech.stream(spoken, case), content_type=EVENTS)
    streamed = await hear(wire, name, script, stream=True, pieces=pieces)
    events = [orjson.loads(line[6:]) for line in b"".join(pieces).split(b"\n") if line.startswith(b"data: ")]
    return Pair(wire, name, case, orjson.loads(whole.answer or b""), events, orjson.loads(streamed.answer or b""))


def speech_of(wire: Wire, name: str) -> str:
    """What the provider speaks when it is asked by a client of this wire."""
    if name == "openai with responses":
        return "responses" if wire == "responses" else "openai"
    return "anthropic" if name == "anthropic" else "openai"


async def hear(
    wire: Wire,
    name: str,
    script: Script,
    body: Mapping[str, Any] | None = None,
    *,
    stream: bool,
    pieces: list[bytes] | None = None,
    capabilities: Sequence[str] = ("reasoning", "tools"),
    heard: Transcript | None = None,
    deadline_s: float = 10.0,
) -> Transcript:
    """One call by a client of this wire to a provider who plays this script. Raises ProviderFailed."""
    of: ProviderWire = "anthropic" if name == "anthropic" else "litellm" if name == "litellm" else "openai"
    upstream = "openai/some-model" if of == "litellm" else "claude-sonnet-4-5" if of == "anthropic" else "some-model"
    more = {"responses"} if name == "openai with responses" else set()
    offer = Offer("fake", "m", upstream, of, None, capabilities=frozenset({*capabilities, *more}))
    asked = {**(body or QUESTIONS[wire]), **({"stream": True} if stream else {})}
    question = Question(wire, orjson.dumps(asked), stream, stream, REQUEST)
    heard = heard or Transcript((pieces if pieces is not None else []).append)
    transport = Transport()
    try:
        async with provider(script) as fake:
            adapter = AnyWire(Endpoint("fake", of, fake.base_url, "secret"), transport)
            await adapter.ask(offer, question, heard, deadline_s=deadline_s)
    finally:
        await transport.close()
    return heard
