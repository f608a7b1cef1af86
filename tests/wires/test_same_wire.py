"""Where client and provider share a wire, the question goes and the answer comes as it is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.providers.endpoints import Endpoint
from app.providers.transport import Transport
from app.providers.world import AnyWire
from events.completions import Wire
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer, ProviderWire
from handlers.rules.rating import Usage
from tests.fakes.provider import EVENTS, Asked, Script, provider
from tests.wires import speech
from tests.wires.pairs import QUESTIONS, REQUEST

BETA = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "context-management-2025-06-27,effort-2025-11-24"))


async def told(
    wire: Wire,
    script: Script,
    body: dict[str, Any],
    *,
    stream: bool = False,
    forwarded: tuple[tuple[str, str], ...] = (),
    capabilities: frozenset[str] = frozenset({"responses"}),
) -> tuple[Transcript, bytes, Asked]:
    """(what was heard, what the client was sent, what the provider was asked)."""
    of: ProviderWire = "anthropic" if wire == "anthropic" else "openai"
    pieces: list[bytes] = []
    heard = Transcript(pieces.append)
    transport = Transport()
    offer = Offer("fake", "m", "upstream-name", of, None, capabilities=capabilities)
    async with provider(script) as fake:
        adapter = AnyWire(Endpoint("fake", of, fake.base_url, "secret"), transport)
        question = Question(wire, orjson.dumps(body), stream, False, REQUEST, forwarded)
        await adapter.ask(offer, question, heard, deadline_s=10)
        await transport.close()
        return heard, b"".join(pieces), fake.asked[0]


async def test_a_message_s_question_is_sent_as_it_is() -> None:
    body = QUESTIONS["anthropic"] | {"context_management": {"edits": []}, "tools": [{"type": "web_search_20250305"}]}
    answer = orjson.dumps(speech.whole("anthropic", "text"))
    heard, _, asked = await told("anthropic", Script([answer]), body, forwarded=BETA)
    assert asked.path == "/v1/messages"
    assert asked.json == body | {"model": "upstream-name", "stream": False}
    assert [asked.headers[name] for name, _ in BETA] == [said for _, said in BETA]
    assert asked.headers["x-api-key"] == "secret"
    assert heard.answer == answer
    assert heard.usage == Usage(10, 4, cached=3, cache_write=2)
    assert (heard.finish_reason, heard.text) == ("stop", ["Hello 🌍"])
    assert orjson.loads(heard.message or b"") == {"role": "assistant", "content": "Hello 🌍"}


async def test_a_client_s_header_cannot_take_the_place_of_ours() -> None:
    evil = (("x-api-key", "theirs"), ("content-type", "text/evil"))
    _, _, asked = await told(
        "anthropic", Script([orjson.dumps(speech.whole("anthropic", "text"))]), QUESTIONS["anthropic"], forwarded=evil
    )
    assert (asked.headers["x-api-key"], asked.headers["content-type"]) == ("secret", "application/json")
    assert asked.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("case", speech.CASES)
async def test_a_message_s_events_pass_byte_for_byte_but_for_the_last(case: str) -> None:
    pieces = speech.stream("anthropic", case)
    script = Script([b"".join(pieces)], content_type=EVENTS)
    heard, sent, _ = await told("anthropic", script, QUESTIONS["anthropic"], stream=True)
    assert sent == b"".join(pieces[:-1])
    assert heard.frames == len(pieces) - 1
    assert heard.usage == Usage(10, 4, cached=3, cache_write=2)
    answer = orjson.loads(heard.answer or b"")
    assert answer["content"] == speech.whole("anthropic", case)["content"]


async def test_a_response_s_question_is_sent_with_nothing_to_keep() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    user = {"role": "user", "content": "hi"}
    body = {
        "model": "m",
        "input": [thought, {**thought, "encrypted_content": "x"}, user],
        "tools": [{"type": "web_search"}, {"type": "mystery"}],
        "store": True,
        "background": True,
        "previous_response_id": "resp_before",
        "mystery": 1,
    }
    script = Script([orjson.dumps(speech.whole("responses", "text"))])
    capabilities = frozenset({"responses", "reasoning"})
    heard, _, asked = await told("responses", script, body, capabilities=capabilities)
    assert asked.path == "/v1/responses"
    assert asked.json == {
        "model": "upstream-name",
        "stream": False,
        "input": [{**thought, "encrypted_content": "x"}, user],
        "tools": [{"type": "web_search"}, {"type": "mystery"}],
        "store": False,
        "mystery": 1,
        "include": ["reasoning.encrypted_content"],
    }
    answer = orjson.loads(heard.answer or b"")
    assert answer["id"] == REQUEST.replace("req_", "resp_")
    assert (answer["store"], answer["background"], answer["previous_response_id"]) == (True, True, "resp_before")


@pytest.mark.parametrize("case", speech.CASES)
async def test_a_response_s_events_pass_with_our_id_alone(case: str) -> None:
    pieces = speech.stream("responses", case)
    heard, sent, _ = await told(
        "responses", Script(pieces, content_type=EVENTS), QUESTIONS["responses"] | {"store": False}, stream=True
    )
    begun, rest = sent.split(b"\n\n", 2)[:2], sent.split(b"\n\n", 2)[2]
    assert rest == b"".join(pieces[2:-1])
    assert all(REQUEST.removeprefix("req_").encode() in event for event in begun)
    assert (heard.frames, heard.usage) == (len(pieces) - 1, Usage(7, 2, cached=3))


async def test_numbers_that_a_provider_leaves_out_are_filled_in() -> None:
    pieces = [piece.replace(b'"sequence_number"', b'"mystery"') for piece in speech.stream("responses", "text")]
    _, sent, _ = await told("responses", Script(pieces, content_type=EVENTS), QUESTIONS["responses"], stream=True)
    events = [orjson.loads(line[6:]) for line in sent.split(b"\n") if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_a_provider_without_responses_is_asked_for_a_chat_completion() -> None:
    script = Script([orjson.dumps(speech.whole("openai", "text"))])
    _, _, asked = await told("responses", script, QUESTIONS["responses"], capabilities=frozenset())
    assert asked.path == "/v1/chat/completions"
    assert asked.json["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_effort_is_asked_only_of_a_model_that_reasons() -> None:
    body = QUESTIONS["responses"] | {"reasoning": {"effort": "high"}, "max_output_tokens": 9}
    for capabilities, said in ((frozenset({"reasoning"}), "high"), (frozenset({"tools"}), None)):
        script = Script([orjson.dumps(speech.whole("openai", "text"))])
        _, _, asked = await told("responses", script, body, capabilities=capabilities)
        assert (asked.json.get("reasoning_effort"), asked.json["max_tokens"]) == (said, 9)


async def test_what_a_provider_still_allows_is_heard() -> None:
    left = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z"}
    script = Script([orjson.dumps(speech.whole("anthropic", "text"))], headers=left)
    heard, _, _ = await told("anthropic", script, QUESTIONS["anthropic"])
    assert heard.limited_s == 0.0
