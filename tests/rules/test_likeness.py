"""Only the user's last words are compared by meaning; whatever else differs makes two questions strangers."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest

from events.completions import Complete, Wire
from handlers.rules.likeness import WORDS_CHARACTERS_MAX, Neighbour, nearest, packed, part
from tests.fakes.road import ACCOUNT, command

ASK = cast(Complete, command(cache_ttl_s=60).body)


def chat(words: object, **more: object) -> dict[str, object]:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": words}]
    return {"model": "gpt", "messages": said} | more


def group(body: dict[str, object], wire: Wire = "openai", account: str = ACCOUNT) -> tuple[str, str] | None:
    parted = part(account, ASK.model_copy(update={"wire": wire}), json.dumps(body).encode())
    return (parted.group, parted.words) if parted else None


def alike(one: dict[str, object], other: dict[str, object]) -> bool:
    first, second = group(one), group(other)
    assert first is not None
    assert second is not None
    return first[0] == second[0]


def test_other_words_are_in_the_same_group() -> None:
    assert alike(chat("How do I reset my password?"), chat("I forgot my password, what now?"))
    assert alike(chat("in one string"), chat([{"type": "text", "text": "in"}, {"type": "text", "text": "parts"}]))


@pytest.mark.parametrize(
    "other",
    [
        chat("Is it due in 90 days?"),
        chat("Is it due in 30.5 days?"),
        chat("Is it not due in 30 days?"),
        chat("Isn't it due in 30 days?"),
        chat("Is it due in 30 days?", temperature=0.5),
        {"model": "gpt", "messages": [{"role": "user", "content": "Is it due in 30 days?"}]},
    ],
)
def test_another_figure_a_negation_a_parameter_or_an_earlier_word_is_another_group(other: dict[str, object]) -> None:
    assert not alike(chat("Is it due in 30 days?"), other)


def test_another_account_is_another_group() -> None:
    assert group(chat("hi"), account="another") != group(chat("hi"))


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("responses", {"input": "hi"}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}),
        ("anthropic", chat([{"type": "text", "text": "hi"}])),
    ],
)
def test_the_words_are_found_on_every_wire(wire: Wire, body: dict[str, object]) -> None:
    found = group(body, wire)
    assert found is not None
    assert found[1] == "hi"


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("embeddings", {"input": "hi"}),
        ("openai", {"messages": []}),
        ("openai", {"messages": [{"role": "assistant", "content": "hi"}]}),
        (
            "openai",
            chat([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:"}}]),
        ),
        ("openai", chat("")),
        ("openai", chat(None)),
        ("openai", chat("x" * (WORDS_CHARACTERS_MAX + 1))),
        ("responses", {"input": [{"type": "function_call_output", "output": "hi"}]}),
    ],
)
def test_what_does_not_end_in_a_few_words_of_the_user_is_not_compared(wire: Wire, body: dict[str, Any]) -> None:
    assert group(body, wire) is None


# Vectors.


def at(degrees: float) -> bytes:
    turn = math.radians(degrees)
    return packed([math.cos(turn), math.sin(turn)])


def test_the_nearest_of_those_that_are_near_enough_is_found() -> None:
    near = nearest(at(0), [Neighbour("far", at(60)), Neighbour("near", at(10)), Neighbour("nearest", at(-5))])

    assert near is not None
    assert near[0].digest == "nearest"
    assert near[1] == pytest.approx(math.cos(math.radians(5)), abs=0.005)


def test_what_is_a_little_too_far_is_not_found() -> None:
    assert nearest(at(0), [Neighbour("a", at(19)), Neighbour("b", at(180))]) is None
    assert nearest(at(0), []) is None


def test_a_vector_of_another_model_is_passed_by() -> None:
    assert nearest(at(0), [Neighbour("a", packed([1.0, 0.0, 0.0])), Neighbour("b", b"")]) is None


@pytest.mark.parametrize("vector", [[], [0.0, 0.0], [math.nan], [math.inf, 1.0]])
def test_a_vector_without_a_direction_is_none(vector: list[float]) -> None:
    with pytest.raises(ValueError):
        packed(vector)
