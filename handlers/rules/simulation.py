"""What past requests would have cost elsewhere: on one model, or by one wish. No provider is asked.

One rule: what is not known is said and not guessed. Tokens stay as the provider counted them that had answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from events.completions import Optimize
from events.message import NanoUsd
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.needs import Needs
from handlers.rules.ranking import rank
from handlers.rules.rating import Usage, rate
from handlers.rules.standing import Speed

UNKNOWN: Final = (
    "Tokens are those that the answering provider counted; another model counts the same text otherwise.",
    "How long another model's answer would have been is not known; the length is that of the answer there was.",
    "Input that came from a provider's prompt cache counts as cached there too; whether it would have been is not known.",
    "Whether the other model could do what was asked (tools, images, JSON) is not known of each request.",
)
"""What nobody should take these sums for."""


@dataclass(frozen=True, slots=True)
class Used:
    """Requests of one shape and what they cost; `usage` adds them up."""

    provider: str
    model: str
    kind: Literal["chat", "embedding"]
    requests: int
    usage: Usage
    largest_tokens: int
    """Input and output of the largest of them."""
    cost_nanousd: NanoUsd


Elsewhere = Callable[[Used], "Offer | str"]
"""Who would have answered, or why it cannot be said."""


@dataclass(slots=True)
class Line:
    """The requests of one model, there and elsewhere."""

    provider: str
    model: str
    requests: int = 0
    """Those that could have gone elsewhere."""
    cost_nanousd: NanoUsd = 0
    then_nanousd: NanoUsd = 0
    chosen: dict[str, int] = field(default_factory=dict)
    """Offer → how many of them it would have had."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Why → how many are in no sum."""


class Simulation:
    """Sums by the model that has answered."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self._lines: dict[tuple[str, str], Line] = {}

    def add(self, used: Used) -> None:
        line = self._lines.setdefault((used.provider, used.model), Line(used.provider, used.model))
        found = self._elsewhere(used)
        if isinstance(found, str):
            line.left_out[found] = line.left_out.get(found, 0) + used.requests
            return
        line.requests += used.requests
        line.cost_nanousd += used.cost_nanousd
        line.then_nanousd += cost_at(used, found)
        line.chosen[found.id] = line.chosen.get(found.id, 0) + used.requests

    def lines(self) -> list[Line]:
        """The dearest first."""
        return sorted(self._lines.values(), key=lambda line: (-line.cost_nanousd, line.provider, line.model))


def cost_at(used: Used, offer: Offer) -> NanoUsd:
    """What the requests would have cost there; nothing where the operator runs the model himself."""
    return rate(used.usage, offer.price, requests=used.requests) if offer.price else 0


def on_model(offers: Sequence[Offer]) -> Elsewhere:
    """Everything on one model; where several providers have it, each request at the cheapest."""

    def elsewhere(used: Used) -> Offer | str:
        able = [offer for offer in offers if offer.kind == used.kind]
        if not able:
            return f"{'an' if used.kind == 'embedding' else 'a'} {used.kind} request"
        fitting = [offer for offer in able if fits(used, offer)]
        if not fitting:
            return "longer than its context window"
        return min(fitting, key=lambda offer: (cost_at(used, offer), offer.id))

    return elsewhere


def by_wish(catalogue: Catalogue, wish: Optimize, speeds: Mapping[str, Speed]) -> Elsewhere:
    """Each request where the router would have sent it for a client that leaves the choice to it. `speeds` as measured,
    by the offer's id."""
    general = [offer for offer in catalogue.find("auto") if offer.kind == "chat" and not offer.simulated]

    def elsewhere(used: Used) -> Offer | str:
        if used.kind != "chat":
            return "an embedding request: the router does not choose for these"
        fitting = [offer for offer in general if fits(used, offer)]
        if wish == "speed":
            fitting = [offer for offer in fitting if offer.id in speeds]
        if not fitting:
            return "no measured model fits" if wish == "speed" else "no general model fits"
        needs = Needs(input_tokens=used.usage.input // used.requests, output_tokens=used.usage.output // used.requests)
        ranked, _ = rank(fitting, wish, "auto", needs, speeds, chance=0.0)
        return ranked[0]

    return elsewhere


def fits(used: Used, offer: Offer) -> bool:
    return offer.context_window is None or used.largest_tokens <= offer.context_window
