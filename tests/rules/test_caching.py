"""Two questions are the same only when nothing that could change the answer differs; what is kept is told truly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from events.completions import Complete, CompletionFinished, Policy, Wire
from handlers.rules.caching import (
    DOES_NOT_MATTER,
    Kept,
    Stale,
    digest_of,
    given_again,
    read_kept,
    to_keep,
)
from handlers.rules.catalogue import Catalogue, Offer
from tests.fakes.road import ACCOUNT, NOW, REQUEST, command
from tests.rules.offers import offer, price

ASK = cast(Complete, command(cache_ttl_s=60).body)
BODY = {
    "model": "gpt",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 1,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}},
            },
        }
    ],
}
CATALOGUE = Catalogue.of((offer("cheap", at=price()),))


def digest(body: object = BODY, *, account: str = ACCOUNT, **ask: object) -> str:
    return digest_of(account, ASK.model_copy(update=ask), json.dumps(body).encode())


@pytest.mark.parametrize("name", DOES_NOT_MATTER)
def test_what_does_not_matter_makes_no_difference(name: str) -> None:
    assert digest(BODY | {name: "something else"}) == digest()


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(BODY.items())),
        BODY | {"messages": [{"content": "hi", "role": "user"}]},
        BODY | {"temperature": 1.0},
        BODY | {"top_p": None},
    ],
    ids=["order of parameters", "order within a message", "1.0 is 1", "null is left out"],
)
def test_the_same_said_otherwise_is_the_same(same: dict[str, object]) -> None:
    assert digest(same) == digest()


@pytest.mark.parametrize(
    "other",
    [
        BODY | {"messages": [{"role": "user", "content": "hi "}]},
        BODY | {"messages": [{"role": "system", "content": "hi"}]},
        BODY | {"messages": [{"role": "user", "content": "hi"}] * 2},
        BODY | {"temperature": 0.99},
        BODY | {"n": 2},
        BODY | {"seed": 1},
        BODY | {"max_tokens": 10},
        BODY | {"stop": ["a"]},
        BODY | {"response_format": {"type": "json_object"}},
        BODY | {"service_tier": "flex"},
        BODY | {"previous_response_id": "resp_1"},
        BODY | {"unheard_of": True},
        {name: value for name, value in BODY.items() if name != "tools"},
    ],
)
def test_whatever_could_change_the_answer_makes_another_question(other: dict[str, object]) -> None:
    assert digest(other) != digest()


def test_the_order_of_a_schemas_properties_matters_for_models_write_in_it() -> None:
    said = json.dumps(BODY)
    turned = said.replace('{"a": {"type": "string"}, "b": {}}', '{"b": {}, "a": {"type": "string"}}')
    assert turned != said

    assert digest(json.loads(turned)) != digest()


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "auto"},
        {"wire": "responses"},
        {"tier": "free"},
        {"optimize": "speed"},
        {"policy": Policy(never=("xai",))},
        {"forwarded": (("anthropic-beta", "context-1m"),)},
    ],
)
def test_who_may_answer_is_part_of_the_question(asked: dict[str, Any]) -> None:
    assert digest(**asked) != digest()


def test_how_it_is_to_be_delivered_is_not() -> None:
    assert digest(stream=False, include_usage=True, reply_to="web", cache_ttl_s=7) == digest()


def test_a_digest_says_nothing_across_accounts() -> None:
    assert digest(account="another") != digest()
    assert len(digest()) == 64


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{"])
def test_what_is_no_object_has_no_digest(body: bytes) -> None:
    with pytest.raises(ValueError):
        digest_of(ACCOUNT, ASK, body)


# What is kept.


def finished(**more: Any) -> CompletionFinished:
    return CompletionFinished.model_validate(
        {
            "endpoint": "/v1/chat/completions",
            "wire": "openai",
            "api_key_id": "k",
            "tier": "pro",
            "asked_model": "gpt",
            "stream": True,
            "accepted_at": NOW,
            "provider": "cheap",
            "model": "gpt",
            "input_tokens": 10,
            "cached_input_tokens": 4,
            "output_tokens": 2,
            "cost_nanousd": 77,
            "price_as_of": "2026-03-01",
            "usage_source": "provider",
            "billable": True,
            "latency_ms": 1,
            "ttft_ms": None,
            "attempts": (),
            "routing": None,
            "answer": "",
            "http_status": 200,
            "finish_reason": "stop",
        }
        | more
    )


def kept(**more: Any) -> bytes:
    content = to_keep(finished(**more), b'{"id": "chatcmpl-1"}', b"{}")
    assert content is not None
    return content


def test_what_was_used_and_what_it_cost_is_kept_with_the_answer() -> None:
    found, by = read_kept(kept(), CATALOGUE)

    assert found == Kept(
        answer='{"id": "chatcmpl-1"}',
        message="{}",
        finish_reason="stop",
        provider="cheap",
        model="gpt",
        input_tokens=10,
        cached_input_tokens=4,
        cache_write_tokens=0,
        output_tokens=2,
        usage_source="provider",
        cost_nanousd=77,
        price_version=None,
        metered=None,
    )
    assert by.id == "cheap/gpt"


@pytest.mark.parametrize("reason", ["content_filter", "refusal", "pause_turn"])
def test_what_may_end_otherwise_the_next_time_is_not_kept(reason: str) -> None:
    assert to_keep(finished(finish_reason=reason), b"{}", b"{}") is None


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", None])
def test_other_ends_are(reason: str | None) -> None:
    assert to_keep(finished(finish_reason=reason), b"{}", b"{}") is not None


def test_what_was_given_from_the_cache_is_not_kept_again() -> None:
    assert to_keep(finished(cached=True), b"{}", b"{}") is None


def test_an_answer_of_an_offer_that_is_gone_is_stale() -> None:
    with pytest.raises(Stale, match="gone"):
        read_kept(kept(provider="closed"), CATALOGUE)


def test_an_answer_that_would_cost_something_else_today_is_stale() -> None:
    with pytest.raises(Stale, match="price"):
        read_kept(kept(price_version="price_of_last_month"), CATALOGUE)


@pytest.mark.parametrize("poison", [b"", b"\xff", b"{}", b"null", b'{"answer": "secret"}', b"[" * 10_000])
def test_what_is_not_understood_is_stale_and_not_repeated(poison: bytes) -> None:
    with pytest.raises(Stale) as refused:
        read_kept(poison, CATALOGUE)
    assert "secret" not in str(refused.value)


# Given again.

AT = datetime(2026, 5, 6, tzinfo=UTC)
DIGITS = REQUEST.removeprefix("req_")


def again(wire: Wire, answer: dict[str, Any], body: dict[str, Any] | None = None) -> Any:
    said = given_again(wire, json.dumps(answer), request=REQUEST, body=json.dumps(body or {}).encode(), at=AT)
    return json.loads(said)


def test_a_message_has_an_id_and_a_time_of_its_own_each_time() -> None:
    chat = again("openai", {"id": "chatcmpl-1", "created": 1, "choices": [{"message": {"content": "hé"}}]})
    message = again("anthropic", {"id": "msg_1", "content": []})

    assert chat == {
        "id": f"chatcmpl-{DIGITS}",
        "created": 1778025600,
        "choices": [{"message": {"content": "hé"}}],
    }
    assert message == {"id": f"msg_{DIGITS}", "content": []}


def test_a_response_repeats_the_words_of_its_own_question() -> None:
    first = {
        "id": "resp_1",
        "created_at": 1,
        "metadata": {"who": "first"},
        "user": "first",
        "store": True,
        "output": [],
    }

    plain = again("responses", first)
    noted = again("responses", first, {"metadata": {"who": "second"}, "store": False})

    assert plain == {
        "id": f"resp_{DIGITS}",
        "created_at": 1778025600,
        "metadata": {},
        "user": None,
        "store": True,
        "output": [],
    }
    assert (noted["metadata"], noted["store"]) == ({"who": "second"}, False)


def test_an_embedding_is_given_as_it_was() -> None:
    assert again("embeddings", {"data": [{"embedding": [0.1]}]}) == {"data": [{"embedding": [0.1]}]}


def test_an_offer_is_found_by_provider_and_model_alone() -> None:
    twice: tuple[Offer, ...] = (offer("cheap", at=price()), offer("dear", at=price()))

    assert read_kept(kept(provider="dear"), Catalogue.of(twice))[1].provider == "dear"
