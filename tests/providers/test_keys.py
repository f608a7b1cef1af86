"""Several keys for one provider: how they are written down, and that each call goes out with the one it was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.providers.endpoints import Endpoint, endpoints, listed_providers
from app.providers.world import World
from app.settings import Settings
from handlers.ports import Question, Transcript
from tests.fakes.provider import Script, openai_answer, provider

HERE = 'base_url = "http://127.0.0.1:1/v1"'
MODEL = "[[provider.model]]\nid = 'm'\n"


def settings(**given: object) -> Settings:
    return Settings.model_validate({"database_url": "postgresql://h/d", "redis_url": "redis://h", **given})


def endpoint(tmp_path: Path, rows: str, **environment: str) -> Endpoint:
    path = tmp_path / "providers.toml"
    path.write_text(f'[[provider]]\nname = "local"\n{HERE}\n{rows}\n{MODEL}')
    return endpoints(settings(), listed_providers(path), environment)["local"]


def keys(of: Endpoint) -> list[str | None]:
    return [of.with_key(number).api_key for number in range(len(of.key_weights))]


@pytest.mark.parametrize(
    ("rows", "found", "weights"),
    [
        ("", [None], (1,)),
        ('api_key_env = "A"', ["one"], (1,)),
        ('api_key_env = "B"', ["two", "three"], (1, 1)),
        ('api_key_env = ["A", "B"]', ["one", "two", "three"], (1, 1, 1)),
        ('api_key_env = ["A", "B"]\napi_key_weights = [5, 1, 2]', ["one", "two", "three"], (5, 1, 2)),
    ],
)
def test_keys_are_named_by_variables_that_hold_one_or_several(
    tmp_path: Path, rows: str, found: list[str | None], weights: tuple[int, ...]
) -> None:
    made = endpoint(tmp_path, rows, A="one", B="two, three")

    assert (keys(made), made.key_weights) == (found, weights)
    assert not any(key and key in repr(made) for key in found)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ('api_key_env = ["A", "C"]', "C is not set"),
        ('api_key_env = "EMPTY"', "EMPTY is not set"),
        ('api_key_env = "A"\napi_key_weights = [1, 2]', "2 api_key_weights for 1 keys"),
    ],
)
def test_keys_that_make_no_sense_stop_the_start(tmp_path: Path, rows: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        endpoint(tmp_path, rows, A="one", EMPTY=" , ")


def test_a_built_in_providers_variable_may_hold_several() -> None:
    assert keys(endpoints(settings(openai_api_key="one,two"), ())["openai"]) == ["one", "two"]


async def test_each_call_goes_out_with_the_key_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEYS", "one,two")
    async with provider(Script((json.dumps(openai_answer("hi")).encode(),))) as fake:
        path = tmp_path / "providers.toml"
        path.write_text(
            f'[[provider]]\nname = "local"\nbase_url = "{fake.base_url}"\napi_key_env = "LOCAL_KEYS"\n{MODEL}'
        )
        world = World(settings(helix_providers=path))
        (offer,) = world.catalogue
        question = Question("openai", b'{"messages": [{"role": "user", "content": "hi"}]}', False, False)
        for key in (0, 1, 0):
            heard: Any = Transcript(lambda piece: None)
            await world.ask(offer, question, heard, deadline_s=5, key=key)
        await world.close()

    assert offer.keys == (1, 1)
    assert [asked.headers["authorization"] for asked in fake.asked] == ["Bearer one", "Bearer two", "Bearer one"]
