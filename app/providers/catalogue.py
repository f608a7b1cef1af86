"""All offers of this installation: the models of each provider that has a key, of the operator's file, and of the
sandbox. Cheap and without litellm's import, so that every process may hold it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from app.providers.endpoints import SANDBOX, Endpoint, ListedModel, ListedProvider, endpoints, listed_providers
from app.providers.price_list import PRICES_FILE, Listed, PriceList, price_list
from app.settings import PROVIDER_KEYS, Settings
from handlers.rules.catalogue import Catalogue, Offer, Price
from handlers.rules.rating import price_version

_FINE_TUNED = "ft:"
"""Entries of this prefix are prices for other people's fine-tuned models, not models."""

_RESPONSES = frozenset({"responses"})
_SPOKEN = {"openai": _RESPONSES}
"""What a built-in provider speaks beside its wire."""

_SANDBOX_MODELS = ("echo", "lorem", "tools", "faulty")
_SANDBOX_CONTEXT_WINDOW = 128_000

_DEFAULT_QUALITY = 50


def load_catalogue(settings: Settings, *, today: date | None = None) -> Catalogue:
    """The offers of these settings; models that their provider has retired before `today` (default: UTC now) are left
    out. Raises ValueError with one line that names the fault in a file."""
    listed = listed_providers(settings.helix_providers)
    known = endpoints(settings, listed)
    day = today or datetime.now(UTC).date()
    offers: list[Offer] = []
    if listed or any(name in known for name in PROVIDER_KEYS):
        prices = price_list(settings.helix_prices or PRICES_FILE)
        for name in PROVIDER_KEYS:
            if name in known:
                offers += offers_of(known[name], prices, day)
        for provider in listed:
            keys = known[provider.name].key_weights
            offers += (_operated(provider, model, prices, keys) for model in provider.model)
    if SANDBOX in known:
        offers += _sandbox()
    return Catalogue.of(offers)


def known_prices(settings: Settings, file: Path | None = None) -> dict[tuple[str, str], Price]:
    """(provider, model) → its price today, of all there ever were: retired models, and providers without a key, too.

    `file` stands in the place of `prices.toml`, and what it says wins over the operator's file as well. Raises ValueError
    with one line that names the fault in a file.
    """
    prices = price_list(file or settings.helix_prices or PRICES_FILE)
    found: dict[tuple[str, str], Price] = {}
    for provider in PROVIDER_KEYS:
        for name, listed in prices.of(provider):
            if price := listed.price_at(getattr(settings, f"{provider}_base_url")):
                found[provider, name.removeprefix(f"{provider}/")] = price
    written = {place: price for place, row in prices.corrections.items() if (price := row.dated_price)}
    found |= written
    for operated in listed_providers(settings.helix_providers):
        for model in operated.model:
            if price := _operated_price(operated, model, prices):
                found[operated.name, model.id] = price
    return found | written if file else found


def offers_of(endpoint: Endpoint, prices: PriceList, today: date) -> Iterator[Offer]:
    """A built-in provider's models that have a price: nothing is sold by guess."""
    for name, listed in prices.of(endpoint.provider):
        if name.startswith(_FINE_TUNED) or not (listed.chat or listed.embedding):
            continue
        if listed.retired_on and listed.retired_on < today:
            continue
        model = name.removeprefix(f"{endpoint.provider}/")
        row = prices.corrections.get((endpoint.provider, model))
        price = (row and row.dated_price) or listed.price_at(endpoint.base_url)
        if price is None or "/" in model:
            continue
        yield Offer(
            provider=endpoint.provider,
            model=model,
            upstream=model,
            wire=endpoint.wire,
            price=price,
            context_window=(row and row.context_window) or listed.context_window,
            output_tokens_max=listed.output_tokens_max,
            quality=row.quality if row and row.quality is not None else _DEFAULT_QUALITY,
            capabilities=listed.capabilities | _SPOKEN.get(endpoint.provider, frozenset()),
            kind="chat" if listed.chat else "embedding",
            auto=bool(row and row.auto and listed.chat),
            price_version=price_version(endpoint.provider, model, price),
            keys=endpoint.key_weights,
        )


def _operated(provider: ListedProvider, model: ListedModel, prices: PriceList, keys: tuple[int, ...]) -> Offer:
    """A model of the operator's file; what the file leaves open comes from the catalogue, where it knows the model."""
    listed = _known(provider, model, prices)
    known = listed.capabilities if listed else frozenset()
    price = _operated_price(provider, model, prices)
    return Offer(
        provider=provider.name,
        model=model.id,
        upstream=model.upstream or model.id,
        wire=provider.wire,
        price=price,
        context_window=model.context_window or (listed and listed.context_window) or None,
        output_tokens_max=model.output_tokens_max or (listed and listed.output_tokens_max) or None,
        quality=model.quality,
        weight=provider.weight,
        capabilities=(model.capabilities if model.capabilities is not None else known)
        | (_RESPONSES if provider.responses else frozenset()),
        kind=model.kind,
        auto=model.auto and model.kind == "chat",
        keys=keys,
        tier=model.tier,
        price_version=price_version(provider.name, model.id, price) if price else None,
    )


def _operated_price(provider: ListedProvider, model: ListedModel, prices: PriceList) -> Price | None:
    own = model.price(as_of="operator", source="HELIX_PROVIDERS")
    row = prices.corrections.get((provider.name, model.id))
    listed = _known(provider, model, prices)
    return own or (row and row.dated_price) or (listed and listed.price) or None


def _known(provider: ListedProvider, model: ListedModel, prices: PriceList) -> Listed | None:
    upstream = model.upstream or model.id
    return prices.find(f"{provider.name}/{upstream}") or prices.find(upstream)


def _sandbox() -> Iterator[Offer]:
    for name in _SANDBOX_MODELS:
        yield Offer(
            provider=SANDBOX,
            model=name,
            upstream=name,
            wire="openai",
            price=None,
            context_window=_SANDBOX_CONTEXT_WINDOW,
            capabilities=frozenset({"tools"}) if name == "tools" else frozenset(),
            auto=name in ("echo", "lorem"),
            simulated=True,
        )
    yield Offer(SANDBOX, "embed", "embed", "openai", None, kind="embedding", auto=False, simulated=True)
