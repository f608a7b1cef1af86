"""litellm, loaded at its first use and by workers only: its import takes seconds and 180 MiB.

One rule: it translates, and where it calls a provider it is told whom to call; it fetches nothing else from the network.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from app.providers import bounded_unpacking
from handlers.ports import ProviderFailed
from handlers.rules.failure import FailureKind

_MODELS = ("Usage", "Delta", "StreamingChoices", "ModelResponseStream", "Message", "Choices", "ModelResponse")

_REASON_CHARACTERS_MAX = 300


@dataclass(frozen=True, slots=True)
class Litellm:
    """The parts of litellm in use. Untyped on purpose: type checking its sources takes minutes."""

    root: Any
    anthropic: Any
    """An AnthropicConfig: OpenAI's parameters and messages to Anthropic's and back."""
    anthropic_stream: Any
    """The class that reads Anthropic's stream events."""
    no_response: Any
    """An empty httpx.Response: its methods want one beside the parsed answer."""
    renamed_tools: str
    """Where transform_request leaves the tool names that it had to change."""


@lru_cache
def litellm() -> Litellm:
    """Blocks for seconds the first time: call it in a thread."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its price list would be fetched otherwise
    os.environ["HF_HUB_OFFLINE"] = "1"  # its token counter would ask Hugging Face
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # no .env file is read
    root: Any = importlib.import_module("litellm")
    root.telemetry = False
    root.suppress_debug_info = True
    root.turn_off_message_logging = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # its lines may hold what people wrote
    prompts: Any = importlib.import_module("litellm.litellm_core_utils.prompt_templates.factory")
    prompts.convert_url_to_base64 = _refuse_to_fetch
    bounded_unpacking.bound()
    _build(importlib.import_module("litellm.types.utils"))
    transformation = importlib.import_module("litellm.llms.anthropic.chat.transformation")
    handler = importlib.import_module("litellm.llms.anthropic.chat.handler")
    return Litellm(
        root,
        transformation.AnthropicConfig(),
        handler.ModelResponseIterator,
        importlib.import_module("httpx").Response(200),
        transformation.ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY,
    )


def _build(types: Any) -> None:
    """Its models are built at their first use, with warnings about their own making: do it now, not in a request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _MODELS:
            getattr(types, name).model_rebuild()


async def ready() -> Litellm:
    """litellm, without holding up the event loop."""
    return litellm() if litellm.cache_info().currsize else await asyncio.to_thread(litellm)


@contextmanager
def failing_as(kind: FailureKind, message: str) -> Iterator[None]:
    """Whatever litellm stumbles over in a body of a shape it did not expect is this failure."""
    try:
        yield
    except ProviderFailed:
        raise
    except Exception as stumbled:  # noqa: BLE001  # its code raises errors of every family over odd input
        reason = str(stumbled).partition("\nReceived Messages=")[0][:_REASON_CHARACTERS_MAX]
        raise ProviderFailed(kind, f"{message}: {reason}" if kind == "unsayable" else f"{message}.") from None


def _refuse_to_fetch(*_: object, **__: object) -> NoReturn:
    """In place of litellm's own download of pictures, which blocks the event loop and asks whatever host a client names."""
    raise ValueError("pictures and files are given as data: or https: addresses that the provider fetches")
