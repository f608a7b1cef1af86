"""LangChain's own clients against Helix, with only base URL and key changed: streams, tools, responses, embeddings."""

from __future__ import annotations

import os
from typing import Any

from langchain_anthropic import ChatAnthropic  # type: ignore[import-not-found]  # it lives in an environment of its own
from langchain_openai import (  # type: ignore[import-not-found]  # it lives in an environment of its own
    ChatOpenAI,
    OpenAIEmbeddings,
)

BASE_URL, KEY = os.environ["HELIX_BASE_URL"], os.environ["HELIX_KEY"]


def openai(model: str, **more: Any) -> Any:
    return ChatOpenAI(model=model, base_url=BASE_URL, api_key=KEY, max_retries=0, **more)


def anthropic(model: str) -> Any:
    return ChatAnthropic(model=model, base_url=BASE_URL.removesuffix("/v1"), api_key=KEY, max_retries=0)


def weather(place: str) -> str:
    """The weather of a place."""
    return "rain"


def streams(model: Any) -> None:
    whole = None
    for piece in model.stream("one two three"):
        whole = piece if whole is None else whole + piece
    assert whole is not None and whole.text == "one two three", whole


def uses_a_tool(model: Any) -> None:
    bound = model.bind_tools([weather])
    asked = [("user", "the weather?")]
    first = bound.invoke(asked)
    (call,) = first.tool_calls
    assert (call["name"], set(call["args"])) == ("weather", {"place"})
    second = bound.invoke([*asked, first, {"role": "tool", "tool_call_id": call["id"], "content": "rain"}])
    assert second.text == "rain"


def check_chat_streams() -> None:
    streams(openai("sandbox/echo"))


def check_chat_uses_a_tool() -> None:
    uses_a_tool(openai("sandbox/tools"))


def check_responses_stream() -> None:
    streams(openai("sandbox/echo", use_responses_api=True))


def check_responses_use_a_tool() -> None:
    uses_a_tool(openai("sandbox/tools", use_responses_api=True))


def check_messages_stream() -> None:
    streams(anthropic("sandbox/echo"))


def check_messages_use_a_tool() -> None:
    uses_a_tool(anthropic("sandbox/tools"))


def check_embeddings_of_documents() -> None:
    """Without its own tokenizer, which would be fetched from elsewhere; token ids are sent by `openai_walk`."""
    embedder = OpenAIEmbeddings(
        model="sandbox/embed", base_url=BASE_URL, api_key=KEY, check_embedding_ctx_length=False, max_retries=0
    )
    assert len(embedder.embed_documents(["one", "two"])) == 2
