"""One entry of litellm's catalogue → a price. Money goes from the decimal text to whole nano-dollars, never a float.

One rule: what the entry charges for and this file does not understand is named, so that nobody believes it is billed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, TypeVar

from handlers.rules.catalogue import Price, Rates, SearchFee, Step
from handlers.rules.rating import STANDARD

_NANO_USD_PER_MILLION: Final = Decimal(10) ** 15
"""Dollars for one token → nano-dollars for a million."""

_RATES: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_reasoning_token": "reasoning",
    "citation_cost_per_token": "citation",
}
"""litellm's key → the field of `Rates`."""

_KEY: Final = re.compile(
    f"({'|'.join(sorted(_RATES, key=len, reverse=True))})(?:_above_([0-9]+)k_tokens)?(?:_([a-z]+))?"
)
"""A rate, the size of question it begins at, the service it is for."""

_SERVICES: Final = {"batches": "batch"}
"""litellm's words for a service that are not the providers' own."""

_SEARCH: Final = "search_context_cost_per_query"
_REQUEST: Final = "input_cost_per_request"
_MULTIPLIERS: Final = "provider_specific_entry"
_RATED: Final = frozenset({_SEARCH, _REQUEST, _MULTIPLIERS})
_REGION: Final = re.compile(r"regional_processing_uplift_multiplier_([a-z]+)")
_CHARGES: Final = re.compile(r"cost|pric|uplift|surcharge")
"""What the name of a charge has in it."""

_SEARCHES_ALWAYS: Final = re.compile(r"^sonar(?!-deep-research)|-search-")
"""Models that search the web for every question, and charge it by the request."""


AnyRates = TypeVar("AnyRates", bound=Rates)


@dataclass(frozen=True, slots=True)
class Read:
    """`price` is None where the entry has none; `unrated` names what it charges for beside it and is not billed."""

    price: Price | None
    unrated: frozenset[str]
    regions: Mapping[str, int]
    """Region of the provider's → thousandths of the price that its tokens cost there."""


def read_price(name: str, entry: Mapping[str, Any], *, as_of: str, source: str) -> Read:
    """`name` is litellm's key of the entry."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    unrated, regions = set(), dict[str, int]()
    for key, value in entry.items():
        matched = _KEY.fullmatch(key)
        if matched and isinstance(value, Decimal | int):
            rate, thousands, service = matched.groups()
            place = _SERVICES.get(service, service) if service else STANDARD, int(thousands or 0) * 1000
            found.setdefault(place, {})[_RATES[rate]] = _nano(value)
        elif region := _REGION.fullmatch(key):
            regions[region[1]] = _thousandths(value)
        elif key not in _RATED and _CHARGES.search(key):
            unrated.add(key)
    base = found.pop((STANDARD, 0), {})
    if "input" not in base or "output" not in base:
        return Read(None, frozenset(unrated), regions)
    steps = []
    for (service, above), rates in sorted(found.items()):
        # What a step does not name costs what its service does below it, else what the standard service does.
        under = found.get((service, 0), {}) if above else {}
        beside = found.get((STANDARD, above), {}) if above else {}
        steps.append(Step(service, above, _rates({**base, **beside, **under, **rates})))
    price = Price(
        **_filled(base),
        as_of=as_of,
        source=source,
        steps=tuple(steps),
        search=_search_fee(name, entry.get(_SEARCH)),
        request=_nano_once(entry.get(_REQUEST, 0)),
        marks=_marks(entry.get(_MULTIPLIERS)),
    )
    return Read(price, frozenset(unrated), regions)


def _rates(said: Mapping[str, int]) -> Rates:
    return Rates(**_filled(said))


def _filled(said: Mapping[str, int]) -> dict[str, int]:
    """A catalogue without a cache price means the input price."""
    return {"cached_input": said["input"], "cache_write": said["input"], **said}


def _search_fee(name: str, said: object) -> SearchFee | None:
    if not isinstance(said, dict):
        return None
    low, medium, high = (_nano_once(said.get(f"search_context_size_{size}", 0)) for size in ("low", "medium", "high"))
    return SearchFee(low, medium, high, _SEARCHES_ALWAYS.search(name.removeprefix("perplexity/")) is not None)


def _marks(said: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(said, dict):
        return ()
    factors = {name: value for name, value in said.items() if isinstance(value, Decimal | int)}
    return tuple((name, _thousandths(value)) for name, value in sorted(factors.items()))


def _thousandths(value: Decimal | int) -> int:
    return int((Decimal(value) * 1000).to_integral_value())


def uplifted(price: Price, thousandths: int) -> Price:
    """The price of a place where tokens cost so many thousandths of it; fees stay."""
    steps = tuple(replace(step, rates=_times(step.rates, thousandths)) for step in price.steps)
    return replace(_times(price, thousandths), steps=steps)


def _times(rates: AnyRates, thousandths: int) -> AnyRates:
    said = {field.name: getattr(rates, field.name) for field in fields(Rates)}
    return replace(
        rates, **{name: (2 * rate * thousandths + 1000) // 2000 for name, rate in said.items() if rate is not None}
    )


def _nano(usd_per_token: Decimal | int) -> int:
    """The catalogue has sums such as 3.9999999999999997e-07: rounding to whole nano-dollars a million mends them."""
    return int((Decimal(usd_per_token) * _NANO_USD_PER_MILLION).to_integral_value(ROUND_HALF_UP))


def _nano_once(usd: Decimal | int) -> int:
    return int((Decimal(usd) * 10**9).to_integral_value(ROUND_HALF_UP))
