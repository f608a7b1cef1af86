"""What may be asked for: which provider offers which model, at what price. Values only; `app.providers` fills them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from events.completions import Tier

ProviderWire = Literal["openai", "anthropic", "litellm"]
"""What a provider speaks; `litellm` is the long tail, reached through litellm's own calls."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars for a million tokens. What is None costs what the wider kind does."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    cache_write_1h: int | None = None
    audio_input: int | None = None
    image_input: int | None = None
    audio_output: int | None = None
    reasoning: int | None = None
    """Of reasoning tokens that are counted apart from the output; None: they are not charged by themselves."""
    citation: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The rates of one service, for questions of more than `above` input tokens, cached ones included: for all of the
    request's tokens, not only for those above."""

    service: str
    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class SearchFee:
    """Nano-dollars for one search, by how much of the web it reads."""

    low: int
    medium: int
    high: int
    every_request: bool
    """One for each request, whatever it says; otherwise one for each search that is reported."""


@dataclass(frozen=True, slots=True)
class Price(Rates):
    """What one model costs at one provider, as its price sheet had it on `as_of`. Its own rates are those of the
    standard service for questions of any size that no step is for."""

    as_of: str = field(kw_only=True)
    source: str = field(kw_only=True)
    steps: tuple[Step, ...] = field(default=(), kw_only=True)
    search: SearchFee | None = field(default=None, kw_only=True)
    request: int = field(default=0, kw_only=True)
    """Nano-dollars for each request, beside its tokens."""
    marks: tuple[tuple[str, int], ...] = field(default=(), kw_only=True)
    """(mark, thousandths): what the tokens of a request that bears the mark are multiplied by."""


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
    price_version: str | None = None
    """The name of the price; None where there is none."""
    keys: tuple[int, ...] = (1,)
    """The weight of each key that its provider may be asked with; a provider that wants none has one too."""
    tier: Tier = "free"
    """The lowest tier that may ask it."""
    own_key: bool = False
    """It is asked with a key that the account itself has brought."""

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
