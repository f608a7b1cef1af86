"""What a completion costs, and the name of the price it was reckoned with. Integers only; rounded once, at the total."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from events.completions import Metered, UsageSource
from events.message import NanoUsd
from handlers.rules.catalogue import Price, Rates

STANDARD: Final = "standard"
"""The service of a request that asked for no other."""

_MILLION: Final = 1_000_000
_THOUSAND: Final = 1_000
_DIGITS: Final = 20
"""Of SHA-256 in hexadecimal: 80 bits tell any two prices there will ever be apart."""

_NOTHING_MORE: Final = Metered()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` and `cache_write` are parts of `input`, reasoning is part of `output`."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    source: UsageSource = "provider"
    metered: Metered | None = None


def rate(usage: Usage, price: Price, *, requests: int = 1) -> NanoUsd:
    """(tokens, nano-dollars for a million tokens) → nano-dollars, rounded half up once, at the total.

    `requests`: how many requests of one size and service the usage adds up.
    Source: the provider's price sheet, as named in `price.source` and `price.as_of`.
    """
    more = usage.metered or _NOTHING_MORE
    rates = rates_of(price, usage.input // requests, more.service)
    total, parts = _of_tokens(usage, more, rates), _MILLION
    for mark, thousandths in price.marks:
        if mark in more.marks:
            total, parts = total * thousandths, parts * _THOUSAND
    total += parts * (price.request * requests + _of_searches(more, price, requests))
    return (2 * total + parts) // (2 * parts)


def fee_of(price: Price) -> NanoUsd:
    """What each request costs beside its tokens, at least."""
    return price.request + (price.search.low if price.search and price.search.every_request else 0)


def rates_of(price: Price, input_tokens: int, service: str) -> Rates:
    """The rates for a question of this size, served so. A service that the price does not know costs the standard."""
    served = service if any(step.service == service for step in price.steps) else STANDARD
    fitting = [step for step in price.steps if step.service == served and step.above < input_tokens]
    return max(fitting, key=lambda step: step.above).rates if fitting else price


def _of_tokens(usage: Usage, more: Metered, rates: Rates) -> int:
    """Tokens times nano-dollars for a million. What a provider counts twice is charged once, and never below nothing."""
    kept_long = min(more.cache_write_1h_tokens, usage.cache_write)
    special = usage.cached + usage.cache_write + more.audio_input_tokens + more.image_input_tokens
    return (
        max(0, usage.input - special) * rates.input
        + usage.cached * rates.cached_input
        + (usage.cache_write - kept_long) * rates.cache_write
        + kept_long * _or(rates.cache_write_1h, rates.cache_write)
        + more.audio_input_tokens * _or(rates.audio_input, rates.input)
        + more.image_input_tokens * _or(rates.image_input, rates.input)
        + max(0, usage.output - more.audio_output_tokens) * rates.output
        + more.audio_output_tokens * _or(rates.audio_output, rates.output)
        + more.reasoning_tokens * (rates.reasoning or 0)
        + more.citation_tokens * rates.citation
    )


def _of_searches(more: Metered, price: Price, requests: int) -> int:
    if price.search is None:
        return 0
    fee = {"low": price.search.low, "medium": price.search.medium, "high": price.search.high}[more.search_size or "low"]
    return fee * (requests if price.search.every_request else more.searches)


def _or(rate: int | None, wider: int) -> int:
    return wider if rate is None else rate


def price_version(provider: str, model: str, price: Price) -> str:
    """The name of a price: the same content, the same name, wherever and whenever it is asked for. When and where it
    was read are no part of it: a price that was looked at again and found unchanged is still the same."""
    return f"price_{content_digest(provider, model, price)[:_DIGITS]}"


def content_digest(provider: str, model: str, price: Price) -> str:
    """SHA-256 of what is charged, in hexadecimal."""
    return hashlib.sha256(f"{provider}\n{model}\n{content(price)}".encode()).hexdigest()


def content(price: Price) -> str:
    """Everything that is charged, as JSON, the same text for the same price. What the price does not have is left out,
    so that a kind of rate that is added later renames no older price."""
    said = asdict(price)
    del said["as_of"], said["source"]
    return json.dumps(_slim(said), sort_keys=True, separators=(",", ":"))


def _slim(value: object) -> object:
    if isinstance(value, dict):
        return {name: _slim(each) for name, each in value.items() if each is not None and each != ()}
    if isinstance(value, list | tuple):
        return [_slim(each) for each in value]
    return value
