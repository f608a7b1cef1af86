"""What a completion costs."""

from __future__ import annotations

from dataclasses import dataclass

from events.completions import UsageSource
from events.message import NanoUsd
from handlers.rules.catalogue import Price

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` and `cache_write` are parts of `input`."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    source: UsageSource = "provider"


def rate(usage: Usage, price: Price) -> NanoUsd:
    """(tokens, nano-dollars for a million tokens) → nano-dollars, rounded half up once, at the total.

    Source: the provider's price sheet, as named in `price.source` and `price.as_of`.
    """
    fresh = max(0, usage.input - usage.cached - usage.cache_write)
    total = (
        fresh * price.input
        + usage.cached * price.cached_input
        + usage.cache_write * price.cache_write
        + usage.output * price.output
    )
    return (2 * total + _MILLION) // (2 * _MILLION)
