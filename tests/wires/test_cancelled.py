"""A client that does not want it any more: the provider's socket closes at once, on every road, and what was said is
metered."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
import pytest

from app.providers import counting
from app.providers.endpoints import Endpoint
from app.providers.transport import Transport
from app.providers.world import AnyWire
from events.completions import Wire
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer, ProviderWire
from tests.fakes.provider import EVENTS, Script, provider
from tests.wires.corpus import said_so_far
from tests.wires.pairs import QUESTIONS, REQUEST, speech_of
from tests.wires.test_faults import ROADS

PATIENCE_S = 5.0
"""Before the test gives up: the socket closes in a millisecond."""


@pytest.mark.parametrize(("wire", "name"), ROADS, ids=[f"{wire} from {name}" for wire, name in ROADS])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "unstreamed"])
async def test_being_cancelled_closes_the_provider_s_socket(wire: Wire, name: str, stream: bool) -> None:
    spoken = speech_of(wire, name)
    script = Script(said_so_far(spoken), content_type=EVENTS, ending="silent") if stream else Script(ending="silent")
    said = asyncio.Event()
    heard = Transcript(lambda _: said.set())
    of: ProviderWire = "anthropic" if name == "anthropic" else "openai"
    offer = Offer("fake", "m", "claude-sonnet-4-5", of, None, capabilities=frozenset({"responses"} & set(name.split())))
    question = Question(wire, orjson.dumps(QUESTIONS[wire] | {"stream": stream}), stream, False, REQUEST)
    transport = Transport()
    async with provider(script) as fake:
        adapter = AnyWire(Endpoint("fake", of, fake.base_url), transport)
        call = asyncio.create_task(adapter.ask(offer, question, heard, deadline_s=30))
        if stream:
            await asyncio.wait_for(said.wait(), 30)  # litellm's first import is slow
        await fake.arrived.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await asyncio.wait_for(fake.left.wait(), PATIENCE_S)
    await transport.close()
    assert heard.answer is None
    if stream:
        used = heard.usage or counting.count(question, "".join(heard.text))
        assert (used.source, used.output) == ("estimated", 1)
        assert used.input > 0


async def test_anthropic_s_own_count_of_the_question_is_kept_when_its_answer_is_not() -> None:
    said = asyncio.Event()
    heard = Transcript(lambda _: said.set())
    script = Script(said_so_far("anthropic"), content_type=EVENTS, ending="silent")
    transport = Transport()
    async with provider(script) as fake:
        adapter = AnyWire(Endpoint("fake", "anthropic", fake.base_url), transport)
        question = Question("anthropic", orjson.dumps(QUESTIONS["anthropic"] | {"stream": True}), True, False, REQUEST)
        offer = Offer("fake", "m", "m", "anthropic", None)
        call = asyncio.create_task(adapter.ask(offer, question, heard, deadline_s=30))
        await said.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    await transport.close()
    assert heard.usage is not None
    assert (heard.usage.input, heard.usage.cached, heard.usage.cache_write) == (10, 3, 2)
