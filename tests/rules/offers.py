"""Offers for the tests of rules and handlers: only what a test names differs."""

from __future__ import annotations

from collections.abc import Iterable

from handlers.rules.catalogue import Offer, Price


def price(input: int = 1_000_000_000, output: int = 2_000_000_000) -> Price:
    return Price(input, output, cached_input=input // 10, cache_write=input, as_of="2026-03-01", source="test")


def offer(
    provider: str,
    model: str = "gpt",
    *,
    at: Price | None = None,
    quality: int = 50,
    weight: int = 1,
    auto: bool = True,
    context_window: int | None = None,
    capabilities: Iterable[str] = (),
    keys: tuple[int, ...] = (1,),
) -> Offer:
    return Offer(
        provider,
        model,
        model,
        "openai",
        at,
        quality=quality,
        weight=weight,
        auto=auto,
        context_window=context_window,
        capabilities=frozenset(capabilities),
        keys=keys,
    )
