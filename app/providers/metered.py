"""What a provider's usage object says beside tokens in and out, wherever a price hangs on it, in any of their shapes.

One rule: what makes no sense counts as not said; it never spoils the tokens that do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from events.completions import Metered
from handlers.rules.rating import STANDARD

_TOKENS_MAX: Final = 2**53
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")

_ORDINARY: Final = frozenset({"default", "auto", "standard", "scale", "on_demand"})
"""What providers call the service whose prices are the standard ones; capacity bought ahead (`scale`) is not billed by
the token, so nothing better is known."""
_ANYWHERE: Final = frozenset({"global", "not_available"})

_SIZES: Final[Mapping[object, Literal["low", "medium", "high"]]] = {"low": "low", "medium": "medium", "high": "high"}

_NOTHING: Final = Metered()


def metered_in(said: object, *, service: object = None, searches: int = 0) -> Metered | None:
    """A usage object of OpenAI's, Anthropic's, xAI's or Perplexity's → Metered; None when nothing of it is there.

    `service` is the `service_tier` that stands beside the usage object, `searches` what was counted in the answer where
    the usage object does not say.
    """
    if not isinstance(said, dict):
        return None
    before = _object(said, "prompt_tokens_details", "input_tokens_details")
    after = _object(said, "completion_tokens_details", "output_tokens_details")
    kept = _object(said, "cache_creation") or _object(before, "cache_creation_token_details")
    found = Metered(
        cache_write_1h_tokens=_count(kept, "ephemeral_1h_input_tokens"),
        audio_input_tokens=_count(before, "audio_tokens"),
        image_input_tokens=_count(before, "image_tokens"),
        audio_output_tokens=_count(after, "audio_tokens"),
        reasoning_tokens=_count(said, "reasoning_tokens"),
        citation_tokens=_count(said, "citation_tokens"),
        searches=_count(_object(said, "server_tool_use"), "web_search_requests")
        or _count(said, "num_search_queries")
        or searches,
        search_size=_SIZES.get(size) if isinstance(size := said.get("search_context_size"), str) else None,
        service=_service(service) or _service(said.get("service_tier")) or STANDARD,
        marks=_marks(said),
    )
    return None if found == _NOTHING else found


def _object(said: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of these fields that holds an object; an empty one when none does."""
    return next((value for name in names if isinstance(value := said.get(name), dict)), {})


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    return value if type(value) is int and 0 <= value <= _TOKENS_MAX else 0


def _service(said: object) -> str | None:
    word = said.lower() if isinstance(said, str) else ""
    return word if _WORD.fullmatch(word) and word not in _ORDINARY else None


def _marks(said: Mapping[str, Any]) -> tuple[str, ...]:
    place = said.get("inference_geo")
    marks = [place] if isinstance(place, str) and _WORD.fullmatch(place) and place not in _ANYWHERE else []
    return (*marks, "fast") if said.get("speed") == "fast" else tuple(marks)
