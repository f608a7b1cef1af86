"""What may be asked for: which provider offers which model, at what price. Values only; `app.providers` fills them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

ProviderWire = Literal["openai", "anthropic", "litellm"]
"""What a provider speaks; `litellm` is the long tail, reached through litellm's own calls."""


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars for a million tokens, as the provider's price sheet had it on `as_of`."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    as_of: str
    source: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One model at one provider."""

    provider: str
    model: str
    """What clients ask for."""
    upstream: str
    """What the provider is asked for."""
    wire: ProviderWire
    price: Price | None
    """None: the operator runs this model himself and asks nothing for it."""
    context_window: int | None = None
    output_tokens_max: int | None = None
    quality: int = 50
    """0 to 100, for `optimize=quality`."""
    weight: int = 1
    capabilities: frozenset[str] = frozenset()
    """Among `tools`, `images`, `json`, `reasoning`, `responses` (its provider speaks OpenAI's responses too)."""
    kind: Literal["chat", "embedding"] = "chat"
    auto: bool = True
    """Whether it may be chosen for a client that leaves the choice to us; special and dated models may not."""
    simulated: bool = False
    created: int = 0
    """Unix seconds, for the model list."""

    @property
    def id(self) -> str:
        """`provider/model`: exactly this offer."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All offers, found by the names a client may use."""

    offers: tuple[Offer, ...]
    _by_name: dict[str, tuple[Offer, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name: dict[str, list[Offer]] = {}
        for offer in self.offers:
            by_name.setdefault(offer.id, []).append(offer)
            if offer.model != offer.id:
                by_name.setdefault(offer.model, []).append(offer)
        object.__setattr__(self, "_by_name", {name: tuple(found) for name, found in by_name.items()})

    @classmethod
    def of(cls, offers: Iterable[Offer]) -> Catalogue:
        return cls(tuple(offers))

    def find(self, name: str) -> tuple[Offer, ...]:
        """The offers that a model name stands for; `auto` stands for all that may be chosen; empty when nobody has it."""
        if name == "auto":
            return tuple(offer for offer in self.offers if offer.auto)
        return self._by_name.get(name, ())

    def __iter__(self) -> Iterator[Offer]:
        return iter(self.offers)
