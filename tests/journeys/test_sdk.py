"""The newest official OpenAI SDK, in its own environment, with only its base URL and key changed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_apart
from tests.journeys.books import Books
from tests.journeys.running import Helix
from tests.sdk import environment

SCRIPT = "openai_walk.py"

CHECKS = [
    node.name
    for node in ast.parse((Path(environment.__file__).parent / SCRIPT).read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def walked(helix: Helix) -> Any:
    """What the walk found, by the names of its checks."""
    limited = run_apart(helix.account("enterprise", "--rate-limit", "1"))
    scoped = run_apart(helix.account("enterprise", "--scope", "agents"))
    said = environment.run_script(
        SCRIPT,
        HELIX_BASE_URL=f"{helix.base_url}/v1",
        HELIX_KEY=helix.facts["api_key"],
        HELIX_LIMITED_KEY=limited.key,
        HELIX_SCOPED_KEY=scoped.key,
    )
    return json.loads(said)


@pytest.mark.timeout(240)  # the first run builds the environment
@pytest.mark.parametrize("check", CHECKS)
def test_the_sdk_finds(walked: Any, check: str) -> None:
    assert walked[check]["fault"] is None, walked[check]["fault"]


@pytest.mark.parametrize("check", ["check_chat", "check_a_repetition_after_a_timeout_attaches"])
async def test_what_the_sdk_asked_for_is_one_request_and_one_usage_row(walked: Any, books: Books, check: str) -> None:
    request = walked[check]["found"]["request"]
    assert await books.ends([request]) == {request: 1}
    assert await books.usage([request]) == {request: 1}


def test_the_sdk_is_the_one_that_is_locked(walked: Any) -> None:
    assert f"openai=={walked['version']} " in environment.LOCK.read_text()
