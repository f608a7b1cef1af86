"""What models cost and can do: litellm's catalogue, read from its package without importing it, and the project's own
`prices.toml` above it. Money goes from the decimal text to whole nano-dollars and is never a float."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from handlers.rules.catalogue import Price

PRICES_FILE = Path(__file__).resolve().parents[2] / "prices.toml"

_CATALOGUE_FILE = "model_prices_and_context_window_backup.json"

_NANO_USD_PER_MILLION = Decimal(10) ** 15
"""Dollars for one token → nano-dollars for a million."""

_CAPABILITIES = {
    "tools": "supports_function_calling",
    "images": "supports_vision",
    "json": "supports_response_schema",
    "reasoning": "supports_reasoning",
}

_Usd = Annotated[Decimal, Field(ge=0, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Listed:
    """One model of litellm's catalogue."""

    provider: str
    chat: bool
    price: Price | None
    context_window: int | None
    output_tokens_max: int | None
    capabilities: frozenset[str]
    retired_on: date | None


class Correction(BaseModel):
    """One `[[model]]` of `prices.toml`: what it says wins over litellm's catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    model: str
    input_usd_per_million: _Usd | None = None
    output_usd_per_million: _Usd | None = None
    cached_input_usd_per_million: _Usd | None = None
    cache_write_usd_per_million: _Usd | None = None
    as_of: date | None = None
    source: str | None = None
    context_window: int | None = Field(default=None, ge=1)
    quality: int | None = Field(default=None, ge=0, le=100)
    auto: bool = False

    @model_validator(mode="after")
    def _a_price_is_whole(self) -> Self:
        if self.input_usd_per_million is None and self.output_usd_per_million is None:
            return self
        if None in (self.input_usd_per_million, self.output_usd_per_million, self.as_of, self.source):
            raise ValueError("a price needs input_usd_per_million, output_usd_per_million, as_of and source")
        return self

    @property
    def price(self) -> Price | None:
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        return price_of(
            self.input_usd_per_million,
            self.output_usd_per_million,
            self.cached_input_usd_per_million,
            self.cache_write_usd_per_million,
            as_of=str(self.as_of),
            source=str(self.source),
        )


class _PricesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: tuple[Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceList:
    """What is known of models. `listed` is keyed as litellm keys them: `gpt-5`, `xai/grok-4.3`."""

    listed: Mapping[str, Listed]
    corrections: Mapping[tuple[str, str], Correction]


def price_of(
    input_usd: Decimal,
    output_usd: Decimal,
    cached_input_usd: Decimal | None,
    cache_write_usd: Decimal | None,
    *,
    as_of: str,
    source: str,
) -> Price:
    """US dollars for a million tokens → Price. A cache price that is not given is the input price."""

    def nano(usd: Decimal | None) -> int:
        return int(((input_usd if usd is None else usd) * 10**9).to_integral_value(ROUND_HALF_UP))

    return Price(nano(input_usd), nano(output_usd), nano(cached_input_usd), nano(cache_write_usd), as_of, source)


@lru_cache
def price_list(path: Path = PRICES_FILE) -> PriceList:
    """litellm's catalogue and the file's corrections. Raises ValueError with one line that names the fault.

    Takes some 60 ms, once a process.
    """
    try:
        ours = _PricesFile.model_validate(tomllib.loads(path.read_text("utf-8"), parse_float=Decimal))
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"HELIX_PRICES: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, OSError) as refused:
        raise ValueError(f"HELIX_PRICES: {path}: {refused}") from None
    as_of = f"litellm {version('litellm')}"  # its catalogue bears no date of its own
    entries: dict[str, dict[str, Any]] = json.loads(_catalogue_text(), parse_float=Decimal)
    return PriceList(
        {name: _listed(entry, as_of) for name, entry in entries.items()},
        {(row.provider, row.model): row for row in ours.model},
    )


def litellm_folder() -> Path:
    """Where litellm is installed, found without running it: its import takes seconds."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None and spec.origin is not None, "litellm is a dependency of this project"
    return Path(spec.origin).parent


def _catalogue_text() -> str:
    return (litellm_folder() / _CATALOGUE_FILE).read_text("utf-8")


def _listed(entry: dict[str, Any], as_of: str) -> Listed:
    return Listed(
        provider=str(entry.get("litellm_provider")),
        chat=entry.get("mode") == "chat" and _spoken_over_chat(entry),
        price=_price(entry, as_of),
        context_window=_tokens(entry.get("max_input_tokens")),
        output_tokens_max=_tokens(entry.get("max_output_tokens")),
        capabilities=frozenset(name for name, flag in _CAPABILITIES.items() if entry.get(flag) is True),
        retired_on=_day(entry.get("deprecation_date")),
    )


def _spoken_over_chat(entry: dict[str, Any]) -> bool:
    routes = entry.get("supported_endpoints")
    return not isinstance(routes, list) or "/v1/chat/completions" in routes


def _price(entry: dict[str, Any], as_of: str) -> Price | None:
    asked, answered = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if asked is None or answered is None:
        return None
    source = str(entry.get("source") or _CATALOGUE_FILE)
    cached = entry.get("cache_read_input_token_cost", asked)
    written = entry.get("cache_creation_input_token_cost", asked)
    return Price(_nano(asked), _nano(answered), _nano(cached), _nano(written), as_of, source)


def _nano(usd_per_token: Decimal | int) -> int:
    """The catalogue has sums such as 3.9999999999999997e-07: rounding to whole nano-dollars a million mends them."""
    return int((Decimal(usd_per_token) * _NANO_USD_PER_MILLION).to_integral_value(ROUND_HALF_UP))


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _day(value: object) -> date | None:
    """Some entries have prose here."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
