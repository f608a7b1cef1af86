"""Two generations of the official SDKs, each in its own environment, with only base URL and key changed."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_apart
from tests.journeys.books import Books
from tests.journeys.running import Helix
from tests.sdk import environment
from tests.wires.pairs import every_pair

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # litellm's own use of pydantic

Walked = dict[str, Any]
"""Environment → what its walks found, by the names of their checks."""


def _checks() -> list[tuple[str, str]]:
    return [
        (name, node.name)
        for name, scripts in environment.WALKS.items()
        for script in scripts
        for node in ast.parse((environment.HERE / script).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    ]


@pytest.fixture(scope="module")
def walked(helix: Helix, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    payloads = tmp_path_factory.mktemp("payloads") / "pairs.json"
    payloads.write_text(json.dumps([vars(pair) for pair in run_apart(every_pair())]))
    return run_apart(_walk_all(helix, payloads))


async def _walk_all(helix: Helix, payloads: Path) -> Walked:
    scoped = await helix.account("enterprise", "--scope", "agents")

    async def walk(name: str) -> Any:
        limited = await helix.account("enterprise", "--rate-limit", "1")
        said = await asyncio.to_thread(
            environment.walk,
            name,
            HELIX_BASE_URL=f"{helix.base_url}/v1",
            HELIX_KEY=helix.facts["api_key"],
            HELIX_LIMITED_KEY=limited.key,
            HELIX_SCOPED_KEY=scoped.key,
            HELIX_PAYLOADS=str(payloads),
        )
        return json.loads(said)

    found = await asyncio.gather(*map(walk, environment.WALKS))
    return dict(zip(environment.WALKS, found, strict=True))


@pytest.mark.timeout(400)  # the first run builds the environments
@pytest.mark.parametrize(("name", "check"), _checks())
def test_the_sdk_finds(walked: Walked, name: str, check: str) -> None:
    assert walked[name][check]["fault"] is None, walked[name][check]["fault"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("openai", "check_chat"),
        ("openai-1", "check_a_repetition_after_a_timeout_attaches"),
        ("openai", "check_a_repetition_after_a_timeout_attaches"),
        ("openai", "check_a_response"),
        ("anthropic-0", "check_a_message"),
        ("anthropic", "check_a_message"),
    ],
)
async def test_what_the_sdk_asked_for_is_one_request_and_one_usage_row(
    walked: Walked, books: Books, name: str, check: str
) -> None:
    request = walked[name][check]["found"]["request"]
    assert await books.ends([request]) == {request: 1}
    assert await books.usage([request]) == {request: 1}


@pytest.mark.parametrize("name", environment.WALKS)
def test_the_sdk_is_the_one_that_is_locked(walked: Walked, name: str) -> None:
    package = name.partition("-")[0]
    assert f"{package}=={walked[name]['versions'][package]} " in environment.lock_of(name).read_text()
