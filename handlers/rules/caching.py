"""What makes two questions the same, and what of an answer may be given again.

One rule: when in doubt two questions differ. A miss costs money; a wrong hit costs trust. So a parameter matters unless it
stands in DOES_NOT_MATTER with its reason, and what is not known to be whole is not kept.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from events.completions import Complete, CompletionFinished, Metered, UsageSource, Wire
from events.message import NanoUsd, Tokens
from handlers.rules.catalogue import Catalogue, Offer

SCOPE: Final = "completions"
"""What a completion's answers are kept under. What is answered with a prompt or by an agent is kept under a scope that
names it (`prompt:<id>`, `agent:<name>`), so that a change of one forgets its answers alone."""

SHAPE: Final = 1
"""Raised when what is digested or kept changes its meaning: nothing older is found any more."""

TTL_S_DEFAULT: Final = 3600
"""As the guide has it."""

TTL_S_MIN: Final = 1
TTL_S_MAX: Final = 7 * 24 * 3600
"""The guide's longest, for results of agents; an older answer was given by what is an older model by now."""

DOES_NOT_MATTER: Final[Mapping[str, str]] = {
    "model": "digested as it was resolved",
    "stream": "how the answer travels, not what it says; a kept answer is given either way",
    "stream_options": "the same",
    "background": "the same",
    "user": "who asks at the customer's; no model sees it",
    "safety_identifier": "the same",
    "metadata": "the customer's own notes; Anthropic's holds a user's id",
    "store": "whether the answer is kept elsewhere",
    "prompt_cache_key": "which machine at the provider may be quicker",
    "prompt_cache_retention": "the same",
}
"""Parameter → why two questions that differ in it alone are the same."""

_ECHOED: Final[Mapping[str, object]] = {
    "metadata": {},
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
}
"""What a response repeats of its question although it does not matter → what stands there when it was left out."""

_ID_PREFIXES: Final[Mapping[Wire, str]] = {"openai": "chatcmpl-", "responses": "resp_", "anthropic": "msg_"}

_NOT_KEPT: Final = frozenset(("content_filter", "refusal", "pause_turn", "error"))
"""Reasons to finish that may be another the next time (a filter, a refusal), or that end no answer (`pause_turn`)."""


class Stale(ValueError):
    """What is kept may not be given any more."""


class Kept(BaseModel):
    """An answer that is kept, with what it takes to tell it again as a fact."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    answer: str
    """As JSON in the client's wire format."""
    message: str
    """The assistant's message, for a conversation."""
    finish_reason: str | None
    provider: str
    model: str
    input_tokens: Tokens
    cached_input_tokens: Tokens
    cache_write_tokens: Tokens
    output_tokens: Tokens
    usage_source: UsageSource
    cost_nanousd: NanoUsd
    price_version: str | None
    metered: Metered | None


def digest_of(account: str, ask: Complete, body: bytes) -> str:
    """The question's name among the account's kept answers: 64 hexadecimal digits, keyed with the account, so that one
    account's digest says nothing about another's.

    `body` is the opened question. Raises ValueError when it is no JSON object.
    """
    asked = json.loads(body, parse_float=_number)
    if not isinstance(asked, dict):
        raise ValueError("the question is no JSON object")
    matters = {name: value for name, value in asked.items() if name not in DOES_NOT_MATTER and value is not None}
    whole = {
        "shape": SHAPE,
        "wire": ask.wire,
        "model": ask.model,
        "tier": ask.tier,
        "optimize": ask.optimize,
        "policy": ask.policy.model_dump(mode="json") if ask.policy else None,
        "forwarded": sorted(ask.forwarded),
        "body": _ordered(matters),
    }
    return hmac.new(account.encode(), json.dumps(whole).encode(), sha256).hexdigest()


def to_keep(end: CompletionFinished, answer: bytes, message: bytes) -> bytes | None:
    """What is kept of a finished completion; None when nothing is."""
    if end.finish_reason in _NOT_KEPT or end.provider is None or end.model is None or end.cached:
        return None
    return (
        Kept(
            answer=answer.decode(),
            message=message.decode(),
            finish_reason=end.finish_reason,
            provider=end.provider,
            model=end.model,
            input_tokens=end.input_tokens,
            cached_input_tokens=end.cached_input_tokens,
            cache_write_tokens=end.cache_write_tokens,
            output_tokens=end.output_tokens,
            usage_source=end.usage_source,
            cost_nanousd=end.cost_nanousd,
            price_version=end.price_version,
            metered=end.metered,
        )
        .model_dump_json()
        .encode()
    )


def read_kept(content: bytes, catalogue: Catalogue) -> tuple[Kept, Offer]:
    """What `to_keep` made, and the offer that gave the answer.

    Raises Stale when it cannot be understood, when its offer is there no more, or when it is priced otherwise by now:
    what the answer would cost today, and so what is saved, would be told wrongly.
    """
    try:
        kept = Kept.model_validate_json(content)
    except ValidationError as invalid:
        raise Stale(f"not understood: {invalid.error_count()} faults") from None
    offers = catalogue.find(f"{kept.provider}/{kept.model}")
    if not offers:
        raise Stale("its offer is gone")
    if kept.price_version != offers[0].price_version:
        raise Stale("its price has changed")
    return kept, offers[0]


def given_again(wire: Wire, answer: str, *, request: str, body: bytes, at: datetime) -> bytes:
    """The kept answer as the answer of another request: with an id and a time of its own, for clients take two messages
    of one id for one and the same, and with the words that a response repeats from this question."""
    prefix = _ID_PREFIXES.get(wire)
    if prefix is None:
        return answer.encode()  # an embedding has neither
    said: dict[str, Any] = json.loads(answer)
    if "id" in said:
        said["id"] = request.replace("req_", prefix, 1)
    for name in ("created", "created_at"):
        if name in said:
            said[name] = int(at.timestamp())
    if wire == "responses":
        asked = json.loads(body)
        said |= {name: asked.get(name, absent) for name, absent in _ECHOED.items() if name in said}
        said |= {name: asked[name] for name in ("store", "background") if name in asked and name in said}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def _ordered(value: object, *, schema: bool = False) -> object:
    """The same value with its objects' keys in order. The order of a schema's properties is left as it stands: models
    write their answers in it."""
    if isinstance(value, dict):
        keys = list(value) if schema else sorted(value)
        return {key: _ordered(value[key], schema=key == "properties" and not schema) for key in keys}
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    return value


def _number(text: str) -> float | int:
    """1.0 is 1."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
