"""What models cost and can do: litellm's catalogue, read from its package without importing it, and the project's own
`prices.toml` above it. Money goes from the decimal text to whole nano-dollars and is never a float."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.providers.litellm_prices import read_price, uplifted
from app.providers.written_prices import WrittenPrice
from handlers.rules.catalogue import Price

PRICES_FILE = Path(__file__).resolve().parents[2] / "prices.toml"

_CATALOGUE_FILE = "model_prices_and_context_window_backup.json"

_CAPABILITIES = {
    "tools": "supports_function_calling",
    "images": "supports_vision",
    "json": "supports_response_schema",
    "reasoning": "supports_reasoning",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One model of litellm's catalogue."""

    provider: str
    chat: bool
    embedding: bool
    price: Price | None
    unrated: frozenset[str]
    """Prices that the catalogue has for it and that are not charged."""
    regions: Mapping[str, int]
    """Region of the provider's → thousandths of the price that its tokens cost there."""
    context_window: int | None
    output_tokens_max: int | None
    capabilities: frozenset[str]
    retired_on: date | None

    def price_at(self, base_url: str | None) -> Price | None:
        """The price by the address that is asked: a provider that processes in a region may take more for it."""
        host = urlsplit(base_url or "").hostname or ""
        thousandths = self.regions.get(host.partition(".")[0])
        return uplifted(self.price, thousandths) if self.price and thousandths else self.price


class Correction(WrittenPrice):
    """One `[[model]]` of `prices.toml`: what it says wins over litellm's catalogue."""

    provider: str
    model: str
    as_of: date | None = None
    source: str | None = None
    context_window: int | None = Field(default=None, ge=1)
    quality: int | None = Field(default=None, ge=0, le=100)
    auto: bool = False

    @model_validator(mode="after")
    def _a_price_is_whole(self) -> Self:
        said = self.input_usd_per_million is not None or self.output_usd_per_million is not None
        more = bool(self.step or self.search or self.request_usd)
        if (said or more) and not (self.is_priced and self.as_of and self.source):
            raise ValueError("a price needs input_usd_per_million, output_usd_per_million, as_of and source")
        return self

    @property
    def dated_price(self) -> Price | None:
        return self.price(as_of=str(self.as_of), source=str(self.source))


class _PricesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: tuple[Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceList:
    """What is known of models. litellm's names are `gpt-5`, `xai/grok-4.3`. An entry is understood when it is asked for:
    there are thousands, and an installation uses few."""

    as_of: str
    entries: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """litellm's, as they stand there."""
    corrections: Mapping[tuple[str, str], Correction]

    def find(self, name: str) -> Listed | None:
        entry = self.entries.get(name)
        return _listed(name, entry, self.as_of) if entry is not None else None

    def of(self, provider: str) -> Iterator[tuple[str, Listed]]:
        """The models of one provider, with litellm's names of them."""
        for name, entry in self.entries.items():
            if entry.get("litellm_provider") == provider:
                yield name, _listed(name, entry, self.as_of)


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
    entries = json.loads(_catalogue_text(), parse_float=Decimal)
    return PriceList(as_of, entries, {(row.provider, row.model): row for row in ours.model})


def litellm_folder() -> Path:
    """Where litellm is installed, found without running it: its import takes seconds."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None and spec.origin is not None, "litellm is a dependency of this project"
    return Path(spec.origin).parent


def _catalogue_text() -> str:
    return (litellm_folder() / _CATALOGUE_FILE).read_text("utf-8")


def _listed(name: str, entry: Mapping[str, Any], as_of: str) -> Listed:
    priced = read_price(name, entry, as_of=as_of, source=str(entry.get("source") or _CATALOGUE_FILE))
    return Listed(
        provider=str(entry.get("litellm_provider")),
        chat=entry.get("mode") == "chat" and _spoken_over_chat(entry),
        embedding=entry.get("mode") == "embedding",
        price=priced.price,
        unrated=priced.unrated,
        regions=priced.regions,
        context_window=_tokens(entry.get("max_input_tokens")),
        output_tokens_max=_tokens(entry.get("max_output_tokens")),
        capabilities=frozenset(name for name, flag in _CAPABILITIES.items() if entry.get(flag) is True),
        retired_on=_day(entry.get("deprecation_date")),
    )


def _spoken_over_chat(entry: Mapping[str, Any]) -> bool:
    routes = entry.get("supported_endpoints")
    return not isinstance(routes, list) or "/v1/chat/completions" in routes


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _day(value: object) -> date | None:
    """Some entries have prose here."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
