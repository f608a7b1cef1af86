"""Where each provider listens, what it speaks and which key it wants: the built-in four, the sandbox, and the operator's
file. A base URL comes from settings alone, never from a client."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from app.providers.written_prices import WrittenPrice
from app.settings import PROVIDER_KEYS, Settings
from events.completions import Tier
from handlers.rules.catalogue import ProviderWire

SANDBOX = "sandbox"
"""The name of the sandbox provider."""

_URL = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
_Tokens = Annotated[int, Field(ge=1, le=2**40)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Variable = Annotated[str, Field(min_length=1, max_length=200)]
_Weight = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider as it is called."""

    provider: str
    wire: ProviderWire
    base_url: str | None
    """None only for the long tail, where litellm knows it."""
    api_key: str | None = field(default=None, repr=False)
    """The first, or only, key; None: none is sent."""
    other_keys: tuple[str, ...] = field(default=(), repr=False)
    key_weights: tuple[int, ...] = (1,)
    """Of all keys, in their order."""

    def with_key(self, key: int) -> Endpoint:
        """The same, asked with the key of this number, counted from 0."""
        return self if key == 0 else replace(self, api_key=self.other_keys[key - 1])


class _Row(BaseModel):
    """A table of the file; an unknown field is an error, so that a misspelt limit is heard of at start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ListedModel(WrittenPrice):
    """One `[[provider.model]]`. Prices are US dollars for a million tokens."""

    id: _Name
    upstream: str | None = None
    context_window: _Tokens | None = None
    output_tokens_max: _Tokens | None = None
    quality: int = Field(default=50, ge=0, le=100)
    capabilities: frozenset[str] | None = None
    auto: bool = True
    kind: Literal["chat", "embedding"] = "chat"
    tier: Tier = "free"
    """The lowest tier that may ask it."""

    @model_validator(mode="after")
    def _prices_come_in_pairs(self) -> Self:
        if (self.input_usd_per_million is None) != (self.output_usd_per_million is None):
            raise ValueError("input_usd_per_million and output_usd_per_million are given together or not at all")
        return self


class ListedProvider(_Row):
    """One `[[provider]]` of the operator's file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    wire: ProviderWire = "openai"
    base_url: _URL | None = None
    api_key_env: _Variable | Annotated[tuple[_Variable, ...], Field(min_length=1)] | None = None
    """The variable that holds its key, or several keys with commas between them; or a list of such variables."""
    api_key_weights: tuple[_Weight, ...] | None = None
    """How the keys share the traffic, one number for each; left out: evenly."""
    weight: _Weight = 1
    responses: bool = False
    """It speaks OpenAI's responses too: they are passed on to it as they are."""
    model: tuple[ListedModel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.base_url is None and self.wire != "litellm":
            raise ValueError('base_url is needed, except with wire = "litellm"')
        ids = [model.id for model in self.model]
        if twice := {id for id in ids if ids.count(id) > 1}:
            raise ValueError(f"model ids stand twice: {', '.join(sorted(twice))}")
        return self


class _ListedProviders(_Row):
    provider: tuple[ListedProvider, ...] = ()


def listed_providers(path: Path | None) -> tuple[ListedProvider, ...]:
    """The providers of the operator's file; none without a file. Raises ValueError with one line that names the fault."""
    if path is None:
        return ()
    try:
        listed = _ListedProviders.model_validate(tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)).provider
    except ValidationError as refused:
        raise ValueError(f"HELIX_PROVIDERS: {_fault(refused)}") from None
    except (ValueError, OSError) as refused:  # TOML and UTF-8 faults are ValueErrors
        raise ValueError(f"HELIX_PROVIDERS: {path}: {refused}") from None
    names = [provider.name for provider in listed]
    for name in names:
        if name in PROVIDER_KEYS or name == SANDBOX:
            raise ValueError(f"HELIX_PROVIDERS: provider.name: {name} is the name of a built-in provider")
        if names.count(name) > 1:
            raise ValueError(f"HELIX_PROVIDERS: provider.name: {name} stands twice")
    return listed


def _fault(refused: ValidationError) -> str:
    first = refused.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"


def endpoints(
    settings: Settings, listed: Iterable[ListedProvider], environment: Mapping[str, str] = os.environ
) -> dict[str, Endpoint]:
    """Provider name → how it is called. Raises ValueError where a key that the file names is not in the environment."""
    found: dict[str, Endpoint] = {}
    for name in PROVIDER_KEYS:
        key: SecretStr | None = getattr(settings, f"{name}_api_key")
        if key is not None and key.get_secret_value():
            wire: ProviderWire = "anthropic" if name == "anthropic" else "openai"
            base_url: str = getattr(settings, f"{name}_base_url")
            found[name] = _endpoint(name, wire, base_url, _keys(key.get_secret_value()))
    for provider in listed:
        keys = _listed_keys(provider, environment)
        found[provider.name] = _endpoint(
            provider.name, provider.wire, provider.base_url, keys, provider.api_key_weights
        )
    if settings.helix_sandbox_url:
        address = settings.helix_sandbox_url.rstrip("/").removesuffix("/v1")
        found[SANDBOX] = Endpoint(SANDBOX, "openai", f"{address}/v1")
    return found


def bring_keys(settings: Settings, listed: Iterable[ListedProvider]) -> dict[str, Endpoint]:
    """Provider name → how it is called, without a key: all that customers may bring one for. Those are the built-in ones,
    whether we have a key or not, and those of the operator's file that want one."""
    found: dict[str, Endpoint] = {}
    for name in PROVIDER_KEYS:
        wire: ProviderWire = "anthropic" if name == "anthropic" else "openai"
        found[name] = _endpoint(name, wire, getattr(settings, f"{name}_base_url"), ())
    for provider in listed:
        if provider.api_key_env is not None:
            found[provider.name] = _endpoint(provider.name, provider.wire, provider.base_url, ())
    return found


def _endpoint(
    name: str, wire: ProviderWire, base_url: str | None, keys: Sequence[str], weights: tuple[int, ...] | None = None
) -> Endpoint:
    """Raises ValueError where there is not a weight for each key."""
    count = max(1, len(keys))
    if weights is not None and len(weights) != count:
        raise ValueError(f"HELIX_PROVIDERS: provider {name}: {len(weights)} api_key_weights for {count} keys")
    address = base_url.rstrip("/") if base_url else None
    return Endpoint(name, wire, address, keys[0] if keys else None, tuple(keys[1:]), weights or (1,) * count)


def _listed_keys(provider: ListedProvider, environment: Mapping[str, str]) -> list[str]:
    named = (provider.api_key_env,) if isinstance(provider.api_key_env, str) else provider.api_key_env or ()
    found: list[str] = []
    for variable in named:
        keys = _keys(environment.get(variable) or "")
        if not keys:
            raise ValueError(f"HELIX_PROVIDERS: provider {provider.name}: {variable} is not set")
        found += keys
    return found


def _keys(value: str) -> list[str]:
    """A variable may hold several keys, with commas between them: no provider's key has one."""
    return [key for each in value.split(",") if (key := each.strip())]
