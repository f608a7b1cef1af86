"""Providers with an authentication or transport of their own, by litellm's own calls: slow, and it knows a hundred of them.

One rule: only the parameters named here pass from a client's body; whom to call comes from the operator's file alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from app.providers.assembly import Json, harmless
from app.providers.endpoints import Endpoint
from app.providers.event_stream import Heard
from app.providers.failures import MESSAGE_CHARACTERS_MAX, seconds_of
from app.providers.litellm_library import ready
from app.providers.passing import Passage
from app.providers.transport import FIRST_BYTE_S, SILENCE_S, Patience
from handlers.ports import ProviderFailed, Question
from handlers.rules.catalogue import Offer
from handlers.rules.failure import FailureKind

PARAMETERS = frozenset(
    {
        "messages",
        "temperature",
        "top_p",
        "n",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "seed",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "modalities",
        "audio",
        "prediction",
        "service_tier",
        "functions",
        "function_call",
    }
)

_KINDS: dict[str, FailureKind] = {
    "ContextWindowExceededError": "context_overflow",
    "ContentPolicyViolationError": "content_policy",
    "BadRequestError": "bad_request",
    "UnsupportedParamsError": "bad_request",
    "UnprocessableEntityError": "bad_request",
    "AuthenticationError": "auth",
    "PermissionDeniedError": "auth",
    "NotFoundError": "not_found",
    "RateLimitError": "rate_limited",
    "Timeout": "timeout",
    "APIConnectionError": "connect",
    "ServiceUnavailableError": "overloaded",
    "BadGatewayError": "server_error",
    "InternalServerError": "server_error",
    "APIResponseValidationError": "garbled",
    "JSONSchemaValidationError": "garbled",
}
"""litellm's exceptions by name, from the most special family to the least: an exception counts by its own class first."""


class LongTail:
    """One provider that litellm calls."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def ask(self, offer: Offer, question: Question, passage: Passage, *, deadline_s: float) -> None:
        """`question` is in the inner form."""
        body: Json = orjson.loads(question.body)
        asked = {name: value for name, value in body.items() if name in PARAMETERS and value is not None}
        asked |= {"model": offer.upstream, "num_retries": 0, "max_retries": 0, "timeout": deadline_s}
        asked |= {"drop_params": True, "api_base": self._endpoint.base_url, "api_key": self._endpoint.api_key}
        asked["_skip_mcp_handler"] = True  # with tools it would import a package that it does not bring
        if question.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        complete = (await ready()).root.acompletion
        try:
            async with asyncio.timeout(deadline_s) as alarm:
                patience = Patience(alarm)
                try:
                    if question.stream:
                        patience.expect(FIRST_BYTE_S)
                        await _listen(await complete(**asked), patience, passage)
                    else:
                        answer = await complete(**asked)
                        passage.take(orjson.dumps(_refusals(harmless(answer.model_dump(mode="json")))))
                finally:
                    patience.stop()
        except ProviderFailed:
            raise
        except TimeoutError:
            raise ProviderFailed("timeout", "The provider took too long to answer.") from None
        except Exception as failed:  # noqa: BLE001  # a hundred providers' clients raise what they like
            raise _failure(failed) from None


async def _listen(chunks: Any, patience: Patience, passage: Passage) -> None:
    patience.expect(SILENCE_S)
    try:
        async for chunk in chunks:
            patience.heard()
            passage.hear(Heard([orjson.dumps(piece) for piece in _apart(chunk.model_dump(mode="json"))], None))
    finally:
        await chunks.aclose()
    passage.end()


def _refusals(answer: Json) -> Json:
    """litellm puts a refusal away among a provider's own fields; of a stream's it keeps nothing."""
    for choice in answer["choices"]:
        own = choice["message"].get("provider_specific_fields") or {}
        choice["message"].setdefault("refusal", own.get("refusal"))
    return answer


def _apart(chunk: Json) -> list[Json]:
    """litellm puts the usage into a chunk with a choice; OpenAI's format has it in one of its own."""
    usage = chunk.pop("usage", None)
    pieces = [] if usage and not any(_says(choice) for choice in chunk["choices"]) else [chunk]
    return [*pieces, {**chunk, "choices": [], "usage": usage}] if usage else pieces


def _says(choice: Json) -> bool:
    return bool(choice.get("finish_reason")) or any(choice.get("delta", {}).values())


def _failure(failed: Exception) -> ProviderFailed:
    families = [family.__name__ for family in type(failed).__mro__]
    kind: FailureKind = next((_KINDS[name] for name in families if name in _KINDS), "server_error")
    status = getattr(failed, "status_code", None)
    headers = getattr(getattr(failed, "response", None), "headers", None)
    return ProviderFailed(
        kind,
        str(getattr(failed, "message", failed))[:MESSAGE_CHARACTERS_MAX],
        status=status if isinstance(status, int) else None,
        retry_after_s=seconds_of(headers.get("retry-after")) if headers is not None else None,
    )
