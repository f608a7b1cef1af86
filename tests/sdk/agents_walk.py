"""The OpenAI Agents SDK against Helix, with only base URL and key changed: an agent with a tool, streamed, over both wires."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from agents import (  # type: ignore[import-not-found]  # it lives in an environment of its own
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

set_tracing_disabled(True)

OVER = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}

ASKED: list[str] = []


@function_tool  # type: ignore[untyped-decorator]  # it lives in an environment of its own
def weather(place: str) -> str:
    """The weather of a place."""
    ASKED.append(place)
    return "rain"


def agent(wire: str, name: str, *tools: Any) -> Any:
    client = AsyncOpenAI(base_url=os.environ["HELIX_BASE_URL"], api_key=os.environ["HELIX_KEY"], max_retries=0)
    model = OVER[wire](model=name, openai_client=client)
    return Agent(name="one", instructions="Answer.", model=model, tools=list(tools))


def does_a_task(wire: str) -> None:
    ASKED.clear()
    ran = asyncio.run(Runner.run(agent(wire, "sandbox/tools", weather), "the weather?"))
    assert len(ASKED) == 1 and "rain" in ran.final_output


def streams(wire: str) -> None:
    async def run() -> None:
        streamed = Runner.run_streamed(agent(wire, "sandbox/echo"), "one two three")
        said = ""
        async for event in streamed.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                said += event.data.delta
        assert said == streamed.final_output == "one two three"

    asyncio.run(run())


def check_an_agent_does_a_task_over_responses() -> None:
    does_a_task("responses")


def check_an_agent_streams_over_responses() -> None:
    streams("responses")


def check_an_agent_does_a_task_over_chat() -> None:
    does_a_task("chat")


def check_an_agent_streams_over_chat() -> None:
    streams("chat")
