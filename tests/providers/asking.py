"""One question to one adapter, and everything that was heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from app.providers.endpoints import Endpoint
from app.providers.transport import Transport
from app.providers.world import Adapter, AnyWire
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer, ProviderWire

HELLO: dict[str, Any] = {"model": "as-the-client-says", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Outcome:
    """What came of a question."""

    frames: list[bytes] = field(default_factory=list)
    failed: ProviderFailed | None = None
    heard: Transcript = field(init=False)

    def __post_init__(self) -> None:
        self.heard = Transcript(self.frames.append)

    @property
    def streamed(self) -> bytes:
        return b"".join(self.frames)

    @property
    def chunks(self) -> list[Any]:
        return [orjson.loads(event.removeprefix(b"data: ")) for event in self.streamed.split(b"\n\n") if event]

    @property
    def answer(self) -> Any:
        assert self.failed is None, self.failed
        assert self.heard.answer is not None
        return orjson.loads(self.heard.answer)

    @property
    def kind(self) -> str | None:
        return self.failed.kind if self.failed else None


def offer(wire: ProviderWire = "openai", upstream: str = "upstream-name") -> Offer:
    return Offer(provider="fake", model="model", upstream=upstream, wire=wire, price=None)


def question(stream: bool, include_usage: bool = False, **body: Any) -> Question:
    asked = {**HELLO, **({"stream": True} if stream else {}), **body}
    return Question("openai", orjson.dumps(asked), stream, include_usage)


async def ask(
    base_url: str,
    asked: Question,
    *,
    wire: ProviderWire = "openai",
    upstream: str = "upstream-name",
    deadline_s: float = 10.0,
    adapter: Adapter | None = None,
    transport: Transport | None = None,
) -> Outcome:
    """Ask once. With a transport of its own, which is closed, unless an adapter is given."""
    outcome = Outcome()
    transport = transport or Transport()
    using = adapter or AnyWire(Endpoint("fake", wire, base_url, "secret"), transport)
    try:
        await using.ask(offer(wire, upstream), asked, outcome.heard, deadline_s=deadline_s)
    except ProviderFailed as failed:
        outcome.failed = failed
    finally:
        await transport.close()
    return outcome
