"""No field of a body decides whom we call, with which key, or what else we do (A9).

One rule: the names tried are litellm's own, read from the installed library: what it learns tomorrow is tried tomorrow.
"""

from __future__ import annotations

import inspect
import json
from typing import Any, Final, Literal

import pytest

from app.providers.litellm_library import ready
from app.providers.longtail import PARAMETERS
from tests.fakes.provider import Script, openai_answer, provider
from tests.providers.asking import ask, question

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # litellm's own use of pydantic

ALWAYS: Final = frozenset({"model", "messages", "stream", "stream_options"})
"""What every question has; a client's `model` is the router's to read."""
Wire = Literal["openai", "anthropic", "litellm"]


async def foreign_names() -> list[str]:
    """Every argument that litellm takes and that is not a client's to set."""
    litellm = (await ready()).root
    from litellm.types.utils import all_litellm_params

    named = set(inspect.signature(litellm.acompletion).parameters) | set(
        inspect.signature(litellm.completion).parameters
    )
    return sorted((named | set(all_litellm_params)) - PARAMETERS - ALWAYS)


def wishes(thief: str) -> list[object]:
    """What an attacker would write behind such a name."""
    return [
        thief,
        {"x-evil": thief, "api_base": thief, "url": thief},
        [{"api_base": thief, "model": "openai/x"}],
        True,
        1,
    ]


@pytest.mark.parametrize("wire", ["openai", "anthropic", "litellm"])
async def test_no_argument_of_litellm_is_a_client_s_to_set(wire: Wire) -> None:
    names = await foreign_names()
    assert {"api_base", "base_url", "api_key", "extra_headers", "mock_response", "fallbacks"} <= set(names)
    answer = Script([json.dumps(openai_answer("hello")).encode()])
    async with provider(answer) as ours, provider(answer) as thief:
        for wish in wishes(thief.base_url):
            fields: dict[str, Any] = dict.fromkeys(names, wish)
            await ask(
                ours.base_url, question(False, **fields), wire=wire, upstream="openai/m" if wire == "litellm" else "m"
            )
        for name in names if wire == "litellm" else ():
            fields = {name: thief.base_url}
            await ask(ours.base_url, question(False, **fields), wire=wire, upstream="openai/m")
        assert thief.asked == []
        assert len(ours.asked) >= (len(names) if wire == "litellm" else 1)
        for asked in ours.asked:
            key = asked.headers.get("authorization", asked.headers.get("x-api-key", ""))
            assert key.removeprefix("Bearer ") == "secret"
            assert not [name for name in asked.headers if "evil" in name]
            assert thief.base_url not in json.dumps(dict(asked.headers))
            if wire == "litellm":
                assert set(asked.json) <= PARAMETERS | ALWAYS


@pytest.mark.parametrize("wire", ["openai", "anthropic", "litellm"])
async def test_no_address_in_a_body_is_called_by_us(wire: Wire) -> None:
    answer = Script([json.dumps(openai_answer("hello")).encode()])
    async with provider(answer) as ours, provider(answer) as thief:
        url = f"{thief.base_url}/picture.png"
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "image_url", "image_url": url},
            {"type": "file", "file": {"file_id": url, "format": "application/pdf"}},
            {"type": "file", "file": {"file_data": url}},
            {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
            {"type": "video_url", "video_url": {"url": url}},
        ]
        for part in parts:
            body = question(False, messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, part]}])
            await ask(ours.base_url, body, wire=wire, upstream="openai/m" if wire == "litellm" else "m")
        assert thief.asked == []
