"""What people really run, against a whole Helix with only base URL and key changed; the coding agents do a task.

Skipped with the reason where Node is not installed.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_apart
from tests.fakes.provider import (
    DONE,
    EVENTS,
    Provider,
    Script,
    anthropic_events,
    chunk,
    event,
    openai_events,
    usage_chunk,
)
from tests.journeys.books import Books
from tests.journeys.running import Helix
from tests.sdk import environment
from tests.sdk.clients import tools

needs_node = pytest.mark.skipif(tools.missing() is not None, reason=str(tools.missing()))

Found = dict[str, dict[str, str | None]]


@pytest.fixture(scope="module")
def walked(helix: Helix) -> Found:
    """Client → check → its fault, or None."""
    key = helix.facts["api_key"]

    async def in_python(name: str) -> dict[str, str | None]:
        said = await asyncio.to_thread(environment.walk, name, HELIX_BASE_URL=f"{helix.base_url}/v1", HELIX_KEY=key)
        return {check: found["fault"] for check, found in json.loads(said).items() if check != "versions"}

    async def in_node(name: str) -> dict[str, str | None]:
        return await asyncio.to_thread(tools.walk, name, helix.base_url, key)

    async def everyone() -> Found:
        node = () if tools.missing() else tools.NODE_WALKS
        found = await asyncio.gather(*map(in_python, environment.CLIENTS), *map(in_node, node))
        return dict(zip((*environment.CLIENTS, *node), found, strict=True))

    return run_apart(everyone())


@pytest.mark.timeout(400)  # the first run builds the environments
@pytest.mark.parametrize("client", environment.CLIENTS)
def test_a_client_in_python_finds_everything_as_it_should_be(walked: Found, client: str) -> None:
    assert walked[client] and [fault for fault in walked[client].values() if fault] == []


@needs_node
@pytest.mark.timeout(400)
@pytest.mark.parametrize("client", tools.NODE_WALKS)
def test_a_client_in_node_finds_everything_as_it_should_be(walked: Found, client: str) -> None:
    assert walked[client] and {check: fault for check, fault in walked[client].items() if fault} == {}


def openai_call(name: str, arguments: dict[str, Any]) -> Script:
    """A provider of OpenAI's wire calls a tool."""
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    }
    pieces = [event(chunk({"role": "assistant", "tool_calls": [call]})), event(chunk({}, "tool_calls"))]
    return Script([*pieces, event(usage_chunk()), DONE], content_type=EVENTS)


def anthropic_says(block: dict[str, Any], delta: dict[str, Any], stop_reason: str) -> Script:
    """A provider of Anthropic's wire says one block."""
    events = anthropic_events(
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    )
    return Script(events, content_type=EVENTS)


def anthropic_call(name: str, input: dict[str, Any]) -> Script:
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
    return anthropic_says(block, {"type": "input_json_delta", "partial_json": json.dumps(input)}, "tool_use")


def anthropic_text(words: str) -> Script:
    return anthropic_says({"type": "text", "text": ""}, {"type": "text_delta", "text": words}, "end_turn")


@needs_node
@pytest.mark.timeout(400)
@pytest.mark.parametrize("model", ["near/small", "far/claude-far"])
async def test_claude_code_does_a_task(
    helix: Helix, books: Books, provider: Provider, tmp_path: Path, model: str
) -> None:
    made = {"file_path": str(tmp_path / "made.txt"), "content": "by Claude Code\n"}
    provider.scripts[:] = (
        [openai_call("Write", made), Script(openai_events(["It is ", "done."]), content_type=EVENTS)]
        if model == "near/small"
        else [anthropic_call("Write", made), anthropic_text("It is done.")]
    )
    usage = await books.database.fetchval("SELECT count(*) FROM usage")
    key = helix.facts["api_key"]
    told = await asyncio.to_thread(tools.claude_code, helix.base_url, key, model, "Make the file.", tmp_path)
    assert (tmp_path / "made.txt").read_text() == "by Claude Code\n"
    assert (told["is_error"], told["result"], told["num_turns"]) == (False, "It is done.", 2)
    if model == "far/claude-far":  # its own provider is told of every beta that it asks for
        assert "claude-code" in provider.asked[0].headers["anthropic-beta"]
    await books.caught_up()
    assert await books.database.fetchval("SELECT count(*) FROM usage") == usage + len(provider.asked)


@needs_node
@pytest.mark.timeout(400)
async def test_codex_does_a_task(helix: Helix, books: Books, provider: Provider, tmp_path: Path) -> None:
    command = {"cmd": "echo by Codex > made.txt", "workdir": str(tmp_path)}
    provider.scripts[:] = [
        openai_call("exec_command", command),
        Script(openai_events(["It is ", "done."]), content_type=EVENTS),
    ]
    key = helix.facts["api_key"]
    events = await asyncio.to_thread(tools.codex, helix.base_url, key, "near/small", "Make the file.", tmp_path)
    assert (tmp_path / "made.txt").read_text() == "by Codex\n", events
    said = [each["item"]["text"] for each in events if each["type"] == "item.completed" and "text" in each["item"]]
    assert said == ["It is done."] and events[-1]["type"] == "turn.completed"
    assert len(provider.asked) == 2
