"""A price as a person writes it into `prices.toml` or the `HELIX_PROVIDERS` file: US dollars for a million tokens.

One rule: what is left out costs what the wider kind does; nothing is free because it was forgotten.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from handlers.rules.catalogue import Price, Rates, SearchFee, Step
from handlers.rules.rating import STANDARD

Usd = Annotated[Decimal, Field(ge=0, le=1_000_000)]
"""The bound catches a price written per token in the wrong unit the other way round."""


class _Row(BaseModel):
    """A table of a file; an unknown field is an error, so that a misspelt price is heard of at start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WrittenStep(_Row):
    """One `[[model.step]]`: other rates for long questions, for another service, or for both."""

    above_input_tokens: int = Field(default=0, ge=0)
    service: str = Field(default=STANDARD, pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    input_usd_per_million: Usd
    output_usd_per_million: Usd
    cached_input_usd_per_million: Usd | None = None
    cache_write_usd_per_million: Usd | None = None
    cache_write_1h_usd_per_million: Usd | None = None

    @model_validator(mode="after")
    def _is_another(self) -> Self:
        if self.service == STANDARD and not self.above_input_tokens:
            raise ValueError("a step needs above_input_tokens, or a service of its own")
        return self


class WrittenSearch(_Row):
    """`search = { low = 0.005, medium = 0.008, high = 0.012 }`: US dollars for one search."""

    low: Usd
    medium: Usd
    high: Usd
    every_request: bool = False
    """One search for each request, whatever its answer says."""


class WrittenPrice(_Row):
    """The words of a price; none of them need be there."""

    input_usd_per_million: Usd | None = None
    output_usd_per_million: Usd | None = None
    cached_input_usd_per_million: Usd | None = None
    cache_write_usd_per_million: Usd | None = None
    cache_write_1h_usd_per_million: Usd | None = None
    request_usd: Usd = Decimal(0)
    search: WrittenSearch | None = None
    step: tuple[WrittenStep, ...] = ()

    @property
    def is_priced(self) -> bool:
        return self.input_usd_per_million is not None and self.output_usd_per_million is not None

    def price(self, *, as_of: str, source: str) -> Price | None:
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        fee = self.search
        return Price(
            *_rates(self, self.input_usd_per_million, self.output_usd_per_million),
            as_of=as_of,
            source=source,
            request=_nano(self.request_usd),
            search=SearchFee(_nano(fee.low), _nano(fee.medium), _nano(fee.high), fee.every_request) if fee else None,
            steps=tuple(
                Step(
                    step.service,
                    step.above_input_tokens,
                    Rates(*_rates(step, step.input_usd_per_million, step.output_usd_per_million)),
                )
                for step in sorted(self.step, key=lambda one: (one.service, one.above_input_tokens))
            ),
        )


def _rates(said: WrittenPrice | WrittenStep, input_usd: Decimal, output_usd: Decimal) -> tuple[int, int, int, int, int]:
    """Input, output, cached input, and cache writes of five minutes and of an hour."""

    def nano(usd: Decimal | None, wider: Decimal) -> int:
        return _nano(wider if usd is None else usd)

    write = input_usd if said.cache_write_usd_per_million is None else said.cache_write_usd_per_million
    return (
        _nano(input_usd),
        _nano(output_usd),
        nano(said.cached_input_usd_per_million, input_usd),
        _nano(write),
        nano(said.cache_write_1h_usd_per_million, write),
    )


def _nano(usd: Decimal) -> int:
    return int((usd * 10**9).to_integral_value(ROUND_HALF_UP))
