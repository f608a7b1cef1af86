"""What `/v1/routing` and `/v1/providers/status` answer, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from events.completions import Optimize

Stands = Literal["healthy", "cooling_down", "probing"]


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class RoutingPolicyView(_View):
    """What the account wants of the router."""

    object: Literal["routing_policy"] = "routing_policy"
    aliases: dict[str, str]
    """A name of the account's own → the model it stands for."""
    fallbacks: dict[str, list[str]]
    """An alias or a model → what is tried after it."""
    only: list[str]
    """Providers that may be asked; empty: all."""
    never: list[str]
    """Providers that may not be asked."""
    optimize: Optimize | None
    cache_ttl_s: int | None
    updated_at: str | None
    """Null where the account has written none."""


class RoutingPolicyDeleted(_View):
    object: Literal["routing_policy"] = "routing_policy"
    deleted: Literal[True] = True


class Quantiles(_View):
    """Milliseconds; null where nothing was measured."""

    p50: int | None
    p95: int | None


class KeyStatus(_View):
    """One of the keys that the provider is asked with."""

    key: int
    """Its number, from 1."""
    status: Stands
    since: str | None
    until: str | None
    why: str | None


class ModelStatus(_View):
    """One model at one provider."""

    id: str
    """`provider/model`."""
    model: str
    status: Stands
    """`probing`: its rest is over, and single calls find out whether it has healed."""
    since: str | None
    """When it began to rest or last came back; null where nothing is remembered."""
    until: str | None
    """When it is asked again."""
    why: str | None
    """The kind of failure."""
    calls: int
    """In the window."""
    error_rate: float | None
    """The share of them that failed through the provider's doing."""
    latency_ms: Quantiles
    time_to_first_token_ms: Quantiles
    """Of streamed answers."""


class ProviderStatus(_View):
    object: Literal["provider"] = "provider"
    provider: str
    status: Literal["healthy", "degraded", "cooling_down"]
    """`degraded`: some of its models rest."""
    keys: list[KeyStatus]
    models: list[ModelStatus]


class ProvidersStatusView(_View):
    """Every provider and model, as all workers together have seen it."""

    object: Literal["list"] = "list"
    as_of: str
    window_s: int
    data: list[ProviderStatus]
