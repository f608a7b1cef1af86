"""What an account's wishes amount to for one model."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.completions import Policy
from handlers.rules.policy import CHAIN_MAX, NAMES_MAX, AccountPolicy, chain_of, resolve

ALIASES = {"fast": "openai/small", "good": "anthropic/large"}
FALLBACKS = {"fast": ("good", "auto"), "openai/medium": ("fast",)}
BOTH = AccountPolicy.model_validate({"aliases": ALIASES, "fallbacks": FALLBACKS})


@pytest.mark.parametrize(
    ("model", "chain"),
    [
        ("unnamed", ("unnamed",)),
        ("good", ("anthropic/large",)),
        ("fast", ("openai/small", "anthropic/large", "auto")),
        ("openai/medium", ("openai/medium", "openai/small")),
        # A chain of the model that an alias stands for is the alias's too, unless it has one of its own.
        ("openai/small", ("openai/small",)),
    ],
)
def test_a_name_stands_for_a_chain_of_models(model: str, chain: tuple[str, ...]) -> None:
    assert chain_of(BOTH, model) == chain


def test_a_model_that_comes_twice_is_tried_once() -> None:
    policy = AccountPolicy.model_validate({"aliases": {"a": "m"}, "fallbacks": {"a": ["m", "n", "m"]}})

    assert chain_of(policy, "a") == ("m", "n")


@pytest.mark.parametrize(
    ("account", "resolved"),
    [
        (None, None),
        (AccountPolicy(), None),
        (AccountPolicy(optimize="speed", cache_ttl_s=60), None),
        (BOTH, Policy(chain=("openai/small", "anthropic/large", "auto"))),
        (AccountPolicy(only=("openai",)), Policy(chain=("fast",), only=("openai",))),
        (AccountPolicy(never=("xai",)), Policy(chain=("fast",), never=("xai",))),
    ],
)
def test_a_command_carries_only_what_concerns_its_model(account: AccountPolicy | None, resolved: Policy | None) -> None:
    assert resolve(account, "fast") == resolved


def test_the_models_it_names_are_those_that_must_exist() -> None:
    assert BOTH.models() == {"openai/small", "anthropic/large", "auto", "openai/medium"}


@pytest.mark.parametrize(
    "body",
    [
        {"aliases": {"a": "b", "b": "c"}},
        {"aliases": {"": "b"}},
        {"aliases": {"a": "x" * 257}},
        {"aliases": {str(number): "m" for number in range(NAMES_MAX + 1)}},
        {"fallbacks": {"a": []}},
        {"fallbacks": {"a": ["m"] * CHAIN_MAX}},
        {"only": "openai"},
        {"optimize": "luck"},
        {"cache_ttl_s": 0},
        {"cache_ttl_s": 10**9},
        {"unheard": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AccountPolicy.model_validate(body)
