"""How the providers stand, as one worker knows it: what rests, and how fast each has been. Values; `app.standing` fills them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from handlers.rules.catalogue import Offer
from handlers.rules.circuit import Circuit, State, offer_key, provider_key, state
from handlers.rules.failure import FailureKind


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured here lately; old measurements have faded."""

    ttft_ms: float
    """Asked to first word, of streamed answers; 0 where none was streamed."""
    ms_a_token: float

    def expected_ms(self, tokens: int) -> float:
        """How long an answer of so many tokens takes."""
        return self.ttft_ms + tokens * self.ms_a_token


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known now. What is not in it is healthy, and unmeasured."""

    circuits: Mapping[str, Circuit] = field(default_factory=dict)
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    """By the offer's id."""
    probes: Collection[str] = ()
    """The circuits that this worker, and no other, may probe now."""
    now: float = 0.0
    """Seconds since 1970."""

    def resting(self, offer: Offer, key: int) -> tuple[str, Circuit] | None:
        """The circuit that keeps this offer from being asked with this key, by its name; None: ask."""
        if not self.circuits:
            return None
        for name in (offer.id, provider_key(offer.provider, key), offer_key(offer.id, key)):
            circuit = self.circuits.get(name)
            if circuit is not None and self._holds(name, circuit):
                return name, circuit
        return None

    def probed(self, offer: Offer, key: int) -> tuple[str, ...]:
        """The circuits that a call to this offer with this key is the probe of."""
        names = (offer.id, provider_key(offer.provider, key), offer_key(offer.id, key))
        return tuple(name for name in names if name in self.probes and self.state(name) == "probing")

    def state(self, name: str) -> State:
        return state(self.circuits.get(name), self.now)

    def _holds(self, name: str, circuit: Circuit) -> bool:
        match state(circuit, self.now):
            case "healthy":
                return False
            case "probing":
                return name not in self.probes
            case "cooling_down":
                return True


@dataclass(frozen=True, slots=True)
class Call:
    """How one call to a provider ended, as far as its standing goes."""

    offer: Offer
    key: int
    failed: FailureKind | None
    """None: it was answered."""
    took_s: float
    ttft_ms: float | None = None
    """None when not streamed."""
    output_tokens: int | None = None
    """None when the provider did not say."""
    rests_s: float | None = None
    """The provider said that it will not be asked for so long."""
    probed: tuple[str, ...] = ()


NOTHING_KNOWN = Picture()
